/**
 * Frames, the units of the WebSocket protocol (RFC 6455 §5): what they are, how
 * they are written, and a decoder that takes bytes as they come.
 *
 * This module does no I/O and keeps no clock. A `Connection` is built on it,
 * and it can be used alone, wherever frames have to be read or written.
 *
 * **Example** (Frames to bytes and back)
 *
 * ```ts
 * import { Frame } from "effect-ws"
 *
 * const bytes = Frame.encode(Frame.text("Hello"))
 *
 * const decoder = Frame.makeDecoder({ role: "client" })
 * const { frames } = decoder.decode(bytes)
 *
 * frames[0].opcode === Frame.Opcode.Text // => true
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import { allocatePooled, fillRandom, isUint8Array } from "#platform"
import * as CloseCode from "./CloseCode.ts"
import { InvalidInput } from "./ConnectionError.ts"
import { allocate, emptyBytes, ensureCapacity, maxBytes } from "./internal/runtime/buffers.ts"
import { maskInto } from "./internal/protocol/masking.ts"
import { assertValid, atLeast, integerBetween } from "./internal/runtime/optionChecks.ts"
import { Utf8Validator } from "./internal/protocol/utf8.ts"
import * as ProtocolError from "./ProtocolError.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * Which end of a connection this is. A client masks what it sends; a server
 * does not (RFC 6455 §5.1).
 *
 * @category models
 * @since 0.1.0
 */
export type Role = "client" | "server"

/**
 * The opcodes of RFC 6455 §5.2.
 *
 * @category models
 * @since 0.1.0
 */
export const Opcode = {
  Continuation: 0x0,
  Text: 0x1,
  Binary: 0x2,
  Close: 0x8,
  Ping: 0x9,
  Pong: 0xa
} as const

/**
 * One of the opcodes of RFC 6455 §5.2.
 *
 * @category models
 * @since 0.1.0
 */
export type Opcode = typeof Opcode[keyof typeof Opcode]

/**
 * The reserved bits of RFC 6455 §5.2, which extensions may use; several are
 * joined with `|`.
 *
 * @category models
 * @since 0.1.0
 */
export const Reserved = {
  Rsv1: 4,
  Rsv2: 2,
  Rsv3: 1
} as const

/**
 * A frame, its payload unmasked.
 *
 * @category models
 * @since 0.1.0
 */
export class Frame {
  readonly opcode: Opcode
  /** The application data, unmasked. Bytes of a received frame are yours to keep. */
  readonly payload: Uint8Array
  /** Whether this is the last fragment of its message; control frames always are. */
  readonly fin: boolean
  /** The reserved bits that are set, as in `Reserved`. */
  readonly reserved: number

  constructor(opcode: Opcode, payload: Uint8Array, fin = true, reserved = 0) {
    this.opcode = opcode
    this.payload = payload
    this.fin = fin
    this.reserved = reserved
  }
}

/**
 * Part of a data frame that is longer than `DecoderOptions.pieceSize`.
 *
 * The pieces of a frame look like fragments of a message: the first one has the
 * opcode and the reserved bits of the frame, the others are continuations, and
 * only the last one has the frame's `fin`.
 *
 * @category models
 * @since 0.1.0
 */
export class Piece extends Frame {
  /** The number of payload bytes of the same frame before this piece. */
  readonly offset: number
  /** The number of payload bytes of the same frame after this piece, as sent by the peer. */
  readonly remaining: number

  constructor(
    opcode: Opcode,
    payload: Uint8Array,
    fin: boolean,
    reserved: number,
    position: { readonly offset: number; readonly remaining: number }
  ) {
    super(opcode, payload, fin, reserved)
    this.offset = position.offset
    this.remaining = position.remaining
  }
}

/** @internal */
export const withPayload = (frame: Frame, payload: Uint8Array): Frame => {
  const { fin, opcode, reserved } = frame
  return frame instanceof Piece
    ? new Piece(opcode, payload, fin, reserved, frame)
    : new Frame(opcode, payload, fin, reserved)
}

