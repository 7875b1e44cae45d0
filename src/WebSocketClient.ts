/**
 * A WebSocket client: `connect` is a scoped Effect that returns an open connection,
 * or fails with the reason.
 *
 * **Example** (Talking to a server)
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
 *     HandshakeRejected: (e) => Effect.fail(`rejected with ${e.status}: ${e.body}`),
 *     ConnectionClosed: (e) => Effect.fail(`closed with ${e.code} ${e.reason}`)
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Http from "node:http"
import type { Duplex } from "node:stream"
import type * as Connection from "./Connection.ts"
import type * as Extension from "./Extension.ts"
import type * as Handshake from "./Handshake.ts"
import type { ConnectError } from "./HandshakeError.ts"
import { evaluate, separateOptions } from "./internal/client/attemptOptions.ts"
import { instrument } from "./internal/client/instrument.ts"
import { connect as overNode } from "./internal/node/connect.ts"
import { makeSessions } from "./internal/node/http2Exchange.ts"
import { readConfig } from "./internal/runtime/configOptions.ts"
import { MessageClient } from "./MessageClient.ts"
import * as Reconnecting from "./Reconnecting.ts"

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * Options of `connect`. At most one of `agent`, `duplex`, `proxy` and `socketPath`
 * may be given, because each is a way to the server.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface ConnectOptions extends Connection.Options {
  /**
   * Subprotocols to offer, in order of preference. The negotiated one is the connection's `subprotocol`: undefined if
   * the server selected none, which is not an error (RFC 6455 §4.1). Default none.
   */
  readonly protocols?: ReadonlyArray<string> | undefined
  /** Extensions to offer, such as `PerMessageDeflate`. The connection's `extensions` are the negotiated ones. Default none. */
  readonly extensions?: ReadonlyArray<Extension.Extension> | undefined
  /** Further headers for the request, such as Authorization, Cookie or Origin. Default none. */
  readonly headers?: Handshake.HeadersInput | undefined
  /**
   * The time limit for connecting, redirects included. Default 10 seconds. More
   * than 0, or Infinity.
   */
  readonly handshakeTimeout?: Duration.Input | undefined
  /**
   * The maximum number of redirects to follow. Default 0: a redirect is the error
   * `HandshakeRedirected`. If a redirect leads to another origin (scheme, host or
   * port), the client does not send the headers Authorization, Cookie,
   * Proxy-Authorization and Host, nor its certificate. It does not follow a
   * redirect from wss to ws. A whole number, 0 or more.
   */
  readonly maxRedirects?: number | undefined
  /**
   * Whether to connect over HTTP/2 (RFC 8441). With "prefer", a wss connection is over
   * HTTP/2 if the server supports that, and over HTTP/1.1 otherwise; a ws connection is
   * over HTTP/1.1. With "only", a server that does not support it is the error
   * `Http2Unsupported`, and a ws connection is over HTTP/2 without TLS, with prior
   * knowledge (RFC 9113 §3.3). Default: HTTP/1.1.
   *
   * Connections of a `layer` share one HTTP/2 session for each server and set of TLS
   * options, or several if the server limits streams. Other connections have a session
   * of their own. An `agent` speaks HTTP/1.1, and so does "prefer" with a stream as `duplex`.
   */
  readonly http2?: "prefer" | "only" | undefined
  /** TLS, for a wss URL. By default, the client verifies certificates. */
  readonly tls?: TlsOptions | undefined
  /**
   * The path of a Unix socket to connect to. The URL then only provides the Host
   * header and the path. As with the `socketPath` of a server, a path that is too
   * long is an `InvalidOption`.
   */
  readonly socketPath?: string | undefined
  /**
   * Looks a host up, and returns its IP addresses in order of preference. Default:
   * the lookup of the system. Not used with `agent`, `duplex` and `socketPath`.
   */
  readonly lookup?: ((hostname: string) => Effect.Effect<ReadonlyArray<string>, Error>) | undefined
  /**
   * The time after which the client tries the next address of a host as well (RFC
   * 8305 §5). All attempts continue until one succeeds. Default 250 milliseconds.
   * With Infinity, the client tries the next address only if the last one failed.
   * Used where `lookup` is used. 0 or more, or Infinity.
   */
  readonly connectionAttemptDelay?: Duration.Input | undefined
  /** An HTTP proxy to connect through, for ws and wss. Default none: the client ignores environment variables. */
  readonly proxy?: ProxyOptions | undefined
  /**
   * A Node agent that makes the sockets, such as `SocksProxyAgent`. It looks hosts
   * up and selects addresses itself. Default none.
   */
  readonly agent?: Http.Agent | undefined
  /**
   * A stream to a server, to use instead of a new socket; or a function that
   * returns one for each request. For a wss URL, the client starts TLS on it, unless
   * it is a TLS socket. Default none.
   */
  readonly duplex?: Duplex | ((url: URL) => Effect.Effect<Duplex, Error, Scope.Scope>) | undefined
}

