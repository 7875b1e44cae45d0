/**
 * An open WebSocket connection (RFC 6455 §5 to §7), of either role, over any
 * transport.
 *
 * Programs get one from `WebSocketServer` or `WebSocketClient`; `make` puts one
 * over a transport of the caller's. It lives in a Scope: when that closes, the
 * connection is closed with the closing handshake, within a deadline.
 *
 * **Example** (An echo)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Connection } from "effect-ws"
 *
 * const echo = Effect.gen(function*() {
 *   const connection = yield* Connection.Connection
 *   yield* Stream.runForEach(connection.messages, connection.send)
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type {
  CloseReasonTooLong,
  ConnectionClosed,
  ControlPayloadTooLong,
  InvalidFrame,
  InvalidMessage,
  MessageSkipped,
  SlowConsumer,
  TooManyPings,
  UnexpectedFragment
} from "./ConnectionError.ts"
import type * as Extension from "./Extension.ts"
import type * as Frame from "./Frame.ts"
import type * as Handshake from "./Handshake.ts"
import { broadcast as broadcastAll } from "./internal/connection/broadcast.ts"
import * as internal from "./internal/connection/connection.ts"
import * as decorations from "./internal/connection/decorate.ts"
import type * as Message from "./Message.ts"
import type { MessageConnection } from "./MessageConnection.ts"
import type { InvalidCloseCode } from "./ProtocolError.ts"
import { Transport } from "./Transport.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * What a connection has carried so far.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stats {
  /** Bytes that were read from the transport. */
  readonly bytesIn: number
  /** Bytes of frames that were handed to the transport. */
  readonly bytesOut: number
  readonly framesIn: number
  readonly framesOut: number
  readonly messagesIn: number
  readonly messagesOut: number
  /** Messages that broadcasts left out, because the peer read too slowly (`slowConsumer: "skip"`). */
  readonly messagesSkipped: number
  /** Bytes that were sent and have not left this process yet. */
  readonly bufferedAmount: number
  /** Bytes that were received and not taken yet, with an overhead of 64 a frame. */
  readonly unreadAmount: number
}

/**
 * A message that is read in fragments, as they come. Read them to the end
 * before asking the connection for anything else: what is left of the message
 * is skipped then, and the stream fails with `MessageSkipped`.
 *
 * @category models
 * @since 0.1.0
 */
export type Fragments =
  | { readonly _tag: "Text"; readonly fragments: Stream.Stream<string, ConnectionClosed | MessageSkipped> }
  | { readonly _tag: "Binary"; readonly fragments: Stream.Stream<Uint8Array, ConnectionClosed | MessageSkipped> }

