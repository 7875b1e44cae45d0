/**
 * A WebSocket server as a Layer. `layer` listens, with an HTTP server of its
 * own; `serve` runs a handler for each connection.
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
import * as Config from "effect/Config"
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
import type { Http2SecureServer } from "node:http2"
import type { Duplex } from "node:stream"
import type * as Connection from "./Connection.ts"
import type * as Extension from "./Extension.ts"
import type * as Handshake from "./Handshake.ts"
import type { InvalidOption } from "./HandshakeError.ts"
import { prepareServer as prepareNodeServer } from "./internal/node/hostServer.ts"
import { leave as leaveRoute, upgrade as upgradeRoute } from "./internal/node/httpRoute.ts"
import { listen, makeServer } from "./internal/node/listen.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * Where a server listens.
 *
 * @category models
 * @since 0.1.0
 */
export type Address =
  | { readonly _tag: "Tcp"; readonly host: string; readonly port: number }
  | { readonly _tag: "Unix"; readonly path: string }

/**
 * The server could not listen: the port is taken, or may not be used.
 *
 * @category errors
 * @since 0.1.0
 */
export class ListenFailed extends Data.TaggedError("ListenFailed")<{
  /** The system's name for it, such as EADDRINUSE or EACCES. */
  readonly code: string | undefined
  readonly cause: Error
}> {
  override get message(): string {
    return `the server cannot listen: ${this.cause.message}`
  }
}

/**
 * A server that listens.
 *
 * @category models
 * @since 0.1.0
 */
export interface WebSocketServer {
  readonly address: Address
  /** The URL of the server, as a client on the same machine would use it; for a Unix socket, that of localhost. */
  readonly url: string
  /**
   * Runs a handler for each connection until the Scope closes. Then the server closes
   * each connection with `shutdownClose`; after `shutdownTimeout` it destroys their
   * sockets and interrupts their handlers. Fails with `InvalidOption` if an option is
   * invalid. A server serves one handler at a time: a second `serve` dies with a
   * defect whose tag is `AlreadyServing`.
   */
  readonly serve: <A, E, R, Services = never, RD = never>(
    handler: Effect.Effect<A, E, R>,
    options?: ServeOptions<Services, RD>
  ) => Effect.Effect<
    void,
    InvalidOption,
    Scope.Scope | Exclude<RD, Scope.Scope> | Exclude<R, Connection.Connection | Scope.Scope | Services>
  >
  /** Takes a stream of bytes as if a client had connected with it: an HTTP request is to come on it. */
  readonly accept: (duplex: Duplex) => Effect.Effect<void>
  /** The connections that are open. */
  readonly connections: Effect.Effect<ReadonlyArray<Connection.Connection>>
}

/**
 * Service tag of `WebSocketServer`.
 *
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
 * @category options
 * @since 0.1.0
 */
export interface ListenOptions {
  /** The port, 0 to 65,535. Default 0: any that is free. */
  readonly port?: number | undefined
  /** The address to listen on. Default: all of this machine's. */
  readonly host?: string | undefined
  /**
   * A Unix socket to listen on, instead of a port. On Linux the path takes at most
   * 107 bytes, on other systems 103; a longer one is an `InvalidOption`, because
   * Node 20 would cut it. On Linux a name behind a NUL is an abstract socket.
   */
  readonly socketPath?: string | undefined
  /** How many connections the system may hold that were not accepted yet. Default 511. 1 or more. */
  readonly backlog?: number | undefined
  /** The path that the server answers at; others get 404. Default: all paths. */
  readonly path?: string | undefined
  /** TLS, for a wss server. Default none. */
  readonly tls?: TlsOptions | undefined
  /**
   * How long a handshake may take, from the first byte to the decision. Default 10 seconds.
   * More than 0, or Infinity.
   */
  readonly handshakeTimeout?: Duration.Input | undefined
  /**
   * The most bytes that the headers of a request may take. Default 16 KiB. The
   * server answers larger headers, and more than 1,000 header lines, with 431.
   * 1 or more, or Infinity.
   */
  readonly maxHeaderSize?: number | undefined
  /**
   * How many sockets there may be on which no request has come yet. One more, and
   * the oldest of them is cut. Default 1024. 1 or more, or Infinity.
   */
  readonly maxPendingHandshakes?: number | undefined
}

/**
 * Options of a server.
 *
 * @category options
 * @since 0.1.0
 */
export interface MakeOptions extends ListenOptions {
  /**
   * Answers HTTP requests that do not ask for a WebSocket, among them requests
   * that offer another upgrade, such as h2c. Default: 426 with an explanation.
   */
  readonly onRequest?: Http.RequestListener | undefined
}

/**
 * The server's side of TLS, in PEM.
 *
 * @category options
 * @since 0.1.0
 */
export interface TlsOptions {
  /** The key of the certificate. */
  readonly key: string | Redacted.Redacted<string>
  /** The server's certificate, and those between it and an authority's. */
  readonly cert: string
  /** What the key is encrypted with, if it is. */
  readonly passphrase?: string | Redacted.Redacted<string> | undefined
  /** The authorities whose client certificates are accepted. */
  readonly ca?: string | undefined
  /** Whether clients are asked for a certificate. Default false. */
  readonly requestCert?: boolean | undefined
  /** Whether clients without a valid certificate are refused, where they are asked. Default true. */
  readonly rejectUnauthorized?: boolean | undefined
}

/**
 * How connections are accepted and handled. `serve` fails with `InvalidOption` if
 * an option is invalid.
 *
 * @category options
 * @since 0.1.0
 */
