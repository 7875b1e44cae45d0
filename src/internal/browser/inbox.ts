/**
 * The messages that a browser has delivered and the program has not read. A
 * browser cannot be held back, so the queue has a limit instead of a high-water mark.
 */
import type { NonEmptyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import type { ConnectionClosed, InvalidMessage } from "../../ConnectionError.ts"
import type { Message } from "../../Message.ts"
import {
  failedWith,
  type MessageDecoder,
  type MessageQueue,
  type OnInvalid,
  readAllDecoded,
  readDecoded,
  sizeOf
} from "../connection/decodedReader.ts"
import { frameOverhead } from "../connection/frameQueue.ts"
import { type OnEnd, type Readable, Reader, Readers, type ReadOperation } from "../connection/reader.ts"

export class Inbox implements Readable, MessageQueue {
  readonly readers = new Readers()
  readonly hasToDecode = false
  readonly decodeNext = Effect.void
  /** How much may be unread. */
  readonly limit: number
  private messages: Array<Message> = []
  /** The position of the next message. Those before it were read. */
  private head = 0
  /** The size of the unread messages, with an overhead for each. */
  unreadAmount = 0
  private discarding = false
  closed: ConnectionClosed | undefined

  constructor(limit: number) {
    this.limit = limit
  }

  get isEnding(): boolean {
    return this.closed !== undefined
  }

  /** Appends a message. Returns false if too much is unread. One message may exceed the limit: the browser has it anyway. */
  push(message: Message): boolean {
    if (this.discarding) return true
    if (this.unreadAmount > this.limit) return false
    this.messages.push(message)
    this.unreadAmount += sizeOf(message) + frameOverhead
    this.readers.wake()
    return true
  }

  /** Ends the queue. Its messages can still be read. */
  close(closed: ConnectionClosed): void {
    this.closed = closed
    this.readers.wake()
  }

  /** Ends the queue because a message is invalid, and drops the others. Returns how the connection ended. */
  fail(closed: ConnectionClosed, error: InvalidMessage): ConnectionClosed {
    this.clear()
    this.closed = failedWith(closed, error)
    this.readers.wake()
    return this.closed
  }

  discard(): void {
    this.discarding = true
    this.clear()
  }

  private clear(): void {
    this.messages = []
    this.head = 0
    this.unreadAmount = 0
  }

  // -- reading -----------------------------------------------------------------

  hasMessage(): boolean {
    return this.ready !== undefined
  }

  get ready(): Message | undefined {
    return this.messages[this.head]
  }

  dropReady(): void {
    this.unreadAmount -= sizeOf(this.messages[this.head]) + frameOverhead
    this.head++
    if (this.head === this.messages.length) this.clear()
    else if (this.head === compactAt) {
      this.messages.splice(0, this.head)
      this.head = 0
    }
  }

  reader<A, E>(operation: ReadOperation<Inbox, A>, onEnd: OnEnd<E>): Effect.Effect<A, E> {
    return new Reader<Inbox, A, E>(this, operation, onEnd)
  }

  readMessage<E>(onEnd: OnEnd<E>): Effect.Effect<Message, E> {
    return this.reader(oneMessage, onEnd)
  }

  /** Reads the messages that are here, at least one. */
  readMessages<E>(onEnd: OnEnd<E>): Effect.Effect<NonEmptyArray<Message>, E> {
    return this.reader(allMessages, onEnd)
  }

  readDecoded<A, E, E2, E3>(
    decode: MessageDecoder<A, E>,
    onInvalid: OnInvalid<E, E2>,
    onEnd: OnEnd<E3>
  ): Effect.Effect<A, E2 | E3> {
    return readDecoded(this, decode, onInvalid, onEnd)
  }

  readAllDecoded<A, E, E2, E3>(
    decode: MessageDecoder<A, E>,
    onInvalid: OnInvalid<E, E2>,
    onEnd: OnEnd<E3>
  ): Effect.Effect<NonEmptyArray<A>, E2 | E3> {
    return readAllDecoded(this, Number.POSITIVE_INFINITY, decode, onInvalid, onEnd)
  }

  /** Removes all messages. */
  takeAll(): ReadonlyArray<Message> {
    const messages = this.head === 0 ? this.messages : this.messages.slice(this.head)
    this.clear()
    return messages
  }
}

/** The number of read messages after which those that are left move to the front. */
const compactAt = 1024

const isReady = (inbox: Inbox): boolean => inbox.hasMessage()

const oneMessage: ReadOperation<Inbox, Message> = {
  isReady,
  next: (inbox) => {
    const { ready } = inbox
    if (ready !== undefined) inbox.dropReady()
    return ready
  }
}

const allMessages: ReadOperation<Inbox, NonEmptyArray<Message>> = {
  isReady,
  next: (inbox) => inbox.hasMessage() ? inbox.takeAll() as NonEmptyArray<Message> : undefined
}
