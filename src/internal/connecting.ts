/**
 * A client's way to a connection over Node's sockets: one HTTP exchange, or
 * several where redirects are followed, all of it within one deadline.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Buffer } from "node:buffer"
import * as Http from "node:http"
import * as Https from "node:https"
import { isIP } from "node:net"
import type { Duplex } from "node:stream"
import * as Tls from "node:tls"
import type * as Connection from "../Connection.ts"
import * as Extension from "../Extension.ts"
import * as Handshake from "../Handshake.ts"
import {
  type ConnectError,
  ConnectFailed,
  HandshakeRedirected,
  HandshakeRejected,
  HandshakeTimeout,
  InvalidConnectionHeader,
  InvalidOption,
  RedirectRefused,
  TooManyRedirects
} from "../HandshakeError.ts"
import { fromDuplex } from "../Transport.ts"
import type { ConnectOptions, TlsOptions } from "../WebSocketClient.ts"
import { openWith } from "./connection.ts"
import { type Extensions, start as startExtensions } from "./extensions.ts"
import { disclose, headerLinesKept, isEncrypted, isTruncated, pairs } from "./http.ts"
import { checkConnection, wait } from "./options.ts"
import { traceHeaders } from "./tracing.ts"
import { hostOf, resolveLocation, shown } from "./url.ts"

const defaultHandshakeTimeout = Duration.seconds(10)
const maxBodySize = 64 * 1024

export const connect = Effect.fnUntraced(function*(
  url: string | URL,
  given: ConnectOptions = {}
): Effect.fn.Return<Connection.Connection["Service"], ConnectError, Scope.Scope> {
  const options = withHeaders(given, traceHeaders(yield* Effect.context<never>()))
  const target = yield* Effect.fromResult(Handshake.parseUrl(url))
  const duration = yield* Effect.fromResult(checkOptions(options))
  const attempt: Attempt = { url: target, http: undefined, socket: undefined, head: undefined, rejected: undefined }
  return yield* Effect.uninterruptibleMask((restore) =>
    restore(Effect.timeoutOrElse(negotiate(attempt, options), {
      duration,
      orElse: () => Effect.fail(attempt.rejected?.() ?? new HandshakeTimeout({ url: shown(attempt.url), duration }))
    })).pipe(
      Effect.flatMap(({ agreed, extensions, opening, socket }) =>
        openWith(fromDuplex(socket, attempt.head), { ...options, role: "client", opening, agreed }, extensions)
      ),
      Effect.onError(() => Effect.sync(() => abandon(attempt)))
    )
  )
})

/** Headers that the program gives itself stay as they are. */
const withHeaders = (options: ConnectOptions, headers: Readonly<Record<string, string>>): ConnectOptions => {
  const given = new Set(Object.keys(options.headers ?? {}).map((name) => name.toLowerCase()))
  const added = Object.entries(headers).filter(([name]) => !given.has(name))
  return added.length === 0 ? options : { ...options, headers: { ...options.headers, ...Object.fromEntries(added) } }
}

const invalid = (option: string, problem: string): Result.Result<never, InvalidOption> =>
  Result.fail(new InvalidOption({ option, problem }))

/** Answers how long it all may take. What only shows when it is used is not looked at here. */
const checkOptions = (options: ConnectOptions): Result.Result<Duration.Duration, InvalidOption> => {
  const { agent, duplex, handshakeTimeout, maxRedirects = 0, socketPath, tls } = options

  if (!Number.isSafeInteger(maxRedirects) || maxRedirects < 0) {
    return invalid("maxRedirects", `it is ${maxRedirects}, and has to be a whole number, 0 or more`)
  }
  if ([agent, duplex, socketPath].filter((way) => way !== undefined).length > 1) {
    return invalid(agent === undefined ? "duplex" : "agent", "agent, duplex and socketPath exclude each other")
  }
  // Node would take none for a host and a port.
  if (socketPath === "") return invalid("socketPath", "it is empty")
  if (socketPath?.includes("\0")) return invalid("socketPath", "it has a NUL")
  if (tls?.servername !== undefined && !/^[\w.-]*$/.test(tls.servername)) {
    return invalid("tls.servername", "it is no host name")
  }
  const problem = wait("handshakeTimeout", handshakeTimeout) ?? checkConnection(options)
  return problem === undefined
    ? Result.succeed(Duration.fromInputUnsafe(handshakeTimeout ?? defaultHandshakeTimeout))
    : Result.fail(problem)
}

/** Where a handshake has got to: what may have to be cleared away when it comes to nothing. */
interface Attempt {
  url: URL
  http: Http.ClientRequest | undefined
  socket: Duplex | undefined
  head: Buffer | undefined
  /** The server has said no, and is not done yet with saying why: what is known of it by now. */
  rejected: (() => HandshakeRejected) | undefined
}

const abandon = (attempt: Attempt): void => {
  attempt.http?.destroy()
  attempt.socket?.destroy()
}

interface Negotiated {
  readonly socket: Duplex
  readonly opening: Connection.Opening
  readonly agreed: ReadonlyArray<Extension.Agreed>
  readonly extensions: Extensions | undefined
}