export interface ServeOptions<Services = never, R = never> extends Connection.Options {
  /** The subprotocols that the server speaks, the one it likes best first. Default none. */
  readonly protocols?: ReadonlyArray<string> | undefined
  /**
   * The extensions that clients may use, such as `PerMessageDeflate`. Default
   * none: compression costs memory and time, and may give secrets away.
   */
  readonly extensions?: ReadonlyArray<Extension.Extension> | undefined
  /**
   * Which pages may connect. Default "same-origin", which over TLS means https
   * pages only. Clients that are not browsers send no Origin, and pass.
   */
  readonly origin?: Handshake.OriginPolicy | undefined
  /**
   * Accepts or rejects a request; failing with a `Reject` rejects it too. The
   * handler gets the services that it accepts with. What it acquires in its Scope is
   * released after the connection and its handler have ended, or, if there will be no
   * connection, with the response. Default: what `Handshake.HandshakePolicy` decides, which
   * is to accept.
   */
  readonly decide?:
    | ((request: Handshake.Request) => Effect.Effect<Handshake.Decision<Services>, Handshake.Reject, R>)
    | undefined
  /**
   * The most connections at a time, handshakes that are being decided and handlers
   * that are not over included. What comes after gets 503 with a Retry-After,
   * before anything else is done about it. Default 65,536. 0 or more, or Infinity.
   */
  readonly maxConnections?: number | undefined
  /**
   * The most of these from one address; of IPv6, from one network of 64 bits.
   * Default 16,384. Behind a proxy all come from the proxy's.
   * 0 or more, or Infinity.
   */
  readonly maxConnectionsPerAddress?: number | undefined
  /**
   * How long a handler that has read from its connection may go on after the end,
   * counted from the last message that it takes; then it is interrupted. Default 30
   * seconds. 0 or more, or Infinity. A handler that has read nothing, and was not told
   * of the end in another way, is interrupted at once, unless messages are unread.
   */
  readonly handlerTimeout?: Duration.Input | undefined
  /** What connections are closed with when the server stops. Default: 1001, without a reason. */
  readonly shutdownClose?: { readonly code: number; readonly reason?: string | undefined } | undefined
  /**
   * How long connections and handlers have to end when the server stops. Default 10 seconds.
   * 0 or more, or Infinity.
   */
  readonly shutdownTimeout?: Duration.Input | undefined
}

/**
 * How connections of a route are accepted and handled. What is said of a server
 * in `ServeOptions` holds for the route: `maxConnections` are those of one route
 * on one server, even if the route's effect is made anew for each request. The first
 * request checks the options: an invalid one is a defect, `InvalidOption`, and its
 * client gets 500.
 *
 * @category options
 * @since 0.1.0
 */
export interface UpgradeOptions<Services = never, R = never> extends ServeOptions<Services, R> {
  /**
   * How long a handshake may take, from when the route has the request to the
   * decision and the start of extensions. Default 10 seconds. How long the
   * request's head may take, the server that the application runs on says.
   * More than 0, or Infinity.
   */
  readonly handshakeTimeout?: Duration.Input | undefined
}

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Listens, until the Scope closes. Fails where it cannot: the port is taken, or
 * may not be used; an option, such as a TLS key, is not what it has to be.
 *
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
 * A server with the given options; without any, on a port that is free, which
 * its `address` and `url` tell.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: MakeOptions): Layer.Layer<WebSocketServer, ListenFailed | InvalidOption> =>
  Layer.effect(WebSocketServer)(make(options))

/**
 * A server with options from the configuration.
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
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  config: Config.Wrap<ListenOptions>,
  options?: { readonly onRequest?: Http.RequestListener | undefined }
): Layer.Layer<WebSocketServer, ListenFailed | InvalidOption | Config.ConfigError> =>
  Layer.effect(WebSocketServer)(
    Effect.flatMap(Config.unwrap(config), (listening) => make({ ...listening, ...options }))
  )

/**
 * Runs a handler for each connection of the server. The handler has the
 * `Connection` and the Scope of `decide` in its context, and lives as long as the connection:
 * when it ends, the connection is closed, with 1000 after a success, and 1011
 * after a failure, which is logged. When the connection ends, a handler that reads
 * has `handlerTimeout` to finish; one that has read nothing is interrupted.
 *
 * **Example** (For those who have a token)
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
 * Runs a handler for each connection that is asked for at a route of an
 * `effect/http` application, on `NodeHttpServer`. As on a server of its own, the
 * handler lives as long as the connection; it also has what the route has:
 * path parameters, and the services that middleware provides. The Scope of the
 * request, in which middleware acquires them, closes when the handler has ended.
 *
 * The application sees the response: 101, or what the request was refused with,
 * which is 426 where it asks for no WebSocket. When the application's server
 * closes, so do the connections, with `shutdownClose`; what is not over within
 * `shutdownTimeout` is cut.
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
 * the development server of Vite. The application writes no response, and finds
 * one of 101. A request that is not an upgrade gets 426.
 *
 * Without such a route the application answers the request as well, for example
 * with 404, and writes that response into the other listener's socket.
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
 * @category routes
 * @since 0.1.0
 */
export const leave: Effect.Effect<HttpServerResponse, never, HttpServerRequest> = leaveRoute

/**
 * Makes a Node server that is given to `NodeHttpServer` ready for `upgrade`. Keeps
 * the frames that a client sends right behind its request, without waiting for the
 * response. Releases the sockets of upgrade requests that other routes answer, or
 * none; without this, such a socket stays open if its client has sent anything
 * behind the request. Answers 503 to upgrade requests that come before the
 * application serves, or after.
 *
 * @category routes
 * @since 0.1.0
 */
export const prepareServer: <Server extends Http.Server | Http2SecureServer>(server: Server) => Server =
  prepareNodeServer
