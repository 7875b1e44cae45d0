/**
 * Messages, the data that applications send and receive (RFC 6455 §5.4, §5.6): text
 * or binary, in one frame or in several.
 *
 * This module does no I/O. `makeCollector` joins frames into messages without a
 * `Connection`.
 *
 * @since 0.1.0
 */
import { dual } from "effect/Function"
import type { Frame } from "./Frame.ts"
import { isControl } from "./internal/protocol/frame.ts"
import { Binary, decodeText, Text } from "./internal/protocol/message.ts"
import { Assembler } from "./internal/protocol/messageAssembler.ts"
import { Validator } from "./internal/protocol/messageValidator.ts"
import * as ProtocolError from "./ProtocolError.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

export { Binary, Text } from "./internal/protocol/message.ts"

/**
 * A message: text or binary, with its `_tag` and its `bytes`. A text message also
 * has `text`.
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export type Message = Text | Binary

/**
 * A value that can be sent as a message: a string as text, bytes as binary, or a
 * `Message`.
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export type Input = string | Uint8Array | Message

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Makes a text message. Bytes must be UTF-8; they are not checked.
 *
 * @stability stable
 * @category constructors
 * @since 0.1.0
 */
export const text = (data: string | Uint8Array): Text => new Text(data)

/**
 * Makes a binary message.
 *
 * @stability stable
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
 * @stability stable
 * @category guards
 * @since 0.1.0
 */
export const isText = (message: Message): message is Text => message._tag === "Text"

/**
 * Returns whether a message is binary.
 *
 * @stability stable
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
 * @stability stable
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
 * @stability stable
 * @category accessors
 * @since 0.1.0
 */
export const toText = (message: Message): string => message._tag === "Text" ? message.text : decodeText(message.bytes)

// -----------------------------------------------------------------------------
// From frames
// -----------------------------------------------------------------------------

/**
 * The limits on a message.
 *
 * @stability stable
 * @category options
 * @since 0.1.0
 */
export interface Limits {
  /**
   * The maximum size of a message, in bytes, over all its fragments, after decoding. Default 16 MiB. NaN rejects all
   * messages.
   *
   * On the wire, a compressed message may have twice as many bytes and 1 KiB, because compression enlarges some data. A
   * message that is received whole has at most 512 MiB of text or 4 GiB of binary data, the limits of V8.
   */
  readonly maxMessageSize?: number | undefined
  /** The maximum number of fragments of a message. Default 131,072. NaN allows one. */
  readonly maxFragments?: number | undefined
}

export { Assembler } from "./internal/protocol/messageAssembler.ts"
export { defaultMaxFragments, defaultMaxMessageSize, Validator } from "./internal/protocol/messageValidator.ts"

/**
 * Collects frames into messages. `push` returns the message that a frame completes,
 * or the first rule that a frame broke.
 *
 * After an error, `push` returns that error for each frame. It ignores control
 * frames, which may arrive between the fragments of a message.
 *
 * @stability stable
 * @category collecting
 * @since 0.1.0
 */
export interface Collector {
  readonly push: (frame: Frame) => Message | ProtocolError.MessageError | undefined
}

/**
 * Makes a collector, for frames that are read without a `Connection`.
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
 * @stability stable
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
