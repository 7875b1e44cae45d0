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
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Http from "node:http"
import type { Duplex } from "node:stream"
import type * as Connection from "./Connection.ts"
import type * as Extension from "./Extension.ts"
import type * as Handshake from "./Handshake.ts"
import type { ConnectError } from "./HandshakeError.ts"
import { connect as overNode } from "./internal/connecting.ts"

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
  /** Subprotocols to offer, the one liked best first. What was agreed on is the connection's `subprotocol`. */
  readonly protocols?: ReadonlyArray<string> | undefined
  /** Extensions to offer, such as `PerMessageDeflate`. What was agreed on are the connection's `extensions`. Default none. */
  readonly extensions?: ReadonlyArray<Extension.Extension> | undefined
  /** Further headers for the request, such as Authorization, Cookie or Origin. */
  readonly headers?: Handshake.HeadersInput | undefined
  /** How long it may take until there is a connection, redirects included. Default 10 seconds. */
  readonly handshakeTimeout?: Duration.Input | undefined
  /**
   * How many redirects to follow. Default 0: a redirect is the error
   * `HandshakeRedirected`. Where one leads to another origin (scheme, host or
   * port), the headers Authorization, Cookie, Proxy-Authorization and Host and
   * the client's certificate stay behind. None leads from wss to ws.
   */
  readonly maxRedirects?: number | undefined
  /** TLS, for a wss URL. Certificates are verified unless this says otherwise. */
  readonly tls?: TlsOptions | undefined
  /** A Unix socket to connect to; the URL then only says what to ask for there. */
  readonly socketPath?: string | undefined
  /**
   * An agent of Node's that makes the sockets, such as one that goes through a
   * proxy: `HttpsProxyAgent`, `SocksProxyAgent`, or `ProxyAgent`, which goes by
   * the environment.
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
 * The client's side of TLS, in PEM.
 *
 * @category options
 * @since 0.1.0
 */
export interface TlsOptions {
  /** The authorities that are trusted, instead of those that Node knows. */
  readonly ca?: string | ReadonlyArray<string> | undefined
  /** The client's own certificate, and its key. */
  readonly cert?: string | undefined
  readonly key?: string | Redacted.Redacted<string> | undefined
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
export interface Client {
  readonly connect: (
    url: string | URL,
    options?: ConnectOptions
  ) => Effect.Effect<Connection.Connection["Service"], ConnectError, Scope.Scope>
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
 * const inMemory = (transport: Transport.Transport["Service"]) =>
 *   Layer.succeed(WebSocketClient.WebSocketClient, {
 *     connect: (_url, options) => Connection.make(transport, { ...options, role: "client" })
 *   })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export const WebSocketClient: Context.Reference<Client> = Context.Reference<Client>("effect-ws/WebSocketClient", {
  defaultValue: () => ({ connect: overNode })
})

/**
 * Connects to a server. The connection lives in the Scope; closing it closes
 * the connection. When this fails or is interrupted, the socket is gone.
 *
 * @category constructors
 * @since 0.1.0
 */
export const connect = (
  url: string | URL,
  options?: ConnectOptions
): Effect.Effect<Connection.Connection["Service"], ConnectError, Scope.Scope> =>
  Effect.flatMap(WebSocketClient, (client) => client.connect(url, options))

/**
 * A client over Node's sockets, with options for all its connections. What
 * `connect` is given comes before them.
 *
 * **Example** (All connections of a program through a proxy)
 *
 * ```ts
 * import { WebSocketClient } from "effect-ws"
 * import { HttpsProxyAgent } from "https-proxy-agent"
 *
 * const ThroughProxy = WebSocketClient.layer({ agent: new HttpsProxyAgent("http://proxy.example:3128") })
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
  config: Config.Wrap<Omit<ConnectOptions, "agent" | "duplex" | "extensions">>,
  options?: Pick<ConnectOptions, "agent" | "duplex" | "extensions">
): Layer.Layer<never, Config.ConfigError> =>
  Layer.unwrap(Effect.map(Config.unwrap(config), (defaults) => layer({ ...defaults, ...options })))
