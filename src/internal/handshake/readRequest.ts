/** Reads a client's request as a handshake (RFC 6455 §4.2.1). */
import * as Result from "effect/Result"
import * as Extension from "../../Extension.ts"
import type { Headers, HttpRequest, RawHeaders, Request } from "../../Handshake.ts"
import * as HandshakeError from "../../HandshakeError.ts"
import { combineHeaders, headerValues, listIncludes, parseTokens } from "../protocol/headerSyntax.ts"
import { isHost, parse } from "../protocol/url.ts"
import { isKey, isSupportedHttpVersion } from "./rules.ts"

type Read<A> = Result.Result<A, HandshakeError.RequestError>

export const readRequest = (http: HttpRequest): Read<Request> =>
  Result.gen(function*() {
    const { rawHeaders, remoteAddress, secure = false } = http
    const headers = combineHeaders(rawHeaders)
    const target = yield* readRequestLine(http)
    yield* checkUpgrade(headers)
    yield* checkBody(headers)
    const key = yield* readKey(headers)
    return {
      path: target.path,
      query: target.query,
      host: yield* readHost(target, headers, rawHeaders),
      origin: headers["origin"],
      key,
      protocols: yield* readProtocols(headers["sec-websocket-protocol"]),
      extensions: yield* readExtensions(headers["sec-websocket-extensions"]),
      headers,
      rawHeaders,
      secure,
      remoteAddress
    }
  })

const readRequestLine = ({ httpVersion, method, target }: HttpRequest): Read<Target> => {
  if (method !== "GET") return Result.fail(new HandshakeError.InvalidMethod({ method }))
  if (!isSupportedHttpVersion(httpVersion)) {
    return Result.fail(new HandshakeError.UnsupportedHttpVersion({ version: httpVersion }))
  }
  const parsed = parseTarget(target)
  return parsed === undefined ? Result.fail(new HandshakeError.InvalidTarget({ target })) : Result.succeed(parsed)
}

const checkUpgrade = ({ connection, upgrade }: Headers): Read<void> => {
  if (!listIncludes(upgrade, "websocket")) {
    return Result.fail(new HandshakeError.InvalidUpgradeHeader({ value: upgrade }))
  }
  if (!listIncludes(connection, "upgrade")) {
    return Result.fail(new HandshakeError.InvalidConnectionHeader({ value: connection }))
  }
  return Result.void
}

/** Rejects headers that announce a body (RFC 9112 §6.3), because an intermediary would treat the frames as that body. */
const checkBody = (headers: Headers): Read<void> => {
  const length = headers["content-length"]
  const header = headers["transfer-encoding"] !== undefined
    ? "Transfer-Encoding"
    : length === undefined || /^0+$/.test(length)
    ? undefined
    : "Content-Length"
  return header === undefined ? Result.void : Result.fail(new HandshakeError.UnexpectedBody({ header }))
}

const readKey = (headers: Headers): Read<string> => {
  const version = headers["sec-websocket-version"]
  if (version === undefined) return Result.fail(new HandshakeError.MissingHeader({ header: "Sec-WebSocket-Version" }))
  if (version !== "13") return Result.fail(new HandshakeError.UnsupportedVersion({ version }))
  const key = headers["sec-websocket-key"]
  if (key === undefined) return Result.fail(new HandshakeError.MissingHeader({ header: "Sec-WebSocket-Key" }))
  return isKey(key) ? Result.succeed(key) : Result.fail(new HandshakeError.InvalidKey({ key }))
}

const readHost = (target: Target, headers: Headers, rawHeaders: RawHeaders): Read<string> => {
  const header = headers["host"]
  if (header === undefined) return Result.fail(new HandshakeError.MissingHeader({ header: "Host" }))
  if (header.includes(",") && headerValues(rawHeaders, "host").length > 1) {
    return Result.fail(new HandshakeError.InvalidHostHeader({ value: header }))
  }
  const host = target.host ?? header
  return isHost(host) ? Result.succeed(host) : Result.fail(new HandshakeError.InvalidHostHeader({ value: host }))
}

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
