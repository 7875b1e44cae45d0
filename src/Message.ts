/**
 * Messages, what applications send and receive (RFC 6455 §5.4, §5.6): text or
 * binary, in one frame or in several.
 *
 * This module does no I/O. `makeCollector` makes messages of frames wherever
 * frames are read without a `Connection`.
 *
 * @since 0.1.0
 */
import { constFalse, dual } from "effect/Function"
import { ByteBuilder, maxBytes, maxTextBytes } from "./internal/runtime/buffers.ts"
import { isWellFormed, Utf8Validator } from "./internal/protocol/utf8.ts"
import { Frame, isControl, Opcode, type PartialFrame, Piece } from "./Frame.ts"
import * as ProtocolError from "./ProtocolError.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/**
 * A text message. It holds a string or UTF-8 bytes, whichever it was made of,
 * and makes the other when it is asked for: text that is only passed on is
 * never turned into a string.
 *
 * @category models
 * @since 0.1.0
 */
export class Text {
  readonly _tag = "Text"
  private string: string | undefined
  private utf8: Uint8Array | undefined

  constructor(data: string | Uint8Array) {
    if (typeof data === "string") {
      this.string = data
      this.utf8 = undefined
    } else {
      this.string = undefined
      this.utf8 = data
    }
  }

  get text(): string {
    return this.string ??= decoder.decode(this.utf8)
  }

  get bytes(): Uint8Array {
    if (this.string !== undefined) this.utf8 ??= encoder.encode(this.string)
    return this.utf8!
  }

  /** The message in the form that it has at no cost. */
  get data(): string | Uint8Array {
    return this.utf8 ?? this.string!
  }

  toJSON(): unknown {
    return { _tag: this._tag, text: this.text }
  }
}

/**
 * A binary message. The bytes of a small one that was received lie in a buffer
 * beside others: that buffer cannot be transferred to another thread, a copy can.
 *
 * @category models
 * @since 0.1.0
 */
export class Binary {
  readonly _tag = "Binary"
  readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  toJSON(): unknown {
    return { _tag: this._tag, bytes: Array.from(this.bytes) }
  }
}

/**
 * A message: text or binary, with its `_tag` and its `bytes`. A text message also
 * has `text`.
 *
 * @category models
 * @since 0.1.0
 */
export type Message = Text | Binary

/**
 * What can be sent as a message: a string goes as text, bytes go as binary, a
 * `Message` as what it is.
 *
 * @category models
 * @since 0.1.0
 */
export type Input = string | Uint8Array | Message

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * A text message. Bytes must be UTF-8; they are not checked.
 *
 * @category constructors
 * @since 0.1.0
 */
export const text = (data: string | Uint8Array): Text => new Text(data)

/**
 * A binary message.
 *
 * @category constructors
 * @since 0.1.0
 */
export const binary = (bytes: Uint8Array): Binary => new Binary(bytes)

// -----------------------------------------------------------------------------
// Reading
// -----------------------------------------------------------------------------

/**
 * Returns whether a message is text.
 *
 * @category guards
 * @since 0.1.0
 */
export const isText = (message: Message): message is Text => message._tag === "Text"

/**
 * Returns whether a message is binary.
 *
 * @category guards
 * @since 0.1.0
 */
export const isBinary = (message: Message): message is Binary => message._tag === "Binary"

/**
 * Calls `onText` with the text of a text message, or `onBinary` with the bytes of a
 * binary message, and returns the result.
 *
 * **Example** (Describe a message)
 *
 * ```ts
 * import { Message } from "effect-ws"
 *
 * const describe = Message.match({
 *   onText: (text) => text,
 *   onBinary: (bytes) => `${bytes.length} bytes`
 * })
 *
 * describe(Message.text("hello")) // => "hello"
 * describe(Message.binary(Uint8Array.of(1, 2, 3))) // => "3 bytes"
 * ```
 *
 * @category pattern matching
 * @since 0.1.0
 */
