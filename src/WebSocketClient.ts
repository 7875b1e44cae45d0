/**
 * A WebSocket client: `connect` is a scoped Effect that gives an open
 * connection, or says why there is none.
 *
 * **Example** (Talk to a server)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { WebSocketClient } from "effect-ws"
 *
 * const program = Effect.gen(function*() {
 *   const connection = yield* WebSocketClient.connect("wss://example.com/feed", { protocols: ["v2", "v1"] })
 *   yield* connection.send("hello")
 *   return yield* Stream.runCollect(Stream.take(connection.messages, 3))
 * }).pipe(
 *   Effect.scoped,
 *   Effect.catchTags({
 *     HandshakeRejected: (e) => Effect.fail(`the server said ${e.status}: ${e.body}`),
 *     ConnectionClosed: (e) => Effect.fail(`closed with ${e.code} ${e.reason}`)
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type * as SubscriptionRef from "effect/SubscriptionRef"
import type * as Http from "node:http"
import type { Duplex } from "node:stream"
import type * as Connection from "./Connection.ts"
import type { ConnectionClosed, NotConnected } from "./ConnectionError.ts"
import type * as Extension from "./Extension.ts"
import type * as Handshake from "./Handshake.ts"
import type { ConnectError } from "./HandshakeError.ts"
import { connect as overNode } from "./internal/node/connect.ts"
import { instrument } from "./internal/client/instrument.ts"
import * as internal from "./internal/client/reconnect.ts"
import type * as Message from "./Message.ts"

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * What to connect with.
 *
 * @category options
 * @since 0.1.0
 */
export interface ConnectOptions extends Connection.Options {
  /**
   * Subprotocols to offer, the one liked best first. What was agreed on is the connection's `subprotocol`: undefined
   * where the server chose none, which is no error (RFC 6455 §4.1). Default none.
   */
  readonly protocols?: ReadonlyArray<string> | undefined
  /** Extensions to offer, such as `PerMessageDeflate`. What was agreed on are the connection's `extensions`. Default none. */
  readonly extensions?: ReadonlyArray<Extension.Extension> | undefined
  /** Further headers for the request, such as Authorization, Cookie or Origin. Default none. */
  readonly headers?: Handshake.HeadersInput | undefined
  /**
   * How long it may take until there is a connection, redirects included. Default 10 seconds.
   * More than 0, or Infinity.
   */
  readonly handshakeTimeout?: Duration.Input | undefined
  /**
   * How many redirects to follow. Default 0: a redirect is the error
   * `HandshakeRedirected`. Where one leads to another origin (scheme, host or
   * port), the headers Authorization, Cookie, Proxy-Authorization and Host and
   * the client's certificate stay behind. None leads from wss to ws.
   * A whole number, 0 or more.
   */
  readonly maxRedirects?: number | undefined
  /** TLS, for a wss URL. Certificates are verified unless this says otherwise. */
  readonly tls?: TlsOptions | undefined
  /**
   * A Unix socket to connect to; the URL then only says what to ask for there. As
   * for the `socketPath` of a server, a path that is too long is an `InvalidOption`.
   */
  readonly socketPath?: string | undefined
  /**
   * Looks a host up: gives its IP addresses, the preferred one first. Default:
   * as the system does. Not used with `agent`, `duplex` and `socketPath`.
   */
  readonly lookup?: ((hostname: string) => Effect.Effect<ReadonlyArray<string>, Error>) | undefined
  /**
   * How long one address of a host may take before the next is tried as well
   * (RFC 8305 §5). All attempts go on until one succeeds. Default 250
   * milliseconds; Infinity tries the next only when one has failed. Used where
   * `lookup` is. 0 or more, or Infinity.
   */
  readonly connectionAttemptDelay?: Duration.Input | undefined
  /** An HTTP proxy to connect through, for ws and wss. Default none, whatever the environment says. */
  readonly proxy?: ProxyOptions | undefined
  /**
   * An agent of Node's that makes the sockets, such as `SocksProxyAgent`. It
   * looks names up and chooses among addresses itself. Default none.
   */
  readonly agent?: Http.Agent | undefined
  /**
   * A stream to speak over instead of a new socket, at whose other end a server
   * listens; or what makes one for each request. For a wss URL, TLS is put over
   * it, unless it is a TLS socket.
   */
  readonly duplex?: Duplex | ((url: URL) => Effect.Effect<Duplex, Error, Scope.Scope>) | undefined
}

