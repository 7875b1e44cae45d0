/**
 * Errors of the opening handshake (RFC 6455 §4): one tagged error for each
 * reason, with the facts as fields.
 *
 * ```text
 * RequestError            a server rejects a request with `status`
 * ├─ InvalidMethod               405
 * ├─ UnsupportedHttpVersion      505
 * ├─ InvalidTarget               400
 * ├─ InvalidScheme               400
 * ├─ UnsupportedConnectProtocol  501
 * ├─ MissingHeader               400
 * ├─ InvalidHostHeader           400
 * ├─ InvalidUpgradeHeader        426
 * ├─ InvalidConnectionHeader     400
 * ├─ UnexpectedBody              400
 * ├─ InvalidKey                  400
 * ├─ UnsupportedVersion          426
 * ├─ InvalidProtocolHeader       400
 * ├─ InvalidExtensionHeader      400
 * └─ OriginNotAllowed            403
 * ResponseError           a client rejects a response with status 101
 * ├─ UnsupportedHttpVersion
 * ├─ MissingHeader
 * ├─ InvalidUpgradeHeader
 * ├─ InvalidConnectionHeader
 * ├─ InvalidAccept
 * ├─ InvalidExtensionHeader
 * ├─ UnsolicitedProtocol
 * ├─ UnsolicitedExtension
 * └─ ExtensionMismatch
 * OptionsError            a value of the program is invalid
 * ├─ InvalidUrl
 * ├─ InvalidHeader
 * ├─ InvalidProtocol
 * ├─ InvalidOption
 * ├─ InvalidStatus
 * ├─ ProtocolNotOffered
 * └─ ExtensionNotOffered
 * ConnectError            a client could not connect: any ResponseError or OptionsError, or
 * ├─ ConnectFailed               DNS, TCP, TLS or the HTTP exchange failed
 * ├─ ProxyRejected               the proxy did not open a tunnel
 * ├─ Http2Unsupported            with http2: "only", the server has no WebSocket over HTTP/2
 * ├─ HandshakeTimeout
 * ├─ HandshakeRedirected         a redirect, with maxRedirects: 0
 * ├─ TooManyRedirects            more redirects than maxRedirects
 * ├─ RedirectRefused             a redirect that must not be followed
 * └─ HandshakeRejected           any other status
 * ```
 *
 * The `message` of each states what was expected, what was received, and what to
 * change.
 *
 * **Example** (Handling connect errors)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { WebSocketClient } from "effect-ws"
 *
 * const explained = WebSocketClient.connect("ws://127.0.0.1:1/").pipe(
 *   Effect.as("connected"),
 *   Effect.catchTags({
 *     ConnectFailed: ({ code }) => Effect.succeed(`unreachable: ${code}`),
 *     HandshakeRejected: ({ body, status }) => Effect.succeed(`rejected with ${status}: ${body}`),
 *     HandshakeTimeout: ({ duration }) => Effect.succeed(`no response within ${duration}`)
 *   }),
 *   Effect.scoped
 * )
 *
 * await Effect.runPromise(explained) // => "unreachable: ECONNREFUSED"
 * ```
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import { redact } from "./internal/protocol/url.ts"
import { reasonOf } from "./internal/runtime/describe.ts"

const shownValue = (value: string | undefined): string => value === undefined ? "none" : JSON.stringify(value)

const expectedOffer = (offered: ReadonlyArray<string>): string =>
  offered.length === 0
    ? "expected none, because none was offered"
    : `expected one of those offered (${offered.join(", ")})`

// -----------------------------------------------------------------------------
// Requests
// -----------------------------------------------------------------------------

/**
 * The request's method is not GET (RFC 6455 §4.1), or not CONNECT over HTTP/2 (RFC
 * 8441 §4).
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class InvalidMethod extends /* @__PURE__ */ Data.TaggedError("InvalidMethod")<{
  readonly method: string
  readonly expected: "GET" | "CONNECT"
}> {
  readonly status = 405
  override get message(): string {
    return `WebSocket handshake: expected the method ${this.expected}, got ${this.method}`
  }
}