/**
 * An open connection.
 *
 * Any of its effects can be interrupted at any point. An interrupted `receive`
 * has taken nothing; an interrupted `send` that was still waiting has sent
 * nothing; no frame is ever left half written, and the connection stays usable.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connection extends MessageConnection {
  /** Which end this is. */
  readonly role: Frame.Role
  /** The request of the opening handshake. */
  readonly request: Handshake.Request
  /** The headers of the response to it. */
  readonly responseHeaders: Handshake.Headers
  /** The same as on the wire: repeated headers, such as Set-Cookie, stand apart. */
  readonly rawResponseHeaders: Handshake.RawHeaders
  /** The subprotocol that was agreed on, if one was. */
  readonly subprotocol: string | undefined
  /** The extensions that were agreed on, in the order in which they encode. */
  readonly extensions: ReadonlyArray<Extension.HeaderEntry>

  /**
   * The next message. When there is none and will be none, fails with how the
   * connection ended, be it normally. Several fibers may wait; each gets
   * messages of its own.
   */
  readonly receive: Effect.Effect<Message.Message, ConnectionClosed>
  /**
   * The messages. Ends when the connection ends normally (1000, 1001 or no
   * code), and fails otherwise.
   *
   * A run takes messages in batches, all that have come since the last one:
   * `Stream.runForEachArray` gives them to you as they are. As with any Stream,
   * what a run has taken is gone with it when it ends early, by `Stream.take`
   * or an interruption. To take some messages and leave the rest, use `receive`.
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
   * import type { Connection } from "effect-ws"
   *
   * const receiveNumber = (connection: Connection.Connection) =>
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
   * The next message as a stream, which begins before the whole message has arrived. An element is a fragment, or a
   * piece of a fragment: frames above 64 KiB are divided into pieces of that size, so a message of any size takes little
   * memory. (Frames stay whole if an extension needs them whole.) The limits on messages apply.
   */
  readonly receiveFragments: Effect.Effect<Fragments, ConnectionClosed>
  /**
   * The data frames, as they were fragmented and as the extensions decode them,
   * and those control frames that are left to the
   * program: pings with `autoPong: false`, the close frame with `autoClose:
   * false`. Frames and messages come from the same queue; what one takes the
   * other does not see.
   */
  readonly frames: Stream.Stream<Frame.Frame, ConnectionClosed>
  /**
   * Drops all data from now on, and returns how the connection ended, once that
   * is known. For a program that only sends: with `closed` instead, what the
   * peer sends fills the inbox, and behind it neither pongs nor the close frame
   * are seen. Other fibers that read receive nothing more. Interrupting it does
   * not take it back.
   *
   * **Example** (A handler that only sends)
   *
   * ```ts
   * import { Effect } from "effect"
   * import { Connection } from "effect-ws"
   *
   * const push = Effect.gen(function*() {
   *   const connection = yield* Connection.Connection
   *   yield* connection.send("snapshot")
   *   yield* connection.discard
   * })
   * ```
   */
  readonly discard: Effect.Effect<ConnectionClosed>

  /**
   * Suspends while the transport is above its high-water mark. For a program
   * that chooses what to send only when it can be sent. Fails when nothing can
   * be sent any more.
   *
   * **Example** (The newest price, and not all of them)
   *
   * ```ts
   * import { Effect, SubscriptionRef } from "effect"
   * import type { Connection } from "effect-ws"
   *
   * const conflate = (connection: Connection.Connection, price: SubscriptionRef.SubscriptionRef<number>) =>
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
   * transport is above its high-water mark; succeeds once the whole message is
   * queued. Bytes must not be changed until they have left; a buffer that is
   * transferred or resized after `send` does not cut the frame.
   *
   * A value of another type, or bytes whose buffer is detached, fails with
   * `InvalidInput`, and nothing is sent. This holds for all that sends.
   *
   * If the peer closes while a `send` waits, the reply to its close frame goes
   * behind what that `send` sends.
   */
  readonly send: (
    message: Message.Input,
    options?: Extension.SendOptions
  ) => Effect.Effect<void, ConnectionClosed>
  /** Sends many messages in one write, none between them. */
  readonly sendAll: (
    messages: ReadonlyArray<Message.Input>,
    options?: Extension.SendOptions
  ) => Effect.Effect<void, ConnectionClosed>
  /**
   * Sends a stream as one message, each of its elements a fragment that leaves
   * when it comes: text when the first is a string, binary when it is bytes. An
   * empty stream sends nothing. Other messages wait for the end of this one.
   *
   * The stream is pulled once before an element is sent. If it ends at once, the
   * element is the last frame; if it ends later, an empty frame ends the message.
   *
   * The protocol cannot take back fragments that were sent. When the stream
   * fails or is interrupted after its first element, the connection is closed
   * with 1011 and the cause `MessageAborted`.
   */
  readonly sendFragments: <E, R>(
    fragments: Stream.Stream<string, E, R> | Stream.Stream<Uint8Array, E, R>,
    options?: Extension.SendOptions
  ) => Effect.Effect<void, E | ConnectionClosed | UnexpectedFragment, R>
  /**
   * Sends a frame, in the form that `frames` gives: data frames pass through the
   * extensions, and are compressed as messages are. A frame with `fin: false`
   * begins a message: others wait until its last frame is sent. A close frame
   * begins the closing handshake, and nothing follows it.
   *
   * Fails with the rule that a frame breaks, and sends nothing: reserved bits,
   * control frames that are fragmented or too long, close codes that must not be
   * sent (RFC 6455 §5.2, §5.5, §7.4), continuations without a beginning. Text is
   * not checked for UTF-8.
   */
  readonly sendFrame: (
    frame: Frame.Frame,
    options?: Extension.SendOptions
  ) => Effect.Effect<
    void,
    ConnectionClosed | ControlPayloadTooLong | InvalidCloseCode | InvalidFrame | UnexpectedFragment
  >
  /**
   * Sends a ping, waits for the pong, and answers how long that took. The
   * payload, at most 125 bytes, is made up where it is not given. Fails with
   * `TooManyPings`, and sends nothing, where `maxUnansweredPings` others wait.
   */
  readonly ping: {
    (): Effect.Effect<Duration.Duration, ConnectionClosed | TooManyPings>
    (
      payload: string | Uint8Array
    ): Effect.Effect<Duration.Duration, ConnectionClosed | ControlPayloadTooLong | TooManyPings>
  }

  /**
   * Closes the connection (RFC 6455 §7): sends a close frame, waits for the
   * peer's and for the end of the transport, at most `closeTimeout`, and
   * answers how the connection ended. The code defaults to 1000; a reason takes
   * at most 123 bytes. Once begun, closing goes on even if this is interrupted.
   */
  readonly close: (
    code?: number,
    reason?: string
  ) => Effect.Effect<ConnectionClosed, InvalidCloseCode | CloseReasonTooLong>
  /**
   * Fails the connection (RFC 6455 §7.1.7): sends a close frame with the code of
   * the cause, waits for no reply, and returns how the connection ended. An
   * `InvalidMessage` also drops what is unread.
   */
  readonly fail: (cause: InvalidMessage | SlowConsumer) => Effect.Effect<ConnectionClosed>
  /**
   * Waits until it is known how the connection ended, and answers it: when both
   * ends have sent a close frame, or when it was cut off. It reads nothing: a
   * program that only waits for this uses `discard`. A handler's own finalizers
   * run before its connection is closed, and must not wait for this.
   */
  readonly closed: Effect.Effect<ConnectionClosed>

  /** What the connection has carried so far. */
  readonly stats: Effect.Effect<Stats>
}

