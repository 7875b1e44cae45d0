/**
 * A client's way to a connection over Node's sockets: one HTTP exchange, or
 * several where redirects are followed, all of it within one deadline.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Buffer } from "node:buffer"
import * as Http from "node:http"
import * as Https from "node:https"
import { isIP, type Socket } from "node:net"
import type { Duplex } from "node:stream"
import type * as Tls from "node:tls"
import type * as Connection from "../../Connection.ts"
import * as Extension from "../../Extension.ts"
import * as Handshake from "../../Handshake.ts"
import {
  type ConnectError,
  type ConnectFailed,
  HandshakeRedirected,
  HandshakeRejected,
  InvalidConnectionHeader,
  type InvalidHeader,
  InvalidOption,
  type Phase,
  ProxyRejected,
  RedirectRefused,
  TooManyRedirects
} from "../../HandshakeError.ts"
import { fromDuplex } from "../../Transport.ts"
import type { ConnectOptions } from "../../WebSocketClient.ts"
import { makeScopedUnchecked } from "../connection/connection.ts"
import { type Extensions, start as startExtensions } from "../connection/extensionPipeline.ts"
import { Attempt, awaited, dial, dialPath, lossOf, ready, secure } from "./dial.ts"
import { headerLinesKept, isEncrypted, isTruncated, toHeaderPairs } from "./http1Upgrade.ts"
import { checkConnection } from "../connection/options.ts"
import { unixPath } from "../options.ts"
import { integerBetween, nonNegativeDuration, positiveDuration } from "../runtime/optionChecks.ts"
import { parseProxy, tunnel } from "./proxy.ts"
import { secureOptions } from "./tls.ts"
import { traceHeaders } from "../telemetry/tracing.ts"
import { hostOf, portOf, resolveLocation, shown } from "../protocol/url.ts"

const defaultHandshakeTimeout = Duration.seconds(10)
const maxBodySize = 64 * 1024

export const connect = Effect.fnUntraced(function*(
  url: string | URL,
  programOptions: ConnectOptions = {}
): Effect.fn.Return<Connection.Connection, ConnectError, Scope.Scope> {
  const options = withHeaders(programOptions, traceHeaders(yield* Effect.context<never>()))
  const target = yield* Effect.fromResult(Handshake.parseUrl(url))
  const duration = yield* Effect.fromResult(checkOptions(options))
  const attempt = new Attempt(target)
  return yield* Effect.uninterruptibleMask((restore) =>
    restore(Effect.timeoutOrElse(negotiate(attempt, options), {
      duration,
      orElse: () => Effect.fail(attempt.rejected?.() ?? attempt.timedOut(duration))
    })).pipe(
      Effect.flatMap(({ negotiated, extensions, handshake, upgrade: { head, socket } }) =>
        makeScopedUnchecked(fromDuplex(socket, head), { ...options, role: "client", handshake, negotiated }, extensions)
      ),
      Effect.onError(() => Effect.sync(() => attempt.abandon()))
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
  const { agent, duplex, handshakeTimeout, maxRedirects, proxy, socketPath, tls } = options

  const ways = Object.entries({ agent, duplex, proxy, socketPath }).filter(([, way]) => way !== undefined)
  if (ways.length > 1) return invalid(ways[0][0], "agent, duplex, proxy and socketPath exclude each other")
  const parsed = proxy === undefined ? undefined : parseProxy(proxy)
  if (parsed !== undefined && Result.isFailure(parsed)) return Result.fail(parsed.failure)
  if (tls?.servername !== undefined && !/^[\w.-]*$/.test(tls.servername)) {
    return invalid("tls.servername", "it is no host name")
  }
  const problem = integerBetween(0, Number.MAX_SAFE_INTEGER, "maxRedirects", maxRedirects) ??
    unixPath("socketPath", socketPath) ??
    positiveDuration("handshakeTimeout", handshakeTimeout) ??
    nonNegativeDuration("connectionAttemptDelay", options.connectionAttemptDelay) ??
    checkConnection(options)
  return problem === undefined
    ? Result.succeed(Duration.fromInputUnsafe(handshakeTimeout ?? defaultHandshakeTimeout))
    : Result.fail(problem)
}

interface Negotiated {
  readonly upgrade: Upgrade
  readonly handshake: Connection.HandshakeInfo
  readonly negotiated: ReadonlyArray<Extension.Negotiated>
  readonly extensions: Extensions | undefined
}

const negotiate = Effect.fnUntraced(function*(
  attempt: Attempt,
  options: ConnectOptions
): Effect.fn.Return<Negotiated, ConnectError, Scope.Scope> {
  const { extensions = [], maxRedirects = 0 } = options
  const { makeKey } = yield* Handshake.HandshakePolicy
  let currentOptions = options
  for (let redirects = 0;; redirects++) {
    const offer = { ...currentOptions, extensions: Extension.offer(extensions) }
    const request = yield* Effect.fromResult(Handshake.makeRequest(attempt.url, makeKey(), offer))
    const { body, upgrade, ...head } = yield* exchange(attempt, request, currentOptions)
    const verdict = yield* Effect.fromResult(Handshake.readResponse(request, head))
    switch (verdict._tag) {
      case "Accepted": {
        const { headers: responseHeaders, protocol: subprotocol, rawHeaders: rawResponseHeaders } = verdict
        // Not every Node takes a value with a tab behind it for an upgrade, and hands a socket over.
        if (upgrade === undefined) {
          return yield* Effect.fail(new InvalidConnectionHeader({ value: responseHeaders["connection"] }))
        }
        const negotiated = yield* Effect.fromResult(Extension.confirm(extensions, verdict.extensions))
        attempt.phase = "extensions"
        const started = yield* startExtensions(negotiated, options.maxMessageSize)
        const handshake = { request, responseHeaders, rawResponseHeaders, subprotocol }
        return { upgrade, handshake, negotiated, extensions: started }
      }
      case "Rejected": {
        const { headers, rawHeaders, status } = verdict
        attempt.rejected = () => new HandshakeRejected({ status, headers, rawHeaders, body: body?.text ?? "" })
        if (body !== undefined) yield* Deferred.await(body.complete)
        return yield* Effect.fail(attempt.rejected())
      }
      case "Redirect": {
        const { headers, rawHeaders, status } = verdict
        const location = resolveLocation(headers["location"], baseOf(attempt.url))
        if (maxRedirects === 0) {
          return yield* Effect.fail(new HandshakeRedirected({ status, headers, rawHeaders, location }))
        }
        if (redirects === maxRedirects) return yield* Effect.fail(new TooManyRedirects({ maxRedirects, location }))
        const next = yield* Effect.fromResult(follow(attempt.url, location, currentOptions))
        attempt.redirect(next.url)
        currentOptions = next.options
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
const credentialHeaders = new Set(["authorization", "cookie", "host", "proxy-authorization"])

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
        Object.entries(headers ?? {}).filter(([name]) => !credentialHeaders.has(name.toLowerCase()))
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
  /** One of the two: an upgrade has no body. */
  readonly body: Body | undefined
  readonly upgrade: Upgrade | undefined
}

