/**
 * A WebSocket server as a Layer. `layer` listens with its own HTTP server;
 * `serve` runs a handler for each connection; `upgrade` serves a route of an
 * `effect/http` application.
 *
 * **Example** (An echo server)
 *
 * ```ts
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Effect, Layer, Stream } from "effect"
 * import { Connection, WebSocketServer } from "effect-ws"
 *
 * const Echo = WebSocketServer.serve(
 *   Effect.gen(function*() {
 *     const connection = yield* Connection.Connection
 *     yield* Stream.runForEach(connection.messages, connection.send)
 *   })
 * )
 *
 * const Main = Echo.pipe(Layer.provide(WebSocketServer.layer({ port: 8080 })))
 *
 * NodeRuntime.runMain(Layer.launch(Main))
 * ```
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Http from "node:http"
import type { Http2SecureServer, Http2Server } from "node:http2"
import type { Duplex } from "node:stream"
import type * as Connection from "./Connection.ts"
import type * as Extension from "./Extension.ts"
import type * as Handshake from "./Handshake.ts"
import type { InvalidOption } from "./HandshakeError.ts"
import { prepareServer as prepareNodeServer } from "./internal/node/hostServer.ts"
import { leave as leaveRoute, upgrade as upgradeRoute } from "./internal/node/lazyRoute.ts"
import { listen, makeServer } from "./internal/node/listen.ts"
import { readConfig } from "./internal/runtime/configOptions.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * Where a server listens.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type Address =
  | { readonly _tag: "Tcp"; readonly host: string; readonly port: number }
  | { readonly _tag: "Unix"; readonly path: string }

/**
 * The server could not listen: the address is in use, or the process may not use it.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class ListenFailed extends Data.TaggedError("ListenFailed")<{
  /** The system's error code, such as EADDRINUSE or EACCES. */
  readonly code: string | undefined
  readonly cause: Error
}> {
  override get message(): string {
    const advice = this.code === "EADDRINUSE" ? "; stop the process that listens there, or change the port" : ""
    return `the server cannot listen: ${this.cause.message.replace(/^listen /, "")}${advice}`
  }
}

/**
 * A listening server.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface WebSocketServer {
  readonly address: Address
  /** The URL for clients on the same machine. For a Unix socket, its host is `localhost`. */
  readonly url: string
  /**
   * Runs a handler for each connection until the Scope closes. Then the server closes
   * each connection with `shutdownClose`; after `shutdownTimeout` it destroys their
   * sockets and interrupts their handlers. Fails with `InvalidOption` if an option is
   * invalid. A server serves one handler at a time: a second `serve` dies with a
   * defect that has the tag `AlreadyServing`.
   */
  readonly serve: <A, E, R, Services = never, RD = never>(
    handler: Effect.Effect<A, E, R>,
    options?: ServeOptions<Services, RD>
  ) => Effect.Effect<
    void,
    InvalidOption,
    Scope.Scope | Exclude<RD, Scope.Scope> | Exclude<R, Connection.Connection | Scope.Scope | Services>
  >
  /** Accepts an established byte stream. The stream must carry an HTTP upgrade request. */
  readonly accept: (duplex: Duplex) => Effect.Effect<void>
  /** The open connections. */
  readonly connections: Effect.Effect<ReadonlyArray<Connection.Connection>>
}

/**
 * Service tag of `WebSocketServer`.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export const WebSocketServer: Context.Service<WebSocketServer, WebSocketServer> = Context.Service<WebSocketServer>(
  "effect-ws/WebSocketServer"
)

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * Where and how a server listens.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface ListenOptions {
  /** The port, 0 to 65,535. Default 0, which selects a free port. */
  readonly port?: number | undefined
  /** The address to listen on. Default: all addresses of this machine. */
  readonly host?: string | undefined
  /**
   * The path of a Unix socket to listen on instead of a port. On Linux a path has at
   * most 107 bytes, on other systems 103; a longer one is an `InvalidOption`, because
   * Node 20 would cut it. On Linux, NUL and a name address an abstract socket.
   */
  readonly socketPath?: string | undefined
  /** The maximum number of connections that the system queues before the server accepts them. Default 511. 1 or more. */
  readonly backlog?: number | undefined
  /** The path of the requests to accept; the server rejects others with 404. Default: all paths. */
  readonly path?: string | undefined
  /** Enables TLS, for wss URLs. Default: no TLS. */
  readonly tls?: TlsOptions | undefined
  /**
   * With `tls`: whether the server also speaks HTTP/2 on its port, with WebSockets as
   * streams of a session (RFC 8441). Clients choose a version with ALPN. Default false:
   * browsers then use HTTP/1.1 for each WebSocket.
   */
  readonly http2?: boolean | undefined
  /**
   * Without `tls`: whether the server also speaks HTTP/2 with clients that begin with
   * it ("prior knowledge", RFC 9113 §3.3), such as a proxy in front of this server.
   * Default false.
   */
  readonly cleartextHttp2?: boolean | undefined
  /** Limits of HTTP/2 sessions. */
  readonly http2Limits?: Http2Limits | undefined
  /**
   * The time limit for a handshake, from the TCP connection to the decision and the
   * start of extensions. Default 10 seconds. More than 0, or Infinity.
   */
  readonly handshakeTimeout?: Duration.Input | undefined
  /**
   * The maximum size of a request's headers in bytes. Default 16 KiB. The server
   * rejects larger headers, and more than 1,000 header lines, with 431.
   * 1 or more, or Infinity.
   */
  readonly maxHeaderSize?: number | undefined
  /**
   * The maximum number of sockets that have not sent a request, and of HTTP/2 sessions
   * without streams. Above it, the server closes the oldest, so that idle sockets cannot
   * block new clients. Default 1024. 1 or more, or Infinity.
   */
  readonly maxPendingHandshakes?: number | undefined
}