export const match: {
  <A, B = A>(handlers: {
    readonly onText: (text: string) => A
    readonly onBinary: (bytes: Uint8Array) => B
  }): (message: Message) => A | B
  <A, B = A>(message: Message, handlers: {
    readonly onText: (text: string) => A
    readonly onBinary: (bytes: Uint8Array) => B
  }): A | B
} = dual(2, <A, B>(message: Message, { onBinary, onText }: {
  readonly onText: (text: string) => A
  readonly onBinary: (bytes: Uint8Array) => B
}): A | B => message._tag === "Text" ? onText(message.text) : onBinary(message.bytes))

/**
 * Returns the text of a message. The bytes of a binary message are decoded as UTF-8;
 * U+FFFD stands for bytes that are not valid.
 *
 * **Example** (JSON from peers that send it as text or as bytes)
 *
 * ```ts
 * import { Message } from "effect-ws"
 *
 * const parse = (message: Message.Message): unknown => JSON.parse(Message.toText(message))
 *
 * parse(Message.text("[1]")) // => [1]
 * parse(Message.binary(new TextEncoder().encode("[1]"))) // => [1]
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const toText = (message: Message): string =>
  message._tag === "Text" ? message.text : decoder.decode(message.bytes)

// -----------------------------------------------------------------------------
// From frames
// -----------------------------------------------------------------------------

/**
 * The limits on a message.
 *
 * @category options
 * @since 0.1.0
 */
export interface Limits {
  /**
   * The most bytes that a message may hold, over all its fragments, once it is
   * decoded. Default 16 MiB. On the wire, a compressed message may take twice as
   * many and 1 KiB, because what does not compress becomes larger. A message
   * that is received whole holds at most what V8 can: text 512 MiB, binary 4 GiB.
   * With NaN, no message passes.
   */
  readonly maxMessageSize?: number | undefined
  /** The most fragments that a message may come in. Default 131,072. With NaN, one. */
  readonly maxFragments?: number | undefined
}

/**
 * The default of `maxMessageSize`: 16 MiB.
 *
 * @category options
 * @since 0.1.0
 */
export const defaultMaxMessageSize = 16 * 1024 * 1024

/**
 * The default of `maxFragments`: 131,072.
 *
 * @category options
 * @since 0.1.0
 */
export const defaultMaxFragments = 128 * 1024

/** The most bytes that a message may take on the wire when an extension has encoded it. */
const encodedLimit = (maxMessageSize: number): number => 2 * maxMessageSize + 1024

/**
 * Checks data frames, in the order in which they come, against the rules for
 * messages: fragments in sequence (RFC 6455 §5.4), text in UTF-8 (§8.1), and
 * the limits. A part of a frame can be checked before the rest has come, so that
 * what cannot become a message is refused at once.
 *
 * @category checking
 * @since 0.1.0
 */
export class Validator {
  private readonly maxMessageSize: number
  private readonly maxFragments: number
  private readonly isEncoded: (reserved: number) => boolean

  /** The kind of the unfinished message, if there is one. */
  private message: typeof Opcode.Text | typeof Opcode.Binary | undefined
  /** Whether what has come of it is text, and not what an extension made of text. */
  private isText = false
  /** The most bytes that it may take on the wire. */
  private limit = 0
  private size = 0
  private fragments = 0
  private readonly utf8 = new Utf8Validator()

  /** How many bytes of the frame at hand were checked; -1 between frames. */
  private checked = -1
  /** Where the frame at hand begins in its message. */
  private frameStart = 0

  /** `isEncoded` tells by the reserved bits of its first frame whether a message is yet to be decoded. Default: none is. */
  constructor(limits?: Limits, isEncoded: (reserved: number) => boolean = constFalse) {
    this.maxMessageSize = limits?.maxMessageSize ?? defaultMaxMessageSize
    this.maxFragments = limits?.maxFragments ?? defaultMaxFragments
    this.isEncoded = isEncoded
  }

