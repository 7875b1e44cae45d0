/**
 * Why an opening handshake (RFC 6455 §4) did not lead to a connection: one
 * tagged error for each reason, with the facts as fields.
 *
 * ```text
 * RequestError            a server refuses a request; `status` says with what
 * ├─ InvalidMethod               405
 * ├─ UnsupportedHttpVersion      505
 * ├─ InvalidTarget               400
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
 * ResponseError           a client cannot accept a response that says 101
 * ├─ UnsupportedHttpVersion
 * ├─ MissingHeader
 * ├─ InvalidUpgradeHeader
 * ├─ InvalidConnectionHeader
 * ├─ InvalidAccept
 * ├─ InvalidExtensionHeader
 * ├─ UnsolicitedProtocol
 * ├─ UnsolicitedExtension
 * └─ ExtensionMismatch
 * OptionsError            what the program asked for cannot be written
 * ├─ InvalidUrl
 * ├─ InvalidHeader
 * ├─ InvalidProtocol
 * ├─ InvalidOption
 * ├─ InvalidStatus
 * ├─ ProtocolNotOffered
 * └─ ExtensionNotOffered
 * ConnectError            a client got no connection: any ResponseError or OptionsError, or
 * ├─ ConnectFailed               no HTTP exchange took place: DNS, TCP or TLS failed
 * ├─ ProxyRejected               the proxy opened no tunnel
 * ├─ HandshakeTimeout
 * ├─ HandshakeRedirected         a 3xx with a Location, where none is to be followed
 * ├─ TooManyRedirects            more of them than are to be followed
 * ├─ RedirectRefused             one that must not be followed
 * └─ HandshakeRejected           any other status
 * ```
 *
 * Each has a `message` that says what happened and what to change.
 *
 * **Example** (Why there is no connection)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { WebSocketClient } from "effect-ws"
 *
 * const explained = WebSocketClient.connect("ws://127.0.0.1:1/").pipe(
 *   Effect.as("connected"),
 *   Effect.catchTags({
 *     ConnectFailed: ({ code }) => Effect.succeed(`nobody there: ${code}`),
 *     HandshakeRejected: ({ body, status }) => Effect.succeed(`refused with ${status}: ${body}`),
 *     HandshakeTimeout: ({ duration }) => Effect.succeed(`no answer in ${duration}`)
 *   }),
 *   Effect.scoped
 * )
 *
 * await Effect.runPromise(explained) // => "nobody there: ECONNREFUSED"
 * ```
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import { redact } from "./internal/protocol/url.ts"

// -----------------------------------------------------------------------------
// Requests
// -----------------------------------------------------------------------------

/**
 * The request's method is not GET (RFC 6455 §4.1).
 *
 * @category request errors
 * @since 0.1.0
 */
export class InvalidMethod extends Data.TaggedError("InvalidMethod")<{
  readonly method: string
}> {
  readonly status = 405
  override get message(): string {
    return `a WebSocket handshake is a GET request, not ${this.method}`
  }
}

/**
 * The request, or the response that says 101, is older than HTTP/1.1 (RFC 6455
 * §4.1). HTTP/1.0 has no upgrades (RFC 9110 §7.8).
 *
 * @category request errors
 * @since 0.1.0
 */
export class UnsupportedHttpVersion extends Data.TaggedError("UnsupportedHttpVersion")<{
  readonly version: string
}> {
  readonly status = 505
  override get message(): string {
    return `a WebSocket handshake needs HTTP/1.1, not HTTP/${this.version}`
  }
}

/**
 * The request's target is neither a path nor an http URL (RFC 6455 §4.1).
 *
 * @category request errors
 * @since 0.1.0
 */
export class InvalidTarget extends Data.TaggedError("InvalidTarget")<{
  readonly target: string
}> {
  readonly status = 400
  override get message(): string {
    return `the request target ${JSON.stringify(this.target)} is neither a path nor an http URL`
  }
}

/**
 * A header that a handshake must have is missing.
 *
 * @category request errors
 * @since 0.1.0
 */
export class MissingHeader extends Data.TaggedError("MissingHeader")<{
  readonly header: string
}> {
  readonly status = 400
  override get message(): string {
    return `the handshake has no ${this.header} header`
  }
}

/**
 * The Host header is no host with an optional port, or there are two (RFC 9112
 * §3.2).
 *
 * @category request errors
 * @since 0.1.0
 */