/**
 * An HTTP/2 CONNECT request without `:protocol: websocket` (RFC 8441 §4): it asks for
 * another protocol, or, without `:protocol`, for a tunnel.
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class UnsupportedConnectProtocol extends Data.TaggedError("UnsupportedConnectProtocol")<{
  readonly protocol: string | undefined
}> {
  readonly status = 501
  override get message(): string {
    return `:protocol of a CONNECT request: expected "websocket", got ${shownValue(this.protocol)}`
  }
}

/**
 * The `:scheme` of an HTTP/2 request is neither http nor https (RFC 8441 §5).
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class InvalidScheme extends Data.TaggedError("InvalidScheme")<{
  readonly scheme: string | undefined
}> {
  readonly status = 400
  override get message(): string {
    return `:scheme of the request: expected "http" or "https", got ${shownValue(this.scheme)}`
  }
}

/**
 * The version of the request, or of the response with status 101, is neither
 * HTTP/1.1 (RFC 6455 §4.1) nor HTTP/2 (RFC 8441). HTTP/1.0 has no upgrades (RFC 9110
 * §7.8).
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class UnsupportedHttpVersion extends /* @__PURE__ */ Data.TaggedError("UnsupportedHttpVersion")<{
  readonly version: string
}> {
  readonly status = 505
  override get message(): string {
    return `WebSocket handshake: expected HTTP/1.1 or HTTP/2, got HTTP/${this.version}`
  }
}

/**
 * The request target is neither a path nor an http URL (RFC 6455 §4.1).
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class InvalidTarget extends /* @__PURE__ */ Data.TaggedError("InvalidTarget")<{
  readonly target: string
}> {
  readonly status = 400
  override get message(): string {
    return `request target: expected a path or an http URL, got ${JSON.stringify(this.target)}`
  }
}

/**
 * A required header of the handshake is missing.
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class MissingHeader extends /* @__PURE__ */ Data.TaggedError("MissingHeader")<{
  readonly header: string
}> {
  readonly status = 400
  override get message(): string {
    return `WebSocket handshake: expected a ${this.header} header, got none`
  }
}

/**
 * The Host header is invalid, or the request has two of them (RFC 9112 §3.2). Over
 * HTTP/2, this applies to `:authority`, which a Host header must not contradict (RFC
 * 9113 §8.3.1).
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class InvalidHostHeader extends /* @__PURE__ */ Data.TaggedError("InvalidHostHeader")<{
  readonly value: string
}> {
  readonly status = 400
  override get message(): string {
    return `Host header: expected one host with an optional port, got ${JSON.stringify(this.value)}`
  }
}

/**
 * The Upgrade header is missing, or does not contain websocket. A server rejects
 * a plain HTTP request with this error.
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class InvalidUpgradeHeader extends /* @__PURE__ */ Data.TaggedError("InvalidUpgradeHeader")<{
  readonly value: string | undefined
}> {
  readonly status = 426
  override get message(): string {
    return `Upgrade header: expected "websocket", got ${shownValue(this.value)}; ` +
      "WebSocket clients and servers send it, and proxies must pass it on"
  }
}

/**
 * The Connection header is missing, or does not contain upgrade. A proxy that does
 * not support WebSocket removes it.
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class InvalidConnectionHeader extends /* @__PURE__ */ Data.TaggedError("InvalidConnectionHeader")<{
  readonly value: string | undefined
}> {
  readonly status = 400
  override get message(): string {
    return `Connection header: expected "Upgrade", got ${shownValue(this.value)}; ` +
      "a proxy between client and server must pass upgrades on"
  }
}

