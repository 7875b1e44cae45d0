/** Reads a client's request as a handshake (RFC 6455 §4.2.1, RFC 8441 §5). */
import * as Result from "effect/Result"
import * as Extension from "../../Extension.ts"
import type { Headers, HttpRequest, RawHeaders, Request } from "../../Handshake.ts"
import * as HandshakeError from "../../HandshakeError.ts"
import type { RequestError } from "../../HandshakeError.ts"
import { combineHeaders, headerValues, listIncludes, parseTokens } from "../protocol/headerSyntax.ts"
import { isHost, parse } from "../protocol/url.ts"
import { http2, isKey, isSupportedHttpVersion } from "./rules.ts"

type Read<A> = Result.Result<A, RequestError>

/** Without `Result.gen`, which takes longer than all of this: each connection of a server begins here. */
export const readRequest = (http: HttpRequest): Read<Request> => {
  const { httpVersion, rawHeaders, remoteAddress, secure = false } = http
  const headers = combineHeaders(rawHeaders)
  const isHttp2 = httpVersion === http2
  const target = isHttp2 ? readConnect(http) : readRequestLine(http)
  if (Result.isFailure(target)) return Result.fail(target.failure)
  const problem = isHttp2
    ? bodyProblem(headers) ?? versionProblem(headers)
    : upgradeProblem(headers) ?? bodyProblem(headers) ?? versionProblem(headers) ?? keyProblem(headers)
  if (problem !== undefined) return Result.fail(problem)
  const host = isHttp2 ? readAuthority(http, headers) : readHost(target.success, headers, rawHeaders)
  if (Result.isFailure(host)) return Result.fail(host.failure)
  const protocols = readProtocols(headers["sec-websocket-protocol"])
  if (Result.isFailure(protocols)) return Result.fail(protocols.failure)
  const extensions = readExtensions(headers["sec-websocket-extensions"])
  if (Result.isFailure(extensions)) return Result.fail(extensions.failure)
  return Result.succeed({
    path: target.success.path,
    query: target.success.query,
    httpVersion,
    host: host.success,
    origin: headers["origin"],
    key: isHttp2 ? optionalKey(headers) : headers["sec-websocket-key"],
    protocols: protocols.success,
    extensions: extensions.success,
    headers,
    rawHeaders,
    secure,
    remoteAddress
  })
}

const readRequestLine = ({ httpVersion, method, target }: HttpRequest): Read<Target> => {
  if (method !== "GET") return Result.fail(new HandshakeError.InvalidMethod({ method, expected: "GET" }))
  if (!isSupportedHttpVersion(httpVersion)) {
    return Result.fail(new HandshakeError.UnsupportedHttpVersion({ version: httpVersion }))
  }
  const parsed = parseTarget(target)
  return parsed === undefined ? Result.fail(new HandshakeError.InvalidTarget({ target })) : Result.succeed(parsed)
}

/** Reads the pseudo-header fields of an extended CONNECT request (RFC 8441 §4). */
const readConnect = ({ method, protocol, scheme, target }: HttpRequest): Read<Target> => {
  if (method !== "CONNECT") return Result.fail(new HandshakeError.InvalidMethod({ method, expected: "CONNECT" }))
  if (protocol !== "websocket") return Result.fail(new HandshakeError.UnsupportedConnectProtocol({ protocol }))
  // Not compared with TLS: a proxy that has terminated TLS passes on the scheme of the client.
  if (scheme !== "http" && scheme !== "https") return Result.fail(new HandshakeError.InvalidScheme({ scheme }))
  const parsed = target.startsWith("/") ? parseTarget(target) : undefined
  return parsed === undefined
    ? Result.fail(new HandshakeError.InvalidTarget({ target }))
    : Result.succeed(parsed)
}

const upgradeProblem = ({ connection, upgrade }: Headers): RequestError | undefined => {
  if (!listIncludes(upgrade, "websocket")) return new HandshakeError.InvalidUpgradeHeader({ value: upgrade })
  if (!listIncludes(connection, "upgrade")) return new HandshakeError.InvalidConnectionHeader({ value: connection })
  return undefined
}

