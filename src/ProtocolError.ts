/**
 * Violations by the peer of an open connection: a tagged error for each rule, with
 * the facts as fields and the close code to answer with.
 *
 * ```text
 * ProtocolError
 * ├─ FrameError          a header that RFC 6455 §5.2 does not allow
 * │  ├─ ReservedBits
 * │  ├─ ReservedOpcode
 * │  ├─ UnmaskedFrame
 * │  ├─ MaskedFrame
 * │  ├─ FragmentedControlFrame
 * │  ├─ ControlFrameTooLong
 * │  ├─ NonMinimalLength
 * │  ├─ LengthOutOfRange
 * │  └─ FrameTooLarge
 * ├─ MessageError        frames that do not make a message (§5.4, §8.1)
 * │  ├─ UnexpectedContinuation
 * │  ├─ UnfinishedMessage
 * │  ├─ InvalidUtf8
 * │  ├─ MessageTooLarge
 * │  └─ TooManyFragments
 * ├─ InvalidExtensionData   data that an extension cannot decode (§9)
 * └─ CloseFrameError     a close frame that §5.5.1 does not allow
 *    ├─ CloseFrameTooShort
 *    ├─ InvalidCloseCode
 *    └─ InvalidUtf8
 * ```
 *
 * Each error has a `message` that says what the peer did and what to change. A
 * connection has it as the `cause` of `ConnectionClosed`; a decoder or a collector
 * returns it.
 *
 * **Example** (The error of a frame that is too large)
 *
 * ```ts
 * import { Frame, ProtocolError } from "effect-ws"
 *
 * const decoder = Frame.makeDecoder({ role: "client", maxFrameSize: 4 })
 * const { error } = decoder.decode(Frame.encode(Frame.text("Hello")))
 *
 * error?._tag // => "FrameTooLarge"
 * error && ProtocolError.closeCode(error) // => 1009
 * ```
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as CloseCode from "./CloseCode.ts"

// -----------------------------------------------------------------------------
// Frames
// -----------------------------------------------------------------------------

/**
 * A frame has a reserved bit that no negotiated extension uses (RFC 6455 §5.2).
 * `reserved` has all three bits: RSV1 as 4, RSV2 as 2, RSV3 as 1.
 *
 * @stability stable
 * @category frame errors
 * @since 0.1.0
 */
export class ReservedBits extends /* @__PURE__ */ Data.TaggedError("ReservedBits")<{
  readonly reserved: number
  readonly allowed: number
}> {
  override get message(): string {
    const names = [4, 2, 1].flatMap((bit, i) => (this.reserved & ~this.allowed & bit) === 0 ? [] : [`RSV${i + 1}`])
    return `the peer set ${names.join(" and ")}, which no negotiated extension uses; ` +
      `it may be compressing without having negotiated permessage-deflate`
  }
}

/**
 * A frame has a reserved opcode: 3 to 7, or 11 to 15 (RFC 6455 §5.2).
 *
 * @stability stable
 * @category frame errors
 * @since 0.1.0
 */
export class ReservedOpcode extends /* @__PURE__ */ Data.TaggedError("ReservedOpcode")<{
  readonly opcode: number
}> {
  override get message(): string {
    return `the peer sent a frame with the reserved opcode ${this.opcode}; opcodes are 0, 1, 2, 8, 9 and 10`
  }
}

/**
 * A client sent a frame without a mask (RFC 6455 §5.1).
 *
 * @stability stable
 * @category frame errors
 * @since 0.1.0
 */
export class UnmaskedFrame extends /* @__PURE__ */ Data.TaggedError("UnmaskedFrame")<{}> {
  override get message(): string {
    return "the client sent a frame without a mask; a client must mask every frame"
  }
}

/**
 * A server sent a masked frame (RFC 6455 §5.1).
 *
 * @stability stable
 * @category frame errors
 * @since 0.1.0
 */
export class MaskedFrame extends /* @__PURE__ */ Data.TaggedError("MaskedFrame")<{}> {
  override get message(): string {
    return "the server sent a masked frame; a server must not mask"
  }
}

/**
 * A control frame has no FIN bit (RFC 6455 §5.5).
 *
 * @stability stable
 * @category frame errors
 * @since 0.1.0
 */
export class FragmentedControlFrame extends /* @__PURE__ */ Data.TaggedError("FragmentedControlFrame")<{
  readonly opcode: number
}> {
  override get message(): string {
    return `the peer sent a fragmented control frame (opcode ${this.opcode}); control frames must not be fragmented`
  }
}

