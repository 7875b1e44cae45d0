/** Upgrade requests over HTTP/1.1 (RFC 9110 §7.8), from Node's HTTP server. */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import { Buffer } from "node:buffer"
import * as Http from "node:http"
import { type Duplex, finished } from "node:stream"
import type * as Handshake from "../../Handshake.ts"
import type { Transport } from "../../Transport.ts"
import { listIncludes } from "../protocol/headerSyntax.ts"
import { emptyBytes } from "../runtime/buffers.ts"
import type { Timers } from "../runtime/timers.ts"
import { serviceUnavailable } from "../server/responses.ts"
import type { RequestHead, Upgrade } from "../server/upgrade.ts"
import { DuplexTransport } from "../streams/duplexTransport.ts"
import { isEncrypted, isTruncated, serverOf, toHeaderPairs } from "./httpMessage.ts"
import { limitResponse, readEarly } from "./upgradeSocket.ts"

/**
 * A request that Node emits as an upgrade only if it asks for WebSocket, or may
 * have lost the header that does. A server ignores offers of other protocols, such
 * as h2c, and answers the request as any other (RFC 9110 §7.8). Node sets `upgrade`
 * while it parses the request, and reads it to choose the event.
 */
export class ServerRequest extends Http.IncomingMessage {
  private asksForUpgrade: boolean | null = null

  get upgrade(): boolean | null {
    return this.asksForUpgrade && (
      this.method === "CONNECT" || listIncludes(this.headers.upgrade, "websocket") || isTruncated(this, serverOf(this))
    )
  }

  set upgrade(asked: boolean | null) {
    this.asksForUpgrade = asked
  }
}

/** The head of a request without Node's objects, which a connection would otherwise keep in memory. */
export class Http1RequestHead implements RequestHead {
  readonly method: string
  readonly target: string
  readonly httpVersion: string
  readonly secure: boolean
  readonly remoteAddress: string | undefined
  readonly isTruncated: boolean
  private readonly flatHeaders: ReadonlyArray<string>

  constructor(message: Http.IncomingMessage) {
    const { httpVersion, method, rawHeaders, socket, url } = message
    this.method = method!
    this.target = url!
    this.httpVersion = httpVersion
    this.secure = isEncrypted(socket)
    this.remoteAddress = socket.remoteAddress
    this.isTruncated = isTruncated(message, serverOf(message))
    this.flatHeaders = rawHeaders
  }

  /** Converts the headers anew on each access: pairs take more memory than Node's list. */
  get rawHeaders(): Handshake.RawHeaders {
    return toHeaderPairs(this.flatHeaders)
  }
}

/** An upgrade request with the socket that Node's server has handed over. */
export class Http1Upgrade implements Upgrade {
  readonly head: RequestHead
  protected readonly socket: Duplex
  /** Bytes that the client sent before it had the response. */
  private early: Uint8Array

  /** `head` holds the bytes that Node read after the request's head. */
  constructor(message: Http.IncomingMessage, socket: Duplex, head: Uint8Array) {
    this.head = new Http1RequestHead(message)
    this.socket = socket
    this.early = head
    // Node has removed its listeners, and the socket may fail at any time.
    socket.on("error", constVoid)
  }

  get hasClientLeft(): boolean {
    return this.socket.destroyed || this.socket.readableEnded
  }

  watchClient(onLeft: () => void): () => void {
    const { socket } = this
    socket.once("close", onLeft)
    const stopReading = readEarly(socket)
    return () => {
      socket.off("close", onLeft)
      const read = stopReading()
      if (read.length > 0) this.early = Buffer.concat([this.early, read])
    }
  }

  accept({ headers }: Handshake.Request, response: Handshake.HttpResponse): Transport {
    const { early, socket } = this
    this.early = emptyBytes
    // RFC 9110 §7.8: a request that expects 100 gets it before 101.
    if (listIncludes(headers["expect"], "100-continue")) socket.write("HTTP/1.1 100 Continue\r\n\r\n", "latin1")
    writeResponse(socket, response)
    return new DuplexTransport(socket, early)
  }

  reject(response: Handshake.HttpResponse, timers: Timers, timeout: number): void {
    const { socket } = this
    writeResponse(socket, response)
    socket.end()
    socket.resume()
    limitResponse(socket, timers, timeout)
  }

  rejectUnavailable(_timers: Timers, _timeout: number): void {
    respondUnavailable(this.socket)
  }

  abandon(_timers: Timers, _timeout: number): void {
    this.socket.destroy()
  }

  onClose(callback: () => void): void {
    if (this.socket.destroyed) callback()
    else this.socket.once("close", callback)
  }

  get flushed(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const stop = finished(this.socket, { readable: false }, () => resume(Effect.void))
      return Effect.sync(stop)
    })
  }

  destroy(): void {
    this.socket.destroy()
  }
}

/** Writes 503 and closes the socket once the response has left, with as little work as possible. */
export const respondUnavailable = (socket: Duplex): void => {
  socket.on("error", constVoid)
  writeResponse(socket, serviceUnavailable())
  socket.end(() => socket.destroy())
}

const writeResponse = (socket: Duplex, response: Handshake.HttpResponse): void => {
  socket.write(formatHead(response), "latin1")
  if (response.body.length > 0) socket.write(response.body)
}

/** Formats the status line and the headers, which were validated when the response was made. */
const formatHead = ({ rawHeaders, status }: Handshake.HttpResponse): string => {
  let head = `HTTP/1.1 ${status} ${Http.STATUS_CODES[status] ?? ""}\r\n`
  for (const [name, value] of rawHeaders) head += `${name}: ${value}\r\n`
  return head + "\r\n"
}

/** Responds to a request that is not an upgrade. */
export const respond = (response: Http.ServerResponse, { body, rawHeaders, status }: Handshake.HttpResponse): void => {
  response.writeHead(status, rawHeaders.flat())
  response.end(body)
}

/**
 * Tracks the responses of a server. Returns a function that tells whether a socket
 * has a pending response. Responses keep the order of requests (RFC 9112 §9.3.2), so
 * after an upgrade a pending response would be written between frames.
 */
export const trackResponses = (server: Http.Server): (socket: Duplex) => boolean => {
  const last = new WeakMap<Duplex, Http.ServerResponse>()
  server.prependListener("request", ({ socket }, response) => last.set(socket, response))
  // A response that is queued behind others has no socket yet, so `socket._httpMessage` would not find it.
  return (socket) => last.get(socket)?.closed === false
}
