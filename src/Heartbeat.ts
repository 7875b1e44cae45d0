/**
 * Heartbeats in messages: finds out that a connection is dead where pings are not available, as in browsers.
 *
 * A reconnecting client has them as its option `heartbeat`; `make` is for a single connection. Between two ends on Node, use
 * the `keepalive` of connections instead: it sends pings, which the peer answers by itself.
 *
 * **Example** (A client in a browser)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import type { HandshakeError, MessageConnection } from "effect-ws"
 * import { Heartbeat, Reconnecting } from "effect-ws"
 * import type { Scope } from "effect"
 *
 * const program = (
 *   connect: Effect.Effect<MessageConnection.MessageConnection, HandshakeError.ConnectError, Scope.Scope>
 * ) =>
 *   Effect.gen(function*() {
 *     const heartbeat: Heartbeat.Options = {
 *       message: "ping",
 *       isReply: (message) => message._tag === "Text" && message.text === "pong"
 *     }
 *     const feed = yield* Reconnecting.make(() => connect, { heartbeat })
 *     yield* Stream.runForEach(feed.messages, (message) => Effect.log(message))
 *   }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { InvalidOption } from "./HandshakeError.ts"
import { Heart } from "./internal/reconnecting/heartbeat.ts"
import { checkHeartbeat } from "./internal/reconnecting/options.ts"
import { hideReplies } from "./internal/reconnecting/replies.ts"
import type * as Message from "./Message.ts"
import type { MessageConnection } from "./MessageConnection.ts"

/**
 * Options of a heartbeat.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** The message that asks the peer for a reply. The same is sent each time. */
  readonly message: Message.Input
  /**
   * Returns whether a message is a reply to `message`. The program does not receive those. Default: it receives all
   * messages. Replies are not told apart: any message shows that the peer is alive.
   */
  readonly isReply?: ((message: Message.Message) => boolean) | undefined
  /** How long the peer may be silent until it is asked. Default 30 seconds. More than 0, or Infinity. */
  readonly interval?: Duration.Input | undefined
  /**
   * How long the peer may be silent after it was asked. Default 10 seconds. More than 0, or Infinity. After a timer that was late, and
   * after a signal of `Wake`, at most 5 seconds.
   */
  readonly timeout?: Duration.Input | undefined
}

/**
 * Starts a heartbeat, and returns the connection without the replies to it. Receive with the returned one: with the other,
 * replies are received as well.
 *
 * If the peer is silent for `interval`, the heartbeat sends `message`. If the peer stays silent for `timeout`, the heartbeat
 * fails the connection with the cause `KeepaliveTimeout`. It stops when the Scope closes or the connection ends.
 *
 * The peer is not silent while anything arrives, read or not, while this end reads too slowly for more to arrive, and while
 * data that was sent before leaves. A timer that fires more than a second late never fails the connection, because the
 * computer may have slept, or the browser throttled the page: the peer is asked once more, with a deadline of 5 seconds at
 * most.
 *
 * Fails with `InvalidOption` if a duration is invalid.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  connection: MessageConnection,
  options: Options
): Effect.Effect<MessageConnection, InvalidOption, Scope.Scope> =>
  Effect.suspend(() => {
    const invalid = checkHeartbeat(options)
    if (invalid !== undefined) return Effect.fail(invalid)
    const beating = Effect.raceFirst(new Heart(connection, options).beat, connection.closed)
    return Effect.as(Effect.forkScoped(beating), hideReplies(connection, options.isReply))
  })
