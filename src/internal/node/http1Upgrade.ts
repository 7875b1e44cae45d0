/** Upgrade requests over HTTP/1.1 (RFC 9110 §7.8), from Node's HTTP server. */
import { constVoid } from "effect/Function"
import type * as Http from "node:http"
import type { Duplex } from "node:stream"
import type * as Handshake from "../../Handshake.ts"
import type { Transport } from "../../Transport.ts"
import { listIncludes } from "../protocol/headerSyntax.ts"
import * as builtins from "../runtime/builtins.ts"
import { once } from "../runtime/loadOnce.ts"
import type { Timers } from "../runtime/timers.ts"
import { serviceUnavailable } from "../server/responses.ts"
import type { RequestHead } from "../server/upgrade.ts"
import { DuplexTransport } from "../streams/duplexTransport.ts"
import { isEncrypted, isTruncated, serverOf, toHeaderPairs } from "./httpMessage.ts"
import { StreamUpgrade } from "./streamUpgrade.ts"
import { limitResponse } from "./upgradeSocket.ts"

/**
 * Returns the class of requests that Node emits as upgrades only if they ask for WebSocket, or may
 * have lost the header that does. A server ignores offers of other protocols, such
 * as h2c, and answers the request as any other (RFC 9110 §7.8). Node sets `upgrade`
 * while it parses the request, and reads it to choose the event.
 */
export const serverRequest: () => typeof Http.IncomingMessage = once(() =>
  class ServerRequest extends builtins.http().IncomingMessage {
    private asksForUpgrade: boolean | null = null

    get upgrade(): boolean | null {
      return this.asksForUpgrade && (
        this.method === "CONNECT" || listIncludes(this.headers.upgrade, "websocket") ||
        isTruncated(this, serverOf(this))
      )
    }

    set upgrade(asked: boolean | null) {
      this.asksForUpgrade = asked
    }
  }
)

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
export class Http1Upgrade extends StreamUpgrade {
  /** `early` holds the bytes that Node read after the request's head. */
  constructor(message: Http.IncomingMessage, socket: Duplex, early: Uint8Array) {
    super(new Http1RequestHead(message), socket, early)
  }

  accept({ headers }: Handshake.Request, response: Handshake.HttpResponse): Transport {
    const { stream } = this
    // RFC 9110 §7.8: a request that expects 100 gets it before 101.
    if (listIncludes(headers["expect"], "100-continue")) stream.write("HTTP/1.1 100 Continue\r\n\r\n", "latin1")
    writeResponse(stream, response)
    return new DuplexTransport(stream, this.takeEarly())
  }

  reject(response: Handshake.HttpResponse, timers: Timers, timeout: number): void {
    const { stream } = this
    writeResponse(stream, response)
    stream.end()
    stream.resume()
    limitResponse(stream, timers, timeout)
  }

  rejectUnavailable(_timers: Timers, _timeout: number): void {
    respondUnavailable(this.stream)
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
  let head = `HTTP/1.1 ${status} ${builtins.http().STATUS_CODES[status] ?? ""}\r\n`
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
