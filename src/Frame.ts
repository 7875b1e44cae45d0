/**
 * Frames, the units of the WebSocket protocol (RFC 6455 §5): models, an encoder,
 * and a decoder for bytes that arrive in chunks.
 *
 * This module does no I/O and has no clock. `Connection` is built on it. Use it
 * alone to read or write frames without a connection.
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
 * frames[0]?.opcode === Frame.Opcode.Text // => true
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import { allocatePooled, isUint8Array } from "#platform"
import * as CloseCode from "./CloseCode.ts"
import { InvalidInput } from "./ConnectionError.ts"
import { defaultMaxFrameSize, Frame, maxControlPayload, Opcode, type Role } from "./internal/protocol/frame.ts"
import { FrameDecoder } from "./internal/protocol/frameDecoder.ts"
import * as header from "./internal/protocol/frameHeader.ts"
import { maskInto } from "./internal/protocol/masking.ts"
import { findInvalid } from "./internal/protocol/utf8.ts"
import { emptyBytes } from "./internal/runtime/buffers.ts"
import { assertValid, atLeast, integerBetween } from "./internal/runtime/optionChecks.ts"
import { randomWord } from "./internal/runtime/randomWords.ts"
import * as ProtocolError from "./ProtocolError.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

export { defaultMaxFrameSize, Frame, isControl, Opcode, Piece, Reserved, type Role } from "./internal/protocol/frame.ts"

/**
 * The content of a close frame (RFC 6455 §5.5.1). An empty close frame is read as
 * code 1005 without a reason.
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export interface CloseFrame {
  readonly code: number
  readonly reason: string
}

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Options of a data frame. With `fin: false` it is a fragment that others follow.
 *
 * @stability stable
 * @category options
 * @since 0.1.0
 */
export interface DataOptions {
  /** Whether the frame is the last fragment of its message. Default true. */
  readonly fin?: boolean | undefined
}

const utf8 = new TextEncoder()
const bytesOf = (payload: string | Uint8Array): Uint8Array =>
  typeof payload === "string" ? utf8.encode(payload) : payload

/**
 * Makes a text frame. Bytes must be UTF-8.
 *
 * @stability stable
 * @category constructors
 * @since 0.1.0
 */
export const text = (payload: string | Uint8Array, options?: DataOptions): Frame =>
  new Frame(Opcode.Text, bytesOf(payload), options?.fin ?? true)

/**
 * Makes a binary frame.
 *
 * @stability stable
 * @category constructors
 * @since 0.1.0
 */
export const binary = (payload: Uint8Array, options?: DataOptions): Frame =>
  new Frame(Opcode.Binary, payload, options?.fin ?? true)

/**
 * Makes a continuation frame: a fragment of a message after the first.
 *
 * @stability stable
 * @category constructors
 * @since 0.1.0
 */
export const continuation = (payload: string | Uint8Array, options?: DataOptions): Frame =>
  new Frame(Opcode.Continuation, bytesOf(payload), options?.fin ?? true)

/**
 * Makes a ping (RFC 6455 §5.5.2), with at most 125 bytes.
 *
 * @stability stable
 * @category constructors
 * @since 0.1.0
 */
export const ping = (payload: Uint8Array = emptyBytes): Frame => new Frame(Opcode.Ping, payload)

/**
 * Makes a pong (RFC 6455 §5.5.3), with the bytes of the ping that it answers.
 *
 * @stability stable
 * @category constructors
 * @since 0.1.0
 */
export const pong = (payload: Uint8Array = emptyBytes): Frame => new Frame(Opcode.Pong, payload)

/**
 * Makes a close frame (RFC 6455 §5.5.1). Without a code, or with 1005, it is empty.
 *
 * A reason of more than 123 bytes does not fit. It is shortened, between two code
 * points.
 *
 * @stability stable
 * @category constructors
 * @since 0.1.0
 */
export const close = (code: number = CloseCode.NoStatusReceived, reason = ""): Frame => {
  if (code === CloseCode.NoStatusReceived) return new Frame(Opcode.Close, emptyBytes)
  if (reason === "") return new Frame(Opcode.Close, Uint8Array.of(code >>> 8, code))
  const payload = new Uint8Array(maxControlPayload)
  payload[0] = code >>> 8
  payload[1] = code
  const { written } = utf8.encodeInto(reason, payload.subarray(2))
  return new Frame(Opcode.Close, payload.slice(0, 2 + written))
}

