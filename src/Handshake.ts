/**
 * The opening handshake (RFC 6455 §4) as data, for both roles: what a client
 * asks, what a server decides, and whether the answer is one to accept.
 *
 * This module does no I/O, and HTTP is parsed by others: it is given requests
 * and responses with their headers, and gives responses and verdicts back.
 *
 * **Example** (A server's answer to a client)
 *
 * ```ts
 * import { Result } from "effect"
 * import { Handshake } from "effect-ws"
 *
 * const request = Handshake.makeRequest("ws://example.com/chat", "dGhlIHNhbXBsZSBub25jZQ==", { protocols: ["chat"] })
 * const response = Result.flatMap(request, (asked) => Handshake.acceptResponse(asked, { protocol: "chat" }))
 * const verdict = Result.flatMap(Result.all([request, response]), ([asked, { rawHeaders, status }]) =>
 *   Handshake.readResponse(asked, { rawHeaders, status }))
 *
 * Result.getOrThrow(verdict)._tag // => "Accepted"
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { Buffer } from "node:buffer"
import { hash, randomBytes } from "node:crypto"
import * as Extension from "./Extension.ts"
import * as HandshakeError from "./HandshakeError.ts"
import { checkedHeaders, combineHeaders, isToken, listIncludes, parseTokens } from "./internal/protocol/headerSyntax.ts"
import { basicAuthorization, hasEncodedCredentials, parse, redact, resolveLocation } from "./internal/protocol/url.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * Headers by lower-case name. The values of a repeated header are joined with
 * commas; `headerValues` reads them apart from `RawHeaders`.
 *
 * @category models
 * @since 0.1.0
 */
export type Headers = Readonly<Record<string, string>>

/**
 * Headers as they are on the wire: names and values, in order.
 *
 * @category models
 * @since 0.1.0
 */
export type RawHeaders = ReadonlyArray<readonly [name: string, value: string]>

/**
 * Headers to send: a value a name, or several for headers such as Set-Cookie.
 *
 * @category models
 * @since 0.1.0
 */
export type HeadersInput = Readonly<Record<string, string | ReadonlyArray<string>>>

/**
 * A client's handshake request, as the client sends it and as the server reads
 * it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  /** The path, without the query. */
  readonly path: string
  readonly query: URLSearchParams
  /** The Host header: a name and, unless it is the scheme's own, a port. */
  readonly host: string
  /** The Origin header, which browsers send: the page that asks for the connection. */
  readonly origin: string | undefined
  /** Sec-WebSocket-Key. */
  readonly key: string
  /** The subprotocols that the client offers, the one it likes best first. */
  readonly protocols: ReadonlyArray<string>
  /** The extensions that the client offers. */
  readonly extensions: ReadonlyArray<Extension.HeaderEntry>
  readonly headers: Headers
  readonly rawHeaders: RawHeaders
  /** Whether it is sent over TLS. */
  readonly secure: boolean
  /** The address that the request came from, where that is known. */
  readonly remoteAddress: string | undefined
}

/**
 * An HTTP request, as an HTTP parser gives it.
 *
 * @category models
 * @since 0.1.0
 */
export interface HttpRequest {
  readonly method: string
  /** The request target: what stands between the method and the HTTP version. */
  readonly target: string
  /** Such as "1.1". */
  readonly httpVersion: string
  readonly rawHeaders: RawHeaders
  /** Whether it came over TLS. Default false. */
  readonly secure?: boolean | undefined
  /** The address that it came from, where that is known. */
  readonly remoteAddress?: string | undefined
}

/**
 * An HTTP response to write.
 *
 * @category models
 * @since 0.1.0
 */
export interface HttpResponse {
  readonly status: number
  readonly rawHeaders: RawHeaders
  readonly body: string | Uint8Array
}

const messageHeaders = ["connection", "content-length", "transfer-encoding"]
/** What a request, or a response that accepts it, says of itself. */
const handshakeHeaders = new Set([
  ...messageHeaders,
  "upgrade",
  "sec-websocket-key",
  "sec-websocket-accept",
  "sec-websocket-version",
  "sec-websocket-protocol",
  "sec-websocket-extensions"
])
/** What a response that does not accept says of itself. */
const rejectionHeaders = new Set(messageHeaders)