/**
 * Limits of HTTP/2 sessions. Other limits count each connection, whatever its session.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Http2Limits {
  /**
   * The maximum number of streams, and so of connections, of a session at a time.
   * Clients wait until a stream has ended; one that opens more loses its session.
   * Default 256, because Chromium opens up to 255 WebSockets on one session. 1 or
   * more, or Infinity.
   */
  readonly maxStreams?: number | undefined
  /**
   * How long a session without streams stays open. Default 1 minute: a browser opens
   * its next WebSocket on the session only while that is open. More than 0, or Infinity.
   */
  readonly idleTimeout?: Duration.Input | undefined
}

/**
 * Options of a server.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface MakeOptions extends ListenOptions {
  /**
   * Handles HTTP requests that do not ask for a WebSocket, including requests that
   * offer another upgrade, such as h2c. Default: responds with 426 and an explanation;
   * over HTTP/2 with 405. Over HTTP/2, the arguments are Node's `Http2ServerRequest` and
   * `Http2ServerResponse`, which have the same members.
   */
  readonly onRequest?: Http.RequestListener | undefined
}

/**
 * TLS options of a server. Keys and certificates are in PEM.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface TlsOptions {
  /** The key of the certificate. */
  readonly key: string | Redacted.Redacted<string>
  /** The server's certificate, followed by intermediate certificates. */
  readonly cert: string
  /** The passphrase of an encrypted key. */
  readonly passphrase?: string | Redacted.Redacted<string> | undefined
  /** The authorities that sign client certificates. */
  readonly ca?: string | undefined
  /** Whether the server requests a certificate from clients. Default false. */
  readonly requestCert?: boolean | undefined
  /** With `requestCert`: whether the server rejects clients without a valid certificate. Default true. */
  readonly rejectUnauthorized?: boolean | undefined
}

/**
 * Options for accepting and handling connections. `serve` fails with `InvalidOption` if
 * an option is invalid.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface ServeOptions<Services = never, R = never> extends Connection.Options {
  /** The subprotocols that the server supports, in order of preference. Default none. */
  readonly protocols?: ReadonlyArray<string> | undefined
  /**
   * The extensions that the server supports, such as `PerMessageDeflate`. Default
   * none: compression costs memory and time, and can leak secrets through message sizes.
   */
  readonly extensions?: ReadonlyArray<Extension.Extension> | undefined
  /**
   * The pages that may connect. Default "same-origin", which over TLS allows only
   * https pages. Non-browser clients send no Origin, and may always connect.
   */
  readonly origin?: Handshake.OriginPolicy | undefined
  /**
   * Accepts or rejects a request; failing with a `Reject` also rejects it. The handler
   * gets the services of the `Accept`. Resources that it acquires in its Scope are
   * released after the connection and the handler have ended; if the request is
   * rejected, with the response. Default: `Handshake.HandshakePolicy`, which accepts.
   */
  readonly decide?:
    | ((request: Handshake.Request) => Effect.Effect<Handshake.Decision<Services>, Handshake.Reject, R>)
    | undefined
  /**
   * The maximum number of connections at a time, including undecided handshakes and
   * handlers that still run. Further requests are rejected with 503 and a Retry-After
   * header before any other processing. Default 65,536. 0 or more, or Infinity.
   */
  readonly maxConnections?: number | undefined
  /**
   * The maximum number of connections from one IPv4 address or one IPv6 /64 network.
   * Default 16,384. Behind a proxy, all connections have the proxy's address.
   * 0 or more, or Infinity.
   */
  readonly maxConnectionsPerAddress?: number | undefined
  /**
   * The time that a handler has to finish after its connection has ended, counted from
   * the last message that it reads; then it is interrupted. Default 30 seconds.
   * 0 or more, or Infinity. A handler that never read from its connection and did not
   * observe its end is interrupted at once, unless messages are unread.
   */
  readonly handlerTimeout?: Duration.Input | undefined
  /** The close code and reason for connections that are open when the server stops. Default: 1001 without a reason. */
  readonly shutdownClose?: { readonly code: number; readonly reason?: string | undefined } | undefined
  /**
   * The time that connections and handlers have to end when the server stops. Default
   * 10 seconds. 0 or more, or Infinity.
   */
  readonly shutdownTimeout?: Duration.Input | undefined
}