export class InvalidHostHeader extends Data.TaggedError("InvalidHostHeader")<{
  readonly value: string
}> {
  readonly status = 400
  override get message(): string {
    return `the Host header ${JSON.stringify(this.value)} is not one host with an optional port`
  }
}

/**
 * The Upgrade header is missing, or does not name websocket. A plain HTTP
 * request to a WebSocket server ends here, with 426.
 *
 * @category request errors
 * @since 0.1.0
 */
export class InvalidUpgradeHeader extends Data.TaggedError("InvalidUpgradeHeader")<{
  readonly value: string | undefined
}> {
  readonly status = 426
  override get message(): string {
    return this.value === undefined
      ? "there is no Upgrade header; a WebSocket handshake has \"Upgrade: websocket\""
      : `the Upgrade header ${JSON.stringify(this.value)} does not name websocket`
  }
}

/**
 * The Connection header is missing, or does not name upgrade. Proxies that do
 * not know WebSocket drop it.
 *
 * @category request errors
 * @since 0.1.0
 */
export class InvalidConnectionHeader extends Data.TaggedError("InvalidConnectionHeader")<{
  readonly value: string | undefined
}> {
  readonly status = 400
  override get message(): string {
    return `${
      this.value === undefined
        ? "there is no Connection header"
        : `the Connection header ${JSON.stringify(this.value)} does not name upgrade`
    }; a proxy in between may not pass upgrades on`
  }
}

/**
 * The request says that a body follows. What stands behind a handshake are
 * frames: whoever is in between must not take them for something else.
 *
 * @category request errors
 * @since 0.1.0
 */
export class UnexpectedBody extends Data.TaggedError("UnexpectedBody")<{
  /** What says so: Content-Length or Transfer-Encoding. */
  readonly header: string
}> {
  readonly status = 400
  override get message(): string {
    return `a WebSocket handshake has no body, and so no ${this.header} header`
  }
}

/**
 * Sec-WebSocket-Key is not 16 bytes in base64 (RFC 6455 §4.1).
 *
 * @category request errors
 * @since 0.1.0
 */
export class InvalidKey extends Data.TaggedError("InvalidKey")<{
  readonly key: string
}> {
  readonly status = 400
  override get message(): string {
    return "Sec-WebSocket-Key must be 16 bytes in base64"
  }
}

/**
 * Sec-WebSocket-Version is not 13 (RFC 6455 §4.2.2).
 *
 * @category request errors
 * @since 0.1.0
 */
export class UnsupportedVersion extends Data.TaggedError("UnsupportedVersion")<{
  readonly version: string
}> {
  readonly status = 426
  override get message(): string {
    return `WebSocket version ${JSON.stringify(this.version)} is not supported; 13 is`
  }
}

/**
 * Sec-WebSocket-Protocol is not a list of distinct tokens (RFC 6455 §4.1).
 *
 * @category request errors
 * @since 0.1.0
 */
export class InvalidProtocolHeader extends Data.TaggedError("InvalidProtocolHeader")<{
  readonly value: string
}> {
  readonly status = 400
  override get message(): string {
    return "Sec-WebSocket-Protocol must be a list of distinct tokens"
  }
}

/**
 * Sec-WebSocket-Extensions breaks the grammar of RFC 6455 §9.1.
 *
 * @category request errors
 * @since 0.1.0
 */
export class InvalidExtensionHeader extends Data.TaggedError("InvalidExtensionHeader")<{
  readonly value: string
}> {
  readonly status = 400
  override get message(): string {
    return "Sec-WebSocket-Extensions must be a list of extensions, each a token with parameters"
  }
}

/**
 * A page of another origin asked for a connection that the server's origin
 * policy does not grant it (RFC 6455 §10.2).
 *
 * @category request errors
 * @since 0.1.0
 */
export class OriginNotAllowed extends Data.TaggedError("OriginNotAllowed")<{
  readonly origin: string
  readonly host: string
}> {
  readonly status = 403
  override get message(): string {
    return `pages of ${this.origin} may not connect to ${this.host}; ` +
      `the server's "origin" option says which may (over TLS, only https pages are "same-origin"; ` +
      `behind a proxy, pass the Host header on)`
  }
}

/**
 * Why a server refuses a request.
 *
 * @category models
 * @since 0.1.0
 */