/**
 * The request announces a body. The bytes behind a handshake are frames; an
 * intermediary must not read them as a body.
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class UnexpectedBody extends /* @__PURE__ */ Data.TaggedError("UnexpectedBody")<{
  /** The header that announces it: Content-Length or Transfer-Encoding. */
  readonly header: string
}> {
  readonly status = 400
  override get message(): string {
    return `WebSocket handshake: expected no body, got a ${this.header} header`
  }
}

/**
 * Sec-WebSocket-Key is not 16 bytes in base64 (RFC 6455 §4.1).
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class InvalidKey extends /* @__PURE__ */ Data.TaggedError("InvalidKey")<{
  readonly key: string
}> {
  readonly status = 400
  override get message(): string {
    return `Sec-WebSocket-Key header: expected 16 bytes in base64, got ${JSON.stringify(this.key)}`
  }
}

/**
 * Sec-WebSocket-Version is not 13 (RFC 6455 §4.2.2).
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class UnsupportedVersion extends /* @__PURE__ */ Data.TaggedError("UnsupportedVersion")<{
  readonly version: string
}> {
  readonly status = 426
  override get message(): string {
    return `Sec-WebSocket-Version header: expected 13, got ${JSON.stringify(this.version)}`
  }
}

/**
 * Sec-WebSocket-Protocol is not a list of distinct tokens (RFC 6455 §4.1).
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class InvalidProtocolHeader extends /* @__PURE__ */ Data.TaggedError("InvalidProtocolHeader")<{
  readonly value: string
}> {
  readonly status = 400
  override get message(): string {
    return `Sec-WebSocket-Protocol header: expected a list of distinct tokens, got ${JSON.stringify(this.value)}`
  }
}

/**
 * Sec-WebSocket-Extensions breaks the grammar of RFC 6455 §9.1.
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class InvalidExtensionHeader extends /* @__PURE__ */ Data.TaggedError("InvalidExtensionHeader")<{
  readonly value: string
}> {
  readonly status = 400
  override get message(): string {
    return "Sec-WebSocket-Extensions header: expected a list of extensions, each a token with parameters, got " +
      JSON.stringify(this.value)
  }
}

/**
 * The server's origin policy does not allow the page's origin (RFC 6455 §10.2).
 *
 * @stability unstable
 * @category request errors
 * @since 0.1.0
 */
export class OriginNotAllowed extends /* @__PURE__ */ Data.TaggedError("OriginNotAllowed")<{
  readonly origin: string
  readonly host: string
}> {
  readonly status = 403
  override get message(): string {
    return `Origin header: expected an origin that the server's "origin" option allows for ${this.host}, ` +
      `got ${this.origin}; over TLS, only https pages are "same-origin"; a proxy must pass the Host header on`
  }
}

/**
 * An error for which a server rejects a request.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type RequestError =
  | InvalidMethod
  | UnsupportedHttpVersion
  | InvalidTarget
  | InvalidScheme
  | UnsupportedConnectProtocol
  | MissingHeader
  | InvalidHostHeader
  | InvalidUpgradeHeader
  | InvalidConnectionHeader
  | UnexpectedBody
  | InvalidKey
  | UnsupportedVersion
  | InvalidProtocolHeader
  | InvalidExtensionHeader
  | OriginNotAllowed

// -----------------------------------------------------------------------------
// Responses
// -----------------------------------------------------------------------------

/**
 * Sec-WebSocket-Accept does not match the key that the client sent (RFC 6455
 * §4.1): the responder is a cache, or not a WebSocket server.
 *
 * @stability unstable
 * @category response errors
 * @since 0.1.0
 */
export class InvalidAccept extends /* @__PURE__ */ Data.TaggedError("InvalidAccept")<{
  readonly expected: string
  readonly actual: string
}> {
  override get message(): string {
    return `Sec-WebSocket-Accept header: expected "${this.expected}", got ${JSON.stringify(this.actual)}; ` +
      "the responder may be a cache"
  }
}