/**
 * Headers as on the wire, by lower-case name.
 *
 * @category models
 * @since 0.1.0
 */
export const foldHeaders: (raw: RawHeaders) => Headers = combineHeaders

/**
 * The values of one header, in order. Set-Cookie is a header with several
 * values that cannot be told apart once they are joined (RFC 9110 §5.3).
 *
 * **Example** (The cookies of a response)
 *
 * ```ts
 * import { Handshake } from "effect-ws"
 *
 * const rawHeaders = [["Set-Cookie", "a=1; Expires=Wed, 01 Jan 2031 00:00:00 GMT"], ["Set-Cookie", "b=2"]] as const
 *
 * Handshake.headerValues(rawHeaders, "set-cookie").length // => 2
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export const headerValues = (raw: RawHeaders, name: string): ReadonlyArray<string> => {
  const wanted = name.toLowerCase()
  return raw.flatMap(([header, value]) => header.toLowerCase() === wanted ? [value] : [])
}

/**
 * Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 §4.2.2).
 *
 * **Example** (The RFC's own)
 *
 * ```ts
 * import { Handshake } from "effect-ws"
 *
 * Handshake.acceptKey("dGhlIHNhbXBsZSBub25jZQ==") // => "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export const acceptKey = (key: string): string => hash("sha1", key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", "base64")

// -----------------------------------------------------------------------------
// Server: reading a request
// -----------------------------------------------------------------------------

const versionPattern = /^1\.[1-9]$/
const keyPattern = /^[A-Za-z0-9+/]{22}==$/

/**
 * Reads an HTTP request as a handshake (RFC 6455 §4.2.1). What it lacks comes
 * back as an error, whose `status` is the one to answer with.
 *
 * @category server
 * @since 0.1.0
 */
export const readRequest = (http: HttpRequest): Result.Result<Request, HandshakeError.RequestError> => {
  const { rawHeaders } = http
  const headers = combineHeaders(rawHeaders)
  if (http.method !== "GET") return Result.fail(new HandshakeError.InvalidMethod({ method: http.method }))
  if (!versionPattern.test(http.httpVersion)) {
    return Result.fail(new HandshakeError.UnsupportedHttpVersion({ version: http.httpVersion }))
  }
  const target = parseTarget(http.target)
  if (target === undefined) return Result.fail(new HandshakeError.InvalidTarget({ target: http.target }))
  if (!listIncludes(headers["upgrade"], "websocket")) {
    return Result.fail(new HandshakeError.InvalidUpgradeHeader({ value: headers["upgrade"] }))
  }
  if (!listIncludes(headers["connection"], "upgrade")) {
    return Result.fail(new HandshakeError.InvalidConnectionHeader({ value: headers["connection"] }))
  }
  const bodyHeader = bodyHeaderOf(headers)
  if (bodyHeader !== undefined) return Result.fail(new HandshakeError.UnexpectedBody({ header: bodyHeader }))
  const version = headers["sec-websocket-version"]
  if (version === undefined) return Result.fail(new HandshakeError.MissingHeader({ header: "Sec-WebSocket-Version" }))
  if (version !== "13") return Result.fail(new HandshakeError.UnsupportedVersion({ version }))
  const key = headers["sec-websocket-key"]
  if (key === undefined) return Result.fail(new HandshakeError.MissingHeader({ header: "Sec-WebSocket-Key" }))
  if (!keyPattern.test(key)) return Result.fail(new HandshakeError.InvalidKey({ key }))
  const hostHeader = headers["host"]
  if (hostHeader === undefined) return Result.fail(new HandshakeError.MissingHeader({ header: "Host" }))
  const host = target.host ?? hostHeader
  if (hostHeader.includes(",") && headerValues(rawHeaders, "host").length > 1) {
    return Result.fail(new HandshakeError.InvalidHostHeader({ value: hostHeader }))
  }
  if (!isHost(host)) return Result.fail(new HandshakeError.InvalidHostHeader({ value: host }))

  let protocols: ReadonlyArray<string> = []
  const protocolHeader = headers["sec-websocket-protocol"]
  if (protocolHeader !== undefined) {
    const offered = parseTokens(protocolHeader)
    if (offered === undefined || new Set(offered).size < offered.length) {
      return Result.fail(new HandshakeError.InvalidProtocolHeader({ value: protocolHeader }))
    }
    protocols = offered
  }
  let extensions: ReadonlyArray<Extension.HeaderEntry> = []
  const offeredExtensions = headers["sec-websocket-extensions"]
  if (offeredExtensions !== undefined) {
    const offered = Extension.parse(offeredExtensions)
    if (offered === undefined) {
      return Result.fail(new HandshakeError.InvalidExtensionHeader({ value: offeredExtensions }))
    }
    extensions = offered
  }
  return Result.succeed({
    path: target.path,
    query: target.query,
    host,
    origin: headers["origin"],
    key,
    protocols,
    extensions,
    headers,
    rawHeaders,
    secure: http.secure ?? false,
    remoteAddress: http.remoteAddress
  })
}