/**
 * What a close frame says (RFC 6455 §5.5.1). An empty close frame is read as
 * code 1005 without a reason.
 *
 * @category models
 * @since 0.1.0
 */
export interface CloseFrame {
  readonly code: number
  readonly reason: string
}

/**
 * Whether a frame is a control frame: close, ping or pong (RFC 6455 §5.5).
 *
 * @category predicates
 * @since 0.1.0
 */
export const isControl = (frame: Frame): boolean => frame.opcode >= Opcode.Close

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Options of a data frame. `fin: false` makes it a fragment that others follow.
 *
 * @category options
 * @since 0.1.0
 */
export interface DataOptions {
  /** Whether it is the last fragment of its message. Default true. */
  readonly fin?: boolean | undefined
}

const utf8 = new TextEncoder()
const bytesOf = (payload: string | Uint8Array): Uint8Array =>
  typeof payload === "string" ? utf8.encode(payload) : payload

/**
 * A text frame. Bytes must be UTF-8.
 *
 * @category constructors
 * @since 0.1.0
 */
export const text = (payload: string | Uint8Array, options?: DataOptions): Frame =>
  new Frame(Opcode.Text, bytesOf(payload), options?.fin ?? true)

/**
 * A binary frame.
 *
 * @category constructors
 * @since 0.1.0
 */
export const binary = (payload: Uint8Array, options?: DataOptions): Frame =>
  new Frame(Opcode.Binary, payload, options?.fin ?? true)

/**
 * A continuation frame: a fragment of a message after the first.
 *
 * @category constructors
 * @since 0.1.0
 */
export const continuation = (payload: string | Uint8Array, options?: DataOptions): Frame =>
  new Frame(Opcode.Continuation, bytesOf(payload), options?.fin ?? true)

/**
 * A ping (RFC 6455 §5.5.2). At most 125 bytes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const ping = (payload: Uint8Array = emptyBytes): Frame => new Frame(Opcode.Ping, payload)

/**
 * A pong (RFC 6455 §5.5.3). At most 125 bytes, those of the ping it answers.
 *
 * @category constructors
 * @since 0.1.0
 */
export const pong = (payload: Uint8Array = emptyBytes): Frame => new Frame(Opcode.Pong, payload)

/**
 * A close frame (RFC 6455 §5.5.1); without a code, or with 1005, an empty one.
 * The reason is cut, between two code points, where it would take more than the
 * 123 bytes that a close frame has room for.
 *
 * @category constructors
 * @since 0.1.0
 */
export const close = (code: number = CloseCode.NoStatusReceived, reason = ""): Frame => {
  if (code === CloseCode.NoStatusReceived) return new Frame(Opcode.Close, emptyBytes)
  const payload = new Uint8Array(maxControlPayload)
  payload[0] = code >>> 8
  payload[1] = code
  const { written } = utf8.encodeInto(reason, payload.subarray(2))
  return new Frame(Opcode.Close, payload.slice(0, 2 + written))
}

const utf8Decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/**
 * Reads the payload of a close frame (RFC 6455 §5.5.1, §7.4).
 *
 * **Example** (What it says, or what is wrong with it)
 *
 * ```ts
 * import { Frame } from "effect-ws"
 *
 * Frame.readClose(Frame.close(1001, "goodbye").payload) // => { code: 1001, reason: "goodbye" }
 * Frame.readClose(Frame.close().payload) // => { code: 1005, reason: "" }
 *
 * const wrong = Frame.readClose(Uint8Array.of(3))
 * "_tag" in wrong && wrong._tag // => "CloseFrameTooShort"
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const readClose = (payload: Uint8Array): CloseFrame | ProtocolError.CloseFrameError => {
  if (payload.length === 0) return { code: CloseCode.NoStatusReceived, reason: "" }
  if (payload.length === 1) return new ProtocolError.CloseFrameTooShort()
  const code = payload[0] << 8 | payload[1]
  if (!CloseCode.isSendable(code)) return new ProtocolError.InvalidCloseCode({ code })
  const reason = payload.subarray(2)
  const validator = new Utf8Validator()
  const invalidAt = validator.push(reason)
  if (invalidAt >= 0 || !validator.complete) {
    const offset = invalidAt >= 0 ? invalidAt : reason.length
    return new ProtocolError.InvalidUtf8({ where: "close reason", offset })
  }
  return { code, reason: utf8Decoder.decode(reason) }
}

// -----------------------------------------------------------------------------
// Encoding
// -----------------------------------------------------------------------------

const maxControlPayload = 125

/**
 * The size of the header of a frame with so many bytes of payload: 2, 4 or 10
 * bytes, and 4 more with a mask.
 *
 * @category encoding
 * @since 0.1.0
 */
