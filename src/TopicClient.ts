/**
 * A client of topics, over any connection: Node's, a browser's, or one in memory. It
 * speaks the client protocol of Centrifuge, version 2, to a `TopicServer` or to
 * another server of that protocol.
 *
 * **Example** (A chat that outlives its connections)
 *
 * ```ts
 * import { Effect, Schema, Stream } from "effect"
 * import { Topic, TopicClient, WebSocketClient } from "effect-ws"
 *
 * const Room = Topic.make("room::name", {
 *   message: Schema.Struct({ text: Schema.String }),
 *   history: { size: 100, ttl: "1 minute" }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const client = yield* TopicClient.make(() => WebSocketClient.connect("wss://example.com/topics"), {
 *     token: "Ada"
 *   })
 *   yield* client.publish(Room, { name: "lobby" }, { text: "hello" })
 *   yield* Stream.runForEach(client.subscribe(Room, { name: "lobby" }), (event) => Effect.log(event))
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { InvalidValue, NotConnected } from "./ConnectionError.ts"
import { makeClient } from "./internal/centrifuge/client.ts"
import type { MessageConnection } from "./MessageConnection.ts"
import type * as Reconnecting from "./Reconnecting.ts"
import type * as Topic from "./Topic.ts"
import type { Rejected, Unanswered, Unsubscribed } from "./TopicError.ts"
import type { History } from "./Topics.ts"
import type { Format } from "./TopicServer.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * Why a command failed: the server rejected it, its reply did not arrive, or the
 * client is not connected. `E` is the errors of connecting.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type CommandError<E = never> = Rejected | Unanswered | NotConnected<E>

/**
 * A client of topics. While it is not connected, commands suspend.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface TopicClient<E = never, C = MessageConnection> {
  /**
   * The events of a channel. A run subscribes, and unsubscribes at its end. When the
   * connection is lost, the stream resumes over the next one, without a loss as far
   * as the server's history reaches; a `Gap` tells a loss. `Subscribed` is repeated.
   *
   * If the program takes events more slowly than they arrive, the client keeps at
   * most `queueSize` of them. Then it unsubscribes, and resumes once it has room.
   *
   * A client subscribes to a channel once: another run fails with `Rejected` and the
   * code 105 (`Code.AlreadySubscribed`). `Stream.share` of one stream serves several consumers.
   *
   * Fails with `Rejected` if the server rejects the subscription, `Unsubscribed` if the server ends it, and
   * `NotConnected` when the client has stopped reconnecting. A message that the
   * schema cannot decode is a `Gap`.
   */
  readonly subscribe: <Params extends Readonly<Record<string, string>>, M, P, R = never>(
    topic: Topic.Topic<Params, M, P>,
    params: NoInfer<Params>,
    options?: SubscribeOptions<R>
  ) => Stream.Stream<Topic.Event<M, P>, Rejected | Unsubscribed | NotConnected<E>, R>
  /**
   * Publishes a message, and returns its position; undefined if the server does not
   * tell it. If the connection is lost before the reply, publishes again with the
   * same key if the server is a `TopicServer`; otherwise fails with `Unanswered`.
   */
  readonly publish: <Params extends Readonly<Record<string, string>>, M, P>(
    topic: Topic.Topic<Params, M, P>,
    params: NoInfer<Params>,
    message: NoInfer<M>,
    options?: { readonly idempotencyKey?: string | undefined }
  ) => Effect.Effect<Topic.Position | undefined, CommandError<E> | InvalidValue>
  /**
   * Reads the history of a channel. Messages that the schema cannot decode are left out,
   * and `complete` is false then. An invalid `limit` is a defect.
   */
  readonly history: <Params extends Readonly<Record<string, string>>, M, P>(
    topic: Topic.Topic<Params, M, P>,
    params: NoInfer<Params>,
    options?: HistoryOptions
  ) => Effect.Effect<History<M>, CommandError<E>>
  /** Reads the members of a channel, without those that the schema cannot decode. */
  readonly members: <Params extends Readonly<Record<string, string>>, M, P>(
    topic: Topic.Topic<Params, M, P>,
    params: NoInfer<Params>
  ) => Effect.Effect<ReadonlyArray<Topic.Member<P>>, CommandError<E>>
  /** Calls a method of the server, and returns its result, a JSON value; undefined without one. */
  readonly rpc: (method: string, data?: Schema.Json) => Effect.Effect<unknown, CommandError<E>>
  /** Sends data that expects no reply. Fails with `Unanswered` if the connection is lost. */
  readonly send: (data: Schema.Json) => Effect.Effect<void, Unanswered | NotConnected<E>>
  /** The connections: their state, and the end of the client. */
  readonly connection: Reconnecting.Reconnecting<E, C>
}

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * Options of `subscribe`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface SubscribeOptions<R = never> {
  /** Resumes behind this position. Default: begins with the next message. */
  readonly since?: Topic.Position | undefined
  /** Returns a token for the channel; runs again when the token expires. Default: no token. */
  readonly token?: Effect.Effect<string, Rejected, R> | undefined
}

