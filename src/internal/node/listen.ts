/** Servers with an HTTP server of their own: sockets, requests, upgrades, and the handler that serves them. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Http from "node:http"
import type * as Http2 from "node:http2"
import type * as Https from "node:https"
import type { AddressInfo } from "node:net"
import type { Duplex } from "node:stream"
import type { Connection } from "../../Connection.ts"
import { InvalidOption } from "../../HandshakeError.ts"
import type {
  Address,
  ListenOptions,
  MakeOptions,
  ServeOptions,
  TlsOptions,
  WebSocketServer
} from "../../WebSocketServer.ts"
import * as builtins from "../runtime/builtins.ts"
import { defaultHandshakeTimeout } from "../runtime/defaults.ts"
import { reasonOf } from "../runtime/describe.ts"
import { Timers } from "../runtime/timers.ts"
import { AlreadyServing } from "../server/alreadyServing.ts"
import { serviceUnavailable, upgradeRequired } from "../server/responses.ts"
import { type HandlerServices, makeSessions, type Sessions } from "../server/sessions.ts"
import type { Upgrade } from "../server/upgrade.ts"
import { FileDescriptors } from "./fileDescriptors.ts"
import type { Http2Sessions } from "./http2Sessions.ts"
import { type Http2RequestHead, Http2Upgrade, respondHttp2 } from "./http2Upgrade.ts"
import {
  Http1RequestHead,
  Http1Upgrade,
  respond,
  respondUnavailable,
  serverRequest,
  trackResponses
} from "./http1Upgrade.ts"
import { headerLinesKept, isTruncated } from "./httpMessage.ts"
import { checkListen } from "./listenOptions.ts"
import { PendingSockets } from "./pendingSockets.ts"
import { switchProtocols } from "./protocolSwitch.ts"
import { toSecureContextOptions } from "./tlsCredentials.ts"

const defaultMaxPendingHandshakes = 1024
const socketHighWaterMark = 64 * 1024
/** The longest timeout of Node's timers, in milliseconds. */
const maxNodeTimeout = 2 ** 31 - 1
const requestTimeoutResponse = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"

/** Makes a server. `start` returns its address: it listens, or leaves connections to `accept`. */
export const makeServer = Effect.fnUntraced(function*<E, R>(
  options: MakeOptions,
  start: (server: Http.Server) => Effect.Effect<Address, E, R>
): Effect.fn.Return<WebSocketServer, E | InvalidOption, R | Scope.Scope> {
  const problem = checkListen(options)
  if (problem !== undefined) return yield* Effect.fail(problem)
  const handshakeTimeout = Duration.fromInputUnsafe(options.handshakeTimeout ?? defaultHandshakeTimeout)
  const http = yield* createServer(options, handshakeTimeout)
  const server = new UpgradeServer(http, options, handshakeTimeout, yield* Effect.context<never>())
  if (options.http2 === true || options.cleartextHttp2 === true) {
    // Node's HTTP/2 takes longer to load than all of this.
    server.serveHttp2(yield* Effect.promise(() => import("./http2Sessions.ts")))
  }
  const address = yield* start(http)
  // `serve` may have a Scope that closes later, and Node waits for all connections.
  yield* Effect.addFinalizer(() => server.stop)
  server.logErrors()
  return {
    address,
    url: urlOf(address, options),
    connections: Effect.sync(() => server.connections),
    accept: (duplex) => Effect.sync(() => server.accept(duplex)),
    serve: (handler, serveOptions) => server.serve(handler, serveOptions ?? {})
  }
})

/** What serves upgrade requests, until it is stopped. */
interface ActiveHandler {
  readonly sessions: Pick<Sessions<never>, "connections" | "stop">
  readonly upgrade: (upgrade: Upgrade, elapsed: number) => void
}

/** An HTTP server that passes upgrade requests to the handler it serves. */
class UpgradeServer {
  private readonly http: Http.Server
  private readonly options: MakeOptions
  private readonly handshakeTimeout: Duration.Duration
  private readonly run: (effect: Effect.Effect<void>) => void
  private readonly timers: Timers
  private readonly pending: PendingSockets
  private readonly descriptors: FileDescriptors
  private readonly hasPendingResponse: (socket: Duplex) => boolean
  private http2: Http2Sessions | undefined
  /** Undefined before `serve`, and after its Scope has closed. */
  private active: ActiveHandler | undefined

