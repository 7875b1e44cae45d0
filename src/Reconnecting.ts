/**
 * One logical connection over many: when a connection is lost, the next one
 * takes its place, on a `Schedule`.
 *
 * `WebSocketClient.reconnecting` connects to a URL over Node's sockets. `make`
 * does the same with any other way to connect.
 *
 * **Example** (A feed that outlives its connections)
 *
 * ```ts
 * import { Effect, Schedule, Stream } from "effect"
 * import { Reconnecting, WebSocketClient } from "effect-ws"
 *
 * const program = Effect.gen(function*() {
 *   const feed = yield* Reconnecting.make(
 *     (attempt) => WebSocketClient.connect("wss://example.com/feed", { headers: { "X-Attempt": String(attempt) } }),
 *     { schedule: Schedule.spaced("2 seconds") }
 *   )
 *   yield* Stream.runForEach(feed.messages, (message) => Effect.log(message))
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Result from "effect/Result"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type * as SubscriptionRef from "effect/SubscriptionRef"
import type * as Connection from "./Connection.ts"
import type { ConnectionClosed, NotConnected } from "./ConnectionError.ts"
import type { SendOptions } from "./Extension.ts"
import type * as Heartbeat from "./Heartbeat.ts"
import type { ConnectError } from "./HandshakeError.ts"
import * as failures from "./internal/reconnecting/failures.ts"
import { reconnect } from "./internal/reconnecting/reconnect.ts"
import type * as Message from "./Message.ts"
import type { MessageConnection } from "./MessageConnection.ts"
import { Wake } from "./Wake.ts"

// -----------------------------------------------------------------------------
// Failures
// -----------------------------------------------------------------------------

/**
 * Why a reconnecting client is not connected: it could not connect, or lost the
 * connection. `E` is the errors of the program's own effects, such as `onOpen`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type Failure<E = never> = ConnectError | ConnectionClosed | E

/**
 * The errors in `E` that are the program's own: all but those that every
 * `Failure` includes.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type OwnFailure<E> = Exclude<E, ConnectError | ConnectionClosed>

/**
 * Returns whether the next attempt would meet the same failure, so that a
 * reconnecting client gives up. These failures are final:
 *
 * - a status other than 101 that blames the request: all but 408, 425, 429 and
 *   those from 500; the same status of a proxy
 * - an invalid response, a redirect that is not followed, an invalid option
 * - the peer's close frame with 1000 or without a code: the peer has finished
 *
 * All other ends of an open connection are not final, nor are DNS failures,
 * refused connections, TLS failures, timeouts, and the failures of the program's
 * own effects.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export const isFinal: (failure: Failure<unknown>) => boolean = failures.isFinal

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * The state of a reconnecting client. Attempts are counted from 1, and from 1 again
 * after a connection that stayed open for `resetAfter`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type State<E = never, C = Connection.Connection> =
  | { readonly _tag: "Connecting"; readonly attempt: number }
  | {
    readonly _tag: "Open"
    readonly connection: C
    /** The number of the connection, from 1. */
    readonly number: number
  }
  | {
    readonly _tag: "Waiting"
    readonly cause: Failure<E>
    /** The number of the next attempt. */
    readonly attempt: number
    /** The time until the next attempt: the delay of `schedule`, or that of a Retry-After if it is longer. */
    readonly delay: Duration.Duration
  }
  /** The page is hidden (`whileHidden`): the next attempt follows when it is visible. */
  | { readonly _tag: "Paused"; readonly cause: Failure<E> | undefined }
  /** There are no further attempts: the peer ended the connection normally, the Scope closed, or a failure was final. */
  | { readonly _tag: "Closed"; readonly exit: Exit.Exit<void, Failure<E>> }