/** Rejects headers that announce a body (RFC 9112 §6.3), because an intermediary would treat the frames as that body. */
const bodyProblem = (headers: Headers): RequestError | undefined => {
  if (headers["transfer-encoding"] !== undefined) {
    return new HandshakeError.UnexpectedBody({ header: "Transfer-Encoding" })
  }
  const length = headers["content-length"]
  return length === undefined || /^0+$/.test(length)
    ? undefined
    : new HandshakeError.UnexpectedBody({ header: "Content-Length" })
}

const versionProblem = (headers: Headers): RequestError | undefined => {
  const version = headers["sec-websocket-version"]
  if (version === undefined) return new HandshakeError.MissingHeader({ header: "Sec-WebSocket-Version" })
  return version === "13" ? undefined : new HandshakeError.UnsupportedVersion({ version })
}

const keyProblem = (headers: Headers): RequestError | undefined => {
  const key = headers["sec-websocket-key"]
  if (key === undefined) return new HandshakeError.MissingHeader({ header: "Sec-WebSocket-Key" })
  return isKey(key) ? undefined : new HandshakeError.InvalidKey({ key })
}

/** HTTP/2 has no key, and an invalid one is ignored (RFC 8441 §5). */
const optionalKey = ({ "sec-websocket-key": key = "" }: Headers): string => isKey(key) ? key : ""

const readHost = (target: Target, headers: Headers, rawHeaders: RawHeaders): Read<string> => {
  const header = headers["host"]
  if (header === undefined) return Result.fail(new HandshakeError.MissingHeader({ header: "Host" }))
  if (header.includes(",") && headerValues(rawHeaders, "host").length > 1) {
    return Result.fail(new HandshakeError.InvalidHostHeader({ value: header }))
  }
  return checkHost(target.host ?? header)
}

/** RFC 9113 §8.3.1: a Host header that differs from :authority makes a request malformed. */
const readAuthority = ({ authority }: HttpRequest, headers: Headers): Read<string> => {
  if (authority === undefined) return Result.fail(new HandshakeError.MissingHeader({ header: ":authority" }))
  const host = headers["host"] ?? authority
  return host === authority ? checkHost(host) : Result.fail(new HandshakeError.InvalidHostHeader({ value: host }))
}

const checkHost = (host: string): Read<string> =>
  isHost(host) ? Result.succeed(host) : Result.fail(new HandshakeError.InvalidHostHeader({ value: host }))

const readProtocols = (value: string | undefined): Read<ReadonlyArray<string>> => {
  if (value === undefined) return Result.succeed([])
  const protocols = parseTokens(value)
  return protocols === undefined || new Set(protocols).size < protocols.length
    ? Result.fail(new HandshakeError.InvalidProtocolHeader({ value }))
    : Result.succeed(protocols)
}

const readExtensions = (value: string | undefined): Read<ReadonlyArray<Extension.HeaderEntry>> => {
  if (value === undefined) return Result.succeed([])
  const extensions = Extension.parse(value)
  return extensions === undefined
    ? Result.fail(new HandshakeError.InvalidExtensionHeader({ value }))
    : Result.succeed(extensions)
}

// -----------------------------------------------------------------------------
// Targets
// -----------------------------------------------------------------------------

interface Target {
  readonly path: string
  readonly query: URLSearchParams
  /** The host of a target in absolute form. It takes precedence over the Host header (RFC 9112 §3.2.2). */
  readonly host: string | undefined
}

/** Parses a request target in origin form, or in absolute form as proxies write it (RFC 9112 §3.2). */
const parseTarget = (target: string): Target | undefined => {
  if (target.includes("#")) return undefined
  if (target.startsWith("/")) {
    const mark = target.indexOf("?")
    return {
      path: mark < 0 ? target : target.slice(0, mark),
      query: new URLSearchParams(mark < 0 ? "" : target.slice(mark + 1)),
      host: undefined
    }
  }
  const url = /^(https?|wss?):\/\//i.test(target) ? parse(target) : undefined
  if (url === undefined) return undefined
  return { path: url.pathname, query: url.searchParams, host: url.host }
}