/** The header that says that a body follows (RFC 9112 §6.3). Nobody reads one: it would be taken for frames. */
const bodyHeaderOf = (headers: Headers): string | undefined => {
  if (headers["transfer-encoding"] !== undefined) return "Transfer-Encoding"
  const length = headers["content-length"]
  return length === undefined || /^0+$/.test(length) ? undefined : "Content-Length"
}

interface Target {
  readonly path: string
  readonly query: URLSearchParams
  /** Where the target names it, the host; the Host header does not count then (RFC 9112 §3.2.2). */
  readonly host: string | undefined
}

/** A request target in origin form, or in absolute form as proxies write it (RFC 9112 §3.2). */
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

/** A name, an IPv4 address or an IPv6 address in brackets, and maybe a port (RFC 3986 §3.2.2). */
const isHost = (host: string): boolean => {
  if (host === lastHost) return true
  if (!hostPattern.test(host) || !URL.canParse(`http://${host}`)) return false
  lastHost = host
  return true
}

const hostPattern = /^(\[[0-9a-f:.]+\]|[a-z0-9._~%!$&'()*+;=-]+)(:\d{0,5})?$/i
/** The last that was one: nearly all requests to a server name the same. */
let lastHost: string | undefined

/**
 * Which pages may connect (RFC 6455 §10.2): pages of the server's own origin,
 * pages of the listed origins ("https://example.com"), or any page. A request
 * without an Origin comes from a program, and passes. A page that may connect
 * does so with its user's cookies: "any" is for servers without cookies.
 *
 * "same-origin" compares host and port with the Host header. If the request came
 * over TLS, the page must be https too: anyone on the network can write an http
 * page. If it did not, a proxy may have ended TLS, which the server cannot see,
 * so pages may be http or https. Behind such a proxy, list the https origin.
 *
 * @category server
 * @since 0.1.0
 */
export type OriginPolicy = "same-origin" | "any" | ReadonlyArray<string>

/**
 * Whether a policy grants a request's origin a connection.
 *
 * @category server
 * @since 0.1.0
 */
export const checkOrigin = (
  request: Request,
  policy: OriginPolicy
): Result.Result<void, HandshakeError.OriginNotAllowed> => {
  const { host, origin } = request
  if (origin === undefined || policy === "any") return Result.void
  const allowed = policy === "same-origin" ? isSameOrigin(origin, request) : policy.includes(origin)
  return allowed ? Result.void : Result.fail(new HandshakeError.OriginNotAllowed({ origin, host }))
}

/** Whether an origin (RFC 6454 §6.2: scheme, host and port) is that of the request, as far as the server knows it. */
const isSameOrigin = (origin: string, { host, secure }: Request): boolean => {
  const scheme = secure ? /^https:/ : /^https?:/
  if (!scheme.test(origin) || !URL.canParse(origin)) return false
  const url = new URL(origin)
  const own = `${url.protocol}//${host}`
  return url.origin === origin && URL.canParse(own) && new URL(own).host === url.host
}

/**
 * The first of the server's subprotocols that the client offers.
 *
 * @category server
 * @since 0.1.0
 */
export const selectProtocol = (
  supported: ReadonlyArray<string>,
  offered: ReadonlyArray<string>
): string | undefined => supported.find((protocol) => offered.includes(protocol))

// -----------------------------------------------------------------------------
// Server: the decision
// -----------------------------------------------------------------------------

/**
 * The decision to accept a request.
 *
 * @category decisions
 * @since 0.1.0
 */
export class Accept<in Services = never> {
  readonly _tag = "Accept"
  /** The subprotocol to speak, one that the client offers. Default: the first of the server's that it does. */
  readonly protocol: string | undefined
  /** Headers for the response, such as Set-Cookie. */
  readonly headers: HeadersInput | undefined
  /** What the decision learned, for the handler to use: a session, a user. */
  readonly services: Context.Context<Services>

  constructor(options?: {
    readonly protocol?: string | undefined
    readonly headers?: HeadersInput | undefined
    readonly services?: Context.Context<Services> | undefined
  }) {
    this.protocol = options?.protocol
    this.headers = options?.headers
    this.services = options?.services ?? Context.empty() as Context.Context<Services>
  }
}

/**
 * The decision to reject a request.
 *
 * @category decisions
 * @since 0.1.0
 */
export class Reject {
  readonly _tag = "Reject"
  /** From 300 to 599, but not 304. */
  readonly status: number
  readonly headers: HeadersInput | undefined
  readonly body: string | Uint8Array

  constructor(options: {
    readonly status: number
    readonly headers?: HeadersInput | undefined
    readonly body?: string | Uint8Array | undefined
  }) {
    this.status = options.status
    this.headers = options.headers
    this.body = options.body ?? ""
  }
}

/**
 * What a server decides about a request.
 *
 * @category decisions
 * @since 0.1.0
 */
export type Decision<Services = never> = Accept<Services> | Reject

/**
 * Accepts a request.
 *
 * **Example** (With a cookie, and what the decision learned)
 *
 * ```ts
 * import { Context } from "effect"
 * import { Handshake } from "effect-ws"
 *
 * class User extends Context.Service<User, { readonly name: string }>()("User") {}
 *
 * const decision = Handshake.accept({
 *   headers: { "Set-Cookie": "session=1; HttpOnly; Secure" },
 *   services: Context.make(User, { name: "Ada" })
 * })
 *
 * decision._tag // => "Accept"
 * ```
 *
 * @category decisions
 * @since 0.1.0
 */
export const accept = <Services = never>(options?: {
  /** The subprotocol to speak, one that the client offers. Default: the first of the server's that it does. */
  readonly protocol?: string | undefined
  /** Headers for the response, such as Set-Cookie. Default none. */
  readonly headers?: HeadersInput | undefined
  /** What the decision learned, for the handler to use. Default nothing. */
  readonly services?: Context.Context<Services> | undefined
}): Accept<Services> => new Accept(options)

/**
 * Rejects a request.
 *
 * **Example** (A decision)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Handshake } from "effect-ws"
 *
 * const decide = (request: Handshake.Request): Effect.Effect<Handshake.Decision> =>
 *   Effect.succeed(
 *     request.headers["authorization"] === "Bearer let-me-in"
 *       ? Handshake.accept()
 *       : Handshake.reject({ status: 401, headers: { "WWW-Authenticate": "Bearer" }, body: "a token is needed" })
 *   )
 * ```
 *
 * @category decisions
 * @since 0.1.0
 */
export const reject = (options: {
  /** From 300 to 599, but not 304. */
  readonly status: number
  /** Default none, but for what goes with the body. */
  readonly headers?: HeadersInput | undefined
  /** Default empty. */
  readonly body?: string | Uint8Array | undefined
}): Reject => new Reject(options)

/**
 * What a request is accepted with.
 *
 * @category options
 * @since 0.1.0
 */
export interface AcceptOptions {
  /** The subprotocol to speak, one that the client offers. Default none. */
  readonly protocol?: string | undefined
  /** The extensions to use, such as the client offers. Default none. */
  readonly extensions?: ReadonlyArray<Extension.HeaderEntry> | undefined
  /** Headers beside those of the handshake. Default none. */
  readonly headers?: HeadersInput | undefined
}

/**
 * The response that accepts a request (RFC 6455 §4.2.2).
 *
 * @category server
 * @since 0.1.0
 */
export const acceptResponse = (request: Request, options?: AcceptOptions): Result.Result<
  HttpResponse,
  HandshakeError.ProtocolNotOffered | HandshakeError.ExtensionNotOffered | HandshakeError.InvalidHeader
> => {
  const protocol = options?.protocol
  if (protocol !== undefined && !request.protocols.includes(protocol)) {
    return Result.fail(new HandshakeError.ProtocolNotOffered({ protocol, offered: request.protocols }))
  }
  const offered = request.extensions.map((extension) => extension.name)
  const stranger = options?.extensions?.find((extension) => !offered.includes(extension.name))
  if (stranger !== undefined) {
    return Result.fail(new HandshakeError.ExtensionNotOffered({ extension: stranger.name, offered }))
  }
  const extensions = extensionHeader(options?.extensions)
  if (Result.isFailure(extensions)) return Result.fail(extensions.failure)
  return Result.map(checkedHeaders(options?.headers, handshakeHeaders), (headers) => ({
    status: 101,
    rawHeaders: [
      ["Upgrade", "websocket"],
      ["Connection", "Upgrade"],
      ["Sec-WebSocket-Accept", acceptKey(request.key)],
      ...protocol === undefined ? [] : [["Sec-WebSocket-Protocol", protocol]] as const,
      ...extensions.success,
      ...headers
    ],
    body: ""
  }))
}

/** The Sec-WebSocket-Extensions header, where there are any. */
const extensionHeader = (
  extensions: ReadonlyArray<Extension.HeaderEntry> = []
): Result.Result<RawHeaders, HandshakeError.InvalidHeader> => {
  if (extensions.length === 0) return Result.succeed([])
  const header = "Sec-WebSocket-Extensions"
  const value = Extension.format(extensions)
  const tokens = extensions.flatMap(({ name, parameters }) => [
    name,
    ...parameters.flatMap((parameter) => [parameter.name, parameter.value ?? parameter.name])
  ])
  return tokens.every(isToken)
    ? Result.succeed([[header, value]])
    : Result.fail(new HandshakeError.InvalidHeader({ header, problem: "names and values are tokens" }))
}

/**
 * The response that rejects a request. The connection is closed after it.
 *
 * @category server
 * @since 0.1.0
 */
export const rejectResponse = (
  decision: Reject
): Result.Result<HttpResponse, HandshakeError.InvalidHeader | HandshakeError.InvalidStatus> => {
  const { body, headers, status } = decision
  return Number.isInteger(status) && status >= 300 && status <= 599 && status !== 304
    ? Result.map(checkedHeaders(headers, rejectionHeaders), (pairs) => finalResponse(status, pairs, body))
    : Result.fail(new HandshakeError.InvalidStatus({ status }))
}

/**
 * The response that refuses a request: the error's status, the headers that
 * belong to it, and its message as the body.
 *
 * @category server
 * @since 0.1.0
 */
export const errorResponse = (error: HandshakeError.RequestError): HttpResponse => {
  switch (error._tag) {
    case "InvalidMethod":
      return finalResponse(error.status, [["Allow", "GET"]], error.message)
    case "InvalidUpgradeHeader":
      return finalResponse(error.status, [["Upgrade", "websocket"]], error.message)
    case "UnsupportedVersion":
      return finalResponse(error.status, [["Upgrade", "websocket"], ["Sec-WebSocket-Version", "13"]], error.message)
    default:
      return finalResponse(error.status, [], error.message)
  }
}

const finalResponse = (status: number, headers: RawHeaders, body: string | Uint8Array): HttpResponse => {
  const names = new Set(headers.map(([name]) => name.toLowerCase()))
  return {
    status,
    rawHeaders: [
      // An Upgrade header must be named in Connection (RFC 9110 §7.8).
      ["Connection", names.has("upgrade") ? "close, Upgrade" : "close"],
      ["Content-Length", String(typeof body === "string" ? Buffer.byteLength(body) : body.length)],
      ...body.length === 0 || names.has("content-type")
        ? []
        : [["Content-Type", "text/plain; charset=utf-8"]] as const,
      ...headers
    ],
    body
  }
}

// -----------------------------------------------------------------------------
// Client
// -----------------------------------------------------------------------------

/**
 * What a client asks for.
 *
 * @category client
 * @since 0.1.0
 */
export interface RequestOptions {
  /** Subprotocols to offer, the one liked best first. Default none. */
  readonly protocols?: ReadonlyArray<string> | undefined
  /** Further headers, such as Authorization, Cookie or Origin. Default none. */
  readonly headers?: HeadersInput | undefined
  /** Extensions to offer. Default none. */
  readonly extensions?: ReadonlyArray<Extension.HeaderEntry> | undefined
}

/**
 * Makes the request of a client (RFC 6455 §4.1). The key must be fresh: 16
 * random bytes in base64, as `Policy.makeKey` makes them. A user and password in
 * the URL become an Authorization header.
 *
 * @category client
 * @since 0.1.0
 */
export const makeRequest = (
  url: string | URL,
  key: string,
  options?: RequestOptions
): Result.Result<Request, HandshakeError.OptionsError> => {
  const target = parseUrl(url)
  if (Result.isFailure(target)) return Result.fail(target.failure)
  const { host, pathname, searchParams } = target.success
  const protocols = options?.protocols ?? []
  for (const [i, protocol] of protocols.entries()) {
    const invalid = (problem: string) => Result.fail(new HandshakeError.InvalidProtocol({ protocol, problem }))
    if (!isToken(protocol)) return invalid("it is not a token: letters, digits and !#$%&'*+-.^_`|~")
    if (protocols.indexOf(protocol) < i) return invalid("it is offered twice")
  }
  if (!keyPattern.test(key)) {
    const problem = "a key is 16 bytes in base64"
    return Result.fail(new HandshakeError.InvalidHeader({ header: "Sec-WebSocket-Key", problem }))
  }
  const extensions = extensionHeader(options?.extensions)
  if (Result.isFailure(extensions)) return Result.fail(extensions.failure)
  return Result.flatMap(checkedHeaders(options?.headers, handshakeHeaders), (own) => {
    const hosts = own.filter(([name]) => name.toLowerCase() === "host")
    if (hosts.length > 1 || hosts.some(([, value]) => !isHost(value))) {
      const problem = "a request has one Host, with an optional port"
      return Result.fail(new HandshakeError.InvalidHeader({ header: "Host", problem }))
    }
    const given = combineHeaders(own)
    const credentials = basicAuthorization(target.success)
    const rawHeaders: RawHeaders = [
      ...given["host"] !== undefined ? [] : [["Host", host]] as const,
      ["Upgrade", "websocket"],
      ["Connection", "Upgrade"],
      ["Sec-WebSocket-Key", key],
      ["Sec-WebSocket-Version", "13"],
      ...protocols.length === 0 ? [] : [["Sec-WebSocket-Protocol", protocols.join(", ")]] as const,
      ...extensions.success,
      ...credentials !== undefined && given["authorization"] === undefined
        ? [["Authorization", credentials]] as const
        : [],
      ...own
    ]
    const headers = combineHeaders(rawHeaders)
    return Result.succeed({
      path: pathname,
      query: searchParams,
      host: headers["host"],
      origin: headers["origin"],
      key,
      protocols,
      extensions: options?.extensions ?? [],
      headers,
      rawHeaders,
      secure: target.success.protocol === "wss:",
      remoteAddress: undefined
    })
  })
}

/**
 * Reads a WebSocket URL (RFC 6455 §3): ws, wss, or the http and https that
 * stand for them.
 *
 * @category client
 * @since 0.1.0
 */
export const parseUrl = (url: string | URL): Result.Result<URL, HandshakeError.InvalidUrl> => {
  const shown = redact(String(url))
  const invalid = (problem: string) => Result.fail(new HandshakeError.InvalidUrl({ url: shown, problem }))
  const parsed = parse(String(url))
  if (parsed === undefined) return invalid("it is not an absolute URL")
  if (parsed.protocol === "http:") parsed.protocol = "ws:"
  if (parsed.protocol === "https:") parsed.protocol = "wss:"
  if (parsed.protocol !== "ws:" && parsed.protocol !== "wss:") {
    // In "user:password@host", what parses as the scheme is the user.
    return invalid(
      shown.trimStart().startsWith("***")
        ? "it begins with neither ws:// nor wss://"
        : `its scheme is ${parsed.protocol.slice(0, -1)}, not ws or wss`
    )
  }
  if (!hasEncodedCredentials(parsed)) {
    return invalid("its user name or password is not percent-encoded")
  }
  if (parsed.href.includes("#")) {
    return invalid("it has a fragment; escape # as %23 where it belongs to the path")
  }
  // The parser would drop line breaks, and then ask for something else than the program wrote.
  if (hasControl(String(url))) return invalid("it has a line break or another control character")
  return Result.succeed(parsed)
}

const hasControl = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x20 || code === 0x7f) return true
  }
  return false
}