/**
 * A logical connection that outlives the connections it is made of.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Reconnecting<E = never, C = Connection.Connection> {
  readonly state: SubscriptionRef.SubscriptionRef<State<E, C>>
  /**
   * The messages of all connections, one connection after the other. Ends when
   * the client has closed normally, and fails otherwise. If several fibers read,
   * each message goes to one of them, as with any connection; `Stream.broadcast`
   * gives every message to all.
   */
  readonly messages: Stream.Stream<Message.Message, Failure<E>>
  /**
   * Receives the next message. As with any connection, an interrupted `receive`
   * removes no message. Fails with `NotConnected` once the client is closed, and
   * the messages of all connections are read.
   */
  readonly receive: Effect.Effect<Message.Message, NotConnected<E>>
  /**
   * Like `receive`, with the message decoded in the step that removes it: see
   * `receiveWith` of a connection. `onInvalid` also gets the connection that the
   * message came from. If it fails that connection, reading goes on with the next.
   */
  readonly receiveWith: <A, E1, E2>(
    decode: (message: Message.Message) => Result.Result<A, E1>,
    onInvalid: (error: E1, connection: C) => Effect.Effect<never, E2>
  ) => Effect.Effect<A, NotConnected<E> | Exclude<E2, ConnectionClosed>>
  /** Like `messages`, with each message decoded as by `receiveWith`. */
  readonly messagesWith: <A, E1, E2>(
    decode: (message: Message.Message) => Result.Result<A, E1>,
    onInvalid: (error: E1, connection: C) => Effect.Effect<never, E2>
  ) => Stream.Stream<A, Failure<E> | Exclude<E2, ConnectionClosed>>
  /**
   * The second connection and all further ones, each when it is open: the signal
   * to catch up with what was missed. A run that begins late gets the open
   * connection first, unless it is the first one of all. Connections that are lost
   * before the run gets to them are left out.
   */
  readonly reconnected: Stream.Stream<C>
  /**
   * Sends a message over the open connection. `whileDisconnected` decides what
   * happens while the client is not connected. As with any connection, a message
   * that was handed to the network may be lost with it; no message is sent twice.
   */
  readonly send: (message: Message.Input, options?: SendOptions) => Effect.Effect<void, NotConnected<E>>
  /**
   * Sends several messages in one write, with no other message between them. If
   * the connection is lost while an extension encodes them, all are sent again.
   */
  readonly sendAll: (
    messages: ReadonlyArray<Message.Input>,
    options?: SendOptions
  ) => Effect.Effect<void, NotConnected<E>>
  /** Returns the open connection, for all its other operations. Suspends until there is one. */
  readonly connection: Effect.Effect<C, NotConnected<E>>
  /** Waits until the client is closed. Fails with the failure that closed it, unless the end was normal. */
  readonly closed: Effect.Effect<void, Failure<E>>
}

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * Options of `make`. `C` is the type of the connections, and `E` the errors of
 * connecting; the others are errors and services of `onOpen`, `schedule` and
 * `isFinal`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Options<
  C = Connection.Connection,
  E = never,
  E2 = never,
  R2 = never,
  E3 = never,
  R3 = never,
  E4 = never,
  R4 = never
