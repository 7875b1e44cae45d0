/** Between Node's HTTP objects and the handshake's data. */
import * as Redacted from "effect/Redacted"
import type * as Http from "node:http"
import { STATUS_CODES } from "node:http"
import type { Duplex } from "node:stream"
import type { HttpRequest, HttpResponse, RawHeaders } from "../Handshake.ts"

/** Node's flat list of names and values, in pairs. */
export const pairs = (flat: ReadonlyArray<string>): RawHeaders => {
  const headers: Array<readonly [string, string]> = []
  for (let i = 0; i + 1 < flat.length; i += 2) headers.push([flat[i], flat[i + 1]])
  return headers
}

export const toHttpRequest = (request: Http.IncomingMessage): HttpRequest => ({
  method: request.method ?? "",
  target: request.url ?? "",
  httpVersion: request.httpVersion,
  rawHeaders: pairs(request.rawHeaders),
  secure: "encrypted" in request.socket,
  remoteAddress: request.socket.remoteAddress
})

/** The status line and headers of a response, as they go on the wire. Headers were checked where they came from. */
const formatHead = ({ rawHeaders, status }: HttpResponse): string => {
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n`
  for (const [name, value] of rawHeaders) head += `${name}: ${value}\r\n`
  return head + "\r\n"
}

/** Writes the response to an upgrade request, whose socket Node has handed over. */
export const writeResponse = (socket: Duplex, response: HttpResponse): void => {
  socket.write(formatHead(response), "latin1")
  if (response.body.length > 0) socket.write(response.body)
}

/** Answers a plain request. */
export const respond = (response: Http.ServerResponse, { body, rawHeaders, status }: HttpResponse): void => {
  response.writeHead(status, rawHeaders.flat())
  response.end(body)
}

/** A secret as Node's TLS options want it. */
export const disclose = (secret: string | Redacted.Redacted<string>): string =>
  Redacted.isRedacted(secret) ? Redacted.value(secret) : secret