/**
 * Service tag of `Connection`.
 *
 * @category services
 * @since 0.1.0
 */
export const Connection: Context.Service<Connection, Connection> = Context.Service<Connection>("effect-ws/Connection")

/**
 * Whether a value has all members of a connection. It need not be one that this
 * package has made.
 *
 * @category guards
 * @since 0.1.0
 */
export const isConnection: (value: unknown) => value is Connection = decorations.isConnection

/**
 * Returns a connection with the members of another one, except those that are
 * given. Members are independent: `sendAll` and `messages`, for example, do not
 * use an overridden `send` or `receive`. A broadcast calls `sendAll` of a
 * connection whose `send` or `sendAll` is overridden. A spread, `{ ...connection,
 * send }`, copies only connections that were made by `decorate`.
 *
 * **Example** (A connection that logs what it sends)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Connection } from "effect-ws"
 *
 * const logged = (connection: Connection.Connection) =>
 *   Connection.decorate(connection, {
 *     send: (message, options) => Effect.andThen(Effect.logDebug("send"), connection.send(message, options))
 *   })
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const decorate: (connection: Connection, overrides: Partial<Connection>) => Connection = decorations.decorate

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * How a connection behaves. All options have defaults that are safe.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * The most bytes that a message may hold, over all its fragments, once it is
   * decoded. Default 16 MiB. On the wire, a compressed message may take twice as
   * many and 1 KiB, because what does not compress becomes larger. A message
   * that is received whole holds at most what V8 can: text 512 MiB, binary 4 GiB.
   * 0 or more, or Infinity.
   */
  readonly maxMessageSize?: number | undefined
  /** The most fragments that a message may come in. Default 131,072. 1 or more, or Infinity. */
  readonly maxFragments?: number | undefined
  /** How many bytes may be unread before the peer is held back. Default 64 KiB. 1 or more, or Infinity. */
  readonly inboundHighWaterMark?: number | undefined
  /**
   * How many `ping` calls may wait for their pongs, so that a program that pings
   * does not grow with a peer that never answers. Default 100. The pings of the
   * keepalive are not among them, of which there is one at a time.
   * 0 or more, or Infinity.
   */
  readonly maxUnansweredPings?: number | undefined
  /**
   * How long the closing handshake may take, the end of the transport included.
   * A client that a server rejects has as long to read the response and to end its
   * side, counted anew whenever a part of the response has left. Default 10 seconds.
   * 0 or more, or Infinity.
   */
  readonly closeTimeout?: Duration.Input | undefined
  /**
   * Pings that find out whether the peer is still there: one each `interval`,
   * the first somewhat earlier, not with those of all other connections. The
   * connection is closed when nothing at all has come `timeout` after one, or up
   * to a quarter later. A ping that stands behind bytes which the peer may not
   * have read yet has a second more for each 8 KiB of them, at most 35 minutes:
   * a peer that reads steadily, 8 KiB a second or more, is never closed on. Time
   * in which this process was blocked, or reads nothing itself, does not count
   * against the peer. Default 20 seconds each. More than 0, or
   * Infinity; `false` sends none.
   */
  readonly keepalive?: false | {
    readonly interval?: Duration.Input | undefined
    readonly timeout?: Duration.Input | undefined
  } | undefined
  /**
   * How long the peer may take nothing while data waits for it, before it is
   * cut off with the cause `WriteTimeout`. Up to a quarter more, because it is
   * only looked at now and then. Default 30 seconds. More than 0, or Infinity.
   */
  readonly writeTimeout?: Duration.Input | undefined
  /**
   * What happens to a slow consumer, a peer that reads more slowly than it is
   * sent to. "wait": each `send` waits for room; with
   * `Effect.timeoutOption(connection.send(message), "1 second")` no longer than
   * you like, and nothing was sent if it is given up. "close": the connection is
   * closed with 1008 and the cause `SlowConsumer` when a `send` has waited and
   * there was no room for `slowConsumerTimeout`. Default "wait".
   */
  readonly slowConsumer?: "wait" | "close" | undefined
  /**
   * How long the peer may take to make room for a `send` that waits, with
   * `slowConsumer: "close"`; up to a quarter more. In contrast to `writeTimeout`,
   * bytes may leave meanwhile: there is room when all that was sent before has
   * left. Default 10 seconds. More than 0, or Infinity.
   */
  readonly slowConsumerTimeout?: Duration.Input | undefined
  /**
   * How long the connection may carry no message, in either direction, before it
   * is closed with 1001 and the cause `IdleTimeout`; up to a quarter more.
   * Pings and pongs do not count. Default: for ever, as long as the keepalive is
   * content. More than 0, or Infinity.
   */
  readonly idleTimeout?: Duration.Input | undefined
  /** Whether pings are answered with pongs. When not, they are among the `frames`. Default true. */
  readonly autoPong?: boolean | undefined
  /**
   * Whether a close frame is answered with one. If not, the close frame is the
   * last of the `frames`, which end behind it, and the program calls `close`
   * within `closeTimeout`. Default true.
   */
  readonly autoClose?: boolean | undefined
  /** Whether what is sent in one turn of the event loop leaves in one write. Default true. */
  readonly coalesceWrites?: boolean | undefined
}