/**
 * An HTTP proxy. The client opens a tunnel through it with CONNECT (RFC 9110
 * §9.3.6), for ws and wss: the proxy sees the server's host and port, and for
 * wss nothing else.
 *
 * **Example** (With a user and a password)
 *
 * ```ts
 * import { Redacted } from "effect"
 * import { WebSocketClient } from "effect-ws"
 *
 * const ThroughProxy = WebSocketClient.layer({
 *   proxy: { url: Redacted.make("http://user:password@proxy.example:3128") }
 * })
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface ProxyOptions {
  /** An http URL, or an https URL to speak TLS with the proxy itself. Its user and password are for the proxy. */
  readonly url: string | URL | Redacted.Redacted<string>
  /** Further headers for the CONNECT request, such as Proxy-Authorization. Default none. */
  readonly headers?: Handshake.HeadersInput | undefined
  /** TLS with the proxy, for an https URL. */
  readonly tls?: TlsOptions | undefined
}

/**
 * The client's side of TLS, in PEM.
 *
 * @category options
 * @since 0.1.0
 */
export interface TlsOptions {
  /** The authorities that are trusted, instead of those that Node knows. */
  readonly ca?: string | ReadonlyArray<string> | undefined
  /** The client's own certificate. Default none. */
  readonly cert?: string | undefined
  /** The key of it. */
  readonly key?: string | Redacted.Redacted<string> | undefined
  /** What the key is encrypted with, if it is. */
  readonly passphrase?: string | Redacted.Redacted<string> | undefined
  /** The name that the server's certificate must bear. Default: the URL's host. */
  readonly servername?: string | undefined
  /** Whether a certificate that cannot be verified ends the handshake. Default true. */
  readonly rejectUnauthorized?: boolean | undefined
}

// -----------------------------------------------------------------------------
// Client
// -----------------------------------------------------------------------------

/**
 * How a program gets its client connections.
 *
 * @category models
 * @since 0.1.0
 */
export interface WebSocketClient {
  readonly connect: (
    url: string | URL,
    options?: ConnectOptions
  ) => Effect.Effect<Connection.Connection, ConnectError, Scope.Scope>
}

/**
 * The client in use: one over Node's sockets, unless a Layer says otherwise.
 *
 * **Example** (A client without a network, for a test)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Connection, Transport, WebSocketClient } from "effect-ws"
 *
 * const inMemory = (transport: Transport.Transport) =>
 *   Layer.succeed(WebSocketClient.WebSocketClient, {
 *     connect: (_url, options) => Connection.make(transport, { ...options, role: "client" })
 *   })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export const WebSocketClient: Context.Reference<WebSocketClient> = Context.Reference<WebSocketClient>(
  "effect-ws/WebSocketClient",
  {
    defaultValue: () => ({ connect: overNode })
  }
)

/**
 * Connects to a server. The connection lives in the Scope; closing it closes
 * the connection. When this fails or is interrupted, the socket is gone. What it
 * fails with is a tree of errors, at the top of `HandshakeError`.
 *
 * **Example** (With a token and a subprotocol, or not at all)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { WebSocketClient } from "effect-ws"
 *
 * const program = Effect.gen(function*() {
 *   const connection = yield* WebSocketClient.connect("wss://example.com/feed", {
 *     headers: { Authorization: "Bearer t" },
 *     protocols: ["v2"],
 *     handshakeTimeout: "5 seconds"
 *   })
 *   return yield* connection.receive
 * }).pipe(
 *   Effect.scoped,
 *   Effect.catchTag("HandshakeRejected", ({ body, status }) => Effect.fail(`refused with ${status}: ${body}`))
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const connect = (
  url: string | URL,
  options?: ConnectOptions
): Effect.Effect<Connection.Connection, ConnectError, Scope.Scope> =>
  Effect.flatMap(WebSocketClient, (client) => instrument(url, options, client.connect))

// -----------------------------------------------------------------------------
// Reconnecting
// -----------------------------------------------------------------------------

/**
 * Why a reconnecting client is without a connection: it got none, or lost it.
 * `E` is what its own effects fail with: those for the URL and the headers, and
 * `onOpen`.
 *
 * @category reconnecting
 * @since 0.1.0
 */
export type Failure<E = never> = ConnectError | ConnectionClosed | E

/**
 * The failures in `E` that are the program's own: all but those that every
 * `Failure` includes.
 *
 * @category reconnecting
 * @since 0.1.0
 */
export type OwnFailure<E> = Exclude<E, ConnectError | ConnectionClosed>