/**
 * Options of `history`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface HistoryOptions {
  /** Returns messages behind this position (with `reverse`, before it). Fails with 112 if some of them are lost. */
  readonly since?: Topic.Position | undefined
  /**
   * The maximum number of messages, 0 for the position alone. Default: as many as the
   * server allows. A whole number, 0 or more, or Infinity.
   */
  readonly limit?: number | undefined
  /** Returns the newest messages first. Default: the oldest first. */
  readonly reverse?: boolean | undefined
}

/**
 * Options of `make`. `E` and `R` are the errors and services of connecting and of
 * `token`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Options<C = MessageConnection, E = never, E2 = never, R2 = never, E3 = never, R3 = never>
  extends Pick<Reconnecting.Options<C, E | E2 | Rejected | Unanswered, never, never, E3, R3>, "resetAfter" | "schedule">
{
  /**
   * The token that the server gets, or an effect that returns one. The effect runs for
   * the first connection, and when the server says that the token has expired. If it
   * fails while there is no connection, the attempt counts as failed. Default "".
   */
  readonly token?: string | Effect.Effect<string, E2, R2> | undefined
  /** Data for the server. Default: none. */
  readonly data?: Schema.Json | undefined
  /** The name and the version of the program, for the server. Default "effect-ws" and "". */
  readonly name?: string | undefined
  readonly version?: string | undefined
  /** A format besides JSON, such as `TopicProtobuf.format`. `connect` must offer its `protocol`. Default: JSON. */
  readonly format?: Format | undefined
  /** The time that the server has to reply to a command. Default 5 seconds. More than 0, or Infinity. */
  readonly timeout?: Duration.Input | undefined
  /**
   * The time that a ping of the server may be late, before the connection counts as
   * lost. Default 10 seconds. More than 0, or Infinity.
   */
  readonly pingDelay?: Duration.Input | undefined
  /** The maximum number of events that a subscription keeps for the program. Default 1,024. A whole number, 16 or more. */
  readonly queueSize?: number | undefined
  /** Called with data that the server sends to this client and that belongs to no channel. Default: it is ignored. */
  readonly onMessage?: ((data: unknown) => void) | undefined
}

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Connects now, and again whenever the connection is lost, until its Scope closes or
 * a failure is final: the server rejected the connection, or disconnected it with a
 * code after which clients do not reconnect (see `TopicError.reconnects`).
 *
 * `connect` runs for each attempt, with its number, in a Scope that closes with the
 * connection. `make` does not wait for the first connection. It throws
 * `InvalidOption` if an option is invalid.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make = <
  C extends MessageConnection,
  E = never,
  R = never,
  E2 = never,
  R2 = never,
  E3 = never,
  R3 = never
>(
  connect: (attempt: number) => Effect.Effect<C, E, R>,
  options: Options<C, E, E2, R2, E3, R3> = {}
): Effect.Effect<
  TopicClient<Reconnecting.OwnFailure<E | E2 | E3> | Rejected | Unanswered, C>,
  never,
  Scope.Scope | R | R2 | R3
> => makeClient(connect, options)