interface Upgrade {
  readonly socket: Duplex
  /** What the server sent right behind the response. */
  readonly head: Buffer
}

/** The body of a response as text: as much of it as has come, up to a limit. */
class Body {
  text = ""
  /** No more of it will come, or is wanted. */
  readonly complete = Deferred.makeUnsafe<void>()

  constructor(response: Http.IncomingMessage) {
    const done = () => Deferred.doneUnsafe(this.complete, Exit.void)
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
): Effect.fn.Return<Response, ConnectFailed | InvalidHeader | InvalidOption | ProxyRejected, Scope.Scope> {
  const tls = request.secure ? yield* Effect.fromResult(secureOptions("tls", attempt.url, options.tls)) : undefined
  const { agent } = options
  if (agent !== undefined) return yield* ask(attempt, request, { agent, socket: undefined, tls })
  const socket = yield* reach(attempt, options, tls)
  return yield* ask(attempt, request, { agent, socket, tls })
})

/** Gets a socket that leads to the server, and whose next bytes are the server's own. */
const reach = Effect.fnUntraced(function*(
  attempt: Attempt,
  options: ConnectOptions,
  tls: Tls.ConnectionOptions | undefined
): Effect.fn.Return<Duplex, ConnectFailed | InvalidHeader | InvalidOption | ProxyRejected, Scope.Scope> {
  const { duplex, proxy, socketPath } = options
  const { url } = attempt
  const failed = (cause: Error) => attempt.failed(cause)
  const socket = yield* duplex !== undefined
    ? Effect.mapError(take(attempt, duplex), failed)
    : proxy !== undefined
    ? tunnel(attempt, proxy, options)
    : Effect.mapError(
      socketPath === undefined
        ? dial(attempt, { host: hostOf(url), port: portOf(url) }, options)
        : dialPath(attempt, socketPath),
      failed
    )
  if (tls === undefined || (duplex !== undefined && isEncrypted(socket))) return socket
  attempt.phase = "tls"
  return yield* Effect.mapError(secure(attempt, socket, tls), failed)
})

