/**
 * Resumes a feed of numbered messages over the connections of a reconnecting client: each message is handled once, whatever
 * happens to the connections.
 *
 * A program that subscribes again has two problems. Messages of the lost connection may still be unread, and the server
 * replays messages that were handled before. A `Resume` knows the position of the last message that was handled: `onOpen`
 * asks the server for those behind it, and `runForEach` drops what was handled already.
 *
 * **Example** (A feed without gaps and repetitions)
 *
 * ```ts
 * import { Effect, Option, Schema } from "effect"
 * import { Resume, TypedConnection, WebSocketClient } from "effect-ws"
 *
 * const Tick = Schema.Struct({ n: Schema.Int, price: Schema.Finite })
 * const Since = Schema.Struct({ since: Schema.Int })
 *
 * const program = Effect.gen(function*() {
 *   const resume = Resume.make({ position: (tick: typeof Tick.Type) => Option.some(tick.n) })
 *   const protocol = { receives: Tick, sends: Since }
 *   const feed = yield* WebSocketClient.reconnecting("wss://example.com/feed", {
 *     onOpen: resume.onOpen((connection, position) =>
 *       TypedConnection.make(connection, protocol).send({ since: Option.getOrElse(position, () => 0) })
 *     )
 *   }).pipe(Effect.map(TypedConnection.makeReconnecting(protocol)))
 *   yield* resume.runForEach(feed, ({ price }) => Effect.log(price))
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { NotConnected } from "./ConnectionError.ts"
import { Resumption } from "./internal/reconnecting/resumption.ts"

/**
 * Options of `make`. `A` is the type of the messages, and `P` that of their positions.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Options<in A, in out P> {
  /**
   * Returns the position of a message: a number that the server has given it, a time, an id that grows. Messages without a
   * position are handled in the order of their arrival, and are not replayed: they can be lost with their connection.
   */
  readonly position: (message: A) => Option.Option<P>
  /**
   * Returns whether a position is behind that of the last message that was handled. Default: whether it is greater (`>`). If
   * the server can start its positions anew, let them include an epoch, and return true for another epoch.
   */
  readonly isAfter?: ((position: P, handled: P) => boolean) | undefined
  /** The position of the last message that was handled before, such as by an earlier process. Default none. */
  readonly initial?: P | undefined
}

/**
 * What messages are read from: a `Reconnecting`, or a `TypedReconnecting`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Source<out A, out E, out E2> {
  readonly receive: Effect.Effect<A, E>
  readonly closed: Effect.Effect<void, E2>
}

/**
 * The progress of a program through a feed.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Resume<in A, in out P> {
  /** The position of the last message that was handled. */
  readonly position: Effect.Effect<Option.Option<P>>
  /**
   * Makes an `onOpen`: runs a function with each new connection and the position that the server has to go on from. The
   * server must send the messages behind it, in the order of their positions, before any others.
   */
  readonly onOpen: <C, E, R>(
    subscribe: (connection: C, position: Option.Option<P>) => Effect.Effect<unknown, E, R>
  ) => (connection: C) => Effect.Effect<unknown, E, R>
  /**
   * Handles one message after the other, each one once, until the source is closed. Then it ends as `closed` of the source
   * does.
   *
   * A message is handled when `handle` has succeeded. If `handle` fails, so does the run, and the next run begins with the
   * same message. `handle` is not interruptible, because a handler that was interrupted may have done half of its work: the
   * interruption of a run waits for it. Parts that wait for long can be made interruptible with `Effect.interruptible`; if
   * the interruption ends `handle` there, the message is not handled, and the next run begins with it.
   *
   * If several fibers run it, each message goes to one of them, and they take turns.
   */
  readonly runForEach: <B extends A, E1, E2, E, R>(
    source: Source<B, E1, E2>,
    handle: (message: B) => Effect.Effect<unknown, E, R>
  ) => Effect.Effect<void, Exclude<E1, NotConnected<any>> | E2 | E, R>
}

/**
 * Makes a `Resume`, which belongs to one feed.
 *
 * No message with a position is lost or handled twice while the process runs, also if connections are lost during a replay. To go on in
 * another process, store the position together with what `handle` does, and give it as `initial`.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, P>(options: Options<A, P>): Resume<A, P> => new Resumption(options)