/**
 * A control frame is longer than 125 bytes (RFC 6455 §5.5).
 *
 * @stability stable
 * @category frame errors
 * @since 0.1.0
 */
export class ControlFrameTooLong extends /* @__PURE__ */ Data.TaggedError("ControlFrameTooLong")<{
  readonly opcode: number
}> {
  override get message(): string {
    return `the peer sent a control frame (opcode ${this.opcode}) of more than 125 bytes, the maximum`
  }
}

/**
 * A length takes more bytes than it needs (RFC 6455 §5.2: "the minimal number of
 * bytes MUST be used").
 *
 * @stability stable
 * @category frame errors
 * @since 0.1.0
 */
export class NonMinimalLength extends /* @__PURE__ */ Data.TaggedError("NonMinimalLength")<{
  readonly length: number
  readonly bits: 16 | 64
}> {
  override get message(): string {
    return `the peer wrote the payload length ${this.length} in ${this.bits} bits; the shortest form must be used`
  }
}

/**
 * A 64-bit length has its top bit set (RFC 6455 §5.2), or is above 2^53 - 1, the
 * largest exact number.
 *
 * @stability stable
 * @category frame errors
 * @since 0.1.0
 */
export class LengthOutOfRange extends /* @__PURE__ */ Data.TaggedError("LengthOutOfRange")<{
  readonly length: bigint
}> {
  override get message(): string {
    return `the peer declared a payload of ${this.length} bytes, more than 2^53 - 1`
  }
}

/**
 * A frame is longer than the limit. Found in the header, before any allocation.
 *
 * @stability stable
 * @category frame errors
 * @since 0.1.0
 */
export class FrameTooLarge extends /* @__PURE__ */ Data.TaggedError("FrameTooLarge")<{
  /** The declared payload length, in bytes. */
  readonly length: number
  /** The maximum payload length, in bytes. */
  readonly limit: number
}> {
  override get message(): string {
    return `the peer sent a frame of ${this.length} bytes, over the limit of ${this.limit}; ` +
      `raise maxFrameSize of the decoder or the codec, or have the peer send less`
  }
}

/**
 * A header that RFC 6455 §5.2 does not allow.
 *
 * @stability stable
 * @category frame errors
 * @since 0.1.0
 */
export type FrameError =
  | ReservedBits
  | ReservedOpcode
  | UnmaskedFrame
  | MaskedFrame
  | FragmentedControlFrame
  | ControlFrameTooLong
  | NonMinimalLength
  | LengthOutOfRange
  | FrameTooLarge

// -----------------------------------------------------------------------------
// Messages
// -----------------------------------------------------------------------------

/**
 * A continuation frame arrives outside a message (RFC 6455 §5.4).
 *
 * @stability stable
 * @category message errors
 * @since 0.1.0
 */
export class UnexpectedContinuation extends /* @__PURE__ */ Data.TaggedError("UnexpectedContinuation")<{}> {
  override get message(): string {
    return "the peer sent a continuation frame, but no message has begun"
  }
}

/**
 * A message begins before the last fragment of the previous one (RFC 6455 §5.4).
 *
 * @stability stable
 * @category message errors
 * @since 0.1.0
 */
export class UnfinishedMessage extends /* @__PURE__ */ Data.TaggedError("UnfinishedMessage")<{
  /** The opcode of the frame that begins the new message. */
  readonly opcode: number
}> {
  override get message(): string {
    return `the peer began a new message (opcode ${this.opcode}) before the last fragment of the previous one`
  }
}

/**
 * A text message, or the reason of a close frame, is not UTF-8 (RFC 6455 §8.1).
 *
 * @stability stable
 * @category message errors
 * @since 0.1.0
 */
export class InvalidUtf8 extends /* @__PURE__ */ Data.TaggedError("InvalidUtf8")<{
  readonly where: "text message" | "close reason"
  /**
   * The index of the first invalid byte in the message or reason. If the text ends
   * inside a code point, its length.
   */
  readonly offset: number
}> {
  override get message(): string {
    return `the peer sent a ${this.where} that is not UTF-8 at byte ${this.offset}; send such data as binary`
  }
}

/**
 * A message is larger than the limit. Found in the header of the fragment that
 * exceeds it, before any allocation.
 *
 * @stability stable
 * @category message errors
 * @since 0.1.0
 */
