/** Makes the request of a client (RFC 6455 §4.1). */
import * as Result from "effect/Result"
import type { RawHeaders, Request, RequestOptions } from "../../Handshake.ts"
import { InvalidHeader, InvalidProtocol, type OptionsError } from "../../HandshakeError.ts"
import { checkedHeaders, combineHeaders, isToken } from "../protocol/headerSyntax.ts"
import { basicAuthorization, isHost } from "../protocol/url.ts"
import { extensionHeader } from "./extensionHeader.ts"
import { parseUrl } from "./parseUrl.ts"
import { handshakeHeaders, isKey } from "./rules.ts"

export const makeRequest = (
  url: string | URL,
  key: string,
  { extensions = [], headers: ownHeaders, protocols = [] }: RequestOptions = {}
): Result.Result<Request, OptionsError> =>
  Result.gen(function*() {
    const target = yield* parseUrl(url)
    yield* checkProtocols(protocols)
    yield* checkKey(key)
    const offered = yield* extensionHeader(extensions)
    const own = yield* checkedHeaders(ownHeaders, handshakeHeaders)
    yield* checkHost(own)
    const rawHeaders = headersOf(target, key, protocols, offered, own)
    const headers = combineHeaders(rawHeaders)
    return {
      path: target.pathname,
      query: target.searchParams,
      host: headers["host"],
      origin: headers["origin"],
      key,
      protocols,
      extensions,
      headers,
      rawHeaders,
      secure: target.protocol === "wss:",
      remoteAddress: undefined
    }
  })

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

const checkProtocols = (protocols: ReadonlyArray<string>): Result.Result<void, InvalidProtocol> => {
  for (const [i, protocol] of protocols.entries()) {
    const invalid = (problem: string) => Result.fail(new InvalidProtocol({ protocol, problem }))
    if (!isToken(protocol)) return invalid("expected a token of letters, digits and !#$%&'*+-.^_`|~")
    if (protocols.indexOf(protocol) < i) return invalid("expected each subprotocol once, got it twice")
  }
  return Result.void
}

const checkKey = (key: string): Result.Result<void, InvalidHeader> =>
  isKey(key)
    ? Result.void
    : Result.fail(new InvalidHeader({ header: "Sec-WebSocket-Key", problem: "expected 16 bytes in base64" }))

const checkHost = (headers: RawHeaders): Result.Result<void, InvalidHeader> => {
  const hosts = headers.filter(([name]) => name.toLowerCase() === "host")
  return hosts.length > 1 || hosts.some(([, value]) => !isHost(value))
    ? Result.fail(new InvalidHeader({ header: "Host", problem: "expected one host with an optional port" }))
    : Result.void
}
