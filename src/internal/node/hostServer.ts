/** A Node server that belongs to an application: what routes need to know of it. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { RouteContext } from "effect/http/HttpRouter"
import * as Option from "effect/Option"
import type * as Http from "node:http"
import type { Http2SecureServer } from "node:http2"
import type { Duplex } from "node:stream"
import { defaultCloseTimeout } from "../connection/closing.ts"
import { emptyBytes } from "../runtime/buffers.ts"
import { Timers } from "../runtime/timers.ts"
import { ConnectionLimiter } from "../server/connectionLimiter.ts"
import { respondUnavailable, trackResponses } from "./http1Upgrade.ts"
import { headerLinesKept } from "./httpMessage.ts"
import { closeAfterResponse } from "./upgradeSocket.ts"

/** How long a client has to read the response of another route and to end its side, in milliseconds. */
const defaultResponseTimeout = Duration.toMillis(defaultCloseTimeout)

/** A server that accepts HTTP/1.1 requests, which alone can be upgraded. `Http2SecureServer` emits the same events for them. */
export type NodeServer = Http.Server | Http2SecureServer

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

  /** Sees all upgrade requests from now on. */
  prepare(): void {
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

  /** Returns the limiter of the route in a context. A route's effect may be made anew for each request, so it has none itself. */
  limiterFor(context: Context.Context<never>): ConnectionLimiter {
    const router = Context.getOption(context, RouteContext)
    const key = Option.isSome(router) ? router.value.route : this
    let limiter = this.limiters.get(key)
    if (limiter === undefined) this.limiters.set(key, limiter = new ConnectionLimiter())
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

export const prepareServer = <Server extends NodeServer>(server: Server): Server => {
  HostServer.of(server as Http.Server).prepare()
  return server
}
