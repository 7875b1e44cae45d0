/** Reads the response to a client's request (RFC 6455 §4.1, RFC 8441 §5). */
import * as Result from "effect/Result"
import * as Extension from "../../Extension.ts"
import type {
  Accepted,
  Headers,
  ReceivedResponse,
  Redirect,
  Rejected,
  Request,
  ServerResponse
} from "../../Handshake.ts"
import * as HandshakeError from "../../HandshakeError.ts"
import type { ResponseError } from "../../HandshakeError.ts"
import { combineHeaders, listIncludes } from "../protocol/headerSyntax.ts"
import { resolveLocation } from "../protocol/url.ts"
import { acceptKey, http2, isSupportedHttpVersion } from "./rules.ts"

type Read<A> = Result.Result<A, ResponseError>

export const readResponse = (request: Request, response: ReceivedResponse): Read<ServerResponse> => {
  const headers = combineHeaders(response.rawHeaders)
  return isAccepted(request, response)
    ? readAccepted(request, response, headers)
    : Result.succeed(readOther(request, response, headers))
}

/** Over HTTP/1.1, the server switches protocols; a CONNECT is accepted with any status 2xx (RFC 9110 §9.3.6). */
const isAccepted = ({ httpVersion }: Request, { status }: ReceivedResponse): boolean =>
  httpVersion === http2 ? status >= 200 && status <= 299 : status === 101

const redirectStatuses = new Set([301, 302, 303, 307, 308])

const readOther = (request: Request, response: ReceivedResponse, headers: Headers): Redirect | Rejected => {
  const { body = "", rawHeaders, status } = response
  const location = headers["location"]
  return redirectStatuses.has(status) && location !== undefined
    ? { _tag: "Redirect", status, location: resolveLocation(location, baseOf(request, response)), headers, rawHeaders }
    : { _tag: "Rejected", status, headers, rawHeaders, body }
}

const baseOf = ({ host, path, secure }: Request, { url }: ReceivedResponse): string =>
  `${secure ? "https" : "http"}://${url === undefined ? host + path : url.host + url.pathname + url.search}`

const readAccepted = (request: Request, response: ReceivedResponse, headers: Headers): Read<Accepted> => {
  const { httpVersion = "1.1", rawHeaders } = response
  const problem = request.httpVersion === http2
    ? protocolProblem(request, headers)
    : upgradeProblem(httpVersion, headers) ?? acceptProblem(request, headers) ?? protocolProblem(request, headers)
  if (problem !== undefined) return Result.fail(problem)
  const protocol = headers["sec-websocket-protocol"]
  return Result.map(
    readExtensions(request, headers),
    (extensions) => ({ _tag: "Accepted", protocol, extensions, headers, rawHeaders })
  )
}

const upgradeProblem = (version: string, { connection, upgrade }: Headers): ResponseError | undefined => {
  if (!isSupportedHttpVersion(version)) return new HandshakeError.UnsupportedHttpVersion({ version })
  if (upgrade?.toLowerCase() !== "websocket") return new HandshakeError.InvalidUpgradeHeader({ value: upgrade })
  if (!listIncludes(connection, "upgrade")) return new HandshakeError.InvalidConnectionHeader({ value: connection })
  return undefined
}

const acceptProblem = ({ key }: Request, headers: Headers): ResponseError | undefined => {
  const actual = headers["sec-websocket-accept"]
  if (actual === undefined) return new HandshakeError.MissingHeader({ header: "Sec-WebSocket-Accept" })
  const expected = acceptKey(key)
  return actual === expected ? undefined : new HandshakeError.InvalidAccept({ expected, actual })
}

const protocolProblem = ({ protocols: offered }: Request, headers: Headers): ResponseError | undefined => {
  const protocol = headers["sec-websocket-protocol"]
  return protocol === undefined || offered.includes(protocol)
    ? undefined
    : new HandshakeError.UnsolicitedProtocol({ protocol, offered })
}

const readExtensions = (request: Request, headers: Headers): Read<ReadonlyArray<Extension.HeaderEntry>> => {
  const value = headers["sec-websocket-extensions"]
  if (value === undefined) return Result.succeed([])
  const extensions = Extension.parse(value)
  if (extensions === undefined) return Result.fail(new HandshakeError.InvalidExtensionHeader({ value }))
  const offered = request.extensions.map(({ name }) => name)
  const unsolicited = extensions.find(({ name }) => !offered.includes(name))
  return unsolicited === undefined
    ? Result.succeed(extensions)
    : Result.fail(new HandshakeError.UnsolicitedExtension({ extension: unsolicited.name, offered }))
}