export const headerSize = (length: number, masked: boolean): number =>
  (length < 126 ? 2 : length < 65536 ? 4 : 10) + (masked ? 4 : 0)

/**
 * Writes a frame's header to `target` at `at`, and answers where it ends. Needs
 * `headerSize` bytes of room. With a mask key, the header says that the payload
 * is masked; masking it is the caller's.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeHeader = (
  target: Uint8Array,
  at: number,
  frame: { readonly opcode: Opcode; readonly fin: boolean; readonly reserved: number },
  length: number,
  maskKey: number | undefined
): number => {
  const mask = maskKey === undefined ? 0 : 0x80
  target[at++] = (frame.fin ? 0x80 : 0) | frame.reserved << 4 | frame.opcode
  if (length < 126) {
    target[at++] = mask | length
  } else if (length < 65536) {
    target[at++] = mask | 126
    target[at++] = length >>> 8
    target[at++] = length
  } else {
    target[at++] = mask | 127
    const high = Math.floor(length / 0x1_0000_0000)
    for (let shift = 24; shift >= 0; shift -= 8) target[at++] = high >>> shift
    for (let shift = 24; shift >= 0; shift -= 8) target[at++] = length >>> shift
  }
  if (maskKey !== undefined) {
    for (let shift = 0; shift <= 24; shift += 8) target[at++] = maskKey >>> shift
  }
  return at
}

/** What is no bytes would be written as garbage. */
const payloadOf = ({ payload }: Frame): Uint8Array => {
  if (isUint8Array(payload)) return payload
  throw new InvalidInput({ what: "frame", expected: "a payload that is a Uint8Array", received: `a ${typeof payload}` })
}

/**
 * Writes a whole frame to `target` at `at`, and answers where it ends. The
 * payload is copied, and masked on the way when there is a key; the frame's own
 * bytes are left alone. Throws `InvalidInput` if the payload is not a Uint8Array.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeInto = (target: Uint8Array, at: number, frame: Frame, maskKey?: number): number => {
  const payload = payloadOf(frame)
  // Another thread may let it grow meanwhile.
  const { length } = payload
  at = encodeHeader(target, at, frame, length, maskKey)
  if (maskKey === undefined) target.set(payload, at)
  else maskInto(target, at, payload, 0, length, maskKey, 0)
  return at + length
}

/**
 * A frame as bytes (RFC 6455 §5.2): header, and a copy of the payload. The mask
 * key is an int32 whose low byte is the first octet on the wire; without one
 * the frame is not masked, as a server's must be.
 *
 * **Example** (A server's, and a client's: the RFC's own, §5.7)
 *
 * ```ts
 * import { Frame } from "effect-ws"
 *
 * const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ")
 *
 * hex(Frame.encode(Frame.text("Hello"))) // => "81 05 48 65 6c 6c 6f"
 * hex(Frame.encode(Frame.text("Hello"), 0x3d21fa37)) // => "81 85 37 fa 21 3d 7f 9f 4d 51 58"
 * ```
 *
 * @category encoding
 * @since 0.1.0
 */