> {
  /**
   * Runs on each new connection, before any other use of it: to authenticate, or
   * to subscribe again. No other fiber sends or reads meanwhile; to read a reply,
   * use `receive`. If it fails, the connection is closed, and the attempt counts
   * as failed. A Scope that it asks for is that of the connection. A wait for a
   * reply has no limit of its own, and the heartbeat has not begun: in a browser,
   * bound it with `Effect.timeout`.
   */
  readonly onOpen?: ((connection: NoInfer<C>) => Effect.Effect<unknown, E2, R2>) | undefined
  /**
   * The delay before each further attempt; its input is the failure. When the
   * schedule ends, the failure is final. Default: 0.5 seconds, then twice as long
   * each time up to 30 seconds, jittered, without end.
   */
  readonly schedule?: Schedule.Schedule<unknown, Failure<NoInfer<E | E2>>, E3, R3> | undefined
  /**
   * After a connection that stayed open for this long, the schedule restarts.
   * Changes of the system's clock do not count. Default 5 seconds. 0 or more, or
   * Infinity.
   */
  readonly resetAfter?: Duration.Input | undefined
  /**
   * The longest delay that a server can ask for. If it rejects the handshake with
   * a Retry-After (RFC 9110 §10.2.3), in seconds or as a date, the next attempt
   * waits that long if the schedule's delay is shorter. At random, up to a fifth
   * is added, because other clients got the same value. 0 ignores the header.
   * Default 5 minutes. 0 or more, or Infinity.
   */
  readonly maxRetryAfter?: Duration.Input | undefined
  /**
   * Returns whether a failure closes the client, or an effect that finds it out:
   * in a browser, where a failed handshake has no status, it can ask the server by
   * HTTP. Default: `isFinal`. Write it behind `onOpen`: TypeScript infers the
   * errors from the options in order.
   */
  readonly isFinal?:
    | ((failure: Failure<NoInfer<E | E2>>) => boolean | Effect.Effect<boolean, E4, R4>)
    | undefined
  /**
   * A budget for attempts that fail fast, for clients that cannot tell why: after
   * `max` of them in a row, the last failure is final. An attempt fails fast if it
   * ends with `ConnectFailed` within `within` (default 5 seconds). Attempts while
   * `Wake` says that there is no network do not count. Default: no limit. `max` is
   * 1 or more, `within` more than 0.
   */
  readonly fastFailures?: { readonly max: number; readonly within?: Duration.Input | undefined } | undefined
  /**
   * What `send` does while the client is not connected: "suspend" until there is
   * a connection; "fail" with `NotConnected`; or, with `{ buffer }`, keep messages
   * up to both limits, in order, for the next connection, and suspend beyond that.
   * Closing the client discards them. Default "suspend". By default, `bytes` is 1
   * MiB. Both are 0 or more.
   */
  readonly whileDisconnected?:
    | "suspend"
    | "fail"
    | { readonly buffer: { readonly messages: number; readonly bytes?: number | undefined } }
    | undefined
  /**
   * What happens while the page is hidden, as `Wake` tells it. "keep": nothing.
   * "pause": an open connection stays, but there are no attempts until the page is
   * visible. `{ closeAfter }`: after the page was hidden for that long, the
   * connection is closed with 1000, and there are no attempts until the page is
   * visible. Default "keep". `closeAfter` is 0 or more.
   */
  readonly whileHidden?: "keep" | "pause" | { readonly closeAfter: Duration.Input } | undefined
  /**
   * Finds dead connections by messages, where pings are not available. A signal of
   * `Wake` asks the peer at once. Its replies are not among `messages`, but `onOpen`
   * and the connection itself have them. Default none.
   */
  readonly heartbeat?: Heartbeat.Options | undefined
}

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Connects now, and again whenever the connection is lost, until its Scope
 * closes or a failure is final.
 *
 * `connect` runs for each attempt, with its number, in a Scope that closes with
 * the connection. `make` does not wait for the first connection, and does not
 * fail: failures are in `state`, in `closed`, and in the errors of sending and
 * receiving. An invalid option is such a failure (`InvalidOption`).
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
  R3 = never,
  E4 = never,
  R4 = never
>(
  connect: (attempt: number) => Effect.Effect<C, E, R>,
  options: Options<C, E, E2, R2, E3, R3, E4, R4> = {}
): Effect.Effect<Reconnecting<OwnFailure<E | E2 | E3 | E4>, C>, never, Scope.Scope | R | R2 | R3 | R4> =>
  Effect.flatMap(Wake, (wake) =>
    // Every `Failure` includes what `OwnFailure` leaves out. TypeScript does not see that, because `Exclude` is deferred.
    reconnect(connect, options, wake) as Effect.Effect<Reconnecting<any, C>, never, Scope.Scope | R | R2 | R3 | R4>)