/**
 * The server selected a subprotocol that was not offered (RFC 6455 §4.1).
 *
 * @stability unstable
 * @category response errors
 * @since 0.1.0
 */
export class UnsolicitedProtocol extends /* @__PURE__ */ Data.TaggedError("UnsolicitedProtocol")<{
  readonly protocol: string
  readonly offered: ReadonlyArray<string>
}> {
  override get message(): string {
    return `subprotocol of the server: ${expectedOffer(this.offered)}, got ${JSON.stringify(this.protocol)}`
  }
}

/**
 * The server accepted an extension that was not offered (RFC 6455 §4.1).
 *
 * @stability unstable
 * @category response errors
 * @since 0.1.0
 */
export class UnsolicitedExtension extends /* @__PURE__ */ Data.TaggedError("UnsolicitedExtension")<{
  readonly extension: string
  readonly offered: ReadonlyArray<string>
}> {
  override get message(): string {
    return `extension of the server: ${expectedOffer(this.offered)}, got ${JSON.stringify(this.extension)}`
  }
}

/**
 * The parameters of an extension that the server accepted do not match the offer
 * (RFC 6455 §9.1).
 *
 * @stability unstable
 * @category response errors
 * @since 0.1.0
 */
export class ExtensionMismatch extends /* @__PURE__ */ Data.TaggedError("ExtensionMismatch")<{
  readonly extension: string
  readonly problem: string
}> {
  override get message(): string {
    return `parameters of the extension ${JSON.stringify(this.extension)}: ${this.problem}`
  }
}

/**
 * An error for which a client rejects a response with status 101.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type ResponseError =
  | UnsupportedHttpVersion
  | MissingHeader
  | InvalidUpgradeHeader
  | InvalidConnectionHeader
  | InvalidAccept
  | InvalidExtensionHeader
  | UnsolicitedProtocol
  | UnsolicitedExtension
  | ExtensionMismatch

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * The URL is not a valid WebSocket URL (RFC 6455 §3).
 *
 * @stability unstable
 * @category options errors
 * @since 0.1.0
 */
export class InvalidUrl extends /* @__PURE__ */ Data.TaggedError("InvalidUrl")<{
  /** The URL as it was written, without the parts that may be secret: user, password, query and fragment. */
  readonly url: string
  readonly problem: string
}> {
  override get message(): string {
    return `invalid WebSocket URL ${JSON.stringify(this.url)}: ${this.problem}`
  }
}

/**
 * A header of the program is invalid in HTTP, or is one that the handshake sets
 * itself.
 *
 * @stability unstable
 * @category options errors
 * @since 0.1.0
 */
export class InvalidHeader extends /* @__PURE__ */ Data.TaggedError("InvalidHeader")<{
  readonly header: string
  readonly problem: string
}> {
  override get message(): string {
    return `invalid header ${JSON.stringify(this.header)}: ${this.problem}`
  }
}

/**
 * A subprotocol that the program offers is not a token, or is offered twice
 * (RFC 6455 §4.1).
 *
 * @stability unstable
 * @category options errors
 * @since 0.1.0
 */
export class InvalidProtocol extends /* @__PURE__ */ Data.TaggedError("InvalidProtocol")<{
  readonly protocol: string
  readonly problem: string
}> {
  override get message(): string {
    return `invalid subprotocol ${JSON.stringify(this.protocol)}: ${this.problem}`
  }
}

/**
 * An option has an invalid value.
 *
 * @stability unstable
 * @category options errors
 * @since 0.1.0
 */
export class InvalidOption extends /* @__PURE__ */ Data.TaggedError("InvalidOption")<{
  readonly option: string
  readonly problem: string
}> {
  override get message(): string {
    return `invalid option "${this.option}": ${this.problem}`
  }
}

/**
 * A server's decision rejects with a status that is not from 300 to 599, or is
 * 304.
 *
 * @stability unstable
 * @category options errors
 * @since 0.1.0
 */
