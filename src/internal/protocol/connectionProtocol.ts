/**
 * The protocol of an open connection (RFC 6455 §5 to §7) as a state machine: chunks
 * of bytes go in; frames to deliver, replies that are due, and the end of the
 * connection come out as data. It does no I/O and has no clock.
 */
import type { ClosedCause, ConnectionClosed } from "../../ConnectionError.ts"
import { type CloseFrame, type Decoder, type FrameCodec, pong, readClose } from "../../Frame.ts"
import type { Limits } from "../../Message.ts"
import * as ProtocolError from "../../ProtocolError.ts"
import { ClosingHandshake, type State } from "./closingHandshake.ts"
import { Frame, Opcode, Piece, Reserved, type Role } from "./frame.ts"
import { headerSize } from "./frameHeader.ts"
import { Validator } from "./messageValidator.ts"

export type { State } from "./closingHandshake.ts"

export interface ProtocolOptions extends Limits {
  /** Whether a ping makes a pong due. If false, pings are delivered. Default true. */
  readonly autoPong?: boolean | undefined
  /** Whether the peer's close frame makes one due in reply. If false, it is delivered. Default true. */
  readonly autoClose?: boolean | undefined
}

/** What the negotiated extensions do to received frames. */
export interface ExtensionRules {
  /** The reserved bits that they use. */
  readonly reservedBits: number
  /** Whether they decode the pieces of a frame one by one. */
  readonly acceptPieces: boolean
  /** Whether a message with these reserved bits is encoded. */
  readonly isEncoded: (reserved: number) => boolean
}

/** The size of the pieces in which the payload of a larger frame is delivered while it arrives, in bytes. */
const pieceSize = 64 * 1024

/** The result of a chunk of bytes. */
export class Received {
  /** Frames for the program, in order. */
  readonly deliver: Array<Frame>
  /** Pongs that are due, in order. */
  pongs: Array<Frame> | undefined = undefined
  /** The payloads of the peer's pongs, in order. */
  pongPayloads: Array<Uint8Array> | undefined = undefined
  /** The close frame that is due: in reply to the peer's, or because the peer broke a rule. */
  close: CloseFrame | undefined = undefined

  constructor(deliver: Array<Frame>) {
    this.deliver = deliver
  }
}

export class Protocol {
  readonly role: Role
  private readonly autoPong: boolean
  private readonly autoClose: boolean
  private readonly decoder: Decoder
  private readonly validator: Validator
  /** Undefined while the connection is open. */
  private closing: ClosingHandshake | undefined

  /** Whether frames may be sent: not after a close frame (§5.5.1), nor after the end. A field, because each write reads it. */
  canSend = true
  framesIn = 0
  messagesIn = 0
  /** The bytes of received pings, pongs and close frames, with their headers. */
  controlBytesIn = 0

  constructor(role: Role, codec: FrameCodec, options: ProtocolOptions, extensions?: ExtensionRules) {
    this.role = role
    this.autoPong = options.autoPong ?? true
    this.autoClose = options.autoClose ?? true
    this.decoder = codec.decoder({
      role,
      // The validator limits the length of a frame by the limit on its message, as soon as it knows the header.
      maxFrameSize: Number.POSITIVE_INFINITY,
      reservedBits: extensions?.reservedBits,
      pieceSize: extensions === undefined || extensions.acceptPieces ? pieceSize : undefined
    })
    this.validator = new Validator(options, extensions && ((reserved) => extensions.isEncoded(reserved)))
  }

  get state(): State {
    return this.closing === undefined ? "Open" : this.closing.state
  }

  /** Whether the program has to answer the peer's close frame (`autoClose: false`). */
  get repliesLater(): boolean {
    return !this.autoClose && this.hasReceivedClose && !this.hasSentClose
  }

  /** How the connection ends if nothing else happens. */
  get closed(): ConnectionClosed {
    return this.closing === undefined ? new ClosingHandshake().closed : this.closing.closed
  }

  private get hasReceivedClose(): boolean {
    return this.closing !== undefined && this.closing.received !== undefined
  }

  private get hasSentClose(): boolean {
    return this.closing !== undefined && this.closing.sent !== undefined
  }

  private beginClosing(): ClosingHandshake {
    return this.closing ??= new ClosingHandshake()
  }