const negotiate = Effect.fnUntraced(function*(
  attempt: Attempt,
  options: ConnectOptions
): Effect.fn.Return<Negotiated, ConnectError, Scope.Scope> {
  const { extensions = [], maxRedirects = 0 } = options
  const { makeKey } = yield* Handshake.Handshake
  let asked = options
  for (let redirects = 0;; redirects++) {
    const offer = { ...asked, extensions: Extension.offer(extensions) }
    const request = yield* Effect.fromResult(Handshake.makeRequest(attempt.url, makeKey(), offer))
    const { body, ...head } = yield* exchange(attempt, request, asked)
    const verdict = yield* Effect.fromResult(Handshake.readResponse(request, head))
    switch (verdict._tag) {
      case "Accepted": {
        const { headers: responseHeaders, protocol: subprotocol, rawHeaders: rawResponseHeaders } = verdict
        const { socket } = attempt
        // Not every Node takes a value with a tab behind it for an upgrade, and hands a socket over.
        if (socket === undefined || body !== undefined) {
          return yield* Effect.fail(new InvalidConnectionHeader({ value: responseHeaders["connection"] }))
        }
        const agreed = yield* Effect.fromResult(Extension.confirm(extensions, verdict.extensions))
        const started = yield* startExtensions(agreed, options.maxMessageSize)
        const opening = { request, responseHeaders, rawResponseHeaders, subprotocol }
        return { socket, opening, agreed, extensions: started }
      }
      case "Rejected": {
        const { headers, rawHeaders, status } = verdict
        attempt.rejected = () => new HandshakeRejected({ status, headers, rawHeaders, body: body?.text ?? "" })
        if (body !== undefined) yield* Deferred.await(body.over)
        return yield* Effect.fail(attempt.rejected())
      }
      case "Redirect": {
        const { headers, rawHeaders, status } = verdict
        const location = resolveLocation(headers["location"], baseOf(attempt.url))
        if (maxRedirects === 0) {
          return yield* Effect.fail(new HandshakeRedirected({ status, headers, rawHeaders, location }))
        }
        if (redirects === maxRedirects) return yield* Effect.fail(new TooManyRedirects({ maxRedirects, location }))
        const next = yield* Effect.fromResult(follow(attempt.url, location, asked))
        abandon(attempt)
        attempt.url = next.url
        asked = next.options
      }
    }
  }
})

// -----------------------------------------------------------------------------
// Redirects
// -----------------------------------------------------------------------------

/** What a Location is relative to, whatever Host header was sent there. */
const baseOf = ({ host, pathname, protocol, search }: URL): string =>
  `${protocol === "wss:" ? "https" : "http"}://${host}${pathname}${search}`

/** What is meant for one origin alone. */
const ownHeaders = new Set(["authorization", "cookie", "host", "proxy-authorization"])

/**
 * Where a redirect leads, and what may be told there. Another origin gets no
 * credentials, and a chain that has left an origin does not get them back.
 */
