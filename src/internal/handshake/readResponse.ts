/** Reads the response to a client's request (RFC 6455 §4.1). */
import * as Result from "effect/Result"
import * as Extension from "../../Extension.ts"
import type { Accepted, Headers, HttpAnswer, Redirect, Rejected, Request, ServerResponse } from "../../Handshake.ts"
import * as HandshakeError from "../../HandshakeError.ts"
import { combineHeaders, listIncludes } from "../protocol/headerSyntax.ts"
import { resolveLocation } from "../protocol/url.ts"
import { acceptKey, isSupportedHttpVersion } from "./rules.ts"

type Read<A> = Result.Result<A, HandshakeError.ResponseError>

export const readResponse = (request: Request, response: HttpAnswer): Read<ServerResponse> => {
  const headers = combineHeaders(response.rawHeaders)
  return response.status === 101
    ? readAccepted(request, response, headers)
    : Result.succeed(readOther(request, response, headers))
}

const redirectStatuses = new Set([301, 302, 303, 307, 308])

const readOther = (request: Request, response: HttpAnswer, headers: Headers): Redirect | Rejected => {
  const { body = "", rawHeaders, status } = response
  const location = headers["location"]
  return redirectStatuses.has(status) && location !== undefined
    ? { _tag: "Redirect", status, location: resolveLocation(location, baseOf(request, response)), headers, rawHeaders }
    : { _tag: "Rejected", status, headers, rawHeaders, body }
}

const baseOf = ({ host, path, secure }: Request, { url }: HttpAnswer): string =>
  `${secure ? "https" : "http"}://${url === undefined ? host + path : url.host + url.pathname + url.search}`

const readAccepted = (request: Request, response: HttpAnswer, headers: Headers): Read<Accepted> =>
  Result.gen(function*() {
    const { httpVersion = "1.1", rawHeaders } = response
    yield* checkUpgrade(httpVersion, headers)
    yield* checkAccept(request, headers)
    const protocol = yield* readProtocol(request, headers)
    const extensions = yield* readExtensions(request, headers)
    return { _tag: "Accepted", protocol, extensions, headers, rawHeaders }
  })

const checkUpgrade = (version: string, { connection, upgrade }: Headers): Read<void> => {
  if (!isSupportedHttpVersion(version)) return Result.fail(new HandshakeError.UnsupportedHttpVersion({ version }))
  if (upgrade?.toLowerCase() !== "websocket") {
    return Result.fail(new HandshakeError.InvalidUpgradeHeader({ value: upgrade }))
  }
  if (!listIncludes(connection, "upgrade")) {
    return Result.fail(new HandshakeError.InvalidConnectionHeader({ value: connection }))
  }
  return Result.void
}

const checkAccept = ({ key }: Request, headers: Headers): Read<void> => {
  const actual = headers["sec-websocket-accept"]
  if (actual === undefined) return Result.fail(new HandshakeError.MissingHeader({ header: "Sec-WebSocket-Accept" }))
  const expected = acceptKey(key)
  return actual === expected ? Result.void : Result.fail(new HandshakeError.InvalidAccept({ expected, actual }))
}

const readProtocol = ({ protocols: offered }: Request, headers: Headers): Read<string | undefined> => {
  const protocol = headers["sec-websocket-protocol"]
  return protocol === undefined || offered.includes(protocol)
    ? Result.succeed(protocol)
    : Result.fail(new HandshakeError.UnsolicitedProtocol({ protocol, offered }))
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