export type RequestError =
  | InvalidMethod
  | UnsupportedHttpVersion
  | InvalidTarget
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
 * Sec-WebSocket-Accept does not answer the key that was sent (RFC 6455 §4.1):
 * whatever answered is no WebSocket server, or a cache.
 *
 * @category response errors
 * @since 0.1.0
 */
export class InvalidAccept extends Data.TaggedError("InvalidAccept")<{
  readonly expected: string
  readonly actual: string
}> {
  override get message(): string {
    return `Sec-WebSocket-Accept is ${JSON.stringify(this.actual)}, but the key asks for "${this.expected}"`
  }
}

/**
 * The server selected a subprotocol that was not offered (RFC 6455 §4.1).
 *
 * @category response errors
 * @since 0.1.0
 */
export class UnsolicitedProtocol extends Data.TaggedError("UnsolicitedProtocol")<{
  readonly protocol: string
  readonly offered: ReadonlyArray<string>
}> {
  override get message(): string {
    return `the server selected the subprotocol ${JSON.stringify(this.protocol)}; ` +
      `offered were: ${this.offered.join(", ") || "none"}`
  }
}

/**
 * The server accepted an extension that was not offered (RFC 6455 §4.1).
 *
 * @category response errors
 * @since 0.1.0
 */
export class UnsolicitedExtension extends Data.TaggedError("UnsolicitedExtension")<{
  readonly extension: string
  readonly offered: ReadonlyArray<string>
}> {
  override get message(): string {
    return `the server accepted the extension ${JSON.stringify(this.extension)}; ` +
      `offered were: ${this.offered.join(", ") || "none"}`
  }
}

/**
 * The server accepted an extension in a way that does not answer the offer
 * (RFC 6455 §9.1).
 *
 * @category response errors
 * @since 0.1.0
 */
export class ExtensionMismatch extends Data.TaggedError("ExtensionMismatch")<{
  readonly extension: string
  readonly problem: string
}> {
  override get message(): string {
    return `the server accepted the extension ${JSON.stringify(this.extension)} in a way that was not agreed on: ` +
      this.problem
  }
}

/**
 * Why a client cannot accept a response with status 101.
 *
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
 * The URL is not one of a WebSocket (RFC 6455 §3).
 *
 * @category options errors
 * @since 0.1.0
 */
export class InvalidUrl extends Data.TaggedError("InvalidUrl")<{
  /** As it was written, without what may be a secret: user, password, query and fragment. */
  readonly url: string
  readonly problem: string
}> {
  override get message(): string {
    return `${JSON.stringify(this.url)} is not a WebSocket URL: ${this.problem}`
  }
}

/**
 * A header that the program wants to send cannot be written as HTTP, or belongs
 * to the handshake itself.
 *
 * @category options errors
 * @since 0.1.0
 */
export class InvalidHeader extends Data.TaggedError("InvalidHeader")<{
  readonly header: string
  readonly problem: string
}> {
  override get message(): string {
    return `the header ${JSON.stringify(this.header)} cannot be sent: ${this.problem}`
  }
}

/**
 * A subprotocol that the program offers is not a token, or is offered twice
 * (RFC 6455 §4.1).
 *
 * @category options errors
 * @since 0.1.0
 */
export class InvalidProtocol extends Data.TaggedError("InvalidProtocol")<{
  readonly protocol: string
  readonly problem: string
}> {
  override get message(): string {
    return `the subprotocol ${JSON.stringify(this.protocol)} cannot be offered: ${this.problem}`
  }
}

/**
 * An option has a value that it cannot have.
 *
 * @category options errors
 * @since 0.1.0
 */
export class InvalidOption extends Data.TaggedError("InvalidOption")<{
  readonly option: string
  readonly problem: string
}> {
  override get message(): string {
    return `the option "${this.option}" cannot be used: ${this.problem}`
  }
}

/**
 * A server's decision rejects with a status that cannot do that: from 300 to
 * 599 all can, but 304.
 *
 * @category options errors
 * @since 0.1.0
 */
export class InvalidStatus extends Data.TaggedError("InvalidStatus")<{
  readonly status: number
}> {
  override get message(): string {
    return `a handshake cannot be rejected with status ${this.status}; use one from 300 to 599, but not 304`
  }
}