/**
 * The server accepted.
 *
 * @category client
 * @since 0.1.0
 */
export interface Accepted {
  readonly _tag: "Accepted"
  /** The subprotocol that the server selected, if it did. */
  readonly protocol: string | undefined
  /** The extensions that the server accepted. */
  readonly extensions: ReadonlyArray<Extension.HeaderEntry>
  readonly headers: Headers
  readonly rawHeaders: RawHeaders
}

/**
 * The server says that what is asked for is elsewhere.
 *
 * @category client
 * @since 0.1.0
 */
export interface Redirect {
  readonly _tag: "Redirect"
  readonly status: number
  /** The Location header, made absolute where it can be. */
  readonly location: string
  readonly headers: Headers
  readonly rawHeaders: RawHeaders
}

/**
 * The server answered with some other status.
 *
 * @category client
 * @since 0.1.0
 */
export interface Rejected {
  readonly _tag: "Rejected"
  readonly status: number
  readonly headers: Headers
  readonly rawHeaders: RawHeaders
  readonly body: string
}

/**
 * What a server's response comes to.
 *
 * @category client
 * @since 0.1.0
 */
export type ServerResponse = Accepted | Redirect | Rejected

/**
 * An HTTP response, as an HTTP parser gives it.
 *
 * @category client
 * @since 0.1.0
 */