/**
 * State of a reconnecting client. `attempt` starts at 1, and again once a
 * connection has stayed open for `resetAfter`.
 *
 * @category reconnecting
 * @since 0.1.0
 */
export type State<E = never> =
  | { readonly _tag: "Connecting"; readonly runAttempt: number }
  | { readonly _tag: "Open"; readonly connection: Connection.Connection }
  | {
    readonly _tag: "Waiting"
    readonly cause: Failure<E>
    /** The attempt that comes next. */
    readonly attempt: number
    /** How long it waits before that: what `schedule` says, or what the server asks for with a Retry-After if that is longer. */
    readonly delay: Duration.Duration
  }
  /** For good: the peer ended it normally, the Scope was closed, or a failure was final. */
  | { readonly _tag: "Closed"; readonly exit: Exit.Exit<void, Failure<E>> }

/**
 * One logical connection, over as many real ones as it takes.
 *
 * @category reconnecting
 * @since 0.1.0
 */
export interface Reconnecting<E = never> {
  readonly state: SubscriptionRef.SubscriptionRef<State<E>>
  /**
   * The messages of all connections, one connection after the other. Ends when
   * the client is closed and its end was normal, and fails otherwise. If several
   * fibers read, each message goes to one of them, as with any connection;
   * `Stream.broadcast` gives every message to all.
   */
  readonly messages: Stream.Stream<Message.Message, Failure<E>>
  /**
   * Sends a message over the connection that is open. What becomes of it while
   * there is none, `whileDisconnected` says. As with any connection, a message that was
   * handed to the network may be lost with it; none is sent twice.
   */
  readonly send: (
    message: Message.Input,
    options?: Extension.SendOptions
  ) => Effect.Effect<void, NotConnected<E>>
  /**
   * Sends many messages in one write, none between them. Where the connection is
   * lost while an extension takes its time over them, all go again.
   */
  readonly sendAll: (
    messages: ReadonlyArray<Message.Input>,
    options?: Extension.SendOptions
  ) => Effect.Effect<void, NotConnected<E>>
  /** The connection that is open, for all else that one can do with it. Waits until there is one. */
  readonly connection: Effect.Effect<Connection.Connection, NotConnected<E>>
  /** Waits until the client is closed, and answers how it ended. */
  readonly closed: Effect.Effect<void, Failure<E>>
}

/**
 * Options of `reconnecting`.
 *
 * @category options
 * @since 0.1.0
 */
export interface ReconnectingOptions<
  E = never,
  E1 = never,
  R1 = never,
  E2 = never,
  R2 = never,
  E3 = never,
  R3 = never
> extends Omit<ConnectOptions, "headers"> {
  /** Further headers for each request; or an effect that is run for each, to get a fresh token. */
  readonly headers?: Handshake.HeadersInput | Effect.Effect<Handshake.HeadersInput, E1, R1> | undefined
  /**
   * Run on each connection before it is given to anybody: to authenticate, or to
   * subscribe again. It has the connection to itself; to read an answer, use
   * `receive`. When it fails, the connection is closed, and that counts as a
   * failed attempt. A Scope that it asks for is that of the connection.
   */
  readonly onOpen?: ((connection: Connection.Connection) => Effect.Effect<unknown, E2, R2>) | undefined
  /**
   * How long to wait before each further attempt, given the failure. When it is
   * done, the failure is final. Default: 0.5 seconds, then twice as long each
   * time up to 30 seconds, jittered, for ever.
   */
  readonly schedule?: Schedule.Schedule<unknown, Failure<NoInfer<E | E1 | E2>>, E3, R3> | undefined
  /**
   * How long a connection must have been open for the schedule to begin anew
   * after it. Changes of the system's clock do not count. Default 5 seconds.
   * 0 or more, or Infinity.
   */
  readonly resetAfter?: Duration.Input | undefined
  /**
   * The longest wait that a server can ask for: if it rejects the handshake with
   * a Retry-After (RFC 9110 §10.2.3), in seconds or as a date, the next attempt
   * waits for so long if the schedule's delay is shorter. At random, up to a fifth
   * is added, because other clients were told the same. 0 ignores the header.
   * Default 5 minutes. 0 or more, or Infinity.
   */
  readonly maxRetryAfter?: Duration.Input | undefined
  /**
   * Which failures end the client. Default: `isFinal`. Write it behind `onOpen`:
   * TypeScript reads options in order, and learns there what may fail.
   */
  readonly isFinal?: ((failure: Failure<NoInfer<E | E1 | E2>>) => boolean) | undefined
  /**
   * What becomes of what is sent while there is no connection. "suspend" waits
   * for one; "fail" fails with `NotConnected`; `{ buffer }` keeps that many
   * sends, in order, for the next connection, and waits beyond that. What is
   * kept when the client is closed is lost. Default "suspend".
   */
  readonly whileDisconnected?: "suspend" | "fail" | { readonly buffer: number } | undefined
}

