/**
 * An upgrade as a route of an `effect/http` application on Node.
 *
 * The application deals with the request as with any other, until it is
 * accepted: then its socket is taken out of the application's hands, and has a
 * session. What is left to be known of the application is when its server closes.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Cookies from "effect/http/Cookies"
import * as HttpEffect from "effect/http/HttpEffect"
import { RouteContext } from "effect/http/HttpRouter"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { Buffer } from "node:buffer"
import type * as Http from "node:http"
import type { Http2SecureServer } from "node:http2"
import type { Socket } from "node:net"
import type { Duplex } from "node:stream"
import * as Handshake from "../../Handshake.ts"
import type { UpgradeOptions } from "../../WebSocketServer.ts"
import { ConnectionLimiter } from "../server/connectionLimiter.ts"
import { defaultCloseTimeout } from "../connection/connection.ts"
import { headerLinesKept, respondUnavailable, serverOf, serviceUnavailable, trackResponses } from "./http1Upgrade.ts"
import { type HandlerServices, makeSessions, type Sessions, upgradeRequired } from "../server/sessions.ts"
import { Timers } from "../runtime/timers.ts"
import { settle } from "./upgradeSocket.ts"

const defaultHandshakeTimeout = Duration.seconds(10)
/** How long a client has to read the response of a route that is not ours, and to end its side, in milliseconds. */
const defaultResponseTimeout = Duration.toMillis(defaultCloseTimeout)

/** A server that takes HTTP/1.1, which is what upgrades come by. Both are used alike. */
export type NodeServer = Http.Server | Http2SecureServer

/** What is kept about a server of somebody else's. */
class HostServer {
  private static readonly byServer = new WeakMap<Http.Server, HostServer>()

  static of(server: Http.Server): HostServer {
    let host = HostServer.byServer.get(server)
    if (host === undefined) {
      host = new HostServer(server)
      HostServer.byServer.set(server, host)
    }
    return host
  }

  /** Whether it sees all upgrade requests. */
  prepared = false
  /** What came right behind a request. */
  readonly headByRequest = new WeakMap<Http.IncomingMessage, Buffer>()
  /** How to stop those that have sessions on it. */
  readonly shutdownHooks = new Set<Effect.Effect<void>>()
  /** Sockets of requests that the application answers, and how to leave each alone. */
  private readonly sockets = new Map<Duplex, () => void>()
  private readonly server: Http.Server
  /** Who is connected, by route of a router; without one, all that are on this server are one. */
  private readonly admissions = new WeakMap<object, ConnectionLimiter>()

  constructor(server: Http.Server) {
    this.server = server
    this.watchClose()
  }

  /** Sees to the end of a socket whose request the application answers. */
  settle(socket: Duplex, timers = Timers.of(Context.empty()), millis = defaultResponseTimeout): void {
    this.hold(socket)
    if (socket.destroyed) return
    const stop = settle(socket, timers, millis, () => !this.server.listening)
    const forget = () => void this.sockets.delete(socket)
    socket.once("close", forget)
    this.sockets.set(socket, () => {
      socket.off("close", forget)
      forget()
      stop()
    })
  }

  /** Leaves a socket alone. */
  hold(socket: Duplex): void {
    this.sockets.get(socket)?.()
  }

  admissionFor(context: Context.Context<never>): ConnectionLimiter {
    const router = Context.getOption(context, RouteContext)
    const key = Option.isSome(router) ? router.value.route : this
    let admission = this.admissions.get(key)
    if (admission === undefined) this.admissions.set(key, admission = new ConnectionLimiter())
    return admission
  }

  /** A server that closes waits for all of its sockets: what is on them is to end when that begins. */
  private watchClose(): void {
    const { server } = this
    const close = server.close.bind(server)
    server.close = (callback) => {
      const stopped = Effect.runPromise(Effect.all(this.shutdownHooks, { concurrency: "unbounded", discard: true }))
      for (const socket of this.sockets.keys()) if (socket.writableFinished) socket.destroy()
      return close((error) => void stopped.then(() => callback?.(error)))
    }
  }
}

export const prepareServer = <Server extends NodeServer>(server: Server): Server => {
  const node = server as Http.Server
  const host = HostServer.of(node)
  if (host.prepared) return server
  host.prepared = true
  node.maxHeadersCount ??= headerLinesKept
  const isAnswering = trackResponses(node)
  node.prependListener("upgrade", (message, socket, head) => {
    if (isAnswering(socket)) socket.destroy()
    // Nobody else is there, as long as the application has not started, or when it has stopped.
    else if (node.listenerCount("upgrade") === 1) respondUnavailable(socket)
    else {
      if (head.length > 0) host.headByRequest.set(message, head)
      host.settle(socket)
    }
  })
  return server
}

/** What NodeHttpServer's requests are made of. One that is no upgrade has its response from the beginning. */
interface NodeRequest {
  readonly source: Http.IncomingMessage
  readonly response: Http.ServerResponse | (() => Http.ServerResponse)
}

/** What a route is asked, if the application runs on NodeHttpServer. */
const nodeRequest = Effect.flatMap(HttpServerRequest, (request: object) =>
  isNodeRequest(request)
    ? Effect.succeed(request)
    : Effect.die(
      new Error("WebSocket route: expected a request of NodeHttpServer; serve the application with NodeHttpServer")
    ))

/** The application finds that it has responded, and writes nothing to a socket that is not its own any more. */
const takeSocket = (response: () => Http.ServerResponse, socket: Socket): void => {
  const responded = response()
  responded.detachSocket(socket)
  // Not by its `end`, which under Bun writes a response to the socket that was detached.
  Object.defineProperty(responded, "writableEnded", { value: true })
}

