/**
 * The opening handshake (RFC 6455 §4) as data, for both roles: the request of a
 * client, the decision of a server, and what a client makes of the response.
 *
 * This module does no I/O and parses no HTTP: it takes requests and responses with
 * their headers, and returns responses and results.
 *
 * **Example** (A request and its response)
 *
 * ```ts
 * import { Result } from "effect"
 * import { Handshake } from "effect-ws"
 *
 * const request = Handshake.makeRequest("ws://example.com/chat", "dGhlIHNhbXBsZSBub25jZQ==", { protocols: ["chat"] })
 * const response = Result.flatMap(request, (sent) => Handshake.acceptResponse(sent, { protocol: "chat" }))
 * const read = Result.flatMap(Result.all([request, response]), ([sent, { rawHeaders, status }]) =>
 *   Handshake.readResponse(sent, { rawHeaders, status }))
 *
 * Result.getOrThrow(read)._tag // => "Accepted"
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Result from "effect/Result"
import { toBase64 } from "#platform"
import type * as Extension from "./Extension.ts"
import type * as HandshakeError from "./HandshakeError.ts"
import * as internalMakeRequest from "./internal/handshake/makeRequest.ts"
import * as internalOrigin from "./internal/handshake/origin.ts"
import * as internalParseUrl from "./internal/handshake/parseUrl.ts"
import * as internalReadRequest from "./internal/handshake/readRequest.ts"
import * as internalReadResponse from "./internal/handshake/readResponse.ts"
import * as responses from "./internal/handshake/responses.ts"
import * as rules from "./internal/handshake/rules.ts"
import * as headerSyntax from "./internal/protocol/headerSyntax.ts"
import { randomWord } from "./internal/runtime/randomWords.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * Headers by lower-case name. The values of a repeated header are joined with
 * commas; `headerValues` reads them apart from `RawHeaders`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type Headers = Readonly<Record<string, string>>

/**
 * Headers as they are on the wire: names and values, in order.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type RawHeaders = ReadonlyArray<readonly [name: string, value: string]>

/**
 * Headers to send: each name with one value, or with several, as for Set-Cookie.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type HeadersInput = Readonly<Record<string, string | ReadonlyArray<string>>>

/**
 * A client's handshake request, as the client sends it and the server reads it.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Request {
  /** The path, without the query. */
  readonly path: string
  readonly query: URLSearchParams
  /** "1.1", or "2" for a request over HTTP/2 (RFC 8441). */
  readonly httpVersion: string
  /**
   * The Host header, or `:authority` over HTTP/2: a host, and a port unless it is the
   * default port of the scheme.
   */
  readonly host: string
  /** The Origin header, which browsers send: the origin of the page that connects. */
  readonly origin: string | undefined
  /** Sec-WebSocket-Key. Over HTTP/2, which does not use it (RFC 8441 §5), empty unless the client sends one. */
  readonly key: string
  /** The subprotocols that the client offers, in order of preference. */
  readonly protocols: ReadonlyArray<string>
  /** The extensions that the client offers. */
  readonly extensions: ReadonlyArray<Extension.HeaderEntry>
  readonly headers: Headers
  readonly rawHeaders: RawHeaders
  /** Whether the request is sent over TLS. */
  readonly secure: boolean
  /** The address of the client, if it is known. */
  readonly remoteAddress: string | undefined
}

/**
 * An HTTP request, as an HTTP parser returns it.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface HttpRequest {
  readonly method: string
  /** The request target, between the method and the HTTP version; `:path` over HTTP/2. */
  readonly target: string
  /** Such as "1.1" or "2". */
  readonly httpVersion: string
  /** The header fields, without the pseudo-header fields of HTTP/2. */
  readonly rawHeaders: RawHeaders
  /** `:protocol` of an HTTP/2 request (RFC 8441 §4). */
  readonly protocol?: string | undefined
  /** `:scheme` of an HTTP/2 request (RFC 9113 §8.3.1). */
  readonly scheme?: string | undefined
  /** `:authority` of an HTTP/2 request. */
  readonly authority?: string | undefined
  /** Whether the server received it over TLS. Default false. */
  readonly secure?: boolean | undefined
  /** The address of the client, if it is known. */
  readonly remoteAddress?: string | undefined
}