export class MessageTooLarge extends /* @__PURE__ */ Data.TaggedError("MessageTooLarge")<{
  /** The size of the message, with the fragment that exceeds the limit, in bytes. */
  readonly size: number
  /** The maximum size, in bytes. If a compressed message is too large on the wire, its limit there. */
  readonly limit: number
}> {
  override get message(): string {
    return `the peer sent a message of at least ${this.size} bytes, over the limit of ${this.limit}; ` +
      `raise maxMessageSize, or have the peer send less`
  }
}

/**
 * A message has more fragments than the limit.
 *
 * @stability stable
 * @category message errors
 * @since 0.1.0
 */
export class TooManyFragments extends /* @__PURE__ */ Data.TaggedError("TooManyFragments")<{
  readonly limit: number
}> {
  override get message(): string {
    return `the peer sent a message in more than ${this.limit} fragments; raise maxFragments, ` +
      `or have the peer send larger ones`
  }
}

/**
 * Frames that do not make a message.
 *
 * @stability stable
 * @category message errors
 * @since 0.1.0
 */
export type MessageError =
  | UnexpectedContinuation
  | UnfinishedMessage
  | InvalidUtf8
  | MessageTooLarge
  | TooManyFragments

// -----------------------------------------------------------------------------
// Extensions
// -----------------------------------------------------------------------------

/**
 * An extension cannot decode the data of a message.
 *
 * @stability stable
 * @category extension errors
 * @since 0.1.0
 */
export class InvalidExtensionData extends /* @__PURE__ */ Data.TaggedError("InvalidExtensionData")<{
  /** The name of the extension. */
  readonly extension: string
  readonly problem: string
}> {
  override get message(): string {
    return `the peer sent data that ${this.extension} cannot decode: ${this.problem}`
  }
}

// -----------------------------------------------------------------------------
// Close frames
// -----------------------------------------------------------------------------

/**
 * A close frame has one byte: a code takes two (RFC 6455 §5.5.1).
 *
 * @stability stable
 * @category close frame errors
 * @since 0.1.0
 */
export class CloseFrameTooShort extends /* @__PURE__ */ Data.TaggedError("CloseFrameTooShort")<{}> {
  override get message(): string {
    return "the peer sent a close frame of one byte; expected none, or a code of two bytes"
  }
}

/**
 * A close frame has a code that must not be sent (RFC 6455 §7.4).
 *
 * @stability stable
 * @category close frame errors
 * @since 0.1.0
 */
export class InvalidCloseCode extends /* @__PURE__ */ Data.TaggedError("InvalidCloseCode")<{
  readonly code: number
  /** The codes that can be sent, if this end can send fewer than RFC 6455 allows: in a browser. */
  readonly sendable?: string | undefined
}> {
  override get message(): string {
    return `close frame: expected a code from ${this.sendable ?? "1000 to 1003, 1007 to 1014 or 3000 to 4999"}, ` +
      `got ${this.code} (${CloseCode.nameOf(this.code)})`
  }
}

/**
 * A close frame that RFC 6455 §5.5.1 does not allow.
 *
 * @stability stable
 * @category close frame errors
 * @since 0.1.0
 */
export type CloseFrameError = CloseFrameTooShort | InvalidCloseCode | InvalidUtf8

// -----------------------------------------------------------------------------
// All
// -----------------------------------------------------------------------------

/**
 * All violations by the peer of an open connection.
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export type ProtocolError = FrameError | MessageError | InvalidExtensionData | CloseFrameError

/**
 * Returns the close code to answer an error with (RFC 6455 §7.4.1).
 *
 * @stability stable
 * @category accessors
 * @since 0.1.0
 */
export const closeCode = (error: ProtocolError): number => {
  switch (error._tag) {
    case "InvalidUtf8":
    case "InvalidExtensionData":
      return CloseCode.InvalidPayloadData
    case "FrameTooLarge":
    case "MessageTooLarge":
      return CloseCode.MessageTooBig
    case "LengthOutOfRange":
      // RFC 6455 §5.2 forbids the top bit. Without it, the length is valid, but too large.
      return error.length >= 2n ** 63n ? CloseCode.ProtocolError : CloseCode.MessageTooBig
    case "TooManyFragments":
      return CloseCode.PolicyViolation
    default:
      return CloseCode.ProtocolError
  }
}