  constructor(
    http: Http.Server,
    options: MakeOptions,
    handshakeTimeout: Duration.Duration,
    context: Context.Context<never>
  ) {
    const timers = this.timers = Timers.of(context)
    this.http = http
    this.options = options
    this.handshakeTimeout = handshakeTimeout
    this.run = Effect.runForkWith(context)
    this.pending = new PendingSockets(
      options.maxPendingHandshakes ?? defaultMaxPendingHandshakes,
      Duration.toMillis(handshakeTimeout),
      timers,
      options.tls === undefined ? requestTimeoutResponse : ""
    )
    this.descriptors = new FileDescriptors(timers, this.run)
    this.hasPendingResponse = trackResponses(http)
    this.watchSockets()
    this.handleRequests()
    this.handleUpgrades()
  }

  get connections(): Array<Connection> {
    return this.active?.sessions.connections ?? []
  }

  /** A stream in place of a socket, which has no TLS handshake. */
  accept(duplex: Duplex): void {
    this.http.emit(this.options.tls === undefined ? "connection" : "secureConnection", duplex)
  }

  serve<A, E, R, Services, RD>(
    handler: Effect.Effect<A, E, R>,
    options: ServeOptions<Services, RD>
  ): Effect.Effect<void, InvalidOption, Scope.Scope | HandlerServices<R, Services, RD>> {
    const start = Effect.suspend(() => {
      if (this.active !== undefined) return Effect.die(new AlreadyServing())
      return Effect.contextWith((context: Context.Context<HandlerServices<R, Services, RD>>) =>
        Effect.map(
          makeSessions(handler, options, this.options.path, this.handshakeTimeout),
          (sessions) =>
            this.active = { sessions, upgrade: (upgrade, elapsed) => sessions.serve(context, upgrade, elapsed) }
        )
      )
    })
    return Effect.asVoid(Effect.acquireRelease(start, (active) => this.stopServing(active)))
  }

  /** Stops serving, and then waits for no socket. */
  get stop(): Effect.Effect<void> {
    return Effect.andThen(
      Effect.suspend(() => this.stopServing(this.active)),
      Effect.sync(() => {
        this.descriptors.stop()
        this.pending.stop()
        this.http2?.stop()
      })
    )
  }

  /** Logs errors after the start, such as a failed `accept`. The server continues, and accepts connections later. */
  logErrors(): void {
    this.http.on(
      "error",
      (error) => this.run(Effect.logError("the WebSocket server failed to accept a connection", error))
    )
  }

  private stopServing(active: ActiveHandler | undefined): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.active === active) this.active = undefined
      return active?.sessions.stop ?? Effect.void
    })
  }

  private watchSockets(): void {
    this.http.on("connection", (socket) => {
      this.pending.add(socket)
      this.descriptors.onConnection()
    })
    // For streams that `accept` emits on a server with TLS.
    this.http.on("secureConnection", (socket) => this.pending.add(socket))
  }

  private handleRequests(): void {
    const { http, options: { onRequest = rejectPlainRequest } } = this
    http.on("request", (request, response) => {
      if (isTruncated(request, http)) rejectPlainRequest(request, response)
      else onRequest(request, response)
    })
    http.prependListener("request", ({ socket }, response) => {
      this.pending.remove(socket)
      // The next request has the same deadline as the first, unless it is waiting behind this one already.
      response.once("close", () => this.hasPendingResponse(socket) || this.pending.add(socket))
    })
  }

  /** Hands sockets with HTTP/2 to sessions, before Node's server reads them. */
  serveHttp2(http2: { readonly Http2Sessions: typeof Http2Sessions }): void {
    const { http, options: { http2Limits, maxHeaderSize, maxPendingHandshakes, onRequest, tls } } = this
    const maxIdle = maxPendingHandshakes ?? defaultMaxPendingHandshakes
    const sessions = new http2.Http2Sessions(
      { ...http2Limits, maxHeaderSize, maxIdle },
      this.timers,
      (stream, head, http1Api) => {
        if (head.method === "CONNECT") this.upgradeStream(stream, head)
        else if (onRequest === undefined) respondHttp2(stream, upgradeRequired(head))
        else onRequest(...http1Api())
      }
    )
    switchProtocols(http, tls === undefined ? "connection" : "secureConnection", (socket) => {
      this.pending.remove(socket)
      sessions.accept(socket)
    })
    this.http2 = sessions
  }

  private upgradeStream(stream: Http2.ServerHttp2Stream, head: Http2RequestHead): void {
    if (this.active === undefined) respondHttp2(stream, serviceUnavailable())
    else this.active.upgrade(new Http2Upgrade(head, stream), 0)
  }

  private handleUpgrades(): void {
    this.http.on("upgrade", (request, socket, head) => {
      const elapsed = this.pending.remove(request.socket)
      if (this.hasPendingResponse(socket)) socket.destroy()
      else if (this.active === undefined) respondUnavailable(socket)
      else this.active.upgrade(new Http1Upgrade(request, socket, head), elapsed)
    })
  }
}

