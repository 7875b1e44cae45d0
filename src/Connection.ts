/**
 * An open WebSocket connection (RFC 6455 §5 to §7), of either role, over any
 * transport.
 *
 * Programs get a connection from `WebSocketServer` or `WebSocketClient`, or make
 * one over a transport of their own with `make`. A connection lives in a Scope:
 * when the Scope closes, the connection is closed with the closing handshake,
 * within `closeTimeout`.
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
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type {
  CloseReasonTooLong,
  ConnectionClosed,
  ControlPayloadTooLong,
  InvalidFrame,
  InvalidMessage,
  KeepaliveTimeout,
  MessageSkipped,
  SlowConsumer,
  TooManyPings,
  UnexpectedFragment
} from "./ConnectionError.ts"
import type * as Extension from "./Extension.ts"
import type * as Frame from "./Frame.ts"
import type * as Handshake from "./Handshake.ts"
import type { InvalidOption } from "./HandshakeError.ts"
import { broadcast as broadcastAll } from "./internal/connection/broadcast.ts"
import * as internal from "./internal/connection/connection.ts"
import * as decorations from "./internal/connection/decorate.ts"
import type * as Message from "./Message.ts"
import { relay as relayBoth } from "./internal/connection/relay.ts"
import type { MessageConnection } from "./MessageConnection.ts"
import type { InvalidCloseCode } from "./ProtocolError.ts"
import { Transport } from "./Transport.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * The counters of a connection.
 *
 * @stability unstable
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
  /** Messages that broadcasts left out because the peer reads too slowly (`slowConsumer: "skip"`). */
  readonly messagesSkipped: number
  /** Bytes that were sent and have not left this process. */
  readonly bufferedAmount: number
  /** Bytes that were received and not read, with an overhead of 64 for each frame. */
  readonly unreadAmount: number
}