  /** Checks a whole data frame, or the next piece of one. Parts of it may have been checked before. */
  check(frame: Frame): ProtocolError.MessageError | undefined {
    if (this.message === undefined && frame.fin && frame.opcode !== Opcode.Continuation) {
      return this.checkUnfragmented(frame)
    }
    return frame instanceof Piece
      ? this.checkPiece(frame, frame.offset, frame.remaining)
      : this.checkPiece(frame, 0, 0)
  }

  private checkPiece(frame: Frame, offset: number, remaining: number): ProtocolError.MessageError | undefined {
    const { payload } = frame
    if (this.checked < 0) {
      const error = this.begin(frame, payload.length + remaining)
      if (error !== undefined) return error
    }
    const error = this.checkText(this.checked === offset ? payload : payload.subarray(this.checked - offset))
    if (error !== undefined || remaining > 0) return error
    this.checked = -1
    if (!frame.fin) return undefined
    if (this.isText && !this.utf8.complete) return this.invalidUtf8(this.size)
    this.message = undefined
    return undefined
  }

  /** Checks the part of a data frame that has just come. */
  checkPartial(frame: PartialFrame): ProtocolError.MessageError | undefined {
    if (this.checked < 0) {
      const error = this.begin(frame, frame.length)
      if (error !== undefined) return error
    }
    return this.checkText(frame.latest)
  }

  /** The way of nearly all messages: one frame, all of it here. */
  private checkUnfragmented(frame: Frame): ProtocolError.MessageError | undefined {
    const { length } = frame.payload
    if (!(length <= this.maxMessageSize)) {
      const error = tooLarge(length, this.limitOf(frame.reserved))
      if (error !== undefined) return error
    }
    if (frame.opcode === Opcode.Text && !isWellFormed(frame.payload) && !this.isEncoded(frame.reserved)) {
      const at = this.utf8.push(frame.payload)
      return this.invalidUtf8(at < 0 ? length : at)
    }
    return undefined
  }

  /** Takes up a frame by its header: is it in sequence, and within the limits? */
  private begin(
    { opcode, reserved }: { readonly opcode: Opcode; readonly reserved: number },
    length: number
  ): ProtocolError.MessageError | undefined {
    if (opcode === Opcode.Continuation) {
      if (this.message === undefined) return new ProtocolError.UnexpectedContinuation()
      this.fragments++
      if (!(this.fragments <= this.maxFragments)) {
        return new ProtocolError.TooManyFragments({ limit: this.maxFragments })
      }
    } else {
      if (this.message !== undefined) return new ProtocolError.UnfinishedMessage({ opcode })
      this.message = opcode as typeof Opcode.Text | typeof Opcode.Binary
      this.isText = opcode === Opcode.Text && !this.isEncoded(reserved)
      this.limit = this.limitOf(reserved)
      this.fragments = 1
      this.size = 0
    }
    this.frameStart = this.size
    this.checked = 0
    this.size += length
    return tooLarge(this.size, this.limit)
  }

  private limitOf(reserved: number): number {
    return this.isEncoded(reserved) ? encodedLimit(this.maxMessageSize) : this.maxMessageSize
  }

  private checkText(bytes: Uint8Array): ProtocolError.MessageError | undefined {
    if (this.isText) {
      const at = this.utf8.push(bytes)
      if (at >= 0) return this.invalidUtf8(this.frameStart + this.checked + at)
    }
    this.checked += bytes.length
    return undefined
  }

  private invalidUtf8(offset: number): ProtocolError.InvalidUtf8 {
    return new ProtocolError.InvalidUtf8({ where: "text message", offset })
  }
}

const tooLarge = (size: number, limit: number): ProtocolError.MessageTooLarge | undefined =>
  size <= limit ? undefined : new ProtocolError.MessageTooLarge({ size, limit })

/**
 * Joins checked data frames into messages, as far as V8 can hold them.
 *
 * @category checking
 * @since 0.1.0
 */
export class Assembler {
  /** The opcode of the first collected frame, if there is one. */
  opcode: Opcode | undefined
  private reserved = 0
  private builder: ByteBuilder | undefined
  private withinFrame = false

  /** Whether part of a message is collected. */
  get unfinished(): boolean {
    return this.builder !== undefined
  }

