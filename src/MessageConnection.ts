/**
 * The part of a connection that every platform has. `Connection`, over a transport of Node, extends it; a connection of
 * `BrowserClient`, over the `WebSocket` of a browser, is no more than this. Code that is written against it runs over both.
 *
 * **Example** (An echo over any connection)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import type { ConnectionError, MessageConnection } from "effect-ws"
 *
 * const echo = (
 *   connection: MessageConnection.MessageConnection
 * ): Effect.Effect<void, ConnectionError.ConnectionClosed> =>
 *   Stream.runForEach(connection.messages, (message) => connection.send(message))
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Result from "effect/Result"
import type * as Stream from "effect/Stream"
import type {
  CloseReasonTooLong,
  ConnectionClosed,
  InvalidMessage,
  KeepaliveTimeout,
  SlowConsumer
} from "./ConnectionError.ts"
import type { SendOptions } from "./Extension.ts"
import { hasMembers, messageConnectionMembers } from "./internal/connection/members.ts"
import type * as Message from "./Message.ts"
import type { InvalidCloseCode } from "./ProtocolError.ts"

/**
 * Signs of life of a peer.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Activity {
  /**
   * A number that grows with everything that arrives, when it arrives: bytes on
   * Node, messages in a browser, which does not tell of parts of a message.
   */
  readonly received: number
  /**
   * Whether nothing arrives because this end reads too slowly: unread messages
   * have reached the high-water mark, and the transport is paused.
   */
  readonly isPaused: boolean
}