/**
 * What was agreed on in the opening handshake.
 *
 * @category options
 * @since 0.1.0
 */
export interface HandshakeInfo {
  readonly request: Handshake.Request
  readonly responseHeaders: Handshake.Headers
  readonly rawResponseHeaders: Handshake.RawHeaders
  readonly subprotocol: string | undefined
}

/**
 * Options of `make`.
 *
 * @category options
 * @since 0.1.0
 */
export interface MakeOptions extends Options {
  /** Which end of the connection this is. */
  readonly role: Frame.Role
  /** What was agreed on in the opening handshake, if there was one. */
  readonly handshake?: HandshakeInfo | undefined
  /** The extensions that were agreed on, to be put to work. Default none. */
  readonly negotiated?: ReadonlyArray<Extension.Negotiated> | undefined
}

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Puts a connection over a transport on which the opening handshake is over, or
 * was never needed. Closing the Scope closes the connection: with 1000 after a
 * success, 1001 after an interruption, 1011 after a failure. Options with values
 * that cannot be are a defect, `InvalidOption`.
 *
 * **Example** (Two connections, no network)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Connection, Message, Transport } from "effect-ws"
 *
 * const program = Effect.gen(function*() {
 *   const [left, right] = yield* Transport.makePair()
 *   const client = yield* Connection.make(left, { role: "client" })
 *   const server = yield* Connection.make(right, { role: "server" })
 *   yield* client.send("hello")
 *   const message = yield* server.receive
 *   return Message.toText(message)
 * }).pipe(Effect.scoped)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: (
  transport: Transport,
  options: MakeOptions
) => Effect.Effect<Connection, never, Scope.Scope> = (transport, options) =>
  Effect.orDie(internal.makeScoped(transport, options))