export interface HttpAnswer {
  /** The URL that responded. A relative Location is relative to it. Default: that of the request's Host and path. */
  readonly url?: URL | undefined
  readonly status: number
  /** Such as "1.1", which is the default. */
  readonly httpVersion?: string | undefined
  readonly rawHeaders: RawHeaders
  /** The body as text. Default empty. */
  readonly body?: string | undefined
}

/**
 * Reads the response to a request (RFC 6455 §4.1). A response that says 101 but
 * does not answer this request is an error.
 *
 * @category client
 * @since 0.1.0
 */
export const readResponse = (
  request: Request,
  response: HttpAnswer
): Result.Result<ServerResponse, HandshakeError.ResponseError> => {
  const { httpVersion = "1.1", rawHeaders, status } = response
  const headers = combineHeaders(rawHeaders)
  if (status !== 101) {
    const location = headers["location"]
    return Result.succeed(
      redirects.has(status) && location !== undefined
        ? {
          _tag: "Redirect",
          status,
          location: resolveLocation(location, baseOf(request, response)),
          headers,
          rawHeaders
        }
        : { _tag: "Rejected", status, headers, rawHeaders, body: response.body ?? "" }
    )
  }
  if (!versionPattern.test(httpVersion)) {
    return Result.fail(new HandshakeError.UnsupportedHttpVersion({ version: httpVersion }))
  }
  if (headers["upgrade"]?.toLowerCase() !== "websocket") {
    return Result.fail(new HandshakeError.InvalidUpgradeHeader({ value: headers["upgrade"] }))
  }
  if (!listIncludes(headers["connection"], "upgrade")) {
    return Result.fail(new HandshakeError.InvalidConnectionHeader({ value: headers["connection"] }))
  }
  const actual = headers["sec-websocket-accept"]
  if (actual === undefined) return Result.fail(new HandshakeError.MissingHeader({ header: "Sec-WebSocket-Accept" }))
  const expected = acceptKey(request.key)
  if (actual !== expected) return Result.fail(new HandshakeError.InvalidAccept({ expected, actual }))
  const protocol = headers["sec-websocket-protocol"]
  if (protocol !== undefined && !request.protocols.includes(protocol)) {
    return Result.fail(new HandshakeError.UnsolicitedProtocol({ protocol, offered: request.protocols }))
  }
  const acceptedExtensions = headers["sec-websocket-extensions"]
  const extensions = acceptedExtensions === undefined ? [] : Extension.parse(acceptedExtensions)
  if (extensions === undefined) {
    return Result.fail(new HandshakeError.InvalidExtensionHeader({ value: acceptedExtensions }))
  }
  const offered = request.extensions.map((extension) => extension.name)
  const unsolicited = extensions.find((extension) => !offered.includes(extension.name))
  if (unsolicited !== undefined) {
    return Result.fail(new HandshakeError.UnsolicitedExtension({ extension: unsolicited.name, offered }))
  }
  return Result.succeed({ _tag: "Accepted", protocol, extensions, headers, rawHeaders })
}