  /** Whether the collected bytes end within a frame. */
  get isWithinFrame(): boolean {
    return this.withinFrame
  }

  /**
   * Adds the next frame, or the next piece of one. Returns the message that it
   * completes, or an error if no value can hold the message. Ignores the rest of
   * a message that did not begin here.
   */
  push(frame: Frame): Message | ProtocolError.MessageTooLarge | undefined {
    if (this.opcode === Opcode.Continuation) this.clear()
    if (this.builder === undefined) {
      if (frame.opcode === Opcode.Continuation) return undefined
      if (frame.fin) return fromPayload(frame.opcode, frame.payload)
    }
    const error = this.add(frame, this.opcode ?? frame.opcode)
    if (error !== undefined || !frame.fin) return error
    const { opcode, payload } = this.take(true)
    return fromPayload(opcode, payload)
  }

  /** Adds the next piece of a frame. Returns the frame, if the piece completes it. */
  pushPiece(piece: Piece): Frame | ProtocolError.MessageTooLarge | undefined {
    const error = this.add(piece, Opcode.Binary)
    return error !== undefined || this.withinFrame ? error : this.take(piece.fin)
  }

  /** Removes the collected bytes, and returns them as the beginning of a message in one frame. */
  giveBack(): Frame | undefined {
    return this.builder === undefined ? undefined : this.take(false)
  }

  private add(frame: Frame, kind: Opcode): ProtocolError.MessageTooLarge | undefined {
    if (this.builder === undefined) {
      this.opcode = frame.opcode
      this.reserved = frame.reserved
      this.builder = new ByteBuilder()
    }
    const error = tooLarge(this.builder.length + frame.payload.length, mostOf(kind))
    if (error !== undefined) return error
    this.builder.push(frame.payload)
    this.withinFrame = frame instanceof Piece && frame.remaining > 0
    return undefined
  }

  private take(fin: boolean): Frame {
    const frame = new Frame(this.opcode!, this.builder!.concat(), fin, this.reserved)
    this.clear()
    return frame
  }

  /** Drops the collected bytes. */
  clear(): void {
    this.opcode = undefined
    this.builder = undefined
    this.withinFrame = false
  }
}

/** The most bytes of a message that one value can hold. */
const mostOf = (opcode: Opcode): number => opcode === Opcode.Text ? maxTextBytes : maxBytes

const fromPayload = (opcode: Opcode, payload: Uint8Array): Message | ProtocolError.MessageTooLarge =>
  tooLarge(payload.length, mostOf(opcode)) ?? (opcode === Opcode.Text ? new Text(payload) : new Binary(payload))

/**
 * Takes frames, and answers each message as it is completed, or the first rule
 * that a frame broke; after that it takes nothing more. Control frames, which
 * may stand between the fragments of a message, are passed over.
 *
 * @category collecting
 * @since 0.1.0
 */
export interface Collector {
  readonly push: (frame: Frame) => Message | ProtocolError.MessageError | undefined
}

/**
 * A collector, for frames that are read without a `Connection`.
 *
 * **Example** (A message in two frames)
 *
 * ```ts
 * import { Frame, Message } from "effect-ws"
 *
 * const collector = Message.makeCollector({ maxMessageSize: 1024 })
 *
 * collector.push(Frame.text("Hel", { fin: false })) // => undefined
 * collector.push(Frame.ping()) // => undefined
 * const message = collector.push(Frame.continuation("lo"))
 *
 * message?._tag === "Text" && message.text // => "Hello"
 * ```
 *
 * @category collecting
 * @since 0.1.0
 */
export const makeCollector = (limits?: Limits): Collector => {
  const validator = new Validator(limits)
  const assembler = new Assembler()
  let failed: ProtocolError.MessageError | undefined
  return {
    push: (frame) => {
      if (failed !== undefined || isControl(frame)) return failed
      failed = validator.check(frame)
      if (failed !== undefined) return failed
      const message = assembler.push(frame)
      if (message instanceof ProtocolError.MessageTooLarge) failed = message
      return message
    }
  }
}
