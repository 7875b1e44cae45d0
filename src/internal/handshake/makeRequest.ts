/** Makes the request of a client: an upgrade (RFC 6455 §4.1), or an extended CONNECT over HTTP/2 (RFC 8441 §4). */
import * as Result from "effect/Result"
import type { RawHeaders, Request, RequestOptions } from "../../Handshake.ts"
import { InvalidHeader, type OptionsError } from "../../HandshakeError.ts"
import { checkedHeaders, combineHeaders } from "../protocol/headerSyntax.ts"
import { basicAuthorization, isHost } from "../protocol/url.ts"
import { extensionHeader } from "./extensionHeader.ts"
import { offerProblem } from "./offeredProtocols.ts"
import { parseUrl } from "./parseUrl.ts"
import { handshakeHeaders, http2, isConnectionSpecific, isKey } from "./rules.ts"

export const makeRequest = (
  url: string | URL,
  key: string,
  options?: RequestOptions
): Result.Result<Request, OptionsError> =>
  Result.flatMap(parseUrl(url), (target) => makeUpgradeRequest(target, key, options))

/** `makeRequest` for a URL that `parseUrl` has returned. */
export const makeUpgradeRequest = (
  target: URL,
  key: string,
  options: RequestOptions = {}
): Result.Result<Request, OptionsError> => {
  const checked = check(options, target, keyProblem(key))
  return Result.map(
    checked,
    ({ authority, headers, isOwnAuthority, offers }) =>
      requestOf(target, authority, options, { httpVersion: "1.1", key }, [
        ...isOwnAuthority ? [] : [["Host", authority]] as const,
        ["Upgrade", "websocket"],
        ["Connection", "Upgrade"],
        ["Sec-WebSocket-Key", key],
        ...offers,
        ...headers
      ])
  )
}

export const makeConnectRequest = (
  url: string | URL,
  options: RequestOptions = {}
): Result.Result<Request, OptionsError> => {
  const header = Object.keys(options.headers ?? {}).find(isConnectionSpecific)
  if (header !== undefined) {
    const problem = "expected no connection-specific header, because HTTP/2 has none (RFC 9113 §8.2.2)"
    return Result.fail(new InvalidHeader({ header, problem }))
  }
  return Result.flatMap(
    parseUrl(url),
    (target) =>
      Result.map(check(options, target), ({ authority, headers, offers }) => {
        const rawHeaders = [...offers, ...headers].flatMap(([name, value]) => {
          const lowerCase = name.toLowerCase()
          return lowerCase === "host" ? [] : [[lowerCase, value] as const]
        })
        return requestOf(target, authority, options, { httpVersion: http2, key: "" }, rawHeaders)
      })
  )
}

interface Checked {
  /** The program's own Host header, or that of the URL. */
  readonly authority: string
  readonly isOwnAuthority: boolean
  readonly offers: RawHeaders
  /** Headers of the program and the credentials of the URL. */
  readonly headers: RawHeaders
}

const check = (
  { extensions = [], headers: ownHeaders, protocols = [] }: RequestOptions,
  target: URL,
  invalidKey?: InvalidHeader
): Result.Result<Checked, OptionsError> => {
  const problem = offerProblem(protocols) ?? invalidKey
  if (problem !== undefined) return Result.fail(problem)
  const offered = extensionHeader(extensions)
  if (Result.isFailure(offered)) return Result.fail(offered.failure)
  return Result.flatMap(checkedHeaders(ownHeaders, handshakeHeaders), (own) => {
    const invalidHost = hostProblem(own)
    if (invalidHost !== undefined) return Result.fail(invalidHost)
    const given = combineHeaders(own)
    return Result.succeed({
      authority: given["host"] ?? target.host,
      isOwnAuthority: given["host"] !== undefined,
      offers: [
        ["Sec-WebSocket-Version", "13"],
        ...protocols.length === 0 ? [] : [["Sec-WebSocket-Protocol", protocols.join(", ")]] as const,
        ...offered.success
      ],
      headers: [...credentialsOf(target, given), ...own]
    })
  })
}

/** The program's own Authorization header replaces that of the URL. */
const credentialsOf = (url: URL, own: Readonly<Record<string, string>>): RawHeaders => {
  const credentials = basicAuthorization(url)
  return credentials === undefined || own["authorization"] !== undefined ? [] : [["Authorization", credentials]]
}

const requestOf = (
  { pathname: path, protocol, searchParams: query }: URL,
  host: string,
  { extensions = [], protocols = [] }: RequestOptions,
  { httpVersion, key }: Pick<Request, "httpVersion" | "key">,
  rawHeaders: RawHeaders
): Request => {
  const headers = combineHeaders(rawHeaders)
  return {
    path,
    query,
    httpVersion,
    host,
    origin: headers["origin"],
    key,
    protocols,
    extensions,
    headers,
    rawHeaders,
    secure: protocol === "wss:",
    remoteAddress: undefined
  }
}

const keyProblem = (key: string): InvalidHeader | undefined =>
  isKey(key) ? undefined : new InvalidHeader({ header: "Sec-WebSocket-Key", problem: "expected 16 bytes in base64" })

const hostProblem = (headers: RawHeaders): InvalidHeader | undefined => {
  const hosts = headers.filter(([name]) => name.toLowerCase() === "host")
  return hosts.length > 1 || hosts.some(([, value]) => !isHost(value))
    ? new InvalidHeader({ header: "Host", problem: "expected one host with an optional port" })
    : undefined
}
