/** An HTTP/2 session of a client. Its streams carry connections (RFC 8441). */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import * as Scope from "effect/Scope"
import type * as Http2 from "node:http2"
import type { Duplex } from "node:stream"
import * as builtins from "../runtime/builtins.ts"
import type { Timer, Timers } from "../runtime/timers.ts"
import { nextTurn, soon } from "../runtime/turns.ts"
import { cancel } from "../streams/http2StreamTransport.ts"
import { raiseSessionWindow, streamWindow } from "../streams/http2Windows.ts"
import { failureOf, StreamFailure } from "./streamFailure.ts"

/** The head of a response, and the stream that it opened. */
export interface StreamResponse {
  readonly stream: Http2.ClientHttp2Stream
  readonly status: number
  /** Names and values in turn, pseudo-headers included. */
  readonly flatHeaders: ReadonlyArray<string>
}

/** What a session needs from its surroundings. */
export interface SessionContext {
  readonly timers: Timers
  /** After this many milliseconds without a stream, the session is closed; with 0, after its last stream. */
  readonly idleMillis: number
  /** What belongs to the socket. It is closed after the session. */
  readonly scope: Scope.Closeable
}

/** More than Node's 128 header lines, because a client accepts 1,000 over HTTP/1.1. */
const maxHeaderListPairs = 1000

/** What a session may hold of data to send, in megabytes: each connection limits its own. */
const maxSessionMemory = 64

/** The time that a peer has to end the TCP connection of a session without streams. */
const endMillis = 10_000

const closing = (): Error => new Error("expected a session with room for a stream, got one that is closing or full")

const lost = (): NodeJS.ErrnoException =>
  Object.assign(new Error("expected HTTP/2 settings, got the end of the connection"), { code: "ECONNRESET" })

/** Starts HTTP/2 on a socket, and waits for the settings of the server. The session owns the socket. */
export const startSession = (socket: Duplex, context: SessionContext): Effect.Effect<ClientSession, Error> =>
  Effect.callback((resume) => {
    if (socket.destroyed) return resume(Effect.fail(socket.errored ?? lost()))
    // Requests name their own authority.
    const http2 = builtins.http2().connect("http://localhost", {
      createConnection: () => socket,
      maxHeaderListPairs,
      maxSessionMemory,
      settings: { enablePush: false, initialWindowSize: streamWindow }
    })
    let failure: Error | undefined
    http2.on("error", (error) => (failure ??= error))
    http2.once("close", () => resume(Effect.fail(failure ?? lost())))
    http2.once("remoteSettings", () => {
      raiseSessionWindow(http2)
      resume(Effect.succeed(new ClientSession(http2, socket, context)))
    })
    return Effect.sync(() => http2.destroy())
  })

export class ClientSession {
  private readonly http2: Http2.ClientHttp2Session
  private readonly socket: Duplex
  private readonly context: SessionContext
  private streams = 0
  isClosed = false
  private isRetired = false
  /** Whether a request got no response in time, and the server has not responded to a ping since. */
  private isSuspect = false
  /** Streams above this one were not processed (RFC 9113 §6.8). */
  private lastProcessed = Number.POSITIVE_INFINITY
  /** Ends the session while it has no stream, and then its TCP connection if the server does not. */
  private timer: Timer | undefined
  private readonly ended = Deferred.makeUnsafe<void>()
  /** Called when the session gets room for streams, or will not have any more. */
  onChange: (() => void) | undefined

  constructor(http2: Http2.ClientHttp2Session, socket: Duplex, context: SessionContext) {
    this.http2 = http2
    this.socket = socket
    this.context = context
    http2.on("remoteSettings", () => this.onChange?.())
    http2.on("goaway", (_code: number, lastStream: number) => {
      this.lastProcessed = lastStream
      this.retire()
    })
    http2.on("close", () => this.onClose())
    if (context.idleMillis > 0) this.watchIdle()
  }

  // -- room --------------------------------------------------------------------

  /** Whether the server allows extended CONNECT requests (RFC 8441 §3). */
  get supportsConnect(): boolean {
    return this.http2.remoteSettings.enableConnectProtocol === true
  }