/**
 * An HTTP response to write.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface HttpResponse {
  readonly status: number
  readonly rawHeaders: RawHeaders
  readonly body: string | Uint8Array
}

/**
 * Converts headers to a record by lower-case name.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export const foldHeaders: (raw: RawHeaders) => Headers = headerSyntax.combineHeaders

/**
 * Returns the values of one header, in order. Use it for Set-Cookie: its values
 * cannot be separated once they are joined (RFC 9110 §5.3).
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
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export const headerValues: (raw: RawHeaders, name: string) => ReadonlyArray<string> = headerSyntax.headerValues

/**
 * Returns the Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 §4.2.2).
 *
 * **Example** (The key of RFC 6455 §1.3)
 *
 * ```ts
 * import { Handshake } from "effect-ws"
 *
 * Handshake.acceptKey("dGhlIHNhbXBsZSBub25jZQ==") // => "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
 * ```
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export const acceptKey: (key: string) => string = rules.acceptKey

// -----------------------------------------------------------------------------
// Server: reading a request
// -----------------------------------------------------------------------------

/**
 * Reads an HTTP request as a handshake (RFC 6455 §4.2.1), over HTTP/2 an extended
 * CONNECT request (RFC 8441 §5). Fails with the first rule that the request breaks;
 * the `status` of the error is that of the response.
 *
 * @stability unstable
 * @category server
 * @since 0.1.0
 */
export const readRequest: (http: HttpRequest) => Result.Result<Request, HandshakeError.RequestError> =
  internalReadRequest.readRequest

/**
 * Which pages may connect (RFC 6455 §10.2): pages of the server's own origin,
 * pages of the listed origins ("https://example.com"), or any page. A request
 * without an Origin header is not from a page, and is allowed. Browsers send
 * cookies along: use "any" only for a server that does not use cookies.
 *
 * "same-origin" compares host and port with the Host header or `:authority`. If the request was
 * sent over TLS, the page must use https too: an attacker on the network can
 * change an http page. Otherwise the page may use http or https, because a proxy
 * may have terminated TLS. Behind such a proxy, list the https origin.
 *
 * @stability unstable
 * @category server
 * @since 0.1.0
 */
export type OriginPolicy = "same-origin" | "any" | ReadonlyArray<string>

/**
 * Checks the origin of a request against a policy.
 *
 * @stability unstable
 * @category server
 * @since 0.1.0
 */
export const checkOrigin: (
  request: Request,
  policy: OriginPolicy
) => Result.Result<void, HandshakeError.OriginNotAllowed> = internalOrigin.checkOrigin

/**
 * Returns the first of the server's subprotocols that the client offers.
 *
 * @stability unstable
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
 * @stability unstable
 * @category decisions
 * @since 0.1.0
 */