const rejectPlainRequest: Http.RequestListener = (request, response) =>
  respond(response, upgradeRequired(new Http1RequestHead(request)))

// -----------------------------------------------------------------------------
// Node's server
// -----------------------------------------------------------------------------

const createServer = (
  options: ListenOptions,
  handshakeTimeout: Duration.Duration
): Effect.Effect<Http.Server, InvalidOption> => {
  const { http2, maxHeaderSize, tls } = options
  // Node accepts whole numbers only.
  const millis = Math.min(Math.ceil(Duration.toMillis(handshakeTimeout)), maxNodeTimeout)
  const httpOptions: Http.ServerOptions = {
    // `PendingSockets` has the deadline: Node's also counts the time during which this process was blocked.
    headersTimeout: 0,
    requestTimeout: Math.max(millis, 300_000),
    IncomingMessage: serverRequest(),
    noDelay: true,
    highWaterMark: socketHighWaterMark,
    ...maxHeaderSize === undefined
      ? {}
      : { maxHeaderSize: Math.min(Math.floor(maxHeaderSize), Number.MAX_SAFE_INTEGER) }
  }
  const create = () =>
    tls === undefined
      ? builtins.http().createServer(httpOptions)
      : builtins.https().createServer({ ...httpOptions, ...tlsOptions(tls, http2) })
  return Effect.try({
    try: () => Object.assign(create(), { maxHeadersCount: headerLinesKept }),
    // The other options are checked already.
    catch: (error) => new InvalidOption({ option: "tls", problem: reasonOf(error) })
  })
}

const tlsOptions = (options: TlsOptions, http2: boolean | undefined): Https.ServerOptions => ({
  ...toSecureContextOptions(options),
  requestCert: options.requestCert ?? false,
  rejectUnauthorized: options.rejectUnauthorized ?? true,
  ALPNProtocols: http2 === true ? ["h2", "http/1.1"] : ["http/1.1"],
  // `PendingSockets` has the deadline.
  handshakeTimeout: maxNodeTimeout
})

/** Listens until the Scope closes. Fails with Node's error. */
export const listen = (
  server: Http.Server,
  options: ListenOptions
): Effect.Effect<Address, NodeJS.ErrnoException, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(bind(server, options), () => close(server)),
    () => addressOf(server)
  )

const bind = (
  server: Http.Server,
  { backlog, host, port, socketPath }: ListenOptions
): Effect.Effect<void, NodeJS.ErrnoException> =>
  Effect.callback((resume) => {
    const onError = (error: NodeJS.ErrnoException) => resume(Effect.fail(error))
    server.once("error", onError)
    try {
      server.listen({
        ...socketPath === undefined ? { port: port ?? 0, host } : { path: socketPath },
        ...backlog === undefined ? {} : { backlog }
      }, () => {
        server.off("error", onError)
        resume(Effect.void)
      })
    } catch (error) {
      // Node throws for an invalid argument, such as a path, and emits all other errors.
      onError(error as NodeJS.ErrnoException)
    }
  })

const close = (server: Http.Server): Effect.Effect<void> =>
  Effect.callback((resume) => {
    server.close(() => resume(Effect.void))
    server.closeAllConnections()
  })

const addressOf = (server: Http.Server): Address => {
  const address = server.address() as AddressInfo | string
  return typeof address === "string"
    ? { _tag: "Unix", path: address }
    : { _tag: "Tcp", host: address.address, port: address.port }
}

const urlOf = (address: Address, { path = "", tls }: ListenOptions): string => {
  const scheme = tls === undefined ? "ws" : "wss"
  if (address._tag === "Unix") return `${scheme}://localhost${path}`
  const { host, port } = address
  const name = host === "::" || host === "0.0.0.0" ? "localhost" : host.includes(":") ? `[${host}]` : host
  return `${scheme}://${name}:${port}${path}`
}
