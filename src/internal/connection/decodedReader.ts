/**
 * Reads messages that are decoded in the step that removes them: an interrupted
 * fiber loses no value, and the fiber that removes an invalid message gets its
 * error. Works on any queue of whole messages.
 */
import type { NonEmptyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { ConnectionClosed, type InvalidMessage } from "../../ConnectionError.ts"
import type { Message } from "../../Message.ts"
import type { ProtocolError } from "../../ProtocolError.ts"
import { frameOverhead } from "./frameQueue.ts"
import type { OnEnd, ReadOperation } from "./reader.ts"

/** Adds a decode error that was found after the connection had ended. */
export const failedWith = (closed: ConnectionClosed, cause: ProtocolError | InvalidMessage): ConnectionClosed =>
  closed.cause === undefined ? new ConnectionClosed({ ...closed, cause }) : closed

/** Decodes a message. It may be called twice with the same one. */
export type MessageDecoder<A, E> = (message: Message) => Result.Result<A, E>

/** Runs in the step that removes the message which cannot be decoded. */
export type OnInvalid<E, E2> = (error: E) => Effect.Effect<never, E2>

/** A queue of whole messages. */
export interface MessageQueue {
  /** Whether a whole message is here. If so, it is `ready`, unless the call is a check on behalf of a waiting fiber. */
  hasMessage(): boolean
  /** The next message. */
  readonly ready: Message | undefined
  /** Removes the message that is `ready`. */
  dropReady(): void
  reader<A, E>(operation: ReadOperation<any, A>, onEnd: OnEnd<E>): Effect.Effect<A, E>
}

/**
 * The message cannot be decoded. Thrown by a read operation in place of its error, and caught right around it: an effect
 * that fails takes a step more than one that succeeds, and another fiber could run in between.
 */
const undecodable = Symbol("undecodable")

/** The size of a message in the form in which it is held: the bytes of UTF-8 or the characters of a string. */
export const sizeOf = (message: Message): number => message._tag === "Text" ? message.data.length : message.bytes.length

const readIfDecoded = <A, B, E, E2, E3>(
  queue: MessageQueue,
  decode: MessageDecoder<A, E>,
  onInvalid: OnInvalid<E, E2>,
  collect: (first: A, size: number, next: () => Result.Result<A, E>) => B,
  onEnd: OnEnd<E3>
): Effect.Effect<B, E2 | E3> => {
  /** Removes the message that is `ready`, unless it cannot be decoded. */
  const next = () => {
    const decoded = decode(queue.ready!)
    if (Result.isSuccess(decoded)) queue.dropReady()
    return decoded
  }
  const read: Effect.Effect<B, E2 | E3> = Effect.catchDefect(
    queue.reader({
      isReady: () => queue.hasMessage(),
      next: () => {
        if (!queue.hasMessage()) return undefined
        const size = sizeOf(queue.ready!) + frameOverhead
        const first = next()
        if (Result.isFailure(first)) throw undecodable
        return collect(first.success, size, next)
      }
    }, onEnd),
    (defect) => defect === undecodable ? failing : Effect.die(defect)
  )
  // To fail takes a step more than to read. A fiber that has just yielded does not yield again between the two, so that
  // it cannot be interrupted there. Other fibers that wait were woken too, and one of them may read the message first.
  const failing = Effect.flatMap(Effect.yieldNow, (): Effect.Effect<B, E2 | E3> => {
    const decoded = queue.hasMessage() ? decode(queue.ready!) : undefined
    if (decoded === undefined || Result.isSuccess(decoded)) return read
    queue.dropReady()
    return onInvalid(decoded.failure)
  })
  return read
}

/** Reads the next message, decoded. */
export const readDecoded = <A, E, E2, E3>(
  queue: MessageQueue,
  decode: MessageDecoder<A, E>,
  onInvalid: OnInvalid<E, E2>,
  onEnd: OnEnd<E3>
): Effect.Effect<A, E2 | E3> => readIfDecoded(queue, decode, onInvalid, (first) => first, onEnd)

/**
 * Reads the messages that are here, at least one, up to one that cannot be decoded. Decoded values may be larger than what
 * was received: a batch ends above `maxBytes`.
 */
export const readAllDecoded = <A, E, E2, E3>(
  queue: MessageQueue,
  maxBytes: number,
  decode: MessageDecoder<A, E>,
  onInvalid: OnInvalid<E, E2>,
  onEnd: OnEnd<E3>
): Effect.Effect<NonEmptyArray<A>, E2 | E3> =>
  readIfDecoded(queue, decode, onInvalid, (first, size, next) => {
    const all: NonEmptyArray<A> = [first]
    for (let total = size; total < maxBytes && queue.hasMessage();) {
      total += sizeOf(queue.ready!) + frameOverhead
      const value = next()
      if (Result.isFailure(value)) break
      all.push(value.success)
    }
    return all
  }, onEnd)
