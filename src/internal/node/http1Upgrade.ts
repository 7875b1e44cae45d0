/** Between Node's HTTP objects and the handshake's data. */
import { constVoid } from "effect/Function"
import * as Redacted from "effect/Redacted"
import * as Http from "node:http"
import type { Duplex } from "node:stream"
import * as Result from "effect/Result"
import type { HandshakeInfo } from "../../Connection.ts"
import * as Handshake from "../../Handshake.ts"
import { listIncludes } from "../protocol/headerSyntax.ts"

/** Node's flat list of names and values, in pairs. */
export const toHeaderPairs = (flat: ReadonlyArray<string>): Handshake.RawHeaders => {
  const headers: Array<readonly [string, string]> = []
  for (let i = 0; i + 1 < flat.length; i += 2) headers.push([flat[i], flat[i + 1]])
  return headers
}

/**
 * How many header lines Node keeps of a message (its `maxHeadersCount`): one more
 * than are accepted, so that a message of 1,000 lines is not taken for a truncated one.
 */
export const headerLinesKept = 1001

/**
 * Whether Node may have dropped header lines: it keeps `maxHeadersCount` of them,
 * 1,000 by default and all with 0, and does not tell how many there were.
 */
export const isTruncated = (
  { rawHeaders }: Http.IncomingMessage,
  by: Pick<Http.Server, "maxHeadersCount"> | undefined
): boolean => rawHeaders.length >= 2 * ((by?.maxHeadersCount ?? 1000) || Infinity)

/** The server that a request came to, which Node's types leave out; undefined if it is not one of Node's. */
export const serverOf = ({ socket }: Http.IncomingMessage): Http.Server | undefined =>
  (socket as unknown as { readonly server: Http.Server | undefined }).server

/**
 * A request that Node hands over as an upgrade only if it asks for WebSocket, or
 * may have lost the header that does. A server ignores an offer of another
 * protocol, such as h2c, and answers the request as any other (RFC 9110 §7.8).
 * Node sets `upgrade` as it parses, and reads it to choose between the two.
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

/** Whether a stream is one of TLS. Bun's sockets have the property without TLS, too. */
export const isEncrypted = (stream: Duplex): boolean => "encrypted" in stream && stream.encrypted === true

/** What Node read, without the rest of its objects. */
export class HttpRequest implements Handshake.HttpRequest {
  readonly method: string
  readonly target: string
  readonly httpVersion: string
  readonly secure: boolean
  readonly remoteAddress: string | undefined
  private readonly flatHeaders: ReadonlyArray<string>

  constructor({ httpVersion, method, rawHeaders, socket, url }: Http.IncomingMessage) {
    this.method = method!
    this.target = url!
    this.httpVersion = httpVersion
    this.secure = isEncrypted(socket)
    this.remoteAddress = socket.remoteAddress
    this.flatHeaders = rawHeaders
  }

  /** Made anew each time. */
  get rawHeaders(): Handshake.RawHeaders {
    return toHeaderPairs(this.flatHeaders)
  }
}

/**
 * The opening handshake of a server's connection. Nearly nobody looks at it once
 * the connection is open: so only what Node read and what was answered is kept,
 * and read again when it is asked for.
 */
export class ServerHandshake implements HandshakeInfo {
  private readonly http: HttpRequest
  private readonly accepted: Handshake.AcceptOptions
  private read: Handshake.Request | undefined

  constructor(message: Http.IncomingMessage, accepted: Handshake.AcceptOptions) {
    this.http = new HttpRequest(message)
    this.accepted = accepted
  }

  get subprotocol(): string | undefined {
    return this.accepted.protocol
  }

  get request(): Handshake.Request {
    return this.read ??= Result.getOrThrow(Handshake.readRequest(this.http))
  }

  get responseHeaders(): Handshake.Headers {
    return Handshake.foldHeaders(this.rawResponseHeaders)
  }

  get rawResponseHeaders(): Handshake.RawHeaders {
    return Result.getOrThrow(Handshake.acceptResponse(this.request, this.accepted)).rawHeaders
  }
}

/** The status line and headers of a response, as they go on the wire. Headers were checked where they came from. */
const formatHead = ({ rawHeaders, status }: Handshake.HttpResponse): string => {
  let head = `HTTP/1.1 ${status} ${Http.STATUS_CODES[status] ?? ""}\r\n`
  for (const [name, value] of rawHeaders) head += `${name}: ${value}\r\n`
  return head + "\r\n"
}

/** Writes the response that accepts a request. A request that expects 100 gets it before 101 (RFC 9110 §7.8). */
export const writeAcceptance = (
  socket: Duplex,
  { headers }: Handshake.Request,
  response: Handshake.HttpResponse
): void => {
  if (listIncludes(headers["expect"], "100-continue")) socket.write("HTTP/1.1 100 Continue\r\n\r\n", "latin1")
  writeResponse(socket, response)
}

/** Writes the response to an upgrade request, whose socket Node has handed over. */
export const writeResponse = (socket: Duplex, response: Handshake.HttpResponse): void => {
  socket.write(formatHead(response), "latin1")
  if (response.body.length > 0) socket.write(response.body)
}

/** There is no place for a request, for now. */
export const serviceUnavailable = (): Handshake.HttpResponse => ({
  status: 503,
  rawHeaders: [
    ["Connection", "close"],
    ["Content-Length", "0"],
    // Not the same for all, who would come again all at once.
    ["Retry-After", String(5 + Math.floor(Math.random() * 11))]
  ],
  body: ""
})

/** Says that there is no place, with as little work as can be, and the socket is gone. */
export const respondUnavailable = (socket: Duplex): void => {
  socket.on("error", constVoid)
  writeResponse(socket, serviceUnavailable())
  socket.end(() => socket.destroy())
}

/**
 * Keeps in mind the responses of a server. Answers whether one is still to come
 * on a socket: responses come in order (RFC 9112 §9.3.2), and this one would
 * come in the middle of frames, if the socket were upgraded.
 */
export const trackResponses = (server: Http.Server): (socket: Duplex) => boolean => {
  const last = new WeakMap<Duplex, Http.ServerResponse>()
  server.prependListener("request", ({ socket }, response) => last.set(socket, response))
  // One that waits for others before it has no socket yet.
  return (socket) => last.get(socket)?.closed === false
}

/** Answers a plain request. */
export const respond = (response: Http.ServerResponse, { body, rawHeaders, status }: Handshake.HttpResponse): void => {
  response.writeHead(status, rawHeaders.flat())
  response.end(body)
}

/** A secret as Node's TLS options want it. */
export const unredact = (secret: string | Redacted.Redacted<string>): string =>
  Redacted.isRedacted(secret) ? Redacted.value(secret) : secret
