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
import type * as Result from "effect/Result"
import { fillRandom, toBase64 } from "#platform"
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

/**
 * Headers as on the wire, by lower-case name.
 *
 * @category models
 * @since 0.1.0
 */
export const foldHeaders: (raw: RawHeaders) => Headers = headerSyntax.combineHeaders

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
export const headerValues: (raw: RawHeaders, name: string) => ReadonlyArray<string> = headerSyntax.headerValues

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
export const acceptKey: (key: string) => string = rules.acceptKey

// -----------------------------------------------------------------------------
// Server: reading a request
// -----------------------------------------------------------------------------

/**
 * Reads an HTTP request as a handshake (RFC 6455 §4.2.1). What it lacks comes
 * back as an error, whose `status` is the one to answer with.
 *
 * @category server
 * @since 0.1.0
 */
export const readRequest: (http: HttpRequest) => Result.Result<Request, HandshakeError.RequestError> =
  internalReadRequest.readRequest

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
export const checkOrigin: (
  request: Request,
  policy: OriginPolicy
) => Result.Result<void, HandshakeError.OriginNotAllowed> = internalOrigin.checkOrigin

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
export const acceptResponse: (
  request: Request,
  options?: AcceptOptions
) => Result.Result<
  HttpResponse,
  HandshakeError.ProtocolNotOffered | HandshakeError.ExtensionNotOffered | HandshakeError.InvalidHeader
> = responses.acceptResponse

/**
 * The response that rejects a request. The connection is closed after it.
 *
 * @category server
 * @since 0.1.0
 */
export const rejectResponse: (
  decision: Reject
) => Result.Result<HttpResponse, HandshakeError.InvalidHeader | HandshakeError.InvalidStatus> = responses.rejectResponse

/**
 * The response that refuses a request: the error's status, the headers that
 * belong to it, and its message as the body.
 *
 * @category server
 * @since 0.1.0
 */
export const errorResponse: (error: HandshakeError.RequestError) => HttpResponse = responses.errorResponse

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
export const makeRequest: (
  url: string | URL,
  key: string,
  options?: RequestOptions
) => Result.Result<Request, HandshakeError.OptionsError> = internalMakeRequest.makeRequest

/**
 * Reads a WebSocket URL (RFC 6455 §3): ws, wss, or the http and https that
 * stand for them.
 *
 * @category client
 * @since 0.1.0
 */
export const parseUrl: (url: string | URL) => Result.Result<URL, HandshakeError.InvalidUrl> = internalParseUrl.parseUrl

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
export const readResponse: (
  request: Request,
  response: HttpAnswer
) => Result.Result<ServerResponse, HandshakeError.ResponseError> = internalReadResponse.readResponse

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
  makeKey: options?.makeKey ?? makeRandomKey,
  decide: options?.decide ?? (() => Effect.succeed(new Accept()))
})

const makeRandomKey = (): string => {
  const bytes = new Uint8Array(16)
  fillRandom(bytes)
  return toBase64(bytes)
}

/**
 * Provides a policy to a program's handshakes.
 *
 * @category policy
 * @since 0.1.0
 */
export const layerPolicy = (options?: Partial<HandshakePolicy>): Layer.Layer<never> =>
  Layer.succeed(HandshakePolicy, makePolicy(options))
