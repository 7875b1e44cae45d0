/**
 * The protocol of an open connection (RFC 6455 §5 to §7) without I/O: bytes go
 * in, and what they mean comes out as data: frames to deliver, frames that are
 * owed in reply, and whether the connection is over. Nothing here waits, writes
 * or keeps time; `Connection` does.
 */
import { type ClosedCause, ConnectionClosed } from "../../ConnectionError.ts"
import * as Frame from "../../Frame.ts"
import * as Message from "../../Message.ts"
import * as ProtocolError from "../../ProtocolError.ts"
import type { Extensions } from "../connection/extensionPipeline.ts"

export interface ProtocolOptions extends Message.Limits {
  /** Owe a pong for each ping; otherwise pings are delivered. Default true. */
  readonly autoPong?: boolean | undefined
  /** Owe a close frame for the peer's; otherwise it is delivered. Default true. */
  readonly autoClose?: boolean | undefined
}

/** The size in which the payload of a large frame is delivered, in bytes, before all of it has arrived. */
const pieceSize = 64 * 1024

/** What a chunk of bytes came to. */
export class Received {
  /** Frames for the program, in order. */
  readonly deliver: Array<Frame.Frame>
  /** Pongs that are owed, in order. */
  pongs: Array<Frame.Frame> | undefined = undefined
  /** What the peer's pongs carried, in order. */
  pongPayloads: Array<Uint8Array> | undefined = undefined
  /** The close frame that is owed: in reply to the peer's, or because it broke a rule. */
  close: Frame.CloseFrame | undefined = undefined

  constructor(deliver: Array<Frame.Frame>) {
    this.deliver = deliver
  }
}

/**
 * The states of RFC 6455: open until a close frame is sent or received (§7.1.3),
 * closed when both were, or when the connection failed or was cut (§7.1.4).
 */
export type State = "Open" | "Closing" | "Closed"

export class Protocol {
  readonly role: Frame.Role
  private readonly autoPong: boolean
  private readonly autoClose: boolean
  private readonly decoder: Frame.Decoder
  private readonly validator: Message.Validator

  /** The close frame that was sent. */
  private sent: Frame.CloseFrame | undefined
  /** The close frame that was received. */
  private received: Frame.CloseFrame | undefined
  private closedBy: "local" | "remote" | undefined
  private cause: ClosedCause | undefined
  private end: ConnectionClosed | undefined

  /** Whether frames may still be sent (§5.5.1: none after a close frame, or after the end). Asked at each write, and so kept. */
  canSend = true
  framesIn = 0
  messagesIn = 0
  /** What pings and pongs have added to the bytes that came. */
  controlBytesIn = 0

  constructor(role: Frame.Role, codec: Frame.FrameCodec, options: ProtocolOptions, extensions?: Extensions) {
    this.role = role
    this.autoPong = options.autoPong ?? true
    this.autoClose = options.autoClose ?? true
    // How long a frame may be is how long its message may be; the validator sees to it, by the header.
    this.decoder = codec.decoder({
      role,
      maxFrameSize: Number.POSITIVE_INFINITY,
      reservedBits: extensions?.reservedBits,
      pieceSize: extensions === undefined || extensions.acceptPieces ? pieceSize : undefined
    })
    this.validator = new Message.Validator(options, extensions && ((reserved) => extensions.isEncoded(reserved)))
  }

  get state(): State {
    if (this.end !== undefined) return "Closed"
    return this.closedBy === undefined ? "Open" : "Closing"
  }

  /** Whether the peer has sent a close frame that is the program's to answer. */
  get repliesLater(): boolean {
    return !this.autoClose && this.received !== undefined && this.sent === undefined
  }

  /** How the connection stands, as an end: what there will be to say if nothing else comes. */
  get closed(): ConnectionClosed {
    return this.end ??
      new ConnectionClosed({ sent: this.sent, received: this.received, closedBy: this.closedBy, cause: this.cause })
  }