  /** Processes the next bytes. */
  receive(chunk: Uint8Array): Received {
    // "After receiving a Close frame, a peer discards any further data received" (§1.4). So does a failed one (§7.1.7).
    if (this.hasReceivedClose || this.state === "Closed") return new Received([])
    const { error, frames, partial } = this.decoder.decode(chunk)
    // Removes frames that are not for the program from the decoder's own array. Usually all frames are for the program.
    const received = new Received(frames)
    let delivered = 0
    for (let i = 0; i < frames.length && !this.hasReceivedClose; i++) {
      const frame = frames[i]
      const isForProgram = frame.opcode < Opcode.Close ? this.receiveData(frame) : this.receiveControl(frame, received)
      if (isForProgram === true) frames[delivered++] = frame
      else if (isForProgram !== false) return this.fail(isForProgram, received, delivered)
    }
    if (delivered < frames.length) frames.length = delivered
    if (this.hasReceivedClose) return received
    const broken = partial === undefined || partial.opcode >= Opcode.Close
      ? error
      : this.validator.checkPartial(partial)
    return broken === undefined ? received : this.fail(broken, received, delivered)
  }

  /** Processes a data frame, or a piece of one (§5.6). Returns true, or the rule that it broke. */
  private receiveData(frame: Frame): true | ProtocolError.ProtocolError {
    if (frame.fin || !(frame instanceof Piece) || frame.remaining === 0) this.framesIn++
    const broken = (frame.reserved === 0 ? undefined : misplacedBits(frame)) ?? this.validator.check(frame)
    if (broken !== undefined) return broken
    if (frame.fin) this.messagesIn++
    return true
  }

  /** Processes a control frame (§5.5). Returns whether it is for the program, or the rule that it broke. */
  private receiveControl(frame: Frame, received: Received): boolean | ProtocolError.ProtocolError {
    const { opcode, payload } = frame
    this.framesIn++
    const misplaced = misplacedBits(frame)
    if (misplaced !== undefined) return misplaced
    this.controlBytesIn += headerSize(payload.length, this.role === "server") + payload.length
    if (opcode === Opcode.Ping) {
      if (!this.autoPong) return true
      received.pongs ??= []
      received.pongs.push(pong(payload))
      return false
    }
    if (opcode === Opcode.Pong) {
      received.pongPayloads ??= []
      received.pongPayloads.push(payload)
      return false
    }
    return this.receiveClose(payload, received)
  }

  private receiveClose(payload: Uint8Array, received: Received): boolean | ProtocolError.CloseFrameError {
    const close = readClose(payload)
    if ("_tag" in close) return close
    // The reply has the code of the peer's close frame (§5.5.1). An empty close frame is the reply to an empty one.
    if (this.autoClose && !this.hasSentClose) received.close = { code: close.code, reason: "" }
    this.beginClosing().receive(close)
    return !this.autoClose
  }

  /** "Fail the WebSocket Connection" (§7.1.7), because the peer broke a rule. */
  private fail(error: ProtocolError.ProtocolError, received: Received, delivered: number): Received {
    received.deliver.length = delivered
    if (!this.hasSentClose) {
      received.close = { code: ProtocolError.closeCode(error), reason: error._tag }
      this.beginClosing().fail(error)
    } else this.cut(error)
    return received
  }

  /** A close frame is sent. With a cause, the connection fails, and no reply is awaited. */
  close(frame: CloseFrame, cause?: ClosedCause): void {
    this.canSend = false
    this.beginClosing().send(frame, cause)
  }

  /** The transport is closed, or will be. */
  cut(cause: ClosedCause): void {
    if (this.beginClosing().cut(cause)) this.canSend = false
  }
}

/** Only data frames may have reserved bits, and Rsv1, the bit of extensions on messages, only the first (RFC 7692 §6). */
const misplacedBits = ({ opcode, reserved }: Frame): ProtocolError.ReservedBits | undefined => {
  const isFirst = opcode === Opcode.Text || opcode === Opcode.Binary
  const misplaced = isFirst ? 0 : opcode === Opcode.Continuation ? reserved & Reserved.Rsv1 : reserved
  return misplaced === 0 ? undefined : new ProtocolError.ReservedBits({ reserved, allowed: reserved & ~misplaced })
}