/**
 * An HTTP proxy. The client opens a tunnel through it with CONNECT (RFC 9110
 * §9.3.6), for ws and wss. The proxy sees the host and port of the server; with ws,
 * it can also read the data.
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
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface ProxyOptions {
  /** An http URL, or an https URL to use TLS with the proxy itself. Its user and password are for the proxy. */
  readonly url: string | URL | Redacted.Redacted<string>
  /** Further headers for the CONNECT request, such as Proxy-Authorization. Default none. */
  readonly headers?: Handshake.HeadersInput | undefined
  /** TLS with the proxy, for an https URL. */
  readonly tls?: TlsOptions | undefined
}

/**
 * TLS options of a client. Certificates and keys are in PEM.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface TlsOptions {
  /** The certificates of trusted authorities. Default: those that Node trusts. */
  readonly ca?: string | ReadonlyArray<string> | undefined
  /** The certificate of the client. Default none. */
  readonly cert?: string | undefined
  /** The private key of `cert`. */
  readonly key?: string | Redacted.Redacted<string> | undefined
  /** The passphrase of an encrypted `key`. */
  readonly passphrase?: string | Redacted.Redacted<string> | undefined
  /** The name that the certificate of the server must have. Default: the host of the URL. */
  readonly servername?: string | undefined
  /** Whether the client rejects a certificate that it cannot verify. Default true. */
  readonly rejectUnauthorized?: boolean | undefined
}

// -----------------------------------------------------------------------------
// Client
// -----------------------------------------------------------------------------

/**
 * A service that opens client connections.
 *
 * @stability unstable
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
 * The client in use. Default: a client over Node's sockets.
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
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export const WebSocketClient: Context.Reference<WebSocketClient> = Context.Reference<WebSocketClient>(
  "effect-ws/WebSocketClient",
  {
    defaultValue: () => ({ connect: (url, options) => overNode(url, options) })
  }
)

/**
 * Connects to a server. Closing the Scope closes the connection. If `connect` fails
 * or is interrupted, it destroys the socket. `HandshakeError` lists its errors.
 *
 * **Example** (With a token, a subprotocol and a timeout)
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
 *   Effect.catchTag("HandshakeRejected", ({ body, status }) => Effect.fail(`rejected with ${status}: ${body}`))
 * )
 * ```
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const connect = (
  url: string | URL,
  options?: ConnectOptions
): Effect.Effect<Connection.Connection, ConnectError, Scope.Scope> =>
  Effect.flatMap(WebSocketClient, (client) => instrument(url, client.connect(url, options)))

// -----------------------------------------------------------------------------
// Reconnecting
// -----------------------------------------------------------------------------

/**
 * Options of `reconnecting`: how to connect, and when.
 *
 * @stability unstable
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
  R3 = never,
  E4 = never,
  R4 = never,
  E5 = never,
  R5 = never
> extends
  Omit<ConnectOptions, "headers" | "protocols">,
  Reconnecting.Options<Connection.Connection, E | E1 | E5, E2, R2, E3, R3, E4, R4>
{
  /** Further headers for each request; or an effect that runs for each attempt, to get a fresh token. */
  readonly headers?: Handshake.HeadersInput | Effect.Effect<Handshake.HeadersInput, E1, R1> | undefined
  /** Subprotocols to offer, in order of preference; or an effect that runs for each attempt. */
  readonly protocols?: ReadonlyArray<string> | Effect.Effect<ReadonlyArray<string>, E5, R5> | undefined
}