/**
 * Options for accepting and handling connections of a route. Limits apply to one route
 * on one server, even if the route's effect is made anew for each request. The first
 * request checks the options: an invalid option is a defect, `InvalidOption`, and the
 * client gets 500.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface UpgradeOptions<Services = never, R = never> extends ServeOptions<Services, R> {
  /**
   * The time limit for a handshake, from the start of the route to the decision and the
   * start of extensions. Default 10 seconds. The application's server limits the time
   * for the request's head. More than 0, or Infinity.
   */
  readonly handshakeTimeout?: Duration.Input | undefined
}

/**
 * Options of `prepareServer`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface PrepareOptions {
  /**
   * Whether clients may open WebSockets over HTTP/2, on a server of `node:http2`. It
   * sets the server's `initialWindowSize` to 256 KiB. Default false.
   */
  readonly http2?: boolean | undefined
}

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Listens until the Scope closes. Fails with `ListenFailed` if the address is in use
 * or not permitted, and with `InvalidOption` if an option such as the TLS key is invalid.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: MakeOptions = {}
): Effect.Effect<WebSocketServer, ListenFailed | InvalidOption, Scope.Scope> =>
  makeServer(
    options,
    (server) => Effect.mapError(listen(server, options), (cause) => new ListenFailed({ code: cause.code, cause }))
  )

/**
 * A server as a Layer. Without options it listens on a free port, which `address`
 * and `url` contain.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: MakeOptions): Layer.Layer<WebSocketServer, ListenFailed | InvalidOption> =>
  Layer.effect(WebSocketServer)(make(options))

/**
 * A server as a Layer, with options from the configuration.
 *
 * **Example** (Port and host from the environment)
 *
 * ```ts
 * import { Config } from "effect"
 * import { WebSocketServer } from "effect-ws"
 *
 * const Server = WebSocketServer.layerConfig({
 *   port: Config.Int("PORT").pipe(Config.withDefault(8080)),
 *   host: Config.String("HOST").pipe(Config.withDefault("127.0.0.1"))
 * })
 * ```
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  config: Config.Wrap<ListenOptions>,
  options?: { readonly onRequest?: Http.RequestListener | undefined }
): Layer.Layer<WebSocketServer, ListenFailed | InvalidOption | Config.ConfigError> =>
  Layer.effect(WebSocketServer)(
    Effect.flatMap(readConfig(config), (listening) => make({ ...listening, ...options }))
  )

/**
 * Runs a handler for each connection of the server. Fails with `InvalidOption` if an
 * option is invalid.
 *
 * The context of the handler contains its `Connection` and the Scope of `decide`. When
 * the handler ends, the server closes the connection: with 1000 after a success, with
 * 1011 after a failure, which it logs. When the connection ends first, a handler that
 * reads has `handlerTimeout` to finish, and one that never read is interrupted.
 *
 * **Example** (Authenticating with a bearer token)
 *
 * ```ts
 * import { Context, Effect } from "effect"
 * import { Connection, Handshake, WebSocketServer } from "effect-ws"
 *
 * class User extends Context.Service<User, { readonly name: string }>()("User") {}
 *
 * const greet = Effect.gen(function*() {
 *   const connection = yield* Connection.Connection
 *   yield* connection.send(`welcome, ${(yield* User).name}`)
 * })
 *
 * const Server = WebSocketServer.serve(greet, {
 *   maxMessageSize: 64 * 1024,
 *   decide: ({ headers }) =>
 *     Effect.succeed(
 *       headers["authorization"] === "Bearer s3cret"
 *         ? Handshake.accept({ services: Context.make(User, { name: "Ada" }) })
 *         : Handshake.reject({ status: 401, headers: { "WWW-Authenticate": "Bearer" } })
 *     )
 * })
 * ```
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const serve = <A, E, R, Services = never, RD = never>(
  handler: Effect.Effect<A, E, R>,
  options?: ServeOptions<Services, RD>
): Layer.Layer<
  never,
  InvalidOption,
  WebSocketServer | Exclude<RD, Scope.Scope> | Exclude<R, Connection.Connection | Scope.Scope | Services>
> => Layer.effectDiscard(Effect.flatMap(WebSocketServer, (server) => server.serve(handler, options)))

// -----------------------------------------------------------------------------
// Routes
// -----------------------------------------------------------------------------

/**
 * Runs a handler for each connection to a route of an `effect/http` application on
 * `NodeHttpServer`.
 *
 * The handler lives as long as the connection, as with `serve`. Its context also
 * contains the path parameters of the route and the services of middleware. The Scope
 * of the request, in which middleware acquires resources, closes after the handler.
 *
 * The application gets the response: 101, the response of a rejection, or 426 for a
 * request that does not ask for a WebSocket. When the application's server closes, the
 * connections are closed with `shutdownClose`; after `shutdownTimeout` their sockets
 * are destroyed.
 *
 * **Example** (A route with a path parameter)
 *
 * ```ts
 * import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
 * import { Effect, Layer, Stream } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { Connection, WebSocketServer } from "effect-ws"
 * import { createServer } from "node:http"
 *
 * const echo = Effect.gen(function*() {
 *   const connection = yield* Connection.Connection
 *   const { room } = yield* HttpRouter.params
 *   yield* connection.send(`welcome to ${room}`)
 *   yield* Stream.runForEach(connection.messages, connection.send)
 * })
 *
 * const Main = HttpRouter.serve(HttpRouter.add("GET", "/rooms/:room", WebSocketServer.upgrade(echo))).pipe(
 *   Layer.provide(NodeHttpServer.layer(() => WebSocketServer.prepareServer(createServer()), { port: 8080 }))
 * )
 *
 * NodeRuntime.runMain(Layer.launch(Main))
 * ```
 *
 * @stability unstable
 * @category routes
 * @since 0.1.0
 */
