/** The responses of a server to a handshake (RFC 6455 §4.2.2, RFC 8441 §5). */
import * as Result from "effect/Result"
import { utf8Length } from "#platform"
import type { AcceptOptions, HttpResponse, RawHeaders, Reject, Request } from "../../Handshake.ts"
import {
  ExtensionNotOffered,
  type InvalidHeader,
  InvalidStatus,
  ProtocolNotOffered,
  type RequestError
} from "../../HandshakeError.ts"
import { checkedHeaders } from "../protocol/headerSyntax.ts"
import { extensionHeader } from "./extensionHeader.ts"
import { acceptKey, handshakeHeaders, http2, rejectionHeaders } from "./rules.ts"

export const acceptResponse = (
  request: Request,
  { extensions, headers, protocol }: AcceptOptions = {}
): Result.Result<HttpResponse, ProtocolNotOffered | ExtensionNotOffered | InvalidHeader> => {
  const unoffered = protocolProblem(request, protocol) ?? extensionProblem(request, extensions)
  if (unoffered !== undefined) return Result.fail(unoffered)
  const accepted = extensionHeader(extensions)
  if (Result.isFailure(accepted)) return Result.fail(accepted.failure)
  return Result.map(checkedHeaders(headers, handshakeHeaders), (own) => ({
    status: request.httpVersion === http2 ? 200 : 101,
    rawHeaders: [
      ...upgradeHeaders(request),
      ...protocol === undefined ? [] : [["Sec-WebSocket-Protocol", protocol]] as const,
      ...accepted.success,
      ...own
    ],
    body: ""
  }))
}

/** Over HTTP/2 there is no upgrade and no key (RFC 8441 §5). But undici sends a key and expects it to be accepted. */
const upgradeHeaders = ({ httpVersion, key }: Request): RawHeaders => [
  ...httpVersion === http2 ? [] : [["Upgrade", "websocket"], ["Connection", "Upgrade"]] as const,
  ...key === "" ? [] : [["Sec-WebSocket-Accept", acceptKey(key)]] as const
]

const protocolProblem = (
  { protocols: offered }: Request,
  protocol: string | undefined
): ProtocolNotOffered | undefined =>
  protocol === undefined || offered.includes(protocol) ? undefined : new ProtocolNotOffered({ protocol, offered })

const extensionProblem = (
  request: Request,
  extensions: AcceptOptions["extensions"] = []
): ExtensionNotOffered | undefined => {
  const offered = request.extensions.map(({ name }) => name)
  const unoffered = extensions.find(({ name }) => !offered.includes(name))
  return unoffered && new ExtensionNotOffered({ extension: unoffered.name, offered })
}

export const rejectResponse = (
  { body, headers, status }: Reject
): Result.Result<HttpResponse, InvalidHeader | InvalidStatus> =>
  Number.isInteger(status) && status >= 300 && status <= 599 && status !== 304
    ? Result.map(checkedHeaders(headers, rejectionHeaders), (pairs) => finalResponse(status, pairs, body))
    : Result.fail(new InvalidStatus({ status }))

export const errorResponse = (error: RequestError): HttpResponse =>
  finalResponse(error.status, errorHeaders(error), error.message)

const errorHeaders = (error: RequestError): RawHeaders => {
  switch (error._tag) {
    case "InvalidMethod":
      return [["Allow", error.expected]]
    case "InvalidUpgradeHeader":
      return [["Upgrade", "websocket"]]
    case "UnsupportedVersion":
      return [["Upgrade", "websocket"], ["Sec-WebSocket-Version", "13"]]
    default:
      return []
  }
}

/** A response after which the server closes the connection. */
const finalResponse = (status: number, headers: RawHeaders, body: string | Uint8Array): HttpResponse => {
  const names = new Set(headers.map(([name]) => name.toLowerCase()))
  return {
    status,
    rawHeaders: [
      // An Upgrade header must be named in Connection (RFC 9110 §7.8).
      ["Connection", names.has("upgrade") ? "close, Upgrade" : "close"],
      ["Content-Length", String(typeof body === "string" ? utf8Length(body) : body.length)],
      ...body.length === 0 || names.has("content-type")
        ? []
        : [["Content-Type", "text/plain; charset=utf-8"]] as const,
      ...headers
    ],
    body
  }
}