/**
 * A message that is read in fragments, as they arrive.
 *
 * Read all fragments before you receive anything else. Otherwise the rest of
 * the message is skipped, and the stream fails with `MessageSkipped`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type Fragments =
  | { readonly _tag: "Text"; readonly fragments: Stream.Stream<string, ConnectionClosed | MessageSkipped> }
  | { readonly _tag: "Binary"; readonly fragments: Stream.Stream<Uint8Array, ConnectionClosed | MessageSkipped> }

/**
 * An open connection.
 *
 * Its effects can be interrupted at any point. An interrupted `receive` removes
 * no message. An interrupted `send` that was still waiting has sent nothing.
 * Frames are never left incomplete, and the connection stays usable.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Connection extends MessageConnection {
  /** The role of this end. */
  readonly role: Frame.Role
  /**
   * The request of the opening handshake. A connection that was made without
   * one has the request of `noHandshake`.
   */
  readonly request: Handshake.Request
  /** The headers of the response to the request. */
  readonly responseHeaders: Handshake.Headers
  /** The headers as they were sent: repeated ones, such as Set-Cookie, are separate. */
  readonly rawResponseHeaders: Handshake.RawHeaders
  /** The negotiated extensions, in the order in which they encode. */
  readonly extensions: ReadonlyArray<Extension.HeaderEntry>

  /**
   * The next message as a stream, which begins before the whole message has arrived. An element is a fragment, or a
   * piece of a fragment: frames above 64 KiB are divided into pieces of that size, so a message of any size takes little
   * memory. (Frames stay whole if an extension needs them whole.) The limits on messages apply.
   */
  readonly receiveFragments: Effect.Effect<Fragments, ConnectionClosed>
  /**
   * The data frames, as the peer has fragmented them and the extensions decode
   * them, and the control frames that the options leave to the program: pings
   * with `autoPong: false`, the close frame with `autoClose: false`.
   *
   * Frames and messages come from one queue: a frame that one stream reads is
   * missing from the other.
   */
  readonly frames: Stream.Stream<Frame.Frame, ConnectionClosed>
  /**
   * Drops all data from now on, and returns how the connection ended.
   * Interrupting it does not undo that.
   *
   * Use it in programs that only send. If they wait for `closed` instead,
   * unread data fills the receive queue, and the pongs and the close frame
   * behind that data are not read. Other fibers that read receive nothing more.
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
   * Sends a message: a string as text, bytes as binary. Suspends while the
   * transport is above its high-water mark, and succeeds once the message is
   * queued. Do not modify the bytes until they have left. A buffer that is
   * transferred or resized after `send` has returned never leaves half a frame;
   * above 8 KiB, its bytes are only certain once they have left.
   *
   * Fails with `InvalidInput`, and sends nothing, if the value is of another
   * type or its buffer is detached. This applies to all functions that send.
   *
   * If the peer closes while a `send` waits, the message is sent before the
   * reply to the close frame.
   */
  readonly send: (
    message: Message.Input,
    options?: Extension.SendOptions
  ) => Effect.Effect<void, ConnectionClosed>
  /** Sends messages in one write, without other messages between them. */
  readonly sendAll: (
    messages: ReadonlyArray<Message.Input>,
    options?: Extension.SendOptions
  ) => Effect.Effect<void, ConnectionClosed>
  /**
   * Sends a stream as one message. Each element is a fragment and is sent when
   * it arrives: as text if the first element is a string, as binary if it is
   * bytes. An empty stream sends nothing. Other messages wait for the end of
   * this one.
   *
   * The stream is pulled again before an element is sent. If the stream ends at
   * once, the element is the last frame; if it ends later, an empty frame ends
   * the message.
   *
   * Fragments cannot be taken back. If the stream fails or is interrupted after
   * its first element, the connection is closed with 1011 and the cause
   * `MessageAborted`.
   */
  readonly sendFragments: <E, R>(
    fragments: Stream.Stream<string, E, R> | Stream.Stream<Uint8Array, E, R>,
    options?: Extension.SendOptions
  ) => Effect.Effect<void, E | ConnectionClosed | UnexpectedFragment, R>
  /**
   * Sends a frame in the form that `frames` has. Data frames pass through the
   * extensions, which compress them like messages. A frame with `fin: false`
   * begins a message, and other messages wait for its last frame. A close frame
   * begins the closing handshake, and nothing follows it.
   *
   * Fails, and sends nothing, if the frame breaks a rule: reserved bits, a
   * control frame that is fragmented or too long, a close code that must not be
   * sent (RFC 6455 §5.2, §5.5, §7.4), a continuation outside a message. Text is
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
   * Sends a ping, waits for the pong, and returns the round-trip time. The
   * payload takes at most 125 bytes; by default it is unique in the connection.
   * Fails with `TooManyPings`, and sends nothing, if `maxUnansweredPings`
   * others wait.
   */
  readonly ping: {
    (): Effect.Effect<Duration.Duration, ConnectionClosed | TooManyPings>
    (
      payload: string | Uint8Array
    ): Effect.Effect<Duration.Duration, ConnectionClosed | ControlPayloadTooLong | TooManyPings>
  }

  /**
   * Closes the connection (RFC 6455 §7), and returns how it ended: sends a
   * close frame, and waits at most `closeTimeout` for the peer's and for the
   * end of the transport. The code defaults to 1000. A reason takes at most 123
   * bytes. The code 1005 without a reason sends an empty close frame. Interrupting it does not stop closing.
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
  readonly fail: (cause: InvalidMessage | SlowConsumer | KeepaliveTimeout) => Effect.Effect<ConnectionClosed>
  /**
   * Ends the connection without a close frame, and returns how it ended: the peer sees 1006, and `cause` is `Terminated`.
   * What has not left this process is lost. Unread messages can still be received. If the connection has ended before,
   * only its transport is destroyed. Interrupting it does not undo it, and terminating twice has no further effect.
   *
   * **Example** (A peer that does not finish the closing handshake)
   *
   * ```ts
   * import { Effect } from "effect"
   * import type { Connection } from "effect-ws"
   *
   * const closeWithin = (connection: Connection.Connection) =>
   *   connection.close(1000).pipe(
   *     Effect.timeoutOrElse({ duration: "1 second", orElse: () => connection.terminate })
   *   )
   * ```
   */
  readonly terminate: Effect.Effect<ConnectionClosed>
  /**
   * Waits until the connection has ended, and returns how. It has ended when
   * both ends have sent a close frame, or when it was cut off.
   *
   * It reads nothing: to wait for the end without reading, use `discard`. A
   * connection is closed after the finalizers of its handler, which therefore
   * must not wait for this.
   */
  readonly closed: Effect.Effect<ConnectionClosed>

  /** The counters at this moment. */
  readonly stats: Effect.Effect<Stats>
}