export const leave: Effect.Effect<HttpServerResponse.HttpServerResponse, never, HttpServerRequest> = Effect.map(
  nodeRequest,
  ({ response, source }) => {
    if (typeof response !== "function") return toResponse(upgradeRequired(source))
    HostServer.of(serverOf(source)!).hold(source.socket)
    takeSocket(response, source.socket)
    return switchingProtocols
  }
)

const isNodeRequest = (request: object): request is NodeRequest =>
  "response" in request && "source" in request && typeof request.source === "object" && request.source !== null &&
  "rawHeaders" in request.source

export const upgrade = <A, E, R, Services = never, RD = never>(
  handler: Effect.Effect<A, E, R>,
  options: UpgradeOptions<Services, RD> = {}
): Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  never,
  HttpServerRequest | HandlerServices<R, Services, RD>
> => {
  type Needs = HandlerServices<R, Services, RD>
  const handshakeTimeout = options.handshakeTimeout ?? defaultHandshakeTimeout
  const sessionsByServer = new WeakMap<HostServer, Sessions<Needs>>()

  /** Those of the sessions of this route that are on one server stop with it. */
  const sessionsFor = (host: HostServer, context: Context.Context<never>) => {
    const existing = sessionsByServer.get(host)
    if (existing !== undefined) return Effect.succeed(existing)
    const watcher = {
      stop: Effect.void,
      onBegin: () => void host.shutdownHooks.add(watcher.stop),
      onIdle: () => void host.shutdownHooks.delete(watcher.stop)
    }
    return Effect.map(makeSessions(handler, options, undefined, handshakeTimeout, watcher), (serving) => {
      watcher.stop = Effect.provideService(serving.stop, Clock.Clock, Context.get(context, Clock.Clock))
      sessionsByServer.set(host, serving)
      return serving
    })
  }

  const run = ({ response, source: message }: NodeRequest, context: Context.Context<HttpServerRequest | Needs>) => {
    if (typeof response !== "function") return Effect.succeed(toResponse(upgradeRequired(message)))
    const server = serverOf(message)!
    const host = HostServer.of(server)
    if (!server.listening) return Effect.succeed(toResponse(serviceUnavailable()))
    const held = new HeldScope()
    const application = {
      hold: (socket: Duplex) => host.hold(socket),
      giveBack: (socket: Duplex, timers: Timers, millis: number) => {
        host.settle(socket, timers, millis)
        // Nothing of what the client sends is for anyone.
        socket.resume()
      },
      claim: () => {
        held.holdRequest(context)
        takeSocket(response, message.socket)
      }
    }
    return Effect.flatMap(
      sessionsFor(host, context),
      (serving) =>
        Effect.match(
          serving.upgradeRoute(
            context,
            message,
            host.headByRequest.get(message) ?? emptyHead,
            host.admissionFor(context),
            held.scope,
            application
          ),
          { onFailure: toResponse, onSuccess: () => switchingProtocols }
        )
    )
  }
  return Effect.flatMap(
    nodeRequest,
    (request) => Effect.contextWith((context: Context.Context<HttpServerRequest | Needs>) => run(request, context))
  )
}

/** The Scope of a session. It may hold the Scope of the application's request, which is then closed last. */
class HeldScope {
  readonly scope = Scope.makeUnsafe()
  private request: Scope.Closeable | undefined
  private isOver = false

  constructor() {
    Effect.runSync(Scope.addFinalizerExit(this.scope, (exit) => {
      this.isOver = true
      return this.request === undefined ? Effect.void : Scope.close(this.request, exit)
    }))
  }

  /**
   * The application closes a request's Scope as soon as it has responded, though what middleware acquired is the
   * handler's, too. Where it responds is where the Scope in the context is that of the request for certain: around a
   * route, there may be another, as that of the whole application, which is not to be closed.
   */
  holdRequest(context: Context.Context<never>): void {
    HttpEffect.appendPreResponseHandlerUnsafe(
      context,
      (_, response) =>
        Effect.contextWith((responding) =>
          Effect.sync(() => {
            const request = Context.getOrUndefined(responding, Scope.Scope)
            if (request !== undefined && !this.isOver) {
              this.request = request as Scope.Closeable
              HttpEffect.scopeDisableClose(request)
            }
            return response
          })
        )
    )
  }
}

const emptyHead = Buffer.alloc(0)

/** What the application is told of a response that was written already. */
const switchingProtocols = HttpServerResponse.empty({ status: 101 })

/** The application keeps cookies apart, because it keeps one value for each header. */
const isCookie = ([name]: readonly [string, string]): boolean => name.toLowerCase() === "set-cookie"

/** By name, as the application keeps them, except that a name may be set again, for another path or domain. */
const cookiesOf = (rawHeaders: Handshake.RawHeaders): Cookies.Cookies => {
  const cookies = new Map<string, Cookies.Cookie>()
  for (const value of Handshake.headerValues(rawHeaders, "set-cookie")) {
    for (const cookie of Object.values(Cookies.fromSetCookie(value).cookies)) {
      cookies.set(cookies.has(cookie.name) ? `${cookie.name}; ${cookies.size}` : cookie.name, cookie)
    }
  }
  return Cookies.fromReadonlyRecord(Object.fromEntries(cookies))
}

const toResponse = ({ body, rawHeaders, status }: Handshake.HttpResponse): HttpServerResponse.HttpServerResponse => {
  const options = {
    status,
    headers: Handshake.foldHeaders(rawHeaders.filter((header) => !isCookie(header))),
    cookies: cookiesOf(rawHeaders)
  }
  return typeof body === "string"
    ? HttpServerResponse.text(body, options)
    : HttpServerResponse.uint8Array(body, options)
}