/**
 * Connects to a server, and again whenever the connection is lost, until its
 * Scope closes or a failure is final: `Reconnecting.make` with `connect`.
 *
 * The URL may be an effect, which runs for each attempt. `reconnecting` does not
 * wait for the first connection, and does not fail: failures are in `state`, in
 * `closed`, and in the errors of sending and receiving.
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
 * @stability unstable
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
  R3 = never,
  E4 = never,
  R4 = never,
  E5 = never,
  R5 = never
>(
  url: string | URL | Effect.Effect<string | URL, E, R>,
  options: ReconnectingOptions<E, E1, R1, E2, R2, E3, R3, E4, R4, E5, R5> = {}
): Effect.Effect<
  Reconnecting.Reconnecting<Reconnecting.OwnFailure<E | E1 | E2 | E3 | E4 | E5>>,
  never,
  Scope.Scope | R | R1 | R2 | R3 | R4 | R5
> => {
  const [own, { headers, protocols, ...connectOptions }] = separateOptions(options)
  const attempt = Effect.gen(function*() {
    const target = yield* evaluate(url)
    // Without headers and subprotocols here, those of the client's own options stay.
    const fresh = headers === undefined ? {} : { headers: yield* evaluate(headers) }
    const offered = protocols === undefined ? {} : { protocols: yield* evaluate(protocols) }
    return yield* connect(target, { ...connectOptions, ...fresh, ...offered })
  })
  return Reconnecting.make(() => attempt, own)
}

// -----------------------------------------------------------------------------
// Layers
// -----------------------------------------------------------------------------

/**
 * Provides a client over Node's sockets, with options for all its connections. The
 * options of `connect` override them. HTTP/2 sessions are shared by all connections
 * of the layer, close after 30 seconds without a connection, and close with the layer.
 *
 * **Example** (All connections of a program through a proxy)
 *
 * ```ts
 * import { WebSocketClient } from "effect-ws"
 *
 * const ThroughProxy = WebSocketClient.layer({ proxy: { url: "http://proxy.example:3128" } })
 * ```
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (defaults: ConnectOptions): Layer.Layer<never> =>
  Layer.effect(WebSocketClient)(
    Effect.map(
      Effect.acquireRelease(makeSessions(sessionIdleMillis), (sessions) => sessions.close),
      (sessions) => ({ connect: (url, options) => overNode(url, { ...defaults, ...options }, sessions) })
    )
  )

/** The time after which a session without a connection is closed. */
const sessionIdleMillis = 30_000

/**
 * Provides a `MessageClient` over the client in use, for a program that also runs in
 * browsers, with options for all its connections. The options of `connect` override
 * them.
 *
 * **Example** (On Node, a program that is written for both)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { MessageClient, WebSocketClient } from "effect-ws"
 *
 * const program = Effect.scoped(Effect.flatMap(MessageClient.connect("wss://example.com/feed"), (feed) => feed.receive))
 *
 * const onNode = Effect.provide(program, WebSocketClient.layerMessageClient())
 * ```
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerMessageClient = (defaults?: ConnectOptions): Layer.Layer<MessageClient> =>
  Layer.succeed(MessageClient, { connect: (url, options) => connect(url, { ...defaults, ...options }) })

/**
 * Provides a client with options from the configuration.
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
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  config: Config.Wrap<Omit<ConnectOptions, "agent" | "duplex" | "extensions" | "lookup">>,
  options?: Pick<ConnectOptions, "agent" | "duplex" | "extensions" | "lookup">
): Layer.Layer<never, Config.ConfigError> =>
  Layer.unwrap(Effect.map(readConfig(config), (defaults) => layer({ ...defaults, ...options })))