export class InvalidStatus extends /* @__PURE__ */ Data.TaggedError("InvalidStatus")<{
  readonly status: number
}> {
  override get message(): string {
    return `status of a rejection: expected an integer from 300 to 599, except 304, got ${this.status}`
  }
}

/**
 * A server's decision selects a subprotocol that the client did not offer (RFC
 * 6455 §4.2.2).
 *
 * @stability unstable
 * @category options errors
 * @since 0.1.0
 */
export class ProtocolNotOffered extends /* @__PURE__ */ Data.TaggedError("ProtocolNotOffered")<{
  readonly protocol: string
  readonly offered: ReadonlyArray<string>
}> {
  override get message(): string {
    return `subprotocol of the decision: ${expectedOffer(this.offered)}, got ${JSON.stringify(this.protocol)}`
  }
}

/**
 * A server accepts an extension that the client did not offer (RFC 6455 §9.1).
 *
 * @stability unstable
 * @category options errors
 * @since 0.1.0
 */
export class ExtensionNotOffered extends /* @__PURE__ */ Data.TaggedError("ExtensionNotOffered")<{
  readonly extension: string
  readonly offered: ReadonlyArray<string>
}> {
  override get message(): string {
    return `extension to accept: ${expectedOffer(this.offered)}, got ${JSON.stringify(this.extension)}`
  }
}

/**
 * An error of a value that the program gives.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type OptionsError =
  | InvalidUrl
  | InvalidHeader
  | InvalidProtocol
  | InvalidOption
  | InvalidStatus
  | ProtocolNotOffered
  | ExtensionNotOffered

// -----------------------------------------------------------------------------
// Connecting
// -----------------------------------------------------------------------------

/**
 * The step of connecting that a client waits for, in this order: the addresses of
 * the host; a TCP connection or a Unix socket; TLS; over HTTP/2, a session with room
 * for a stream; the response; the negotiated extensions. "proxy" covers all steps
 * until the tunnel is open, "agent" and "duplex" the time until these options provide
 * a socket. "browser" is all of them, because a browser does not report its steps.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type Phase =
  | "lookup"
  | "connect"
  | "proxy"
  | "agent"
  | "duplex"
  | "tls"
  | "session"
  | "response"
  | "extensions"
  | "browser"

/**
 * An address that a client tried to connect to.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface AddressTried {
  readonly address: string
  readonly port: number
  /** Why the attempt failed, such as ECONNREFUSED. Undefined while it is in progress. */
  readonly code: string | undefined
}

/**
 * DNS, TCP, TLS or the HTTP exchange failed before the client had a response. So
 * does a server that does not speak HTTP. In a browser, all failures of the
 * handshake are this error, because a browser reports neither a status nor a reason.
 *
 * @stability unstable
 * @category connect errors
 * @since 0.1.0
 */
export class ConnectFailed extends /* @__PURE__ */ Data.TaggedError("ConnectFailed")<{
  readonly url: string
  /** The step that failed. */
  readonly phase: Phase
  /** The error code of the system or of OpenSSL, such as ECONNREFUSED, ENOTFOUND, CERT_HAS_EXPIRED. */
  readonly code: string | undefined
  /** The addresses that the client tried, in this order. With a proxy, those of the proxy. */
  readonly addresses: ReadonlyArray<AddressTried>
  /** The error that Node reported: an AggregateError if several addresses failed. */
  readonly cause: Error
}> {
  override get message(): string {
    const through = this.phase === "proxy" ? " through the proxy" : ""
    return `could not connect to ${this.url}${through}: ${reasonOf(this.cause, this.code)}${connectAdvice(this)}`
  }
}

