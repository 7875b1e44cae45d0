/**
 * What a peer can do wrong on an open connection: one tagged error for each
 * rule, with the facts as fields, and the close code that answers it.
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
 * ├─ InvalidExtensionData   an extension cannot decode it (§9)
 * └─ CloseFrameError     a close frame that §5.5.1 does not allow
 *    ├─ CloseFrameTooShort
 *    ├─ InvalidCloseCode
 *    └─ InvalidUtf8
 * ```
 *
 * Each has a `message` that says what happened and what to change. On a
 * connection they are the `cause` of `ConnectionClosed`; a decoder or collector
 * of your own answers them.
 *
 * **Example** (What a decoder says of a frame that is too large)
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
 * A reserved bit was set that no negotiated extension claims (RFC 6455 §5.2).
 * `reserved` holds the three bits, RSV1 as 4, RSV2 as 2, RSV3 as 1.
 *
 * @category frame errors
 * @since 0.1.0
 */
export class ReservedBits extends Data.TaggedError("ReservedBits")<{
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
 * An opcode that RFC 6455 §5.2 reserves: 3 to 7, or 11 to 15.
 *
 * @category frame errors
 * @since 0.1.0
 */
export class ReservedOpcode extends Data.TaggedError("ReservedOpcode")<{
  readonly opcode: number
}> {
  override get message(): string {
    return `the peer sent a frame with the reserved opcode ${this.opcode}; opcodes are 0, 1, 2, 8, 9 and 10`
  }
}

/**
 * A client sent a frame without a mask (RFC 6455 §5.1).
 *
 * @category frame errors
 * @since 0.1.0
 */
export class UnmaskedFrame extends Data.TaggedError("UnmaskedFrame")<{}> {
  override get message(): string {
    return "the client sent a frame without a mask; a client must mask every frame"
  }
}

/**
 * A server sent a masked frame (RFC 6455 §5.1).
 *
 * @category frame errors
 * @since 0.1.0
 */
export class MaskedFrame extends Data.TaggedError("MaskedFrame")<{}> {
  override get message(): string {
    return "the server sent a masked frame; a server must not mask"
  }
}

/**
 * A control frame without FIN (RFC 6455 §5.5).
 *
 * @category frame errors
 * @since 0.1.0
 */
export class FragmentedControlFrame extends Data.TaggedError("FragmentedControlFrame")<{
  readonly opcode: number
}> {
  override get message(): string {
    return `the peer sent a fragmented control frame (opcode ${this.opcode}); control frames must not be fragmented`
  }
}

/**
 * A control frame that declares more than 125 bytes (RFC 6455 §5.5).
 *
 * @category frame errors
 * @since 0.1.0
 */
export class ControlFrameTooLong extends Data.TaggedError("ControlFrameTooLong")<{
  readonly opcode: number
}> {
  override get message(): string {
    return `the peer sent a control frame (opcode ${this.opcode}) of more than 125 bytes, the most that one may carry`
  }
}

/**
 * A length in more bytes than it needs (RFC 6455 §5.2: "the minimal number of
 * bytes MUST be used").
 *
 * @category frame errors
 * @since 0.1.0
 */
export class NonMinimalLength extends Data.TaggedError("NonMinimalLength")<{
  readonly length: number
  readonly bits: 16 | 64
}> {
  override get message(): string {
    return `the peer wrote the payload length ${this.length} in ${this.bits} bits; the shortest form must be used`
  }
}

/**
 * A 64-bit length with the top bit set, or above 2^53 - 1, which no program
 * here can count to (RFC 6455 §5.2).
 *
 * @category frame errors
 * @since 0.1.0
 */
export class LengthOutOfRange extends Data.TaggedError("LengthOutOfRange")<{
  readonly length: bigint
}> {
  override get message(): string {
    return `the peer declared a payload of ${this.length} bytes, more than 2^53 - 1`
  }
}

/**
 * A frame that declares more bytes than the limit. Nothing was allocated for it.
 *
 * @category frame errors
 * @since 0.1.0
 */
export class FrameTooLarge extends Data.TaggedError("FrameTooLarge")<{
  /** The declared payload length, in bytes. */
  readonly length: number
  /** The most that a frame may declare, in bytes. */
  readonly limit: number
}> {
  override get message(): string {
    return `the peer sent a frame of ${this.length} bytes, over the limit of ${this.limit}; ` +
      `raise maxFrameSize, or have the peer send less`
  }
}

/**
 * A header that RFC 6455 §5.2 does not allow.
 *
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
 * A continuation frame with no message to continue (RFC 6455 §5.4).
 *
 * @category message errors
 * @since 0.1.0
 */
export class UnexpectedContinuation extends Data.TaggedError("UnexpectedContinuation")<{}> {
  override get message(): string {
    return "the peer sent a continuation frame, but no message was begun"
  }
}

/**
 * A new message began before the last fragment of the one before it (RFC 6455
 * §5.4).
 *
 * @category message errors
 * @since 0.1.0
 */
export class UnfinishedMessage extends Data.TaggedError("UnfinishedMessage")<{
  /** The opcode of the frame that came too early. */
  readonly opcode: number
}> {
  override get message(): string {
    return `the peer began a new message (opcode ${this.opcode}) before it had finished the fragmented one`
  }
}

/**
 * Text, or the reason in a close frame, that is not UTF-8 (RFC 6455 §8.1).
 *
 * @category message errors
 * @since 0.1.0
 */
export class InvalidUtf8 extends Data.TaggedError("InvalidUtf8")<{
  readonly where: "text message" | "close reason"
  /**
   * The index, in bytes from the start of the message or reason, at which no
   * valid UTF-8 can go on. Where the text merely ends inside a code point, its
   * length.
   */
  readonly offset: number
}> {
  override get message(): string {
    return `the peer sent a ${this.where} that is not UTF-8 at byte ${this.offset}; send such data as binary`
  }
}

/**
 * A message over the limit. Checked on the length that each frame declares,
 * before its payload is kept, and on the sum over all fragments.
 *
 * @category message errors
 * @since 0.1.0
 */
export class MessageTooLarge extends Data.TaggedError("MessageTooLarge")<{
  /** The size that the message would have had so far, in bytes. */
  readonly size: number
  /** The most that it may hold, in bytes; of a compressed message, on the wire, if that is where it is too large. */
  readonly limit: number
}> {
  override get message(): string {
    return `the peer sent a message of at least ${this.size} bytes, over the limit of ${this.limit}; ` +
      `raise maxMessageSize, or have the peer send less`
  }
}

/**
 * A message in more fragments than the limit.
 *
 * @category message errors
 * @since 0.1.0
 */
export class TooManyFragments extends Data.TaggedError("TooManyFragments")<{
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
 * Data that an extension cannot make sense of.
 *
 * @category extension errors
 * @since 0.1.0
 */
export class InvalidExtensionData extends Data.TaggedError("InvalidExtensionData")<{
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
 * A close frame with one byte: a code takes two (RFC 6455 §5.5.1).
 *
 * @category close frame errors
 * @since 0.1.0
 */
export class CloseFrameTooShort extends Data.TaggedError("CloseFrameTooShort")<{}> {
  override get message(): string {
    return "the peer sent a close frame of one byte; it is empty, or begins with a code of two bytes"
  }
}

/**
 * A close frame with a code that may not be on the wire (RFC 6455 §7.4).
 *
 * @category close frame errors
 * @since 0.1.0
 */
export class InvalidCloseCode extends Data.TaggedError("InvalidCloseCode")<{
  readonly code: number
}> {
  override get message(): string {
    return `${this.code} (${CloseCode.nameOf(this.code)}) may not stand in a close frame; ` +
      `use 1000 to 1003, 1007 to 1014, or 3000 to 4999`
  }
}

/**
 * A close frame that RFC 6455 §5.5.1 does not allow.
 *
 * @category close frame errors
 * @since 0.1.0
 */
export type CloseFrameError = CloseFrameTooShort | InvalidCloseCode | InvalidUtf8

// -----------------------------------------------------------------------------
// All
// -----------------------------------------------------------------------------

/**
 * Everything a peer can do wrong on an open connection.
 *
 * @category models
 * @since 0.1.0
 */
export type ProtocolError = FrameError | MessageError | InvalidExtensionData | CloseFrameError

/**
 * The close code that answers an error (RFC 6455 §7.4.1).
 *
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
      // With the top bit set it is no length at all; below that it is one, and too big.
      return error.length >= 2n ** 63n ? CloseCode.ProtocolError : CloseCode.MessageTooBig
    case "TooManyFragments":
      return CloseCode.PolicyViolation
    default:
      return CloseCode.ProtocolError
  }
}