  /** Whether no further stream may be opened: the session ends with its last stream. */
  get isOver(): boolean {
    return this.isClosed || this.isRetired || this.http2.closed || this.http2.destroyed
  }

  get hasRoom(): boolean {
    return !this.isOver && !this.isSuspect && this.streams < this.maxStreams
  }

  /** Whether the server allows no stream at all, for now. */
  get isBlocked(): boolean {
    return !this.isOver && !this.isSuspect && this.maxStreams === 0
  }

  private get maxStreams(): number {
    return this.http2.remoteSettings.maxConcurrentStreams ?? Number.POSITIVE_INFINITY
  }

  // -- streams -----------------------------------------------------------------

  /** Sends a request, and returns the response as soon as its head was received. `own` takes the stream at once. */
  request(
    headers: Http2.OutgoingHttpHeaders,
    own: (stream: Http2.ClientHttp2Stream) => void
  ): Effect.Effect<StreamResponse, StreamFailure> {
    return Effect.callback((resume) => {
      if (!this.hasRoom) return resume(Effect.fail(new StreamFailure(this.isOver ? "refused" : "full", closing())))
      let stream: Http2.ClientHttp2Stream
      try {
        stream = this.http2.request(headers, { endStream: false })
      } catch (error) {
        return resume(Effect.fail(new StreamFailure("refused", error as Error)))
      }
      this.hold(stream)
      own(stream)
      const onClose = () => resume(Effect.fail(failureOf(stream, this.lastProcessed)))
      // After a reset with NO_ERROR or CANCEL, Node waits until the stream is read, and does not close it.
      const onAborted = () => soon(() => stream.destroy())
      stream.once("aborted", onAborted)
      stream.once("close", onClose)
      stream.once("response", (response, _flags, flatHeaders: ReadonlyArray<string> = []) => {
        stream.off("aborted", onAborted)
        stream.off("close", onClose)
        resume(Effect.succeed({ stream, status: response[":status"]!, flatHeaders }))
      })
      return Effect.sync(() => cancel(stream))
    })
  }

  /** Counts a stream until it is closed. */
  private hold(stream: Http2.ClientHttp2Stream): void {
    // Without a listener, an error would end the process.
    stream.on("error", constVoid)
    this.streams++
    this.context.timers.cancel(this.timer)
    stream.once("close", () => {
      this.streams--
      this.watchIdle()
      this.onChange?.()
    })
  }

  // -- the end -----------------------------------------------------------------

  /** Closes the session after its last stream. */
  retire(): void {
    this.isRetired = true
    this.watchIdle()
    this.onChange?.()
  }

  /** A request got no response in time. The session gets no more of them until the server responds to a ping. */
  suspect(): void {
    if (this.isSuspect || this.isOver) return
    this.isSuspect = true
    this.watchIdle()
    this.onChange?.()
    this.http2.ping((error) => {
      if (error !== null) return
      this.isSuspect = false
      this.onChange?.()
    })
  }

  private watchIdle(): void {
    if (this.streams > 0 || this.isClosed) return
    this.context.timers.cancel(this.timer)
    const { idleMillis } = this.context
    if (this.isRetired || idleMillis === 0) return this.end()
    this.timer = this.context.timers.schedule(idleMillis, () => this.retire())
  }

  /** Sends GOAWAY, and ends the TCP connection. Node would wait without a limit for the peer's end of it. */
  private end(): void {
    this.http2.close()
    this.timer = this.context.timers.schedule(endMillis, () => this.socket.destroy())
  }

  private onClose(): void {
    this.isClosed = true
    this.context.timers.cancel(this.timer)
    this.onChange?.()
    Effect.runFork(Effect.andThen(Scope.close(this.context.scope, Exit.void), Deferred.done(this.ended, Exit.void)))
  }

  /** Suspends until the session is closed. */
  get closed(): Effect.Effect<void> {
    return Deferred.await(this.ended)
  }

  /** Closes the session with all its streams. */
  get destroy(): Effect.Effect<void> {
    return Effect.suspend(() => {
      // Node 20 loops without end if it destroys a session in an event of one of its streams.
      nextTurn(() => {
        // Node does not destroy the socket of a session that is being closed.
        if (this.http2.closed) this.socket.destroy()
        this.http2.destroy()
      })
      return this.closed
    })
  }
}