/**
 * An open connection that sends and receives whole messages.
 *
 * Its effects can be interrupted at any point. An interrupted `receive` removes
 * no message. An interrupted `send` that was still waiting has sent nothing.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface MessageConnection {
  /** The negotiated subprotocol, if any. */
  readonly subprotocol: string | undefined

  /**
   * Receives the next message. Several fibers may receive at the same time;
   * each gets other messages.
   *
   * Fails with `ConnectionClosed` once the connection is closed, including
   * after a normal closure.
   */
  readonly receive: Effect.Effect<Message.Message, ConnectionClosed>
  /**
   * The messages. The stream ends when the connection ends normally (1000, 1001
   * or no code), and fails otherwise.
   *
   * A run takes messages in batches of all that have arrived:
   * `Stream.runForEachArray` passes the batches on. If a run ends early, by
   * `Stream.take` or an interruption, the rest of its batch is lost. To read
   * some messages and leave the others, use `receive`.
   */
  readonly messages: Stream.Stream<Message.Message, ConnectionClosed>
  /**
   * Like `receive`, with the message decoded in the step that removes it, so that
   * an interrupted fiber loses no value. If `decode` returns a failure, the fiber
   * goes on with `onInvalid`, in the same step: `Effect.fail`, to leave the
   * connection open, or `fail`. `decode` may be called twice with the same message.
   *
   * **Example** (Numbers as text)
   *
   * ```ts
   * import { Effect, Result } from "effect"
   * import type { MessageConnection } from "effect-ws"
   *
   * const receiveNumber = (connection: MessageConnection.MessageConnection) =>
   *   connection.receiveWith(
   *     (message) => message._tag === "Text" ? Result.succeed(Number(message.text)) : Result.fail("NotText" as const),
   *     Effect.fail
   *   )
   * ```
   */
  readonly receiveWith: <A, E, E2>(
    decode: (message: Message.Message) => Result.Result<A, E>,
    onInvalid: (error: E) => Effect.Effect<never, E2>
  ) => Effect.Effect<A, ConnectionClosed | E2>
  /**
   * Like `messages`, with each message decoded as by `receiveWith`. A message that
   * cannot be decoded ends the run; the next run begins behind it.
   */
  readonly messagesWith: <A, E, E2>(
    decode: (message: Message.Message) => Result.Result<A, E>,
    onInvalid: (error: E) => Effect.Effect<never, E2>
  ) => Stream.Stream<A, ConnectionClosed | E2>
  /**
   * Drops all data from now on, and returns how the connection ended.
   * Interrupting it does not undo that.
   *
   * Use it in programs that only send, so that unread data does not fill the
   * receive queue. Other fibers that read receive nothing more.
   *
   * **Example** (A program that only sends)
   *
   * ```ts
   * import { Effect } from "effect"
   * import type { MessageConnection } from "effect-ws"
   *
   * const push = (connection: MessageConnection.MessageConnection) =>
   *   Effect.andThen(connection.send("snapshot"), connection.discard)
   * ```
   */
  readonly discard: Effect.Effect<ConnectionClosed>

  /**
   * Suspends while the connection is above its high-water mark, for programs
   * that choose what to send only when it can be sent. Fails once nothing can
   * be sent any more.
   *
   * **Example** (Send the newest price, and skip the prices before it)
   *
   * ```ts
   * import { Effect, SubscriptionRef } from "effect"
   * import type { MessageConnection } from "effect-ws"
   *
   * const conflate = (
   *   connection: MessageConnection.MessageConnection,
   *   price: SubscriptionRef.SubscriptionRef<number>
   * ) =>
   *   connection.writable.pipe(
   *     Effect.andThen(SubscriptionRef.get(price)),
   *     Effect.flatMap((newest) => connection.send(String(newest))),
   *     Effect.andThen(Effect.sleep("50 millis")),
   *     Effect.forever
   *   )
   * ```
   */
  readonly writable: Effect.Effect<void, ConnectionClosed>
  /**
   * Sends a message: a string as text, bytes as binary. Suspends while the
   * connection is above its high-water mark, and succeeds once the message is
   * queued. Do not modify the bytes until they have left.
   *
   * Fails with `InvalidInput`, and sends nothing, if the value is of another
   * type or its buffer is detached. This applies to all functions that send.
   */
  readonly send: (message: Message.Input, options?: SendOptions) => Effect.Effect<void, ConnectionClosed>
  /** Sends several messages, with no other message between them. */
  readonly sendAll: (
    messages: ReadonlyArray<Message.Input>,
    options?: SendOptions
  ) => Effect.Effect<void, ConnectionClosed>
  /** Bytes that were sent and have not left this process. */
  readonly bufferedAmount: Effect.Effect<number>
  /** What shows whether the peer is alive, read or unread: `Heartbeat` compares it with itself. */
  readonly activity: Effect.Effect<Activity>

  /**
   * Closes the connection (RFC 6455 §7), and returns how it ended: sends a close
   * frame, and waits for the end, at most for the connection's `closeTimeout`.
   * The code defaults to 1000. A reason takes at most 123 bytes of UTF-8. The
   * code 1005 without a reason sends an empty close frame. Interrupting it does
   * not stop closing.
   *
   * Fails with `InvalidCloseCode` if a close frame of this platform cannot have
   * the code. 1000 and 3000 to 4999 can be sent everywhere.
   */
  readonly close: (
    code?: number,
    reason?: string
  ) => Effect.Effect<ConnectionClosed, InvalidCloseCode | CloseReasonTooLong>
  /**
   * Fails the connection (RFC 6455 §7.1.7): sends a close frame for the cause,
   * waits for no reply, and returns how the connection ended. An
   * `InvalidMessage` also drops what is unread.
   */
  readonly fail: (cause: InvalidMessage | SlowConsumer | KeepaliveTimeout) => Effect.Effect<ConnectionClosed>
  /**
   * Waits until the connection has ended, and returns how. It reads nothing: to
   * wait for the end without reading, use `discard`.
   */
  readonly closed: Effect.Effect<ConnectionClosed>
}

/**
 * Whether a value has all members of a `MessageConnection`, such as a `Connection`
 * or a connection of another implementation.
 *
 * @stability unstable
 * @category guards
 * @since 0.1.0
 */
export const isMessageConnection = (value: unknown): value is MessageConnection =>
  hasMembers(value, messageConnectionMembers)
