/**
 * An upgrade as a route of an `effect/http` application on Node.
 *
 * The application handles the request as any other until the decision accepts it.
 * Then the route takes the socket away from the application and hands it to a
 * session, which outlives the route. After that, the route needs to know one thing
 * of the application: when its server closes.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Cookies from "effect/http/Cookies"
import { RouteContext } from "effect/http/HttpRouter"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Http from "node:http"
import type { Socket } from "node:net"
import * as Handshake from "../../Handshake.ts"
import type { Transport } from "../../Transport.ts"
import type { UpgradeOptions } from "../../WebSocketServer.ts"
import { defaultHandshakeTimeout } from "../runtime/defaults.ts"
import type { Timers } from "../runtime/timers.ts"
import { serviceUnavailable, upgradeRequired } from "../server/responses.ts"
import { type HandlerServices, makeSessions, type Sessions } from "../server/sessions.ts"
import type { RequestHead, Upgrade } from "../server/upgrade.ts"
import { type Connect, connectOf, HostServer } from "./hostServer.ts"
import { Http1RequestHead, Http1Upgrade } from "./http1Upgrade.ts"
import { closeAfterResponse, Http2RequestHead, Http2Upgrade } from "./http2Upgrade.ts"
import { isEncrypted, serverOf } from "./httpMessage.ts"
import { RouteScope } from "./routeScope.ts"
import type { StreamUpgrade } from "./streamUpgrade.ts"
import { limitResponse } from "./upgradeSocket.ts"

export const upgrade = <A, E, R, Services = never, RD = never>(
  handler: Effect.Effect<A, E, R>,
  options: UpgradeOptions<Services, RD> = {}
): Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  never,
  HttpServerRequest | HandlerServices<R, Services, RD>
> => {
  type Needs = HandlerServices<R, Services, RD>
  const sessionsFor = sessionsByServer(handler, options)
  return Effect.flatMap(
    nodeRequest,
    (nodeRequest) =>
      Effect.contextWith((context: Context.Context<HttpServerRequest | Needs>) => {
        const request = routeRequest(nodeRequest)
        if (request === undefined) return Effect.succeed(upgradeRequiredResponse(nodeRequest.source))
        const { host } = request
        if (!host.isListening) return Effect.succeed(toServerResponse(serviceUnavailable()))
        return Effect.match(
          Effect.flatMap(sessionsFor(host, context), (sessions) => serve(sessions, context, request)),
          {
            onFailure: toServerResponse,
            onSuccess: () => request.accepted
          }
        )
      })
  )
}

/** Returns the sessions of a route on a server. They stop when that server closes. */
const sessionsByServer = <A, E, R, Services, RD>(
  handler: Effect.Effect<A, E, R>,
  options: UpgradeOptions<Services, RD>
) => {
  const handshakeTimeout = options.handshakeTimeout ?? defaultHandshakeTimeout
  const byServer = new WeakMap<HostServer, Sessions<HandlerServices<R, Services, RD>>>()
  return (host: HostServer, context: Context.Context<never>) => {
    const existing = byServer.get(host)
    if (existing !== undefined) return Effect.succeed(existing)
    const listener = {
      stop: Effect.void,
      onBegin: () => void host.shutdownHooks.add(listener.stop),
      onIdle: () => void host.shutdownHooks.delete(listener.stop)
    }
    const made = Effect.map(makeSessions(handler, options, undefined, handshakeTimeout, listener), (sessions) => {
      listener.stop = Effect.provideService(sessions.stop, Clock.Clock, Context.get(context, Clock.Clock))
      byServer.set(host, sessions)
      return sessions
    })
    // A mistake of the program, which the first request finds: an error of the route's effect would be the client's.
    return Effect.orDie(made)
  }
}

/** An upgrade request to a route, of either HTTP version. */
interface RouteRequest {
  readonly host: HostServer
  readonly upgrade: StreamUpgrade
  /** Takes the stream from the application, which finds that it has responded. */
  readonly take: () => void
  /** Leaves the stream to the application's response. Further data of the client is discarded. */
  readonly giveBack: (timers: Timers, timeout: number) => void
  /** Tells the application which response the session has written. */
  readonly accepted: HttpServerResponse.HttpServerResponse
}

/** Returns the upgrade request that the application received; undefined if the request does not ask for an upgrade. */
const routeRequest = ({ response, source }: NodeRequest): RouteRequest | undefined => {
  const connect = connectOf(source)
  if (connect !== undefined) return http2Request(connect, response as object)
  return typeof response === "function" ? http1Request(source, response) : undefined
}

const http1Request = (message: Http.IncomingMessage, response: () => Http.ServerResponse): RouteRequest => {
  const host = HostServer.of(serverOf(message)!)
  const { socket } = message
  return {
    host,
    upgrade: new Http1Upgrade(message, socket, host.headOf(message)),
    take: () => detachSocket(response(), socket),
    giveBack: (timers, timeout) => {
      host.closeAfterResponse(socket, timers, timeout)
      socket.resume()
    },
    accepted: switchingProtocols
  }
}

const http2Request = ({ head, host, stream }: Connect, response: object): RouteRequest => ({
  host,
  upgrade: new Http2Upgrade(head, stream),
  take: () => markEnded(response),
  giveBack: (timers, timeout) => {
    closeAfterResponse(stream)
    limitResponse(stream, timers, timeout)
  },
  accepted: connected
})

/** Succeeds when the request is accepted; fails with the response that the application is to write. */
const serve = <Needs>(
  sessions: Sessions<Needs>,
  context: Context.Context<Needs>,
  request: RouteRequest
): Effect.Effect<void, Handshake.HttpResponse> =>
  Effect.callback((resume) => {
    const scope = new RouteScope()
    request.host.release(request.upgrade.stream)
    const session = sessions.serveRoute(
      context,
      new RouteUpgrade(request, () => scope.takeOverRequest(context), resume),
      request.host.limiterFor(Context.getOrUndefined(context, RouteContext)?.route),
      scope.scope
    )
    return session?.interruptDecision
  })