/**
 * Service tag of `Connection`.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export const Connection: Context.Service<Connection, Connection> = Context.Service<Connection>("effect-ws/Connection")

/**
 * Whether a value has all members of a connection. Connections of other
 * implementations count.
 *
 * @stability unstable
 * @category guards
 * @since 0.1.0
 */
export const isConnection: (value: unknown) => value is Connection = decorations.isConnection

/**
 * Returns a connection with the members of another one, except those that are
 * given.
 *
 * Members are independent: `sendAll` and `messages`, for example, do not use an
 * overridden `send` or `receive`. A broadcast calls `sendAll` if `send` or
 * `sendAll` is overridden. A spread, `{ ...connection, send }`, copies only
 * connections made by `decorate`.
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
 * @stability unstable
 * @category combinators
 * @since 0.1.0
 */
export const decorate: (connection: Connection, overrides: Partial<Connection>) => Connection = decorations.decorate

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * The behaviour of a connection.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * The maximum size of a message in bytes, over all its fragments, after
   * decoding. On the wire, a compressed message may take twice as many and 1
   * KiB, because incompressible data grows. Messages that are received whole
   * are also bounded by V8: text 512 MiB, binary 4 GiB. Default 16 MiB. 0 or
   * more, or Infinity.
   */
  readonly maxMessageSize?: number | undefined
  /** The maximum number of fragments in a message. Default 131,072. 1 or more, or Infinity. */
  readonly maxFragments?: number | undefined
  /**
   * The number of unread bytes above which the transport is paused, which holds
   * back the peer. Default 64 KiB. 1 or more, or Infinity.
   */
  readonly inboundHighWaterMark?: number | undefined
  /**
   * The maximum number of `ping` calls that wait, which bounds memory if the
   * peer never replies. The keepalive, which has one ping at a time, does not
   * count. Default 100. 0 or more, or Infinity.
   */
  readonly maxUnansweredPings?: number | undefined
  /**
   * The timeout of the closing handshake, including the end of the transport.
   * It also limits the time in which a rejected client reads the response and
   * ends its side; there it restarts whenever a part of the response has left.
   * Default 10 seconds. 0 or more, or Infinity.
   */
  readonly closeTimeout?: Duration.Input | undefined
  /**
   * Pings that find dead peers. `false` sends none.
   *
   * A ping is sent each `interval`, the first one earlier, so that connections
   * do not ping together. The connection is closed if the peer sends nothing
   * within `timeout` after a ping, or up to a quarter longer. If bytes before
   * the ping may be unread, the timeout grows by a second for each 8 KiB of
   * them, at most by 35 minutes: a peer that reads 8 KiB per second or more is
   * not closed. Time in which the event loop is blocked, or this end does not
   * read, does not count. Default 20 seconds each. More than 0, or Infinity.
   */
  readonly keepalive?: false | {
    readonly interval?: Duration.Input | undefined
    readonly timeout?: Duration.Input | undefined
  } | undefined
  /**
   * How long the peer may accept no data while data is queued. After that, or
   * up to a quarter later, the connection is cut off with the cause
   * `WriteTimeout`. Default 30 seconds. More than 0, or Infinity.
   */
  readonly writeTimeout?: Duration.Input | undefined
  /**
   * What to do when `send` would block because the peer reads too slowly.
   * "wait": `send` suspends. To bound it, use
   * `Effect.timeoutOption(connection.send(message), "1 second")`, which sends
   * nothing after that time. "close": the connection is closed with 1008 and
   * the cause `SlowConsumer` when a `send` has waited for
   * `slowConsumerTimeout`. Default "wait".
   */
  readonly slowConsumer?: "wait" | "close" | undefined
  /**
   * With `slowConsumer: "close"`, how long a `send` may wait until the
   * transport drains; up to a quarter longer. In contrast to `writeTimeout`,
   * the time also runs while the peer accepts some data: the transport has
   * drained when all queued data has left. Default 10 seconds. More than 0, or
   * Infinity.
   */
  readonly slowConsumerTimeout?: Duration.Input | undefined
  /**
   * How long the connection may be without messages in either direction. After
   * that, or up to a quarter later, it is closed with 1001 and the cause
   * `IdleTimeout`. Pings and pongs do not count. Disabled by default; the
   * keepalive detects dead peers. More than 0, or Infinity.
   */
  readonly idleTimeout?: Duration.Input | undefined
  /** Whether to send a pong for each ping. If false, pings are among the `frames`. Default true. */
  readonly autoPong?: boolean | undefined
  /**
   * Whether to reply to the peer's close frame. If false, the close frame is
   * the last one of the `frames`, and the program calls `close` within
   * `closeTimeout`. Default true.
   */
  readonly autoClose?: boolean | undefined
  /** Whether messages that are sent in one turn of the event loop leave in one write. Default true. */
  readonly coalesceWrites?: boolean | undefined
}