/** Errors of OpenSSL and Node do not name the option or the URL to change. */
const connectAdvice = ({ cause, code = "", phase, url }: ConnectFailed): string => {
  const [peer, option, plain] = phase === "proxy"
    ? ["proxy", "proxy.tls.ca", "an http:// URL for it"]
    : ["server", "tls.ca", "a ws:// URL"]
  if (/wrong version number/i.test(reasonOf(cause))) return `; if the ${peer} does not use TLS, use ${plain}`
  if (/SELF_SIGNED|UNABLE_TO_(VERIFY|GET_ISSUER)/.test(code)) {
    return `; if you trust the ${peer}'s authority, add its certificate to ${option}`
  }
  if (phase === "session" && url.startsWith("ws:")) {
    return "; if the server does not speak HTTP/2 without TLS, remove http2: \"only\""
  }
  // A server with TLS resets a request without TLS, or answers it with an alert, which is not HTTP.
  const isHttp = !code.startsWith("HPE_INVALID")
  if (phase !== "proxy" && url.startsWith("ws:") && (code === "ECONNRESET" || !isHttp)) {
    return "; if the server uses TLS, use a wss:// URL"
  }
  return isHttp ? "" : `; use the address of an HTTP ${peer}`
}

/**
 * The proxy responded to the CONNECT request with a status other than 2xx. The
 * server has not received anything. An agent may report the response of its proxy,
 * which is this error, too.
 *
 * @stability unstable
 * @category connect errors
 * @since 0.1.0
 */
export class ProxyRejected extends /* @__PURE__ */ Data.TaggedError("ProxyRejected")<{
  /** The server to which the client requested a tunnel. */
  readonly url: string
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** The headers as on the wire. */
  readonly rawHeaders: ReadonlyArray<readonly [name: string, value: string]>
}> {
  override get message(): string {
    const advice = this.status === 407 ? "; put a valid user and password into the proxy's URL" : ""
    return `the proxy rejected a tunnel to ${this.url} with status ${this.status}${advice}`
  }
}

/**
 * The option `http2` is "only", and the server does not support WebSocket over HTTP/2
 * (RFC 8441). `reason` says how the client knows: "alpn", the server did not select
 * h2 in TLS; "settings", it does not allow extended CONNECT requests (RFC 8441 §3);
 * "required", it reset the request with HTTP_1_1_REQUIRED (RFC 9113 §7).
 *
 * @stability unstable
 * @category connect errors
 * @since 0.1.0
 */
export class Http2Unsupported extends Data.TaggedError("Http2Unsupported")<{
  readonly url: string
  readonly reason: "alpn" | "settings" | "required"
}> {
  override get message(): string {
    return `WebSocket over HTTP/2 with ${this.url}: expected ${unsupported[this.reason]}; ` +
      "connect with http2: \"prefer\", or without the option"
  }
}

const unsupported: Readonly<Record<Http2Unsupported["reason"], string>> = {
  alpn: "the server to select h2 in TLS, got another protocol",
  settings: "the server to set SETTINGS_ENABLE_CONNECT_PROTOCOL, got settings without it",
  required: "a response, got a reset with HTTP_1_1_REQUIRED"
}

/**
 * The handshake did not complete within `handshakeTimeout`.
 *
 * @stability unstable
 * @category connect errors
 * @since 0.1.0
 */
export class HandshakeTimeout extends /* @__PURE__ */ Data.TaggedError("HandshakeTimeout")<{
  readonly url: string
  /** The step that the client waited for. */
  readonly phase: Phase
  readonly duration: Duration.Duration
  /** The addresses that the client tried, in this order. With a proxy, those of the proxy. */
  readonly addresses: ReadonlyArray<AddressTried>
}> {
  override get message(): string {
    return `the WebSocket handshake with ${this.url} timed out after ${Duration.format(this.duration)} ` +
      `while waiting for ${this.awaited}; raise handshakeTimeout if it needs longer`
  }

  private get awaited(): string {
    const { addresses, phase } = this
    if (phase !== "connect" || addresses.length === 0) return awaitedIn[phase]
    return `${awaitedIn[phase]}: ${
      addresses.map(({ address, code = "no response" }) => `${address} (${code})`).join(", ")
    }`
  }
}