const redirects = new Set([301, 302, 303, 307, 308])

const baseOf = ({ host, path, secure }: Request, { url }: HttpAnswer): string =>
  `${secure ? "https" : "http"}://${url === undefined ? host + path : url.host + url.pathname + url.search}`

// -----------------------------------------------------------------------------
// Policy service
// -----------------------------------------------------------------------------

/**
 * What the handshakes of a program have in common.
 *
 * @category policy
 * @since 0.1.0
 */
export interface HandshakePolicy {
  /** A fresh Sec-WebSocket-Key for each connection of a client. */
  readonly makeKey: () => string
  /** What a server decides, where its own options hold no decision. */
  readonly decide: (request: Request) => Effect.Effect<Decision>
}

/**
 * The policy in use, looked up once a handshake; `makePolicy()` unless a Layer
 * says otherwise.
 *
 * **Example** (A key that a test can foresee)
 *
 * ```ts
 * import { Handshake } from "effect-ws"
 *
 * const predictable = Handshake.layerPolicy({ makeKey: () => "dGhlIHNhbXBsZSBub25jZQ==" })
 * ```
 *
 * @category policy
 * @since 0.1.0
 */
export const HandshakePolicy: Context.Reference<HandshakePolicy> = Context.Reference<HandshakePolicy>(
  "effect-ws/HandshakePolicy",
  {
    defaultValue: () => makePolicy()
  }
)

/**
 * Makes a policy: random keys and a server that accepts, except where the
 * options say otherwise.
 *
 * @category policy
 * @since 0.1.0
 */
export const makePolicy = (options?: Partial<HandshakePolicy>): HandshakePolicy => ({
  makeKey: options?.makeKey ?? (() => randomBytes(16).toString("base64")),
  decide: options?.decide ?? (() => Effect.succeed(new Accept()))
})

/**
 * Provides a policy to a program's handshakes.
 *
 * @category policy
 * @since 0.1.0
 */
export const layerPolicy = (options?: Partial<HandshakePolicy>): Layer.Layer<never> =>
  Layer.succeed(HandshakePolicy, makePolicy(options))