/**
 * The request and the response of the opening handshake.
 *
 * @stability unstable
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
 * The handshake of a connection that was made without one: an empty request, with
 * the path "/" and without host and key, and an empty response.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export const noHandshake: HandshakeInfo = internal.noHandshake

/**
 * Options of `make`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface MakeOptions extends Options {
  /** The role of this end. */
  readonly role: Frame.Role
  /** The opening handshake. Default `noHandshake`. */
  readonly handshake?: HandshakeInfo | undefined
  /** The negotiated extensions. Default none. */
  readonly negotiated?: ReadonlyArray<Extension.Negotiated> | undefined
}

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Makes a connection over a transport that has completed the opening handshake,
 * or needs none.
 *
 * Closing the Scope closes the connection: with 1000 after a success, 1001
 * after an interruption, 1011 after a failure. Fails with `InvalidOption` if an
 * option is invalid.
 *
 * **Example** (Two connections without a network)
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
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make: (
  transport: Transport,
  options: MakeOptions
) => Effect.Effect<Connection, InvalidOption, Scope.Scope> = (transport, options) =>
  internal.makeScoped(transport, options)

/**
 * Options of `broadcast`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface BroadcastOptions extends Extension.SendOptions {
  /**
   * What to do for peers that read too slowly. "wait" waits for them, and so
   * for the slowest. "skip" and "close" do not wait: above its high-water mark,
   * a connection buffers up to `maxBufferedAmount` more. Above that, "skip"
   * leaves out the connection for this broadcast, and counts it in `stats`;
   * "close" closes it with 1008 and the cause `SlowConsumer`. Default "wait".
   */
  readonly slowConsumer?: "wait" | "skip" | "close" | undefined
  /**
   * With "skip" and "close": how many bytes of broadcasts a connection may
   * buffer above its high-water mark. Bytes of the current turn of the event
   * loop do not count. Default 1 MiB. 0 or more, or Infinity.
   */
  readonly maxBufferedAmount?: number | undefined
}

/**
 * Sends one message, or several, to many connections.
 *
 * Messages are encoded once for all connections of servers that encode alike:
 * those without extensions, and those that compress with the same window, each
 * message without reference to earlier ones. For other connections, encoding is
 * spread over turns of the event loop, and each connection sends them before
 * later messages. The broadcast waits for
 * connections that are sending a message in fragments, and for extensions. It
 * ignores connections that have ended, or end meanwhile. An invalid option is a
 * defect, `InvalidOption`.
 *
 * To a connection of another implementation, or one with an overridden `send`
 * or `sendAll` (`decorate`), it sends with `sendAll`, and waits for that. Such
 * a connection is a slow consumer if the `bufferedAmount` of its `stats` is
 * above `maxBufferedAmount`.
 *
 * **Example** (Send to the other connections)
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
 * @stability unstable
 * @category sending
 * @since 0.1.0
 */