/**
 * A server's decision selects a subprotocol that the client did not offer (RFC
 * 6455 §4.2.2).
 *
 * @category options errors
 * @since 0.1.0
 */
export class ProtocolNotOffered extends Data.TaggedError("ProtocolNotOffered")<{
  readonly protocol: string
  readonly offered: ReadonlyArray<string>
}> {
  override get message(): string {
    return `the decision selects the subprotocol ${JSON.stringify(this.protocol)}; ` +
      `the client offered: ${this.offered.join(", ") || "none"}`
  }
}

/**
 * A server accepts an extension that the client did not offer (RFC 6455 §9.1).
 *
 * @category options errors
 * @since 0.1.0
 */
export class ExtensionNotOffered extends Data.TaggedError("ExtensionNotOffered")<{
  readonly extension: string
  readonly offered: ReadonlyArray<string>
}> {
  override get message(): string {
    return `the server accepts the extension ${JSON.stringify(this.extension)}; ` +
      `the client offered: ${this.offered.join(", ") || "none"}`
  }
}

/**
 * What the program asked for cannot be written as a handshake.
 *
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
 * What a client waits for, in this order: the addresses of the host; a TCP
 * connection or a Unix socket; TLS; the response; extensions that were agreed
 * on. "proxy" stands for all that a proxy takes until there is a tunnel,
 * "agent" and "duplex" for the time until these options give a socket.
 *
 * @category models
 * @since 0.1.0
 */
export type Phase = "lookup" | "connect" | "proxy" | "agent" | "duplex" | "tls" | "response" | "extensions"

/**
 * An address that a client tried to connect to.
 *
 * @category models
 * @since 0.1.0
 */
export interface AddressTried {
  readonly address: string
  readonly port: number
  /** Why it failed, such as ECONNREFUSED. Undefined while it has not. */
  readonly code: string | undefined
}

/**
 * The server could not be reached, or what it speaks is not HTTP: DNS, TCP, TLS
 * or the exchange failed before there was a response.
 *
 * @category connect errors
 * @since 0.1.0
 */
export class ConnectFailed extends Data.TaggedError("ConnectFailed")<{
  readonly url: string
  /** What failed. */
  readonly phase: Phase
  /** The system's or OpenSSL's name for it, such as ECONNREFUSED, ENOTFOUND, CERT_HAS_EXPIRED. */
  readonly code: string | undefined
  /** All addresses that were tried, in this order. With a proxy, those of the proxy. */
  readonly addresses: ReadonlyArray<AddressTried>
  /** The error as Node reported it. An AggregateError where several addresses failed. */
  readonly cause: Error
}> {
  override get message(): string {
    const through = this.phase === "proxy" ? " through the proxy" : ""
    return `could not connect to ${this.url}${through}: ${reasonOf(this)}${connectAdvice(this)}`
  }
}

const reasonOf = ({ cause, code }: ConnectFailed): string => {
  const reasons = cause instanceof AggregateError ? cause.errors.map(({ message }) => message) : [cause.message]
  return reasons.join(", ").trim() || String(code)
}

/** What OpenSSL and Node say of TLS helps only those who know it. */
const connectAdvice = ({ cause, code = "", phase, url }: ConnectFailed): string => {
  const [peer, option, plain] = phase === "proxy"
    ? ["proxy", "proxy.tls.ca", "its URL is to say http"]
    : ["server", "tls.ca", "the URL is to say ws"]
  if (/wrong version number/i.test(cause.message)) return `; if the ${peer} speaks no TLS, ${plain}`
  if (/SELF_SIGNED|UNABLE_TO_(VERIFY|GET_ISSUER)/.test(code)) return `; for an authority of your own, say ${option}`
  if (code === "ECONNRESET" && phase !== "proxy" && url.startsWith("ws:")) {
    return "; if the server speaks TLS, the URL is to say wss"
  }
  return ""
}

/**
 * The proxy answered the request for a tunnel with another status than 2xx. The
 * server has seen nothing of the handshake. Over an agent, this is what the
 * agent gives as the answer of its proxy.
 *
 * @category connect errors
 * @since 0.1.0
 */
export class ProxyRejected extends Data.TaggedError("ProxyRejected")<{
  /** The server that the tunnel was to lead to. */
  readonly url: string
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** The headers as on the wire. */
  readonly rawHeaders: ReadonlyArray<readonly [name: string, value: string]>
}> {
  override get message(): string {
    const advice = this.status === 407 ? "; give the proxy's URL a user and password that it accepts" : ""
    return `the proxy rejected a tunnel to ${this.url} with status ${this.status}${advice}`
  }
}

