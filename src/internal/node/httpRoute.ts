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
import { HostServer } from "./hostServer.ts"
import { Http1RequestHead, Http1Upgrade } from "./http1Upgrade.ts"
import { serverOf } from "./httpMessage.ts"
import { RouteScope } from "./routeScope.ts"

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
    ({ response, source: message }) =>
      Effect.contextWith((context: Context.Context<HttpServerRequest | Needs>) => {
        if (typeof response !== "function") return Effect.succeed(upgradeRequiredResponse(message))
        const server = serverOf(message)!
        if (!server.listening) return Effect.succeed(toServerResponse(serviceUnavailable()))
        const host = HostServer.of(server)
        return Effect.match(
          Effect.flatMap(
            sessionsFor(host, context),
            (sessions) => serve(sessions, { context, host, message, response })
          ),
          {
            onFailure: toServerResponse,
            onSuccess: () => switchingProtocols
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

/** An upgrade request to a route. */
interface RouteRequest<Needs> {
  readonly context: Context.Context<Needs>
  readonly host: HostServer
  readonly message: Http.IncomingMessage
  /** Makes Node's response object, which the application would respond with. */
  readonly response: () => Http.ServerResponse
}

/** Succeeds when the request is accepted; fails with the response that the application is to write. */
const serve = <Needs>(
  sessions: Sessions<Needs>,
  request: RouteRequest<Needs>
): Effect.Effect<void, Handshake.HttpResponse> =>
  Effect.callback((resume) => {
    const { context, host } = request
    const scope = new RouteScope()
    const session = sessions.serveRoute(
      context,
      new RouteUpgrade(request, scope, resume),
      host.limiterFor(context),
      scope.scope
    )
    return session?.interruptDecision
  })

/** An upgrade request of an application, which writes all responses other than 101. */
class RouteUpgrade extends Http1Upgrade {
  private readonly request: RouteRequest<never>
  private readonly scope: RouteScope
  private readonly resume: (result: Effect.Effect<void, Handshake.HttpResponse>) => void

  constructor(
    request: RouteRequest<never>,
    scope: RouteScope,
    resume: (result: Effect.Effect<void, Handshake.HttpResponse>) => void
  ) {
    const { host, message } = request
    super(message, message.socket, host.headOf(message))
    this.request = request
    this.scope = scope
    this.resume = resume
    host.release(message.socket)
  }

  override accept(handshake: Handshake.Request, response: Handshake.HttpResponse): Transport {
    const { context, message, response: nodeResponse } = this.request
    this.scope.takeOverRequest(context)
    detachSocket(nodeResponse(), message.socket)
    this.resume(Effect.void)
    return super.accept(handshake, response)
  }

  override reject(response: Handshake.HttpResponse, timers: Timers, timeout: number): void {
    this.giveBack(timers, timeout)
    this.resume(Effect.fail(response))
  }

  override rejectUnavailable(timers: Timers, timeout: number): void {
    this.reject(serviceUnavailable(), timers, timeout)
  }

  override abandon(timers: Timers, timeout: number): void {
    this.giveBack(timers, timeout)
    this.resume(Effect.interrupt)
  }

  /** Leaves the socket to the application. Further data of the client is discarded. */
  private giveBack(timers: Timers, timeout: number): void {
    this.request.host.closeAfterResponse(this.socket, timers, timeout)
    this.socket.resume()
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
  // Under Bun, `response.end()` would write a response to the detached socket.
  Object.defineProperty(response, "writableEnded", { value: true })
}

// -----------------------------------------------------------------------------
// Responses of the application
// -----------------------------------------------------------------------------

/** Tells the application which response the session has written. */
const switchingProtocols = HttpServerResponse.empty({ status: 101 })

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
  toServerResponse(upgradeRequired(new Http1RequestHead(message)))
