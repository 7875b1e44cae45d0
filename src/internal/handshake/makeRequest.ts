/** Makes the request of a client (RFC 6455 §4.1). */
import * as Result from "effect/Result"
import type { RawHeaders, Request, RequestOptions } from "../../Handshake.ts"
import { InvalidHeader, type OptionsError } from "../../HandshakeError.ts"
import { checkedHeaders, combineHeaders } from "../protocol/headerSyntax.ts"
import { basicAuthorization, isHost } from "../protocol/url.ts"
import { extensionHeader } from "./extensionHeader.ts"
import { offerProblem } from "./offeredProtocols.ts"
import { parseUrl } from "./parseUrl.ts"
import { handshakeHeaders, isKey } from "./rules.ts"

export const makeRequest = (
  url: string | URL,
  key: string,
  { extensions = [], headers: ownHeaders, protocols = [] }: RequestOptions = {}
): Result.Result<Request, OptionsError> => {
  const target = parseUrl(url)
  if (Result.isFailure(target)) return Result.fail(target.failure)
  const problem = offerProblem(protocols) ?? keyProblem(key)
  if (problem !== undefined) return Result.fail(problem)
  const offered = extensionHeader(extensions)
  if (Result.isFailure(offered)) return Result.fail(offered.failure)
  return Result.flatMap(checkedHeaders(ownHeaders, handshakeHeaders), (own) => {
    const invalidHost = hostProblem(own)
    if (invalidHost !== undefined) return Result.fail(invalidHost)
    const { pathname: path, protocol, searchParams: query } = target.success
    const rawHeaders = headersOf(target.success, key, protocols, offered.success, own)
    const headers = combineHeaders(rawHeaders)
    const { host, origin } = headers
    const secure = protocol === "wss:"
    return Result.succeed({
      path,
      query,
      httpVersion: "1.1",
      host,
      origin,
      key,
      protocols,
      extensions,
      headers,
      rawHeaders,
      secure,
      remoteAddress: undefined
    })
  })
}

/** The program's own Host and Authorization headers replace those of the URL. */
const headersOf = (
  url: URL,
  key: string,
  protocols: ReadonlyArray<string>,
  extensions: RawHeaders,
  own: RawHeaders
): RawHeaders => {
  const given = combineHeaders(own)
  const credentials = basicAuthorization(url)
  return [
    ...given["host"] === undefined ? [["Host", url.host]] as const : [],
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Key", key],
    ["Sec-WebSocket-Version", "13"],
    ...protocols.length === 0 ? [] : [["Sec-WebSocket-Protocol", protocols.join(", ")]] as const,
    ...extensions,
    ...credentials !== undefined && given["authorization"] === undefined
      ? [["Authorization", credentials]] as const
      : [],
    ...own
  ]
}

const keyProblem = (key: string): InvalidHeader | undefined =>
  isKey(key) ? undefined : new InvalidHeader({ header: "Sec-WebSocket-Key", problem: "expected 16 bytes in base64" })

const hostProblem = (headers: RawHeaders): InvalidHeader | undefined => {
  const hosts = headers.filter(([name]) => name.toLowerCase() === "host")
  return hosts.length > 1 || hosts.some(([, value]) => !isHost(value))
    ? new InvalidHeader({ header: "Host", problem: "expected one host with an optional port" })
    : undefined
}