export const broadcast = (
  connections: Iterable<Connection>,
  messages: Message.Input | ReadonlyArray<Message.Input>,
  options?: BroadcastOptions
): Effect.Effect<void> => broadcastAll(connections, Array.isArray(messages) ? messages : [messages], options)

/**
 * How one of the two connections of a relay ended.
 *
 * @stability unstable
 * @category relaying
 * @since 0.1.0
 */
export interface RelayEnd {
  /** The connection that ended first; the relay passed its end on to the other one. */
  readonly endedBy: "left" | "right"
  readonly closed: ConnectionClosed
  /**
   * The close frame that ended it. Undefined if there was no close frame, or if this end closed the connection because of a
   * failure, such as a message that is too large.
   */
  readonly closeFrame: Frame.CloseFrame | undefined
}

/**
 * How the two connections of a relay ended.
 *
 * @stability unstable
 * @category relaying
 * @since 0.1.0
 */
export interface Relayed {
  /** The connection that ended first; the relay passed its end on to the other one. */
  readonly endedBy: "left" | "right"
  readonly left: ConnectionClosed
  readonly right: ConnectionClosed
}

/**
 * Options of `relay`.
 *
 * @stability unstable
 * @category relaying
 * @since 0.1.0
 */
export interface RelayOptions {
  /**
   * Returns the close frame for the other connection, or undefined to end it without one, so that its peer sees 1006.
   * The code 1005 stands for an empty close frame. A code or reason that must not be sent is a defect. Default: `closeFrame`.
   *
   * **Example** (Tell clients that upstream is lost)
   *
   * ```ts
   * import { CloseCode, type Connection } from "effect-ws"
   *
   * const options: Connection.RelayOptions = {
   *   closeOther: ({ closeFrame, endedBy }) =>
   *     closeFrame ?? (endedBy === "right" ? { code: CloseCode.BadGateway, reason: "" } : undefined)
   * }
   * ```
   */
  readonly closeOther?: ((end: RelayEnd) => Frame.CloseFrame | undefined) | undefined
}

/**
 * Relays between two connections until both have ended, and returns how they ended.
 *
 * Messages keep their order and their fragments. Frames above 64 KiB are passed on in fragments of that size while they
 * arrive, so that a message of any size takes little memory. Each connection compresses with its own extensions, and answers pings,
 * also with `autoPong: false`. If one peer reads slowly, the other is held back. The end of a connection is passed on
 * behind all that it has received.
 *
 * Other fibers may send on both connections, but must not read from them. If the relay is interrupted between two messages,
 * nothing is lost, and both connections remain usable. A connection that has been sent a part of a message is closed
 * with 1011 and the cause `MessageAborted`.
 *
 * If a connection is of another implementation, or overrides `frames`, `sendFrame` or `terminate`, the relay uses these
 * members. It then keeps each frame whole in memory, and an interruption may lose frames.
 *
 * **Example** (A client of this server speaks to another server)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Connection, WebSocketClient } from "effect-ws"
 *
 * const handler = Effect.gen(function*() {
 *   const client = yield* Connection.Connection
 *   const upstream = yield* WebSocketClient.connect("ws://127.0.0.1:9000/")
 *   const { endedBy, left, right } = yield* Connection.relay(client, upstream)
 *   yield* Effect.log(endedBy === "left" ? `the client: ${left.message}` : `upstream: ${right.message}`)
 * })
 * ```
 *
 * @stability unstable
 * @category relaying
 * @since 0.1.0
 */
export const relay: (
  left: Connection,
  right: Connection,
  options?: RelayOptions
) => Effect.Effect<Relayed> = relayBoth

/**
 * Provides a connection over the transport in the context. Fails with
 * `InvalidOption` if an option is invalid.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: MakeOptions): Layer.Layer<Connection, InvalidOption, Transport> =>
  Layer.effect(Connection)(Effect.flatMap(Transport, (transport) => make(transport, options)))