const utf8Decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/**
 * Reads the payload of a close frame (RFC 6455 §5.5.1, §7.4). Returns an error if
 * the payload breaks a rule.
 *
 * **Example** (The content of a close frame, or its error)
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
 * @stability stable
 * @category accessors
 * @since 0.1.0
 */
export const readClose = (payload: Uint8Array): CloseFrame | ProtocolError.CloseFrameError => {
  if (payload.length === 0) return { code: CloseCode.NoStatusReceived, reason: "" }
  if (payload.length === 1) return new ProtocolError.CloseFrameTooShort()
  const code = payload[0] << 8 | payload[1]
  if (!CloseCode.isSendable(code)) return new ProtocolError.InvalidCloseCode({ code })
  const reason = payload.subarray(2)
  const offset = findInvalid(reason)
  return offset < 0
    ? { code, reason: utf8Decoder.decode(reason) }
    : new ProtocolError.InvalidUtf8({ where: "close reason", offset })
}

// -----------------------------------------------------------------------------
// Encoding
// -----------------------------------------------------------------------------

/**
 * Returns the size of the header of a frame, given the length of its payload: 2, 4
 * or 10 bytes, and 4 more if the frame is masked.
 *
 * @stability stable
 * @category encoding
 * @since 0.1.0
 */
export const headerSize: (length: number, masked: boolean) => number = header.headerSize

/**
 * Writes a frame's header to `target` at `at`, and returns the offset behind it.
 *
 * `target` needs `headerSize` bytes of room. With a mask key, the header says that
 * the payload is masked; the caller masks it.
 *
 * @stability stable
 * @category encoding
 * @since 0.1.0
 */
export const encodeHeader: (
  target: Uint8Array,
  at: number,
  frame: { readonly opcode: Opcode; readonly fin: boolean; readonly reserved: number },
  length: number,
  maskKey: number | undefined
) => number = header.encodeHeader

/** Checks the type of the payload: any other value would be written as zeros. */
const payloadOf = ({ payload }: Frame): Uint8Array => {
  if (isUint8Array(payload)) return payload
  throw new InvalidInput({ what: "frame", expected: "a payload that is a Uint8Array", received: `a ${typeof payload}` })
}

/**
 * Writes a frame to `target` at `at`, and returns the offset behind it. With a mask
 * key, the copy of the payload is masked.
 *
 * Throws `InvalidInput` if the payload is not a Uint8Array.
 *
 * @stability stable
 * @category encoding
 * @since 0.1.0
 */
export const encodeInto = (target: Uint8Array, at: number, frame: Frame, maskKey?: number): number => {
  const payload = payloadOf(frame)
  // Another thread may resize the payload's buffer meanwhile.
  const { length } = payload
  at = encodeHeader(target, at, frame, length, maskKey)
  if (maskKey === undefined) target.set(payload, at)
  else maskInto(target, at, payload, 0, length, maskKey, 0)
  return at + length
}

/**
 * Returns a frame as bytes (RFC 6455 §5.2): the header, and a copy of the payload.
 *
 * The mask key is an int32: its low byte is the first octet on the wire. Pass a
 * key for the frames of a client, and none for those of a server.
 *
 * **Example** (Frames of RFC 6455 §5.7, by a server and by a client)
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
 * @stability stable
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
 * @stability stable
 * @category options
 * @since 0.1.0
 */
export interface DecoderOptions {
  /** The end that reads. A server requires masked frames, a client rejects them (RFC 6455 §5.1). */
  readonly role: Role
  /**
   * The maximum length of a data frame, in bytes. Default 16 MiB, at most 4 GiB, the maximum size of one array. NaN or
   * a negative number rejects all data frames.
   */
  readonly maxFrameSize?: number | undefined
  /** The reserved bits that negotiated extensions use, as in `Reserved`. 0 to 7. Default 0. */
  readonly reservedBits?: number | undefined
  /**
   * The size of a `Piece`, in bytes. The decoder returns the payload of a longer data frame in pieces while it arrives,
   * unless one chunk holds all of it. Default Infinity: the decoder returns whole frames. 1 or more.
   */
  readonly pieceSize?: number | undefined
}