export const encode = (frame: Frame, maskKey?: number): Uint8Array => {
  const { length } = payloadOf(frame)
  const bytes = allocatePooled(headerSize(length, maskKey !== undefined) + length)
  encodeInto(bytes, 0, frame, maskKey)
  return bytes
}

// -----------------------------------------------------------------------------
// Decoding
// -----------------------------------------------------------------------------

/**
 * Options of a decoder.
 *
 * @category options
 * @since 0.1.0
 */
export interface DecoderOptions {
  /** The end that reads: a server demands masks, a client refuses them (RFC 6455 §5.1). */
  readonly role: Role
  /**
   * The most bytes that a data frame may declare. Default 16 MiB, at most 4 GiB, which is what one array can hold.
   * With NaN or less than 0, no data frame passes.
   */
  readonly maxFrameSize?: number | undefined
  /** The reserved bits that negotiated extensions use, as in `Reserved`. Default 0. 0 to 7. */
  readonly reservedBits?: number | undefined
  /**
   * The size of a `Piece`, in bytes. The decoder returns the payload of a longer data frame in pieces while it arrives,
   * unless one chunk holds all of it. Default Infinity: the decoder returns whole frames. 1 or more.
   */
  readonly pieceSize?: number | undefined
}

/**
 * The default of `maxFrameSize`: 16 MiB.
 *
 * @category options
 * @since 0.1.0
 */
export const defaultMaxFrameSize = 16 * 1024 * 1024

/**
 * The frame whose payload has not all come yet.
 *
 * @category models
 * @since 0.1.0
 */
export interface PartialFrame {
  readonly opcode: Opcode
  readonly fin: boolean
  readonly reserved: number
  /** The declared length of the payload, in bytes. */
  readonly length: number
  /** The number of payload bytes received so far. */
  readonly received: number
  /** The bytes that this chunk added after the last piece, unmasked: a view that is valid until the next chunk. */
  readonly latest: Uint8Array
}

/**
 * What a chunk of bytes brought.
 *
 * @category models
 * @since 0.1.0
 */
export interface Decoded {
  /** The frames, or pieces, that this chunk completed, in order. The caller owns the array. */
  readonly frames: Array<Frame>
  /** The frame that this chunk left unfinished, if it got past its header. */
  readonly partial: PartialFrame | undefined
  /** The least number of bytes that the next frame still needs; 0 after an error. */
  readonly needed: number
  /**
   * The first rule that the bytes broke, after `frames`. The decoder takes
   * nothing more after this.
   */
  readonly error: ProtocolError.FrameError | undefined
}

/**
 * Turns bytes into frames, in chunks of any size.
 *
 * @category decoding
 * @since 0.1.0
 */
export interface Decoder {
  /**
   * Decodes the next bytes. The chunk is left as it is, and nothing that comes
   * out is a view of it: it may be used again.
   */
  readonly decode: (chunk: Uint8Array) => Decoded
}

const maxHeaderSize = 14

class DecoderImpl implements Decoder {
  private readonly masked: boolean
  private readonly maxFrameSize: number
  private readonly reservedBits: number
  private readonly pieceSize: number

  // The header being read, and where its bytes are kept while it is cut in two.
  private opcode: Opcode = Opcode.Continuation
  private fin = true
  private reserved = 0
  private length = 0
  private maskKey = 0
  private header: Uint8Array | undefined
  private headerHave = 0
  private headerNeeds = 2

  // The payload being read, if it continues after the end of a chunk: all of it, or its current piece.
  private payload: Uint8Array | undefined
  private received = 0
  private pieceStart = 0
  private pieceEnd = 0

  private error: ProtocolError.FrameError | undefined

  constructor(options: DecoderOptions) {
    this.masked = options.role === "server"
    this.maxFrameSize = Math.min(options.maxFrameSize ?? defaultMaxFrameSize, maxBytes)
    this.reservedBits = options.reservedBits ?? 0
    this.pieceSize = options.pieceSize ?? Number.POSITIVE_INFINITY
  }