const awaitedIn: Readonly<Record<Phase, string>> = {
  lookup: "the addresses of the host",
  connect: "a connection",
  proxy: "the proxy",
  agent: "the agent to provide a socket",
  duplex: "the duplex option to provide a stream",
  tls: "the TLS handshake",
  session: "an HTTP/2 session: the server's settings, or room for a stream",
  response: "the response",
  extensions: "an extension to start",
  browser: "the browser to open the connection"
}

/**
 * The server responded with a redirect, and `maxRedirects` is 0.
 *
 * @stability unstable
 * @category connect errors
 * @since 0.1.0
 */
export class HandshakeRedirected extends /* @__PURE__ */ Data.TaggedError("HandshakeRedirected")<{
  readonly status: number
  /** The Location header, made absolute. The message shows it without its query. */
  readonly location: string
  readonly headers: Readonly<Record<string, string>>
  /** The headers as on the wire: repeated ones, such as Set-Cookie, are separate. */
  readonly rawHeaders: ReadonlyArray<readonly [name: string, value: string]>
}> {
  override get message(): string {
    return `the server redirects to ${redact(this.location)} (status ${this.status}); connect to that URL, ` +
      `or raise maxRedirects to follow redirects`
  }
}

/**
 * The server responded with more redirects than `maxRedirects`, as in a loop.
 *
 * @stability unstable
 * @category connect errors
 * @since 0.1.0
 */
export class TooManyRedirects extends /* @__PURE__ */ Data.TaggedError("TooManyRedirects")<{
  readonly maxRedirects: number
  /** The last Location header, made absolute. The message shows it without its query. */
  readonly location: string
}> {
  override get message(): string {
    return `redirects: expected at most ${this.maxRedirects}, got another one to ${redact(this.location)}; ` +
      "raise maxRedirects if this is not a loop"
  }
}

/**
 * The client must not follow the redirect: it leads from wss to ws, to an invalid
 * WebSocket URL, or away from the only server that the program's own socket leads
 * to.
 *
 * @stability unstable
 * @category connect errors
 * @since 0.1.0
 */
export class RedirectRefused extends /* @__PURE__ */ Data.TaggedError("RedirectRefused")<{
  /** The Location header, made absolute. The message shows it without its query. */
  readonly location: string
  readonly problem: string
}> {
  override get message(): string {
    return `the redirect to ${redact(this.location)} is not followed: ${this.problem}`
  }
}

/**
 * The server responded with a status other than 101.
 *
 * @stability unstable
 * @category connect errors
 * @since 0.1.0
 */
export class HandshakeRejected extends /* @__PURE__ */ Data.TaggedError("HandshakeRejected")<{
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** The headers as on the wire: repeated ones, such as Set-Cookie, are separate. */
  readonly rawHeaders: ReadonlyArray<readonly [name: string, value: string]>
  /** The body as text: the part that was received in time, up to 64 KiB. */
  readonly body: string
}> {
  override get message(): string {
    const advice = this.status >= 200 && this.status < 300 ? "; check that the URL is that of a WebSocket endpoint" : ""
    const text = this.body.trim().replace(/\s+/g, " ")
    const body = text.length > 200 ? `${text.slice(0, 200)}…` : text
    return `the server rejected the handshake with status ${this.status}${advice}${body === "" ? "" : `: ${body}`}`
  }
}

/**
 * An error for which a client has no connection.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type ConnectError =
  | OptionsError
  | ResponseError
  | ConnectFailed
  | ProxyRejected
  | Http2Unsupported
  | HandshakeTimeout
  | HandshakeRedirected
  | TooManyRedirects
  | RedirectRefused
  | HandshakeRejected
