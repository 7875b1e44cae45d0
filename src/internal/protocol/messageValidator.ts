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

  // The unfinished message: its kind, if there is one; its limit on the wire; its size and fragments so far.
  private message: typeof Opcode.Text | typeof Opcode.Binary | undefined
  private limit = 0
  private size = 0
  private fragments = 0
  /** Whether its bytes are text, not text that an extension has encoded. */
  private isText = false
  private readonly text = new TextValidator()

  /** The number of bytes of the current frame that were checked; -1 between two frames. */
  private checked = -1

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
    return this.begin(frame, frame.length) ?? this.checkBytes(frame.latest, false)
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
    const broken = this.begin(frame, payload.length + remaining)
    if (broken !== undefined) return broken
    const isLast = fin && remaining === 0
    const unchecked = this.checked === offset ? payload : payload.subarray(this.checked - offset)
    const invalid = this.checkBytes(unchecked, isLast)
    if (invalid !== undefined) return invalid
    if (remaining === 0) this.checked = -1
    if (isLast) this.message = undefined
    return undefined
  }

  /** Checks the header of a frame, unless it was checked with an earlier part: the sequence and the limits. */
  private begin(header: Header, length: number): MessageError | undefined {
    if (this.checked >= 0) return undefined
    const broken = header.opcode === Opcode.Continuation ? this.continueMessage() : this.beginMessage(header)
    if (broken !== undefined) return broken
    this.checked = 0
    this.size += length
    return tooLarge(this.size, this.limit)
  }

  private continueMessage(): MessageError | undefined {
    if (this.message === undefined) return new UnexpectedContinuation()
    this.fragments++
    return this.fragments <= this.maxFragments ? undefined : new TooManyFragments({ limit: this.maxFragments })
  }

  private beginMessage({ opcode, reserved }: Header): MessageError | undefined {
    if (this.message !== undefined) return new UnfinishedMessage({ opcode })
    this.message = opcode as typeof Opcode.Text | typeof Opcode.Binary
    this.isText = opcode === Opcode.Text && !this.isEncoded(reserved)
    this.limit = this.limitOf(reserved)
    this.fragments = 1
    this.size = 0
    return undefined
  }

  private limitOf(reserved: number): number {
    return this.isEncoded(reserved) ? encodedLimit(this.maxMessageSize) : this.maxMessageSize
  }

  private checkBytes(bytes: Uint8Array, isLast: boolean): MessageError | undefined {
    this.checked += bytes.length
    const offset = this.isText ? this.text.check(bytes, isLast) : -1
    return offset < 0 ? undefined : invalidText(offset)
  }
}

const invalidText = (offset: number): InvalidUtf8 => new InvalidUtf8({ where: "text message", offset })

/** `MessageTooLarge`, if a size is above the limit. */
export const tooLarge = (size: number, limit: number): MessageTooLarge | undefined =>
  size <= limit ? undefined : new MessageTooLarge({ size, limit })
