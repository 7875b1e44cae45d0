/** Connects a client over Node's sockets: one HTTP exchange, or several if redirects are followed, within one timeout. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Connection } from "../../Connection.ts"
import { type HeadersInput, parseUrl } from "../../Handshake.ts"
import type { ConnectError } from "../../HandshakeError.ts"
import { fromDuplex } from "../../Transport.ts"
import type { ConnectOptions } from "../../WebSocketClient.ts"
import { negotiate } from "../client/handshake.ts"
import { makeScopedUnchecked } from "../connection/connection.ts"
import { defaultHandshakeTimeout } from "../runtime/defaults.ts"
import { traceHeaders } from "../telemetry/tracing.ts"
import { Attempt } from "./attempt.ts"
import { checkConnect } from "./connectOptions.ts"
import { exchange, makeSessions, type Sessions } from "./http2Exchange.ts"

export const connect = Effect.fnUntraced(function*(
  url: string | URL,
  programOptions: ConnectOptions = {},
  layerSessions?: Sessions
): Effect.fn.Return<Connection, ConnectError, Scope.Scope> {
  const headers = withTraceHeaders(programOptions.headers, traceHeaders(yield* Effect.context<never>()))
  const options = { ...programOptions, headers }
  const attempt = new Attempt(yield* Effect.fromResult(parseUrl(url)))
  const invalid = checkConnect(options)
  if (invalid !== undefined) return yield* Effect.fail(invalid)
  const duration = Duration.fromInputUnsafe(options.handshakeTimeout ?? defaultHandshakeTimeout)
  // Without a layer, the connection has a session of its own.
  const ownSessions = layerSessions === undefined && options.http2 !== undefined ? yield* makeSessions(0) : undefined
  const closeSessions = ownSessions === undefined ? Effect.void : ownSessions.close
  const negotiation = negotiate(
    attempt,
    options,
    (requests, current) => exchange(attempt, requests, current, ownSessions ?? layerSessions)
  )
  return yield* Effect.uninterruptibleMask((restore) =>
    restore(
      Effect.timeoutOrElse(negotiation, { duration, orElse: () => Effect.fail(attempt.timedOut(duration)) })
    ).pipe(
      Effect.tap(ownSessions === undefined ? Effect.void : Effect.addFinalizer(() => closeSessions)),
      Effect.flatMap(({ extensions, handshake, negotiated, upgrade: { head, socket } }) =>
        makeScopedUnchecked(fromDuplex(socket, head), { ...options, role: "client", handshake, negotiated }, extensions)
      ),
      Effect.onError(() => {
        attempt.destroy()
        return closeSessions
      })
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