/**
 * A frame with an incomplete payload.
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export interface PartialFrame {
  readonly opcode: Opcode
  readonly fin: boolean
  readonly reserved: number
  /** The length of the payload, in bytes. */
  readonly length: number
  /** The number of payload bytes received so far. */
  readonly received: number
  /** The bytes that this chunk added after the last piece, unmasked: a view that is valid until the next chunk. */
  readonly latest: Uint8Array
}

/**
 * The result of decoding a chunk of bytes.
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export interface Decoded {
  /** The frames, or pieces, that this chunk completed, in order. The caller owns the array. */
  readonly frames: Array<Frame>
  /** The frame that the next chunk continues, if its header is complete. */
  readonly partial: PartialFrame | undefined
  /** The minimum number of bytes that the next frame still needs; 0 after an error. */
  readonly needed: number
  /** The first rule that the bytes broke, after `frames`. The decoder ignores all further bytes. */
  readonly error: ProtocolError.FrameError | undefined
}

/**
 * Turns bytes into frames, in chunks of any size.
 *
 * @stability stable
 * @category decoding
 * @since 0.1.0
 */
export interface Decoder {
  /** Decodes the next bytes. The results share no memory with the chunk, which the caller may overwrite. */
  readonly decode: (chunk: Uint8Array) => Decoded
}

/**
 * Makes a decoder, at the beginning of a frame. Throws `InvalidOption` if an option
 * is invalid.
 *
 * **Example** (Bytes in chunks)
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
 * @stability stable
 * @category decoding
 * @since 0.1.0
 */
export const makeDecoder = (options: DecoderOptions): Decoder => {
  assertValid(
    integerBetween(0, 7, "reservedBits", options.reservedBits) ?? atLeast(1, "pieceSize", options.pieceSize)
  )
  return new FrameDecoder(options)
}

// -----------------------------------------------------------------------------
// Codec service
// -----------------------------------------------------------------------------

/**
 * Writes and reads the frames of a program's connections.
 *
 * @stability stable
 * @category codec
 * @since 0.1.0
 */
export interface FrameCodec {
  /** Returns a new mask key for each frame that a client sends, as an int32 (RFC 6455 §5.3). */
  readonly maskKey: () => number
  /** The maximum length of a received frame, in bytes. It applies in addition to the limits of each connection. */
  readonly maxFrameSize: number
  /** Returns a frame as bytes, masked with a new key if a client sends it. */
  readonly encode: (frame: Frame, role: Role) => Uint8Array
  /** Makes a decoder with a `maxFrameSize` of at most the codec's. */
  readonly decoder: (options: DecoderOptions) => Decoder
}

/**
 * Options of a codec.
 *
 * @stability stable
 * @category options
 * @since 0.1.0
 */
export interface CodecOptions {
  /** Returns mask keys. Default: the system's cryptographic random numbers. */
  readonly maskKey?: (() => number) | undefined
  /**
   * The maximum length of a received frame, in bytes, in addition to the limits of each connection. Default: only those
   * limits apply. NaN or a negative number rejects all data frames.
   */
  readonly maxFrameSize?: number | undefined
}

/**
 * Makes a codec.
 *
 * @stability stable
 * @category codec
 * @since 0.1.0
 */
export const makeCodec = (options?: CodecOptions): FrameCodec => {
  const maskKey = options?.maskKey ?? randomWord
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
 * The codec of a program, which each new connection looks up. Default `makeCodec()`.
 *
 * **Example** (Predictable mask keys for a test)
 *
 * ```ts
 * import { Frame } from "effect-ws"
 *
 * const predictable = Frame.layerCodec({ maskKey: () => 0x3d21fa37 })
 * ```
 *
 * @stability stable
 * @category codec
 * @since 0.1.0
 */
export const FrameCodec: Context.Reference<FrameCodec> = Context.Reference<FrameCodec>("effect-ws/FrameCodec", {
  defaultValue: () => makeCodec()
})

/**
 * Provides a codec to a program's connections.
 *
 * @stability stable
 * @category codec
 * @since 0.1.0
 */
export const layerCodec = (options?: CodecOptions): Layer.Layer<never> => Layer.succeed(FrameCodec, makeCodec(options))