/** An upgrade request of an application, which writes all responses that do not accept. */
class RouteUpgrade implements Upgrade {
  readonly head: RequestHead
  private readonly request: RouteRequest
  private readonly onAccept: () => void
  private readonly resume: (result: Effect.Effect<void, Handshake.HttpResponse>) => void

  constructor(
    request: RouteRequest,
    onAccept: () => void,
    resume: (result: Effect.Effect<void, Handshake.HttpResponse>) => void
  ) {
    this.head = request.upgrade.head
    this.request = request
    this.onAccept = onAccept
    this.resume = resume
  }

  get hasClientLeft(): boolean {
    return this.request.upgrade.hasClientLeft
  }

  watchClient(onLeft: () => void): () => void {
    return this.request.upgrade.watchClient(onLeft)
  }

  accept(handshake: Handshake.Request, response: Handshake.HttpResponse): Transport {
    this.onAccept()
    this.request.take()
    this.resume(Effect.void)
    return this.request.upgrade.accept(handshake, response)
  }

  reject(response: Handshake.HttpResponse, timers: Timers, timeout: number): void {
    this.request.giveBack(timers, timeout)
    this.resume(Effect.fail(response))
  }

  rejectUnavailable(timers: Timers, timeout: number): void {
    this.reject(serviceUnavailable(), timers, timeout)
  }

  abandon(timers: Timers, timeout: number): void {
    this.request.giveBack(timers, timeout)
    this.resume(Effect.interrupt)
  }

  onClose(callback: () => void): void {
    this.request.upgrade.onClose(callback)
  }

  get flushed(): Effect.Effect<void> {
    return this.request.upgrade.flushed
  }

  destroy(): void {
    this.request.upgrade.destroy()
  }
}

export const leave: Effect.Effect<HttpServerResponse.HttpServerResponse, never, HttpServerRequest> = Effect.suspend(
  () => Effect.map(nodeRequest, leaveUpgrade)
)

const leaveUpgrade = ({ response, source }: NodeRequest): HttpServerResponse.HttpServerResponse => {
  if (typeof response !== "function") return upgradeRequiredResponse(source)
  HostServer.of(serverOf(source)!).release(source.socket)
  detachSocket(response(), source.socket)
  return switchingProtocols
}

// -----------------------------------------------------------------------------
// Requests of NodeHttpServer
// -----------------------------------------------------------------------------

/** The fields of NodeHttpServer's requests. `response` is a function for an upgrade request, and an object for others. */
interface NodeRequest {
  readonly source: Http.IncomingMessage
  readonly response: Http.ServerResponse | (() => Http.ServerResponse)
}

const isNodeRequest = (request: object): request is NodeRequest =>
  "response" in request && "source" in request && typeof request.source === "object" && request.source !== null &&
  "rawHeaders" in request.source

const nodeRequest = Effect.flatMap(HttpServerRequest, (request: object) =>
  isNodeRequest(request)
    ? Effect.succeed(request)
    : Effect.die(
      new Error("WebSocket route: expected a request of NodeHttpServer; serve the application with NodeHttpServer")
    ))

/** Takes the socket away from a response, and lets the application find that it has responded, so that it writes nothing. */
const detachSocket = (response: Http.ServerResponse, socket: Socket): void => {
  response.detachSocket(socket)
  markEnded(response)
}

/** Under Bun, `response.end()` would write a response to the detached socket. */
const markEnded = (response: object): void => void Object.defineProperty(response, "writableEnded", { value: true })

// -----------------------------------------------------------------------------
// Responses of the application
// -----------------------------------------------------------------------------

const switchingProtocols = HttpServerResponse.empty({ status: 101 })
const connected = HttpServerResponse.empty({ status: 200 })

const isCookie = ([name]: readonly [string, string]): boolean => name.toLowerCase() === "set-cookie"

/**
 * Returns the cookies of a response. The application stores other headers by name,
 * with one value each, and cookies apart, also by name: further cookies of a name,
 * for another path or domain, get a key of their own.
 */
const cookiesOf = (rawHeaders: Handshake.RawHeaders): Cookies.Cookies => {
  const cookies = new Map<string, Cookies.Cookie>()
  for (const value of Handshake.headerValues(rawHeaders, "set-cookie")) {
    for (const cookie of Object.values(Cookies.fromSetCookie(value).cookies)) {
      cookies.set(cookies.has(cookie.name) ? `${cookie.name}; ${cookies.size}` : cookie.name, cookie)
    }
  }
  return Cookies.fromReadonlyRecord(Object.fromEntries(cookies))
}

const toServerResponse = (
  { body, rawHeaders, status }: Handshake.HttpResponse
): HttpServerResponse.HttpServerResponse => {
  const options = {
    status,
    headers: Handshake.foldHeaders(rawHeaders.filter((header) => !isCookie(header))),
    cookies: cookiesOf(rawHeaders)
  }
  return typeof body === "string"
    ? HttpServerResponse.text(body, options)
    : HttpServerResponse.uint8Array(body, options)
}

const upgradeRequiredResponse = (message: Http.IncomingMessage): HttpServerResponse.HttpServerResponse =>
  toServerResponse(upgradeRequired(headOf(message)))

const headOf = (message: Http.IncomingMessage): RequestHead =>
  message.httpVersionMajor === 1
    ? new Http1RequestHead(message)
    : new Http2RequestHead(message.headers, message.rawHeaders, {
      secure: isEncrypted(message.socket),
      remoteAddress: message.socket.remoteAddress
    })
