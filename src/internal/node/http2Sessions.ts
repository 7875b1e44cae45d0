/**
 * The HTTP/2 sessions of a server: each is a socket with many requests. Sessions
 * have limits of their own, because a session costs little to open and its streams
 * cost little to open and reset.
 */
import * as Duration from "effect/Duration"
import type * as Http from "node:http"
import type * as Http2 from "node:http2"
import type { Duplex } from "node:stream"
import type { Http2Limits } from "../../WebSocketServer.ts"
import * as builtins from "../runtime/builtins.ts"
import type { Timers } from "../runtime/timers.ts"
import { destroySession } from "../streams/destroySession.ts"
import { raiseSessionWindow, streamWindow } from "../streams/http2Windows.ts"
import { headerLinesKept, isEncrypted } from "./httpMessage.ts"
import { Http2RequestHead } from "./http2Upgrade.ts"
import { PendingSockets } from "./pendingSockets.ts"
import { StreamCount } from "./streamCount.ts"

/** Chromium opens at most 255 WebSockets at a time, all of them on one session. */
const defaultMaxStreams = 256
const defaultIdleTimeout = Duration.minutes(1)
/** The highest value of a setting (RFC 9113 §6.5.1). */
const maxSetting = 2 ** 32 - 1
/** What a session may hold of data to send, in megabytes: each connection limits its own. */
const maxSessionMemory = 64

export interface Http2SessionLimits extends Http2Limits {
  readonly maxHeaderSize?: number | undefined
  /** The maximum number of sessions without a stream. */
  readonly maxIdle: number
}

/** Receives a request: its stream, its head, and a function that makes Node's objects for it. */
export type OnStream = (
  stream: Http2.ServerHttp2Stream,
  head: Http2RequestHead,
  http1Api: () => Parameters<Http.RequestListener>
) => void

/** Returns a request and its response as a listener for HTTP/1.1 expects them. */
const http1Api = (
  stream: Http2.ServerHttp2Stream,
  headers: Http2.IncomingHttpHeaders,
  rawHeaders: ReadonlyArray<string>
): Parameters<Http.RequestListener> => {
  // Node's types of the two APIs differ, their members do not.
  const request: unknown = new (builtins.http2()).Http2ServerRequest(stream, headers, {}, rawHeaders)
  const response: unknown = new (builtins.http2()).Http2ServerResponse(stream)
  return [request as Http.IncomingMessage, response as Parameters<Http.RequestListener>[1]]
}

/** The settings that the server announces to its clients. */
const settingsOf = (
  { maxHeaderSize = builtins.http().maxHeaderSize, maxStreams = defaultMaxStreams }: Http2SessionLimits
): Http2.Settings => ({
  enableConnectProtocol: true,
  initialWindowSize: streamWindow,
  maxConcurrentStreams: Math.min(Math.floor(maxStreams), maxSetting),
  maxHeaderListSize: Math.min(Math.floor(maxHeaderSize), maxSetting)
})

export class Http2Sessions {
  private readonly server: Http2.Http2Server
  private readonly timers: Timers
  private readonly onStream: OnStream
  private readonly sessions = new Map<Http2.Http2Session, Duplex>()
  private readonly idle: PendingSockets

  constructor(limits: Http2SessionLimits, timers: Timers, onStream: OnStream) {
    this.timers = timers
    this.onStream = onStream
    const idleTimeout = Duration.toMillis(limits.idleTimeout ?? defaultIdleTimeout)
    this.idle = new PendingSockets(limits.maxIdle, idleTimeout, timers, "")
    // It does not listen: another server accepts its sockets.
    this.server = builtins.http2().createServer({
      settings: settingsOf(limits),
      maxHeaderListPairs: headerLinesKept,
      maxSessionMemory
    })
  }

  /** Begins a session on a socket. */
  accept(socket: Duplex): void {
    // Node's server for HTTP/1.1 lets clients end their side first. A session is lost then. Streams that are not
    // sockets must keep it: Node's adapter for them would fail with an error that ends the process (nodejs/node#46094).
    if (socket instanceof builtins.net().Socket) socket.allowHalfOpen = false
    this.server.once("session", (session) => this.supervise(session, socket))
    this.server.emit("connection", socket)
  }

  /** Ends all sessions. GOAWAY tells clients which of their requests were not read (RFC 9113 §6.8). */
  stop(): void {
    for (const [session, socket] of this.sessions) {
      this.idle.remove(socket)
      destroySession(session)
    }
    this.idle.stop()
  }

  private supervise(session: Http2.ServerHttp2Session, socket: Duplex & { readonly remoteAddress?: string }): void {
    const client = { secure: isEncrypted(socket), remoteAddress: socket.remoteAddress }
    const streams = new StreamCount(session, this.timers, () => this.addIdle(session, socket))
    this.sessions.set(session, socket)
    raiseSessionWindow(session)
    this.addIdle(session, socket)
    session.on("close", () => this.sessions.delete(session))
    session.on("stream", (stream, headers, _flags, rawHeaders: ReadonlyArray<string>) => {
      this.idle.remove(socket)
      streams.add(stream)
      const head = new Http2RequestHead(headers, rawHeaders, client)
      this.onStream(stream, head, () => http1Api(stream, headers, rawHeaders))
    })
  }

  private addIdle(session: Http2.Http2Session, socket: Duplex): void {
    // `close` would wait for the client to end its side of the socket.
    if (!session.destroyed) this.idle.add(socket, () => destroySession(session))
  }
}