/**
 * Options of `broadcast`.
 *
 * @category options
 * @since 0.1.0
 */
export interface BroadcastOptions extends Extension.SendOptions {
  /**
   * What happens to slow consumers, whose peers read more slowly than they are
   * sent to. "wait" waits for them, and so for the slowest. "skip" and "close"
   * do not: a connection that has no room takes up to `maxBufferedAmount` more.
   * Beyond it, "skip" leaves it out this time, which `stats` counts, and "close"
   * closes it with 1008 and the cause `SlowConsumer`. Default "wait".
   */
  readonly slowConsumer?: "wait" | "skip" | "close" | undefined
  /**
   * With "skip" and "close": how many bytes of broadcasts may wait for a peer,
   * behind what was sent to it before. What is sent within one turn of the event
   * loop is taken in any case. Default 1 MiB. 0 or more, or Infinity.
   */
  readonly maxBufferedAmount?: number | undefined
}

/**
 * Sends one message, or several, to many connections. What a server sends
 * without extensions is encoded once for all of them. Connections that have
 * ended, or end meanwhile, are passed over. A connection in the middle of a
 * message in fragments, or one that an extension encodes, is waited for. What is
 * encoded for each connection is spread over turns of the event loop; each
 * connection sends it before what it is given later.
 *
 * A connection of another implementation, or one with an overridden `send` or
 * `sendAll` (`decorate`), is sent to with `sendAll`, which is waited for. It is a
 * slow consumer if the `bufferedAmount` of its `stats` is above `maxBufferedAmount`.
 *
 * **Example** (To everybody else)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Connection } from "effect-ws"
 *
 * const room = new Set<Connection.Connection>()
 *
 * const chat = Effect.gen(function*() {
 *   const self = yield* Connection.Connection
 *   yield* Effect.acquireRelease(Effect.sync(() => room.add(self)), () => Effect.sync(() => room.delete(self)))
 *   yield* Stream.runForEachArray(self.messages, (messages) =>
 *     Connection.broadcast([...room].filter((other) => other !== self), messages, { slowConsumer: "skip" }))
 * })
 * ```
 *
 * @category sending
 * @since 0.1.0
 */
export const broadcast = (
  connections: Iterable<Connection>,
  messages: Message.Input | ReadonlyArray<Message.Input>,
  options?: BroadcastOptions
): Effect.Effect<void> => broadcastAll(connections, Array.isArray(messages) ? messages : [messages], options)

/**
 * Provides a connection over the transport in the context.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: MakeOptions): Layer.Layer<Connection, never, Transport> =>
  Layer.effect(Connection)(Effect.flatMap(Transport, (transport) => make(transport, options)))