/**
 * The handshake was not over in time.
 *
 * @category connect errors
 * @since 0.1.0
 */
export class HandshakeTimeout extends Data.TaggedError("HandshakeTimeout")<{
  readonly url: string
  /** What the client waited for when the time was over. */
  readonly phase: Phase
  readonly duration: Duration.Duration
  /** All addresses that were tried, in this order. With a proxy, those of the proxy. */
  readonly addresses: ReadonlyArray<AddressTried>
}> {
  override get message(): string {
    return `no WebSocket handshake with ${this.url} within ${Duration.format(this.duration)}: ` +
      `still waiting for ${this.awaited}; raise handshakeTimeout if this needs longer`
  }

  private get awaited(): string {
    const { addresses, phase } = this
    if (phase !== "connect" || addresses.length === 0) return awaitedIn[phase]
    return `${awaitedIn[phase]}: ${
      addresses.map(({ address, code = "no answer" }) => `${address} (${code})`).join(", ")
    }`
  }
}

const awaitedIn: Readonly<Record<Phase, string>> = {
  lookup: "the addresses of the host",
  connect: "a connection",
  proxy: "the proxy",
  agent: "the agent to give a socket",
  duplex: "the duplex option to give a stream",
  tls: "the TLS handshake",
  response: "the response",
  extensions: "an extension to start"
}

/**
 * The server answered with a redirect, and none is to be followed.
 *
 * @category connect errors
 * @since 0.1.0
 */
export class HandshakeRedirected extends Data.TaggedError("HandshakeRedirected")<{
  readonly status: number
  /** The Location header, made absolute. The message shows it without its query. */
  readonly location: string
  readonly headers: Readonly<Record<string, string>>
  /** The headers as on the wire: repeated ones, such as Set-Cookie, stand apart. */
  readonly rawHeaders: ReadonlyArray<readonly [name: string, value: string]>
}> {
  override get message(): string {
    return `the server redirects to ${redact(this.location)} (status ${this.status}); connect there instead, ` +
      `or let maxRedirects say how many to follow`
  }
}

/**
 * The server redirects once more, after as many redirects as are to be
 * followed. So ends a loop.
 *
 * @category connect errors
 * @since 0.1.0
 */
export class TooManyRedirects extends Data.TaggedError("TooManyRedirects")<{
  readonly maxRedirects: number
  /** The last Location header, made absolute. The message shows it without its query. */
  readonly location: string
}> {
  override get message(): string {
    return `the server redirects once more after ${this.maxRedirects}, to ${redact(this.location)}`
  }
}

/**
 * The server redirects to where the client must not follow: from wss to ws, to
 * what is no WebSocket URL, or away from the only server that a socket of the
 * program's own leads to.
 *
 * @category connect errors
 * @since 0.1.0
 */
export class RedirectRefused extends Data.TaggedError("RedirectRefused")<{
  /** The Location header, made absolute. The message shows it without its query. */
  readonly location: string
  readonly problem: string
}> {
  override get message(): string {
    return `the redirect to ${redact(this.location)} is not followed: ${this.problem}`
  }
}

/**
 * The server answered with another status than 101.
 *
 * @category connect errors
 * @since 0.1.0
 */
export class HandshakeRejected extends Data.TaggedError("HandshakeRejected")<{
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** The headers as on the wire: repeated ones, such as Set-Cookie, stand apart. */
  readonly rawHeaders: ReadonlyArray<readonly [name: string, value: string]>
  /** The body as text: as much of it as came in time, up to 64 KiB. */
  readonly body: string
}> {
  override get message(): string {
    const body = this.body.length > 200 ? `${this.body.slice(0, 200)}…` : this.body
    return `the server rejected the handshake with status ${this.status}${body === "" ? "" : `: ${body}`}`
  }
}

/**
 * Why a client got no connection.
 *
 * @category models
 * @since 0.1.0
 */
export type ConnectError =
  | OptionsError
  | ResponseError
  | ConnectFailed
  | ProxyRejected
  | HandshakeTimeout
  | HandshakeRedirected
  | TooManyRedirects
  | RedirectRefused
  | HandshakeRejected