/**
 * Whether a failure is one that the next attempt would meet again, so that a
 * reconnecting client gives up. Final are:
 *
 * - a status other than 101 that blames the request: all but 408, 425, 429 and
 *   those from 500; the same of a proxy
 * - an answer that is wrong, a redirect that is not followed, options that
 *   cannot be
 * - the peer's close frame with 1000 or without a code: it has finished
 *
 * Not final are all other ends of a connection that was open, names that mean
 * nothing, refused connections, TLS failures, deadlines, and the failures of
 * the program's own effects.
 *
 * @category reconnecting
 * @since 0.1.0
 */
export const isFinal: (failure: Failure<unknown>) => boolean = internal.isFinal

/**
 * A connection that is made again when it is lost, until its Scope closes or a
 * failure is final. The URL may be an effect, which is run for each attempt.
 * This does not wait for the first connection, and fails with nothing: see
 * `state`, `closed`, and the errors of what is sent and received.
 *
 * **Example** (A feed that outlives its connections)
 *
 * ```ts
 * import { Effect, Schedule, Stream } from "effect"
 * import { WebSocketClient } from "effect-ws"
 *
 * const program = Effect.gen(function*() {
 *   const feed = yield* WebSocketClient.reconnecting("wss://example.com/feed", {
 *     schedule: Schedule.spaced("2 seconds"),
 *     onOpen: (connection) => connection.send("subscribe")
 *   })
 *   yield* Stream.runForEach(feed.messages, (message) => Effect.log(message))
 * }).pipe(Effect.scoped)
 * ```
 *
 * @category reconnecting
 * @since 0.1.0
 */
export const reconnecting = <
  E = never,
  R = never,
  E1 = never,
  R1 = never,
  E2 = never,
  R2 = never,
  E3 = never,
  R3 = never
>(
  url: string | URL | Effect.Effect<string | URL, E, R>,
  options?: ReconnectingOptions<E, E1, R1, E2, R2, E3, R3>
): Effect.Effect<Reconnecting<OwnFailure<E | E1 | E2 | E3>>, never, Scope.Scope | R | R1 | R2 | R3> =>
  // What `OwnFailure` leaves out is in each `Failure` all the same, which TypeScript does not see.
  internal.reconnect(connect, url, options ?? {}) as Effect.Effect<
    Reconnecting<any>,
    never,
    Scope.Scope | R | R1 | R2 | R3
  >

// -----------------------------------------------------------------------------
// Layers
// -----------------------------------------------------------------------------

/**
 * A client over Node's sockets, with options for all its connections. What
 * `connect` is given comes before them.
 *
 * **Example** (All connections of a program through a proxy)
 *
 * ```ts
 * import { WebSocketClient } from "effect-ws"
 *
 * const ThroughProxy = WebSocketClient.layer({ proxy: { url: "http://proxy.example:3128" } })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (defaults: ConnectOptions): Layer.Layer<never> =>
  Layer.succeed(WebSocketClient, { connect: (url, options) => overNode(url, { ...defaults, ...options }) })

/**
 * A client with options from the configuration.
 *
 * **Example** (A private authority)
 *
 * ```ts
 * import { Config, Duration } from "effect"
 * import { WebSocketClient } from "effect-ws"
 *
 * const Client = WebSocketClient.layerConfig({
 *   tls: { ca: Config.String("CA"), cert: Config.String("CERT"), key: Config.Redacted("KEY") },
 *   handshakeTimeout: Config.Duration("HANDSHAKE_TIMEOUT").pipe(Config.withDefault(Duration.seconds(5)))
 * })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  config: Config.Wrap<Omit<ConnectOptions, "agent" | "duplex" | "extensions" | "lookup">>,
  options?: Pick<ConnectOptions, "agent" | "duplex" | "extensions" | "lookup">
): Layer.Layer<never, Config.ConfigError> =>
  Layer.unwrap(Effect.map(Config.unwrap(config), (defaults) => layer({ ...defaults, ...options })))