/** Takes the program's own stream, once it is connected. */
const take = (
  attempt: Attempt,
  duplex: NonNullable<ConnectOptions["duplex"]>
): Effect.Effect<Duplex, Error, Scope.Scope> =>
  Effect.suspend(() => {
    attempt.phase = "duplex"
    const made = typeof duplex === "function" ? duplex(attempt.url) : Effect.succeed(duplex)
    // No interruption comes between the stream and its owner.
    const owned = Effect.uninterruptibleMask((restore) => Effect.map(restore(made), (stream) => attempt.own(stream)))
    return Effect.flatMap(owned, ready)
  })

/** What a request goes over: a socket that leads to the server, or one that an agent gives, to put TLS over. */
interface Way {
  readonly agent: Http.Agent | undefined
  readonly socket: Duplex | undefined
  readonly tls: Tls.ConnectionOptions | undefined
}

/** Asks the server. */
const ask = (
  attempt: Attempt,
  request: Handshake.Request,
  { agent, socket: own, tls }: Way
): Effect.Effect<Response, ConnectFailed | InvalidOption | ProxyRejected> =>
  Effect.callback((resume) => {
    const { url } = attempt
    if (own?.destroyed === true) return resume(Effect.fail(attempt.failed(lossOf(own))))
    attempt.phase = agent === undefined ? "response" : "agent"
    // What an agent gives, and nothing can be written to, holds what its proxy answered.
    let replayed = false
    const respond = (response: Http.IncomingMessage, to: Pick<Response, "body" | "upgrade">) => {
      if (isTruncated(response, http)) return resume(Effect.fail(attempt.failed(tooManyHeaders())))
      const { httpVersion, rawHeaders: flat, statusCode } = response
      const [status, rawHeaders] = [statusCode!, toHeaderPairs(flat)]
      if (!replayed) return resume(Effect.succeed({ status, httpVersion, rawHeaders, ...to }))
      const headers = Handshake.foldHeaders(rawHeaders)
      resume(Effect.fail(new ProxyRejected({ url: shown(url), status, headers, rawHeaders })))
    }
    let http: Http.ClientRequest
    try {
      http = (agent !== undefined && request.secure ? Https : Http).request({
        host: hostOf(url),
        port: portOf(url),
        path: url.pathname + url.search,
        headers: request.rawHeaders.flat(),
        ...own === undefined ? { ...tls, agent } : { createConnection: () => own }
      })
    } catch (error) {
      const cause = error as NodeJS.ErrnoException
      // Thrown for an agent that cannot do what the scheme needs.
      const { code, message: problem } = cause
      const other = code !== "ERR_INVALID_PROTOCOL" && code !== "ERR_INVALID_ARG_TYPE"
      return resume(Effect.fail(other ? attempt.failed(cause) : new InvalidOption({ option: "agent", problem })))
    }
    attempt.http = http
    http.maxHeadersCount = headerLinesKept
    if (agent !== undefined) {
      http.once("socket", (socket) => {
        replayed = !socket.writable
        if (replayed) return
        if (!request.secure || isEncrypted(socket)) return watch(attempt, socket, request.secure)
        // Before anything is written to it.
        http.destroy(notSecure())
      })
    }
    http.on("error", (error) => resume(Effect.fail(attempt.failed(error))))
    http.on("upgrade", (response, socket, head) => {
      respond(response, { body: undefined, upgrade: { socket: attempt.own(socket), head } })
    })
    http.on("response", (response) => respond(response, { body: new Body(response), upgrade: undefined }))
    http.end()
  })

const notSecure = () => new Error("expected a TLS socket of the agent for a wss URL, got one without TLS")

/** Keeps the phase of an attempt while an agent's socket connects. */
const watch = (attempt: Attempt, socket: Socket, secured: boolean): void => {
  const enter = (phase: Phase) => () => {
    attempt.phase = phase
  }
  socket.once("lookup", enter("connect"))
  socket.once("connect", enter(secured ? "tls" : "response"))
  socket.once("secureConnect", enter("response"))
  if (socket.connecting) attempt.phase = isIP(hostOf(attempt.url)) === 0 ? "lookup" : "connect"
  else attempt.phase = awaited(socket) === undefined ? "response" : "tls"
}

/** Headers that take too many bytes have the same code in Node. */
const tooManyHeaders = (): NodeJS.ErrnoException =>
  Object.assign(new Error(`the response has more than ${headerLinesKept - 1} header lines`), {
    code: "HPE_HEADER_OVERFLOW"
  })
