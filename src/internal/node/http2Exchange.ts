/** One exchange over HTTP/2 (RFC 8441), or over HTTP/1.1 if the options or the server require it. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type * as Http2 from "node:http2"
import type { Duplex } from "node:stream"
import type { Request } from "../../Handshake.ts"
import { ConnectFailed, Http2Unsupported, ProxyRejected } from "../../HandshakeError.ts"
import type { ConnectOptions } from "../../WebSocketClient.ts"
import type { Requests, Response } from "../client/handshake.ts"
import { type ClientSession, startSession, type StreamResponse } from "../http2/clientSession.ts"
import type { Opened } from "../http2/opening.ts"
import { type Opener, SessionPool } from "../http2/sessionPool.ts"
import type { StreamFailure } from "../http2/streamFailure.ts"
import { shown } from "../protocol/url.ts"
import { emptyBytes } from "../runtime/buffers.ts"
import { Timers } from "../runtime/timers.ts"
import { cancel } from "../streams/http2StreamTransport.ts"
import { Attempt } from "./attempt.ts"
import { sendRequest, type Upgrade } from "./exchange.ts"
import { toHeaderPairs } from "./httpMessage.ts"
import { type OpenError, openSocket } from "./openSocket.ts"
import { ResponseBody } from "./responseBody.ts"
import { sessionKey } from "./sessionKey.ts"
import { secureOptions } from "./tls.ts"

/** The HTTP/2 sessions of a client. Attempts that wait for the same session share the progress of one. */
export type Sessions = SessionPool<Attempt, OpenError>

/** Makes the sessions of a client, which closes those that have no stream for `idleMillis`. */
export const makeSessions = (idleMillis: number): Effect.Effect<Sessions> =>
  Effect.map(Effect.context<never>(), (context) => new SessionPool(Timers.of(context), idleMillis))

/** Sends one of the requests to the attempt's URL, and returns the response as soon as its head was received. */
export const exchange = (
  attempt: Attempt,
  { http1, http2 }: Requests,
  options: ConnectOptions,
  sessions: Sessions | undefined
): Effect.Effect<Response<Upgrade>, OpenError | Http2Unsupported, Scope.Scope> =>
  sessions !== undefined && http2 !== undefined && (options.http2 === "only" || mayPrefer(http2, options))
    ? overHttp2(attempt, { http1, http2 }, options, sessions)
    : overHttp1(attempt, http1, options)

/** Without TLS, a server does not say whether it speaks HTTP/2; and a stream carries one attempt only. */
const mayPrefer = ({ secure }: Request, { agent, duplex }: ConnectOptions): boolean =>
  secure && agent === undefined && (duplex === undefined || typeof duplex === "function")

// -----------------------------------------------------------------------------
// HTTP/1.1
// -----------------------------------------------------------------------------

const overHttp1 = (
  attempt: Attempt,
  request: Request,
  options: ConnectOptions
): Effect.Effect<Response<Upgrade>, OpenError, Scope.Scope> => {
  const secured = request.secure ? secureOptions("tls", attempt.url, options.tls) : Result.succeed(undefined)
  if (Result.isFailure(secured)) return Effect.fail(secured.failure)
  const tls = secured.success
  return options.agent === undefined
    ? Effect.flatMap(openSocket(attempt, options, tls), (socket) => sendRequest(attempt, request, { socket }))
    : sendRequest(attempt, request, { agent: options.agent, tls })
}

// -----------------------------------------------------------------------------
// HTTP/2
// -----------------------------------------------------------------------------

/** Statuses of servers that support CONNECT in their settings, but not for the resource: it has a GET (RFC 9110 §15). */
const http1Statuses: ReadonlySet<number> = new Set([405, 501])

const overHttp2 = Effect.fnUntraced(function*(
  attempt: Attempt,
  { http1, http2 }: { readonly http1: Request; readonly http2: Request },
  options: ConnectOptions,
  sessions: Sessions
): Effect.fn.Return<Response<Upgrade>, OpenError | Http2Unsupported, Scope.Scope> {
  const isOnly = options.http2 === "only"
  const key = sessionKey(attempt.url, options)
  /** Remembers that the server needs HTTP/1.1, and uses that. */
  const fallBack = (reason: Http2Unsupported["reason"], socket?: Duplex) => {
    if (isOnly) return Effect.fail(new Http2Unsupported({ url: shown(attempt.url), reason }))
    sessions.fallbacks.add(key)
    return socket === undefined ? overHttp1(attempt, http1, options) : sendRequest(attempt, http1, { socket })
  }
  if (!isOnly && sessions.fallbacks.has(key)) return yield* overHttp1(attempt, http1, options)
  const opener = openerFor(attempt, options, sessions)
  for (let isRepeated = false;;) {
    attempt.phase = "session"
    const way = yield* Effect.mapError(sessions.acquire(key, opener), (error) => withUrl(error, attempt.url))
    attempt.leave("response")
    if (way._tag === "Http1") return yield* fallBack("alpn", way.socket)
    if (way._tag === "NoConnect") return yield* fallBack("settings")
    const result = yield* Effect.result(send(attempt, http2, way.session))
    if (Result.isSuccess(result)) {
      if (isOnly || !http1Statuses.has(result.success.status)) return toResponse(http2, result.success)
      cancel(result.success.stream)
      return yield* fallBack("settings")
    }
    const { cause, kind } = result.failure
    if (kind === "http1") return yield* fallBack("required")
    if (kind === "failed" || (kind === "refused" && isRepeated)) return yield* Effect.fail(attempt.failed(cause))
    if (kind === "refused") {
      // The server has not processed the request: it is sent once more, on a new session (RFC 9113 §8.7).
      way.session.retire()
      isRepeated = true
    }
  }
})

