/** A Node server that belongs to an application: what routes need to know of it. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type * as Http from "node:http"
import type {
  Http2SecureServer,
  Http2Server,
  Http2ServerRequest,
  Http2ServerResponse,
  ServerHttp2Stream
} from "node:http2"
import type { Duplex } from "node:stream"
import * as Handshake from "../../Handshake.ts"
import { UnsupportedConnectProtocol } from "../../HandshakeError.ts"
import type { PrepareOptions } from "../../WebSocketServer.ts"
import { defaultCloseTimeout } from "../connection/closing.ts"
import { emptyBytes } from "../runtime/buffers.ts"
import { Timers } from "../runtime/timers.ts"
import { ConnectionLimiter } from "../server/connectionLimiter.ts"
import { serviceUnavailable } from "../server/responses.ts"
import { raiseSessionWindow, streamWindow } from "../streams/http2Windows.ts"
import { respondUnavailable, trackResponses } from "./http1Upgrade.ts"
import { Http2RequestHead, respondHttp2 } from "./http2Upgrade.ts"
import { headerLinesKept, isEncrypted } from "./httpMessage.ts"
import { StreamCount } from "./streamCount.ts"
import { closeAfterResponse } from "./upgradeSocket.ts"

/** How long a client has to read the response of another route and to end its side, in milliseconds. */
const defaultResponseTimeout = Duration.toMillis(defaultCloseTimeout)

/** `Http2SecureServer` emits the events of `Http.Server` for requests over HTTP/1.1. */
export type NodeServer = Http.Server | Http2Server | Http2SecureServer

/** An extended CONNECT request. */
export interface Connect {
  readonly host: HostServer
  readonly head: Http2RequestHead
  readonly stream: ServerHttp2Stream
}

const connects = new WeakMap<object, Connect>()

/** Returns what a request asked for that the application sees as GET. */
export const connectOf = (message: object): Connect | undefined => connects.get(message)

export class HostServer {
  private static readonly byServer = new WeakMap<Http.Server, HostServer>()

  static of(server: Http.Server): HostServer {
    let host = HostServer.byServer.get(server)
    if (host === undefined) {
      host = new HostServer(server)
      HostServer.byServer.set(server, host)
    }
    return host
  }

  /** Stops the sessions on this server. */
  readonly shutdownHooks = new Set<Effect.Effect<void>>()
  private readonly server: Http.Server
  /** Whether `prepareServer` was called. */
  private prepared = false
  private isHttp2 = false
  /** The bytes that Node read after a request's head. */
  private readonly headByRequest = new WeakMap<Http.IncomingMessage, Uint8Array>()
  /** Sockets of requests that the application answers, each with a function that leaves it alone. */
  private readonly sockets = new Map<Duplex, () => void>()
  /** One limiter for each route of a router; without a router, one for the server. */
  private readonly limiters = new WeakMap<object, ConnectionLimiter>()

  constructor(server: Http.Server) {
    this.server = server
    this.watchClose()
  }

  get isListening(): boolean {
    return this.server.listening
  }

  /** Sees all upgrade requests from now on. */
  prepare({ http2 = false }: PrepareOptions): void {
    if (http2) this.prepareHttp2(this.server as unknown as Http2SecureServer)
    if (this.prepared) return
    this.prepared = true
    const { server } = this
    server.maxHeadersCount ??= headerLinesKept
    const hasPendingResponse = trackResponses(server)
    server.prependListener("upgrade", (message, socket, head) => {
      if (hasPendingResponse(socket)) socket.destroy()
      // No other listener: the application has not started, or has stopped.
      else if (server.listenerCount("upgrade") === 1) respondUnavailable(socket)
      else {
        if (head.length > 0) this.headByRequest.set(message, head)
        this.closeAfterResponse(socket)
      }
    })
  }

  /** Lets clients open WebSockets on streams of HTTP/2 (RFC 8441), and passes their requests to the application. */
  private prepareHttp2(server: Http2SecureServer): void {
    if (this.isHttp2) return
    this.isHttp2 = true
    server.updateSettings({ enableConnectProtocol: true, initialWindowSize: streamWindow })
    server.on("session", (session) => {
      const streams = new StreamCount(session, Timers.of(Context.empty()), constVoid)
      raiseSessionWindow(session)
      session.on("stream", (stream) => streams.add(stream))
    })
    // Without a listener, Node answers each CONNECT request with 405.
    server.on("connect", (request, response) => this.onConnect(server, request, response))
  }

  /** The application gets the request as GET, as over HTTP/1.1: its routes know no CONNECT. */
  private onConnect(server: Http2SecureServer, request: Http2ServerRequest, response: Http2ServerResponse): void {
    const { headers, rawHeaders, socket, stream } = request
    const client = { secure: isEncrypted(socket), remoteAddress: socket.remoteAddress }
    const head = new Http2RequestHead(headers, rawHeaders, client)
    if (head.protocol !== "websocket") {
      const error = new UnsupportedConnectProtocol({ protocol: head.protocol })
      if (server.listenerCount("connect") === 1) respondHttp2(stream, Handshake.errorResponse(error))
      return
    }
    if (server.listenerCount("request") === 0) return respondHttp2(stream, serviceUnavailable())
    connects.set(request, { host: this, head, stream })
    Object.assign(request, { method: "GET" })
    server.emit("request", request, response)
  }

  /** Returns the bytes that the client sent right after the head of its request. */
  headOf(message: Http.IncomingMessage): Uint8Array {
    return this.headByRequest.get(message) ?? emptyBytes
  }

  /** Closes a socket after the application's response. */
  closeAfterResponse(
    socket: Duplex,
    timers: Timers = Timers.of(Context.empty()),
    millis: number = defaultResponseTimeout
  ): void {
    this.release(socket)
    if (socket.destroyed) return
    const stop = closeAfterResponse(socket, timers, millis, () => !this.server.listening)
    const forget = () => void this.sockets.delete(socket)
    socket.once("close", forget)
    this.sockets.set(socket, () => {
      socket.off("close", forget)
      forget()
      stop()
    })
  }

  /** Leaves a socket to a session or to another listener. */
  release(socket: Duplex): void {
    this.sockets.get(socket)?.()
  }

  /** Returns the limiter of a router's route. A route's effect may be made anew for each request, so it has none itself. */
  limiterFor(route: object = this): ConnectionLimiter {
    let limiter = this.limiters.get(route)
    if (limiter === undefined) this.limiters.set(route, limiter = new ConnectionLimiter())
    return limiter
  }

  /** Wraps `close`, which an application calls first when it stops, and which waits for all sockets. */
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

export const prepareServer = <Server extends NodeServer>(server: Server, options: PrepareOptions = {}): Server => {
  HostServer.of(server as Http.Server).prepare(options)
  return server
}