  /** Takes the next bytes. */
  receive(chunk: Uint8Array): Received {
    // "After receiving a Close frame, a peer discards any further data received" (§1.4); and so after a failure (§7.1.7).
    if (this.received !== undefined || this.end !== undefined) return new Received([])
    const { error, frames, partial } = this.decoder.decode(chunk)
    // What is not for the program is taken out of the decoder's own array: nearly always there is nothing to take out.
    const received = new Received(frames)
    let delivered = 0
    for (let i = 0; i < frames.length && this.received === undefined; i++) {
      const frame = frames[i]
      if (frame.fin || !(frame instanceof Frame.Piece) || frame.remaining === 0) this.framesIn++
      if (frame.opcode < Frame.Opcode.Close) {
        const broken = (frame.reserved === 0 ? undefined : misplacedBits(frame)) ?? this.validator.check(frame)
        if (broken !== undefined) return this.fail(broken, received, delivered)
        if (frame.fin) this.messagesIn++
        frames[delivered++] = frame
      } else {
        const taken = this.receiveControl(frame, received)
        if (taken === true) frames[delivered++] = frame
        else if (taken !== false) return this.fail(taken, received, delivered)
      }
    }
    if (delivered < frames.length) frames.length = delivered
    if (this.received !== undefined) return received
    const broken = partial === undefined || partial.opcode >= Frame.Opcode.Close
      ? error
      : this.validator.checkPartial(partial)
    return broken === undefined ? received : this.fail(broken, received, delivered)
  }

  /** Takes a control frame (§5.5). Answers whether it is for the program, or which rule it broke. */
  private receiveControl(frame: Frame.Frame, received: Received): boolean | ProtocolError.ProtocolError {
    const misplaced = misplacedBits(frame)
    if (misplaced !== undefined) return misplaced
    this.controlBytesIn += Frame.headerSize(frame.payload.length, this.role === "server") + frame.payload.length
    if (frame.opcode === Frame.Opcode.Ping) {
      if (!this.autoPong) return true
      received.pongs ??= []
      received.pongs.push(Frame.pong(frame.payload))
      return false
    }
    if (frame.opcode === Frame.Opcode.Pong) {
      received.pongPayloads ??= []
      received.pongPayloads.push(frame.payload)
      return false
    }
    const close = Frame.readClose(frame.payload)
    if ("_tag" in close) return close
    this.received = close
    this.closedBy ??= "remote"
    // The reply echoes the code (§5.5.1); an empty close frame is answered with one.
    if (this.autoClose && this.sent === undefined) received.close = { code: close.code, reason: "" }
    this.settle()
    return !this.autoClose
  }

  /** "Fail the WebSocket Connection" (§7.1.7), because the peer broke a rule. */
  private fail(error: ProtocolError.ProtocolError, received: Received, delivered: number): Received {
    received.deliver.length = delivered
    if (this.sent === undefined) received.close = { code: ProtocolError.closeCode(error), reason: error._tag }
    else this.cut(error)
    this.cause ??= error
    return received
  }

  /** A close frame is sent. With a cause, the connection fails: no reply is awaited. */
  close(frame: Frame.CloseFrame, cause?: ClosedCause): void {
    this.sent ??= frame
    this.canSend = false
    this.closedBy ??= "local"
    this.cause ??= cause
    this.settle()
  }

  /** The transport is gone, or is to be. */
  cut(cause: ClosedCause): void {
    if (this.end !== undefined) return
    this.cause ??= cause
    this.end = this.closed
    this.canSend = false
  }

  /** The end is known once both close frames are, or once there is a cause and this end has said so. */
  private settle(): void {
    if (this.end !== undefined || this.sent === undefined) return
    if (this.received !== undefined || this.cause !== undefined) this.end = this.closed
  }
}

/** Extensions are for data; and the bit of those that work on messages stands on the first frame alone (RFC 7692 §6). */
const misplacedBits = ({ opcode, reserved }: Frame.Frame): ProtocolError.ReservedBits | undefined => {
  const first = opcode === Frame.Opcode.Text || opcode === Frame.Opcode.Binary
  const misplaced = first ? 0 : opcode === Frame.Opcode.Continuation ? reserved & Frame.Reserved.Rsv1 : reserved
  return misplaced === 0 ? undefined : new ProtocolError.ReservedBits({ reserved, allowed: reserved & ~misplaced })
}