const send = (
  attempt: Attempt,
  request: Request,
  session: ClientSession
): Effect.Effect<StreamResponse, StreamFailure> =>
  Effect.suspend(() => {
    attempt.session = session
    return session.request(requestHeaders(attempt.url, request), (stream) => {
      attempt.own(stream, () => cancel(stream))
    })
  })

/** The pseudo-headers of an extended CONNECT (RFC 8441 §4), and the headers. */
const requestHeaders = ({ pathname, search }: URL, { headers, host, secure }: Request): Http2.OutgoingHttpHeaders => ({
  ":method": "CONNECT",
  ":protocol": "websocket",
  ":scheme": secure ? "https" : "http",
  ":path": pathname + search,
  ":authority": host,
  ...headers
})

const toResponse = (request: Request, { flatHeaders, status, stream }: StreamResponse): Response<Upgrade> => ({
  request,
  status,
  httpVersion: request.httpVersion,
  rawHeaders: toHeaderPairs(flatHeaders).filter(([name]) => !name.startsWith(":")),
  content: status >= 200 && status <= 299
    ? { _tag: "Upgrade", upgrade: { socket: stream, head: emptyBytes } }
    : new ResponseBody(stream)
})

// -----------------------------------------------------------------------------
// Sessions
// -----------------------------------------------------------------------------

const openerFor = (attempt: Attempt, options: ConnectOptions, sessions: Sessions): Opener<Attempt, OpenError> => ({
  begin: () => {
    const progress = new Attempt(attempt.url)
    return { progress, open: openSession(progress, options, sessions) }
  },
  onWait: (progress) => attempt.join(progress),
  own: (socket) => attempt.own(socket)
})

/** Opens a session. What the options add to the Scope lives as long as the session. */
const openSession = (
  attempt: Attempt,
  options: ConnectOptions,
  sessions: Sessions
): Effect.Effect<Opened, OpenError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Scope.make(),
      (scope) =>
        restore(Scope.provide(openOn(attempt, options, sessions, scope), scope)).pipe(
          Effect.onError((cause) => {
            attempt.destroy()
            return Scope.close(scope, Exit.failCause(cause))
          })
        )
    )
  )

const openOn = Effect.fnUntraced(function*(
  attempt: Attempt,
  options: ConnectOptions,
  { idleMillis, timers }: Sessions,
  scope: Scope.Closeable
): Effect.fn.Return<Opened, OpenError, Scope.Scope> {
  const isSecure = attempt.url.protocol === "wss:"
  const tls = isSecure
    ? yield* Effect.fromResult(secureOptions("tls", attempt.url, options.tls, ["h2", "http/1.1"]))
    : undefined
  const socket = yield* openSocket(attempt, options, tls)
  if (isSecure && !hasSelectedHttp2(socket)) return { _tag: "Http1", socket, scope }
  attempt.phase = "session"
  const session = yield* Effect.mapError(
    startSession(socket, { idleMillis, scope, timers }),
    (error) => attempt.failed(error)
  )
  if (session.supportsConnect) return { _tag: "Session", session }
  yield* session.destroy
  return { _tag: "NoConnect" }
})

const hasSelectedHttp2 = (socket: Duplex): boolean => "alpnProtocol" in socket && socket.alpnProtocol === "h2"

/** The error of a session for an attempt that has waited for it, and may have another path. */
const withUrl = (error: OpenError, attempted: URL): OpenError => {
  const url = shown(attempted)
  if (error instanceof ConnectFailed) {
    const { addresses, cause, code, phase } = error
    return new ConnectFailed({ url, phase, code, addresses, cause })
  }
  if (error instanceof ProxyRejected) {
    const { headers, rawHeaders, status } = error
    return new ProxyRejected({ url, status, headers, rawHeaders })
  }
  return error
}
