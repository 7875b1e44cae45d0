/** The rules that data frames must follow to form messages (RFC 6455 §5.4, §8.1). */
import { constFalse } from "effect/Function"
import type { PartialFrame } from "../../Frame.ts"
import type { Limits } from "../../Message.ts"
import {
  InvalidUtf8,
  type MessageError,
  MessageTooLarge,
  TooManyFragments,
  UnexpectedContinuation,
  UnfinishedMessage
} from "../../ProtocolError.ts"
import { defaultMaxFrameSize, type Frame, Opcode, Piece } from "./frame.ts"
import { findInvalid, isWellFormed, TextValidator } from "./utf8.ts"

/**
 * The default of `maxMessageSize`: 16 MiB.
 *
 * @stability stable
 * @category options
 * @since 0.1.0
 */
export const defaultMaxMessageSize = defaultMaxFrameSize

/**
 * The default of `maxFragments`: 131,072.
 *
 * @stability stable
 * @category options
 * @since 0.1.0
 */
export const defaultMaxFragments = 128 * 1024

/** The maximum size, on the wire, of a message that an extension has encoded. */
const encodedLimit = (maxMessageSize: number): number => 2 * maxMessageSize + 1024

/** The part of a frame that its header determines. */
interface Header {
  readonly opcode: Opcode
  readonly reserved: number
}

/** A message of which a part was checked, and the rest is to arrive. */
class PartialMessage {
  /** The maximum size on the wire. */
  readonly limit: number
  /** Checks text. Undefined for other bytes, such as text that an extension has encoded. */
  private readonly text: TextValidator | undefined
  /** The size that the headers of its frames announce. */
  size = 0
  fragments = 1
  /** The number of bytes of the current frame that were checked; -1 between two frames. */
  checked = -1

  constructor(limit: number, isText: boolean) {
    this.limit = limit
    this.text = isText ? new TextValidator() : undefined
  }

  /** Checks the next bytes of the current frame. */
  check(bytes: Uint8Array, isLast: boolean): MessageError | undefined {
    this.checked += bytes.length
    const offset = this.text === undefined ? -1 : this.text.check(bytes, isLast)
    return offset < 0 ? undefined : invalidText(offset)
  }
}

/**
 * Checks data frames in order: the sequence of fragments (RFC 6455 §5.4), text
 * in UTF-8 (§8.1), and the limits.
 *
 * It can check part of a frame before the rest arrives, so that an invalid message
 * fails at its first invalid byte. It must not be used after an error.
 *
 * @stability stable
 * @category checking
 * @since 0.1.0
 */
export class Validator {
  private readonly maxMessageSize: number
  private readonly maxFragments: number
  private readonly isEncoded: (reserved: number) => boolean
  private message: PartialMessage | undefined

  /** `isEncoded` returns whether the reserved bits of a message's first frame mark it as encoded. Default: never. */
  constructor(limits?: Limits, isEncoded: (reserved: number) => boolean = constFalse) {
    this.maxMessageSize = limits?.maxMessageSize ?? defaultMaxMessageSize
    this.maxFragments = limits?.maxFragments ?? defaultMaxFragments
    this.isEncoded = isEncoded
  }

  /** Checks a whole data frame, or the next piece of one. Bytes that were checked before are not checked again. */
  check(frame: Frame): MessageError | undefined {
    if (this.message === undefined && frame.fin && frame.opcode !== Opcode.Continuation) {
      return this.checkUnfragmented(frame)
    }
    return frame instanceof Piece
      ? this.checkPiece(frame, frame.offset, frame.remaining)
      : this.checkPiece(frame, 0, 0)
  }

  /** Checks the latest bytes of a data frame that is incomplete. */
  checkPartial(frame: PartialFrame): MessageError | undefined {
    const message = this.begin(frame, frame.length)
    return message instanceof PartialMessage ? message.check(frame.latest, false) : message
  }

  /** Checks a message of one frame, as most messages are, without state. */
  private checkUnfragmented({ opcode, payload, reserved }: Frame): MessageError | undefined {
    if (!(payload.length <= this.maxMessageSize)) {
      const error = tooLarge(payload.length, this.limitOf(reserved))
      if (error !== undefined) return error
    }
    return opcode === Opcode.Text && !isWellFormed(payload) && !this.isEncoded(reserved)
      ? invalidText(findInvalid(payload))
      : undefined
  }

  /** Checks the bytes of a frame from `offset`. `remaining` bytes of the same frame follow. */
  private checkPiece(frame: Frame, offset: number, remaining: number): MessageError | undefined {
    const { fin, payload } = frame
    const message = this.begin(frame, payload.length + remaining)
    if (!(message instanceof PartialMessage)) return message
    const isLast = fin && remaining === 0
    const unchecked = message.checked === offset ? payload : payload.subarray(message.checked - offset)
    const invalid = message.check(unchecked, isLast)
    if (invalid !== undefined) return invalid
    if (remaining === 0) message.checked = -1
    if (isLast) this.message = undefined
    return undefined
  }

  /**
   * Returns the message that a frame belongs to. Checks the header of the frame, unless it was checked with an earlier
   * part: the sequence and the limits.
   */
  private begin(header: Header, length: number): PartialMessage | MessageError {
    if (this.message !== undefined && this.message.checked >= 0) return this.message
    const message = header.opcode === Opcode.Continuation ? this.continueMessage() : this.beginMessage(header)
    if (!(message instanceof PartialMessage)) return message
    message.checked = 0
    message.size += length
    return tooLarge(message.size, message.limit) ?? message
  }

  private continueMessage(): PartialMessage | MessageError {
    if (this.message === undefined) return new UnexpectedContinuation()
    this.message.fragments++
    return this.message.fragments <= this.maxFragments
      ? this.message
      : new TooManyFragments({ limit: this.maxFragments })
  }

  private beginMessage({ opcode, reserved }: Header): PartialMessage | MessageError {
    if (this.message !== undefined) return new UnfinishedMessage({ opcode })
    return this.message = new PartialMessage(
      this.limitOf(reserved),
      opcode === Opcode.Text && !this.isEncoded(reserved)
    )
  }

  private limitOf(reserved: number): number {
    return this.isEncoded(reserved) ? encodedLimit(this.maxMessageSize) : this.maxMessageSize
  }
}

const invalidText = (offset: number): InvalidUtf8 => new InvalidUtf8({ where: "text message", offset })

/** `MessageTooLarge`, if a size is above the limit. */
export const tooLarge = (size: number, limit: number): MessageTooLarge | undefined =>
  size <= limit ? undefined : new MessageTooLarge({ size, limit })