  decode(chunk: Uint8Array): Decoded {
    // Most reads bring one frame, and an array that is made with it is an eighth of one that it is pushed into.
    let frames: Array<Frame> | undefined
    const end = chunk.length
    let at = 0
    let latest = emptyBytes
    while (this.error === undefined) {
      if (this.payload !== undefined) {
        const size = Math.min(this.pieceEnd - this.received, end - at)
        latest = this.takePart(this.payload, chunk, at, size)
        at += size
        if (this.received < this.pieceEnd) break
        const frame = this.endPiece(this.payload)
        if (frames === undefined) frames = [frame]
        else frames.push(frame)
      } else {
        const payloadAt = this.headerHave === 0 ? this.readHeader(chunk, at, end) : this.resumeHeader(chunk, at)
        if (payloadAt < 0) break
        at = payloadAt
        if (end - at >= this.length) {
          const frame = this.frameOf(chunk, at)
          if (frames === undefined) frames = [frame]
          else frames.push(frame)
          at += this.length
        } else {
          this.received = 0
          this.beginPiece()
        }
      }
    }
    return {
      frames: frames ?? [],
      partial: this.payload === undefined ? undefined : {
        opcode: this.opcode,
        fin: this.fin,
        reserved: this.reserved,
        length: this.length,
        received: this.received,
        latest
      },
      needed: this.error !== undefined
        ? 0
        : this.payload === undefined
        ? this.headerNeeds - this.headerHave
        : this.length - this.received,
      error: this.error
    }
  }

  /** A frame whose payload lies whole in `chunk` at `at`. */
  private frameOf(chunk: Uint8Array, at: number): Frame {
    const payload = this.length === 0 ? emptyBytes : allocate(this.length)
    this.copy(payload, 0, chunk, at, this.length, 0)
    return new Frame(this.opcode, payload, this.fin, this.reserved)
  }

  private beginPiece(): void {
    this.payload = emptyBytes
    this.pieceStart = this.received
    this.pieceEnd = Math.min(this.length, this.received + (this.opcode < Opcode.Close ? this.pieceSize : this.length))
  }

  /** Returns the frame, or the piece of it, whose last byte has arrived. */
  private endPiece(payload: Uint8Array): Frame {
    this.payload = undefined
    if (this.pieceStart === 0 && this.pieceEnd === this.length) {
      return new Frame(this.opcode, payload, this.fin, this.reserved)
    }
    const offset = this.pieceStart
    const remaining = this.length - this.pieceEnd
    const position = { offset, remaining }
    if (remaining > 0) this.beginPiece()
    const fin = this.fin && remaining === 0
    return offset === 0
      ? new Piece(this.opcode, payload, fin, this.reserved, position)
      : new Piece(Opcode.Continuation, payload, fin, 0, position)
  }

  /** Appends the next bytes to the payload, and returns a view of them. */
  private takePart(payload: Uint8Array, chunk: Uint8Array, at: number, size: number): Uint8Array {
    const from = this.received - this.pieceStart
    const end = from + size
    this.payload = ensureCapacity(payload, from, end, this.pieceEnd - this.pieceStart)
    this.copy(this.payload, from, chunk, at, size, this.received)
    this.received += size
    return this.payload.subarray(from, end)
  }

  /** Copies bytes of a payload, unmasked. The first of them is byte `offset` of the frame's payload. */
  private copy(payload: Uint8Array, to: number, chunk: Uint8Array, at: number, size: number, offset: number): void {
    if (this.masked) maskInto(payload, to, chunk, at, at + size, this.maskKey, offset)
    else payload.set(size === chunk.length ? chunk : chunk.subarray(at, at + size), to)
  }

