/** Connects a client over Node's sockets: one HTTP exchange, or several if redirects are followed, within one timeout. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Duplex } from "node:stream"
import type * as Tls from "node:tls"
import type { Connection } from "../../Connection.ts"
import { type HeadersInput, parseUrl, type Request } from "../../Handshake.ts"
import type { ConnectError, ConnectFailed, InvalidHeader, InvalidOption, ProxyRejected } from "../../HandshakeError.ts"
import { fromDuplex } from "../../Transport.ts"
import type { ConnectOptions } from "../../WebSocketClient.ts"
import { negotiate, type Response } from "../client/handshake.ts"
import { makeScopedUnchecked } from "../connection/connection.ts"
import { hostOf, portOf } from "../protocol/url.ts"
import { defaultHandshakeTimeout } from "../runtime/defaults.ts"
import { traceHeaders } from "../telemetry/tracing.ts"
import { Attempt } from "./attempt.ts"
import { checkConnect } from "./connectOptions.ts"
import { dial, dialPath, ready, secure } from "./dial.ts"
import { sendRequest, type Upgrade } from "./exchange.ts"
import { isEncrypted } from "./httpMessage.ts"
import { tunnel } from "./proxy.ts"
import { secureOptions } from "./tls.ts"

export const connect = Effect.fnUntraced(function*(
  url: string | URL,
  programOptions: ConnectOptions = {}
): Effect.fn.Return<Connection, ConnectError, Scope.Scope> {
  const headers = withTraceHeaders(programOptions.headers, traceHeaders(yield* Effect.context<never>()))
  const options = { ...programOptions, headers }
  const attempt = new Attempt(yield* Effect.fromResult(parseUrl(url)))
  const invalid = checkConnect(options)
  if (invalid !== undefined) return yield* Effect.fail(invalid)
  const duration = Duration.fromInputUnsafe(options.handshakeTimeout ?? defaultHandshakeTimeout)
  const negotiation = negotiate(attempt, options, (request, current) => exchange(attempt, request, current))
  return yield* Effect.uninterruptibleMask((restore) =>
    restore(
      Effect.timeoutOrElse(negotiation, { duration, orElse: () => Effect.fail(attempt.timedOut(duration)) })
    ).pipe(
      Effect.flatMap(({ extensions, handshake, negotiated, upgrade: { head, socket } }) =>
        makeScopedUnchecked(fromDuplex(socket, head), { ...options, role: "client", handshake, negotiated }, extensions)
      ),
      Effect.onError(() => Effect.sync(() => attempt.destroy()))
    )
  )
})

/** Adds the trace, unless the program sets such a header itself. */
const withTraceHeaders = (
  headers: HeadersInput = {},
  trace: Readonly<Record<string, string>>
): HeadersInput => {
  const own = new Set(Object.keys(headers).map((name) => name.toLowerCase()))
  return { ...headers, ...Object.fromEntries(Object.entries(trace).filter(([name]) => !own.has(name))) }
}

type ExchangeError = ConnectFailed | InvalidHeader | InvalidOption | ProxyRejected

const exchange = Effect.fnUntraced(function*(
  attempt: Attempt,
  request: Request,
  options: ConnectOptions
): Effect.fn.Return<Response<Upgrade>, ExchangeError, Scope.Scope> {
  const tls = request.secure ? yield* Effect.fromResult(secureOptions("tls", attempt.url, options.tls)) : undefined
  return yield* options.agent === undefined
    ? Effect.flatMap(openSocket(attempt, options, tls), (socket) => sendRequest(attempt, request, { socket }))
    : sendRequest(attempt, request, { agent: options.agent, tls })
})

/** Opens a socket to the server: with TLS for wss, and through the proxy if there is one. */
const openSocket = Effect.fnUntraced(function*(
  attempt: Attempt,
  options: ConnectOptions,
  tls: Tls.ConnectionOptions | undefined
): Effect.fn.Return<Duplex, ExchangeError, Scope.Scope> {
  const { duplex, proxy, socketPath } = options
  const { url } = attempt
  const failed = (cause: Error) => attempt.failed(cause)
  const socket = yield* duplex !== undefined
    ? Effect.mapError(programStream(attempt, duplex), failed)
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

/** Returns the stream of the `duplex` option, once it is connected. */
const programStream = (
  attempt: Attempt,
  duplex: NonNullable<ConnectOptions["duplex"]>
): Effect.Effect<Duplex, Error, Scope.Scope> =>
  Effect.suspend(() => {
    attempt.phase = "duplex"
    const stream = typeof duplex === "function" ? duplex(attempt.url) : Effect.succeed(duplex)
    // An interruption in between would leave a stream without an owner.
    const owned = Effect.uninterruptibleMask((restore) => Effect.map(restore(stream), (made) => attempt.own(made)))
    return Effect.flatMap(owned, ready)
  })