export const upgrade: <A, E, R, Services = never, RD = never>(
  handler: Effect.Effect<A, E, R>,
  options?: UpgradeOptions<Services, RD>
) => Effect.Effect<
  HttpServerResponse,
  never,
  HttpServerRequest | Exclude<RD, Scope.Scope> | Exclude<R, Connection.Connection | Scope.Scope | Services>
> = upgradeRoute

/**
 * Leaves an upgrade request to another listener of the same Node server, such as
 * Vite's development server. The application writes nothing, and sees a response with
 * status 101. A request that is not an upgrade gets 426.
 *
 * Without such a route, the application also responds to the request, for example with
 * 404, and writes that response to the other listener's socket.
 *
 * **Example** (Vite's socket for hot reloading)
 *
 * ```ts
 * import { HttpRouter } from "effect/http"
 * import { WebSocketServer } from "effect-ws"
 *
 * const Hmr = HttpRouter.add("GET", "/hmr", WebSocketServer.leave)
 * ```
 *
 * @stability unstable
 * @category routes
 * @since 0.1.0
 */
export const leave: Effect.Effect<HttpServerResponse, never, HttpServerRequest> = leaveRoute

/**
 * Prepares the Node server of `NodeHttpServer` for `upgrade`, and returns it. A
 * prepared server
 *
 * - keeps frames that a client sends right after its request, without waiting for the
 *   response;
 * - closes the socket of an upgrade request that another route answers, which would
 *   stay open if the client had sent anything after the request;
 * - rejects upgrade requests with 503 while no application serves.
 *
 * With `http2: true`, an HTTP/2 server also announces WebSockets over HTTP/2 (RFC 8441),
 * and the application's routes get its extended CONNECT requests as GET requests. Use
 * it only if all WebSocket routes of the application are made with `upgrade`: browsers
 * do not fall back to HTTP/1.1.
 *
 * **Example** (WebSockets over HTTP/1.1 and HTTP/2 on one port)
 *
 * ```ts
 * import { NodeHttpServer } from "@effect/platform-node"
 * import { WebSocketServer } from "effect-ws"
 * import { createSecureServer } from "node:http2"
 *
 * const layer = (key: string, cert: string) =>
 *   NodeHttpServer.layer(
 *     () => WebSocketServer.prepareServer(createSecureServer({ key, cert, allowHTTP1: true }), { http2: true }),
 *     { port: 8443 }
 *   )
 * ```
 *
 * @stability unstable
 * @category routes
 * @since 0.1.0
 */
export const prepareServer: <Server extends Http.Server | Http2Server | Http2SecureServer>(
  server: Server,
  options?: PrepareOptions
) => Server = prepareNodeServer