export class Accept<in Services = never> {
  readonly _tag = "Accept"
  /** The subprotocol, one that the client offers. Default: the first of the server's subprotocols that it offers. */
  readonly protocol: string | undefined
  /** Headers for the response, such as Set-Cookie. */
  readonly headers: HeadersInput | undefined
  /** Services for the handler, such as a user or a session. */
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
 * @stability unstable
 * @category decisions
 * @since 0.1.0
 */
export class Reject {
  readonly _tag = "Reject"
  /** From 300 to 599, except 304. */
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
 * The decision of a server about a request.
 *
 * @stability unstable
 * @category decisions
 * @since 0.1.0
 */
export type Decision<Services = never> = Accept<Services> | Reject

/**
 * Accepts a request.
 *
 * **Example** (With a cookie and a service for the handler)
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
 * @stability unstable
 * @category decisions
 * @since 0.1.0
 */
export const accept = <Services = never>(options?: {
  /** The subprotocol, one that the client offers. Default: the first of the server's subprotocols that it offers. */
  readonly protocol?: string | undefined
  /** Headers for the response, such as Set-Cookie. Default none. */
  readonly headers?: HeadersInput | undefined
  /** Services for the handler, such as a user or a session. Default none. */
  readonly services?: Context.Context<Services> | undefined
}): Accept<Services> => new Accept(options)

/**
 * Rejects a request.
 *
 * **Example** (Checking a token)
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
 * @stability unstable
 * @category decisions
 * @since 0.1.0
 */
export const reject = (options: {
  /** From 300 to 599, except 304. */
  readonly status: number
  /** Headers for the response. Default none; those of the body are added. */
  readonly headers?: HeadersInput | undefined
  /** The body. Default empty. */
  readonly body?: string | Uint8Array | undefined
}): Reject => new Reject(options)

/**
 * Options of `acceptResponse`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface AcceptOptions {
  /** The subprotocol, one that the client offers. Default none. */
  readonly protocol?: string | undefined
  /** The extensions, each of which the client offers. Default none. */
  readonly extensions?: ReadonlyArray<Extension.HeaderEntry> | undefined
  /** Headers in addition to those of the handshake. Default none. */
  readonly headers?: HeadersInput | undefined
}

/**
 * Makes the response that accepts a request (RFC 6455 §4.2.2). Over HTTP/2, its
 * status is 200, and it has no headers about the upgrade (RFC 8441 §5).
 *
 * @stability unstable
 * @category server
 * @since 0.1.0
 */
export const acceptResponse: (
  request: Request,
  options?: AcceptOptions
) => Result.Result<
  HttpResponse,
  HandshakeError.ProtocolNotOffered | HandshakeError.ExtensionNotOffered | HandshakeError.InvalidHeader
> = responses.acceptResponse

/**
 * Makes the response that rejects a request. The server closes the connection after it.
 *
 * @stability unstable
 * @category server
 * @since 0.1.0
 */
export const rejectResponse: (
  decision: Reject
) => Result.Result<HttpResponse, HandshakeError.InvalidHeader | HandshakeError.InvalidStatus> = responses.rejectResponse

/**
 * Makes the response to an invalid request: the status of the error, the headers
 * that belong to the status, and the message of the error as the body.
 *
 * @stability unstable
 * @category server
 * @since 0.1.0
 */
export const errorResponse: (error: HandshakeError.RequestError) => HttpResponse = responses.errorResponse

// -----------------------------------------------------------------------------
// Client
// -----------------------------------------------------------------------------

/**
 * Options of `makeRequest`.
 *
 * @stability unstable
 * @category client
 * @since 0.1.0
 */
export interface RequestOptions {
  /** Subprotocols to offer, in order of preference. Default none. */
  readonly protocols?: ReadonlyArray<string> | undefined
  /** Further headers, such as Authorization, Cookie or Origin. Default none. */
  readonly headers?: HeadersInput | undefined
  /** Extensions to offer. Default none. */
  readonly extensions?: ReadonlyArray<Extension.HeaderEntry> | undefined
}

/**
 * Makes the request of a client (RFC 6455 §4.1). The key must be a new one: 16
 * random bytes in base64, as `HandshakePolicy.makeKey` returns them. A user and
 * password in the URL become an Authorization header.
 *
 * @stability unstable
 * @category client
 * @since 0.1.0
 */
export const makeRequest: (
  url: string | URL,
  key: string,
  options?: RequestOptions
) => Result.Result<Request, HandshakeError.OptionsError> = internalMakeRequest.makeRequest

/**
 * Makes the request of a client over HTTP/2: an extended CONNECT (RFC 8441 §4). The
 * headers are those beside the pseudo-headers, in lower case; a Host header of the
 * program becomes `host`, which is sent as :authority. Fails with `InvalidHeader` for
 * a header that HTTP/2 does not allow, such as Keep-Alive (RFC 9113 §8.2.2).
 *
 * **Example** (The headers)
 *
 * ```ts
 * import { Result } from "effect"
 * import { Handshake } from "effect-ws"
 *
 * const request = Result.getOrThrow(Handshake.makeConnectRequest("wss://example.com/chat", { protocols: ["chat"] }))
 *
 * request.rawHeaders // => [["sec-websocket-version", "13"], ["sec-websocket-protocol", "chat"]]
 * ```
 *
 * @stability unstable
 * @category client
 * @since 0.1.0
 */
export const makeConnectRequest: (
  url: string | URL,
  options?: RequestOptions
) => Result.Result<Request, HandshakeError.OptionsError> = internalMakeRequest.makeConnectRequest

/**
 * Parses a WebSocket URL (RFC 6455 §3). The schemes http and https stand for ws and
 * wss.
 *
 * @stability unstable
 * @category client
 * @since 0.1.0
 */
export const parseUrl: (url: string | URL) => Result.Result<URL, HandshakeError.InvalidUrl> = internalParseUrl.parseUrl

/**
 * The response of a server that accepts the request.
 *
 * @stability unstable
 * @category client
 * @since 0.1.0
 */
export interface Accepted {
  readonly _tag: "Accepted"
  /** The subprotocol that the server selected, if any. */
  readonly protocol: string | undefined
  /** The extensions that the server accepted. */
  readonly extensions: ReadonlyArray<Extension.HeaderEntry>
  readonly headers: Headers
  readonly rawHeaders: RawHeaders
}

/**
 * The response of a server that redirects the client.
 *
 * @stability unstable
 * @category client
 * @since 0.1.0
 */
export interface Redirect {
  readonly _tag: "Redirect"
  readonly status: number
  /** The Location header, made absolute if it is valid. */
  readonly location: string
  readonly headers: Headers
  readonly rawHeaders: RawHeaders
}

/**
 * The response of a server that rejects the request: any other status.
 *
 * @stability unstable
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
 * The response of a server to a handshake, as the client reads it.
 *
 * @stability unstable
 * @category client
 * @since 0.1.0
 */
export type ServerResponse = Accepted | Redirect | Rejected

/**
 * An HTTP response, as an HTTP parser returns it.
 *
 * @stability unstable
 * @category client
 * @since 0.1.0
 */
export interface ReceivedResponse {
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
 * Reads the response to a request (RFC 6455 §4.1). Status 101 accepts it; over
 * HTTP/2, any status 2xx (RFC 8441 §5). Fails if the status accepts and the headers
 * do not match the request.
 *
 * @stability unstable
 * @category client
 * @since 0.1.0
 */
export const readResponse: (
  request: Request,
  response: ReceivedResponse
) => Result.Result<ServerResponse, HandshakeError.ResponseError> = internalReadResponse.readResponse

// -----------------------------------------------------------------------------
// Policy service
// -----------------------------------------------------------------------------

/**
 * What all handshakes of a program have in common.
 *
 * @stability unstable
 * @category policy
 * @since 0.1.0
 */
export interface HandshakePolicy {
  /** Returns a new Sec-WebSocket-Key, for each request of a client. */
  readonly makeKey: () => string
  /** Decides about the requests of servers without a `decide` option. */
  readonly decide: (request: Request) => Effect.Effect<Decision>
}

/**
 * The policy in use, which each handshake looks up. Default: `makePolicy()`.
 *
 * **Example** (A predictable key for a test)
 *
 * ```ts
 * import { Handshake } from "effect-ws"
 *
 * const predictable = Handshake.layerPolicy({ makeKey: () => "dGhlIHNhbXBsZSBub25jZQ==" })
 * ```
 *
 * @stability unstable
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
 * Makes a policy. Default: random keys, and a server that accepts.
 *
 * @stability unstable
 * @category policy
 * @since 0.1.0
 */
export const makePolicy = (options?: Partial<HandshakePolicy>): HandshakePolicy => ({
  makeKey: options?.makeKey ?? makeRandomKey,
  decide: options?.decide ?? (() => Effect.succeed(new Accept()))
})

const makeRandomKey = (): string => {
  const words = Int32Array.of(randomWord(), randomWord(), randomWord(), randomWord())
  return toBase64(new Uint8Array(words.buffer))
}

/**
 * Provides a policy to the handshakes of a program.
 *
 * @stability unstable
 * @category policy
 * @since 0.1.0
 */
export const layerPolicy = (options?: Partial<HandshakePolicy>): Layer.Layer<never> =>
  Layer.succeed(HandshakePolicy, makePolicy(options))