  /**
   * Reads the header in `bytes[at, end)`. Answers where the payload begins, or
   * -1 when the header is refused (`error`) or not all here (`headerNeeds`, and
   * what has come is kept).
   */
  private readHeader(bytes: Uint8Array, at: number, end: number): number {
    const size = this.parseHeader(bytes, at, end)
    if (size > 0) return at + size
    if (size === 0 && at < end) {
      this.header ??= new Uint8Array(maxHeaderSize)
      this.header.set(bytes.subarray(at, end))
      this.headerHave = end - at
    }
    return -1
  }

  /** Goes on with a header whose first bytes came in an earlier chunk. */
  private resumeHeader(chunk: Uint8Array, at: number): number {
    const header = this.header!
    const before = this.headerHave
    const taken = chunk.subarray(at, at + maxHeaderSize - before)
    header.set(taken, before)
    this.headerHave = 0
    const size = this.readHeader(header, 0, before + taken.length)
    return size < 0 ? -1 : at + size - before
  }

  /** RFC 6455 §5.2. Answers the header's size, 0 when it is not all here, or -1 when it is refused. */
  private parseHeader(bytes: Uint8Array, at: number, end: number): number {
    const available = end - at
    if (available < 2) return this.incomplete(2)
    const first = bytes[at]
    const second = bytes[at + 1]
    const reserved = first >>> 4 & 0x7
    const opcode = first & 0xf
    const masked = second >= 0x80
    this.fin = first >= 0x80
    this.reserved = reserved
    let length = second & 0x7f

    if ((reserved & ~this.reservedBits) !== 0) {
      return this.refuse(new ProtocolError.ReservedBits({ reserved, allowed: this.reservedBits }))
    }
    if (opcode > Opcode.Pong || (opcode > Opcode.Binary && opcode < Opcode.Close)) {
      return this.refuse(new ProtocolError.ReservedOpcode({ opcode }))
    }
    this.opcode = opcode as Opcode
    if (masked !== this.masked) {
      return this.refuse(masked ? new ProtocolError.MaskedFrame() : new ProtocolError.UnmaskedFrame())
    }
    if (opcode >= Opcode.Close) {
      if (!this.fin) return this.refuse(new ProtocolError.FragmentedControlFrame({ opcode }))
      if (length > maxControlPayload) return this.refuse(new ProtocolError.ControlFrameTooLong({ opcode }))
    }

    let size = 2
    if (length === 126) {
      if (available < 4) return this.incomplete(masked ? 8 : 4)
      length = bytes[at + 2] << 8 | bytes[at + 3]
      if (length < 126) return this.refuse(new ProtocolError.NonMinimalLength({ length, bits: 16 }))
      size = 4
    } else if (length === 127) {
      if (available < 10) return this.incomplete(masked ? 14 : 10)
      const high = readUint32(bytes, at + 2)
      const low = readUint32(bytes, at + 6)
      if (high > 0x1f_ffff) {
        return this.refuse(new ProtocolError.LengthOutOfRange({ length: BigInt(high) << 32n | BigInt(low) }))
      }
      length = high * 0x1_0000_0000 + low
      if (length < 65536) return this.refuse(new ProtocolError.NonMinimalLength({ length, bits: 64 }))
      size = 10
    }
    if (opcode < Opcode.Close && !(length <= this.maxFrameSize)) {
      return this.refuse(new ProtocolError.FrameTooLarge({ length, limit: this.maxFrameSize }))
    }
    this.length = length
    if (masked) {
      size += 4
      if (available < size) return this.incomplete(size)
      this.maskKey = bytes[at + size - 4] | bytes[at + size - 3] << 8 | bytes[at + size - 2] << 16 |
        bytes[at + size - 1] << 24
    }
    return size
  }

  private incomplete(needs: number): 0 {
    this.headerNeeds = needs
    return 0
  }

  private refuse(error: ProtocolError.FrameError): -1 {
    this.error = error
    return -1
  }
}

const readUint32 = (bytes: Uint8Array, at: number): number =>
  (bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3]) >>> 0