const follow = (
  from: URL,
  location: string,
  options: ConnectOptions
): Result.Result<{ readonly url: URL; readonly options: ConnectOptions }, RedirectRefused> => {
  const refused = (problem: string) => Result.fail(new RedirectRefused({ location, problem }))
  // A fragment is for whoever asked, and not for the server (RFC 9110 §10.2.2).
  const parsed = Handshake.parseUrl(location.replace(/#.*$/s, ""))
  if (Result.isFailure(parsed)) return refused(parsed.failure.problem)
  const url = parsed.success
  if (from.protocol === "wss:" && url.protocol === "ws:") return refused("it leads from wss to ws")
  const { duplex, headers, socketPath, tls } = options
  if (duplex !== undefined && typeof duplex !== "function") return refused("a stream takes one request only")
  if (url.origin === from.origin) {
    if (url.username === "" && url.password === "") {
      url.username = from.username
      url.password = from.password
    }
    return Result.succeed({ url, options })
  }
  if (socketPath !== undefined) return refused("the Unix socket leads to one server only")
  return Result.succeed({
    url,
    options: {
      ...options,
      headers: Object.fromEntries(
        Object.entries(headers ?? {}).filter(([name]) => !ownHeaders.has(name.toLowerCase()))
      ),
      tls: { ca: tls?.ca, rejectUnauthorized: tls?.rejectUnauthorized }
    }
  })
}

// -----------------------------------------------------------------------------
// One exchange
// -----------------------------------------------------------------------------

interface Response {
  readonly status: number
  readonly httpVersion: string
  readonly rawHeaders: Handshake.RawHeaders
  /** Undefined where Node took it for an upgrade; the socket is in the attempt then. */
  readonly body: Body | undefined
}

/** The body of a response as text: as much of it as has come, up to a limit. */
class Body {
  text = ""
  /** No more of it will come, or is wanted. */
  readonly over = Deferred.makeUnsafe<void>()

  constructor(response: Http.IncomingMessage) {
    const done = () => Deferred.doneUnsafe(this.over, Exit.void)
    response.setEncoding("utf8")
    response.on("data", (chunk: string) => {
      this.text += chunk
      if (this.text.length < maxBodySize) return
      this.text = this.text.slice(0, maxBodySize)
      done()
    })
    response.on("end", done)
    // A body that breaks off is reported as far as it came.
    response.on("error", done)
  }
}

/** Sends the request, and answers what the server responds, as soon as its head is there. */
const exchange = Effect.fnUntraced(function*(
  attempt: Attempt,
  request: Handshake.Request,
  options: ConnectOptions
): Effect.fn.Return<Response, ConnectFailed | InvalidOption, Scope.Scope> {
  const { url } = attempt
  const failed = (cause: NodeJS.ErrnoException) => new ConnectFailed({ url: shown(url), code: cause.code, cause })
  const tls = request.secure ? yield* Effect.fromResult(secureOptions(url, options.tls)) : undefined
  const { duplex } = options
  attempt.socket = typeof duplex === "function" ? yield* Effect.mapError(duplex(url), failed) : duplex
  return yield* Effect.callback<Response, ConnectFailed | InvalidOption>((resume) => {
    const respond = (response: Http.IncomingMessage, body: Body | undefined) => {
      if (isTruncated(response, http)) return resume(Effect.fail(failed(tooManyHeaders())))
      const { httpVersion, rawHeaders, statusCode } = response
      resume(Effect.succeed({ status: statusCode!, httpVersion, rawHeaders: pairs(rawHeaders), body }))
    }
    let http: Http.ClientRequest
    try {
      http = (request.secure ? Https : Http).request(requestOptions(attempt, request, options, tls))
    } catch (error) {
      const cause = error as NodeJS.ErrnoException
      // Thrown for an agent that cannot do what the scheme needs.
      const { code, message: problem } = cause
      const other = code !== "ERR_INVALID_PROTOCOL" && code !== "ERR_INVALID_ARG_TYPE"
      return resume(Effect.fail(other ? failed(cause) : new InvalidOption({ option: "agent", problem })))
    }
    attempt.http = http
    http.maxHeadersCount = headerLinesKept
    http.on("error", (error) => resume(Effect.fail(failed(error))))
    http.on("upgrade", (response, socket, head) => {
      // Until there is a connection that listens, an error must not end the process.
      socket.on("error", constVoid)
      attempt.socket = socket
      attempt.head = head
      respond(response, undefined)
    })
    http.on("response", (response) => respond(response, new Body(response)))
    http.end()
  })
})

/** Headers that take too many bytes have the same code in Node. */
const tooManyHeaders = (): NodeJS.ErrnoException =>
  Object.assign(new Error(`the response has more than ${headerLinesKept - 1} header lines`), {
    code: "HPE_HEADER_OVERFLOW"
  })

const requestOptions = (
  { socket, url }: Attempt,
  request: Handshake.Request,
  { agent, socketPath }: ConnectOptions,
  tls: Tls.ConnectionOptions | undefined
): Https.RequestOptions => ({
  method: "GET",
  host: hostOf(url),
  port: url.port === "" ? request.secure ? 443 : 80 : Number(url.port),
  path: url.pathname + url.search,
  headers: request.rawHeaders.flat(),
  ...socketPath === undefined ? {} : { socketPath },
  ...tls,
  // Each connection has a socket of its own, which no agent of Node's is to keep.
  ...socket === undefined
    ? { agent: agent ?? false }
    : { createConnection: () => tls === undefined || isEncrypted(socket) ? socket : Tls.connect({ ...tls, socket }) }
})

/** The name that a certificate must bear. In TLS, a name has no dot behind it (RFC 6066 §3), whereas DNS takes one for the root. */
const nameOf = (host: string): string => host.replace(/\.+$/, "")

/** TLS as Node wants it. The key and certificates are read here, so that what is wrong with them has a name. */
const secureOptions = (
  url: URL,
  tls: TlsOptions = {}
): Result.Result<Tls.ConnectionOptions, InvalidOption> => {
  const name = nameOf(tls.servername || hostOf(url))
  const read = Result.try(() =>
    Tls.createSecureContext({
      ...tls.ca === undefined ? {} : { ca: typeof tls.ca === "string" ? tls.ca : [...tls.ca] },
      ...tls.cert === undefined ? {} : { cert: tls.cert },
      ...tls.key === undefined ? {} : { key: disclose(tls.key) },
      ...tls.passphrase === undefined ? {} : { passphrase: disclose(tls.passphrase) }
    })
  )
  return Result.mapBoth(read, {
    onFailure: (error) => new InvalidOption({ option: "tls", problem: (error as Error).message }),
    onSuccess: (secureContext) => ({
      secureContext,
      // RFC 6066 §3: an address is no name. The certificate is checked for it all the same.
      servername: tls.servername === "" || isIP(name) !== 0 ? "" : name,
      checkServerIdentity: (_, certificate) => Tls.checkServerIdentity(name, certificate),
      rejectUnauthorized: tls.rejectUnauthorized ?? true,
      // RFC 8441 needs another handshake than this one.
      ALPNProtocols: ["http/1.1"]
    })
  })
}