/**
 * A decoder, at the beginning of a frame.
 *
 * **Example** (Bytes in pieces)
 *
 * ```ts
 * import { Frame } from "effect-ws"
 *
 * const decoder = Frame.makeDecoder({ role: "client", maxFrameSize: 1024 })
 *
 * decoder.decode(Uint8Array.of(0x81)).needed // => 1
 * decoder.decode(Uint8Array.of(0x02)).needed // => 2
 * decoder.decode(Uint8Array.of(0x48, 0x69)).frames.length // => 1
 * decoder.decode(Uint8Array.of(0x83, 0x00)).error?._tag // => "ReservedOpcode"
 * ```
 *
 * @category decoding
 * @since 0.1.0
 */
export const makeDecoder = (options: DecoderOptions): Decoder => {
  assertValid(integerBetween(0, 7, "reservedBits", options.reservedBits) ?? atLeast(1, "pieceSize", options.pieceSize))
  return new DecoderImpl(options)
}

// -----------------------------------------------------------------------------
// Codec service
// -----------------------------------------------------------------------------

/**
 * How the connections of a program read and write frames.
 *
 * @category codec
 * @since 0.1.0
 */
export interface FrameCodec {
  /** A fresh mask key for each frame that a client sends, as an int32 (RFC 6455 §5.3). */
  readonly maskKey: () => number
  /** The most bytes that a received frame may declare, whatever a connection's own limits are. */
  readonly maxFrameSize: number
  /** A frame as bytes, masked with a fresh key when a client sends it. */
  readonly encode: (frame: Frame, role: Role) => Uint8Array
  /** A decoder whose `maxFrameSize` is at most the codec's. */
  readonly decoder: (options: DecoderOptions) => Decoder
}

/**
 * Options of a codec.
 *
 * @category options
 * @since 0.1.0
 */
export interface CodecOptions {
  /** Where mask keys come from. Default: the system's cryptographic source. */
  readonly maskKey?: (() => number) | undefined
  /**
   * The most bytes that a received frame may declare, whatever a connection's
   * own limits are. Default: no more than those. With NaN or less than 0, no data
   * frame passes.
   */
  readonly maxFrameSize?: number | undefined
}

/**
 * Makes a codec.
 *
 * @category codec
 * @since 0.1.0
 */
export const makeCodec = (options?: CodecOptions): FrameCodec => {
  const maskKey = options?.maskKey ?? randomMaskKey
  const maxFrameSize = options?.maxFrameSize ?? Number.POSITIVE_INFINITY
  return {
    maskKey,
    maxFrameSize,
    encode: (frame, role) => encode(frame, role === "client" ? maskKey() : undefined),
    decoder: (asked) =>
      makeDecoder({ ...asked, maxFrameSize: Math.min(maxFrameSize, asked.maxFrameSize ?? defaultMaxFrameSize) })
  }
}

/**
 * The codec in use, looked up once a connection; `makeCodec()` unless a Layer
 * says otherwise.
 *
 * **Example** (Mask keys that a test can foresee)
 *
 * ```ts
 * import { Frame } from "effect-ws"
 *
 * const predictable = Frame.layerCodec({ maskKey: () => 0x3d21fa37 })
 * ```
 *
 * @category codec
 * @since 0.1.0
 */
export const FrameCodec: Context.Reference<FrameCodec> = Context.Reference<FrameCodec>("effect-ws/FrameCodec", {
  defaultValue: () => makeCodec()
})

/**
 * Provides a codec to a program's connections.
 *
 * @category codec
 * @since 0.1.0
 */
export const layerCodec = (options?: CodecOptions): Layer.Layer<never> => Layer.succeed(FrameCodec, makeCodec(options))

// Mask keys must not be predictable (RFC 6455 §10.3); asking the system for many at a time makes them cheap.
const keys = new Int32Array(2048)
let keysUsed = keys.length

const randomMaskKey = (): number => {
  if (keysUsed === keys.length) {
    fillRandom(keys)
    keysUsed = 0
  }
  return keys[keysUsed++]
}
