/** Connects a client over Node's sockets: one HTTP exchange, or several if redirects are followed, within one timeout. */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Connection } from "../../Connection.ts"
import { parseUrl } from "../../Handshake.ts"
import type { ConnectError } from "../../HandshakeError.ts"
import { fromDuplex } from "../../Transport.ts"
import type { ConnectOptions } from "../../WebSocketClient.ts"
import { negotiate, type Negotiated } from "../client/handshake.ts"
import { makeScopedUnchecked } from "../connection/connection.ts"
import { withDeadline } from "../runtime/deadline.ts"
import { defaultHandshakeTimeout } from "../runtime/defaults.ts"
import { traceHeaders } from "../telemetry/tracing.ts"
import { Attempt } from "./attempt.ts"
import { checkConnect } from "./connectOptions.ts"
import type { Upgrade } from "./exchange.ts"
import { exchange, makeSessions, type Sessions } from "./http2Exchange.ts"

export const connect = (
  url: string | URL,
  programOptions: ConnectOptions = {},
  layerSessions?: Sessions
): Effect.Effect<Connection, ConnectError, Scope.Scope> =>
  Effect.contextWith((context: Context.Context<Scope.Scope>) => {
    const parsed = parseUrl(url)
    if (Result.isFailure(parsed)) return Effect.fail(parsed.failure)
    const invalid = checkConnect(programOptions)
    if (invalid !== undefined) return Effect.fail(invalid)
    const options = withTraceHeaders(programOptions, traceHeaders(context))
    const attempt = new Attempt(parsed.success)
    return layerSessions === undefined && options.http2 !== undefined
      ? Effect.flatMap(makeSessions(0), (own) => open(attempt, options, own, own.close))
      : open(attempt, options, layerSessions)
  })

/** Opens a connection within the timeout. `closeSessions` closes the HTTP/2 session that belongs to the connection alone. */
const open = (
  attempt: Attempt,
  options: ConnectOptions,
  sessions: Sessions | undefined,
  closeSessions?: Effect.Effect<void>
): Effect.Effect<Connection, ConnectError, Scope.Scope> => {
  const duration = Duration.fromInputUnsafe(options.handshakeTimeout ?? defaultHandshakeTimeout)
  const negotiation = negotiate(attempt, options, (requests, current) => exchange(attempt, requests, current, sessions))
  const connected = ({ extensions, handshake, negotiated, upgrade: { head, socket } }: Negotiated<Upgrade>) =>
    Effect.tap(
      makeScopedUnchecked(fromDuplex(socket, head), { ...options, role: "client", handshake, negotiated }, extensions),
      () => Effect.sync(() => attempt.release(socket))
    )
  return Effect.uninterruptibleMask((restore) =>
    restore(withDeadline(negotiation, Duration.toMillis(duration), () => attempt.timedOut(duration))).pipe(
      Effect.flatMap((agreement) =>
        closeSessions === undefined
          ? connected(agreement)
          : Effect.andThen(Effect.addFinalizer(() => closeSessions), connected(agreement))
      ),
      Effect.onError(() => {
        attempt.destroy()
        return closeSessions ?? Effect.void
      })
    )
  )
}

/** Adds the trace, unless the program sets such a header itself. */
const withTraceHeaders = (options: ConnectOptions, trace: Readonly<Record<string, string>>): ConnectOptions => {
  if (Object.keys(trace).length === 0) return options
  const { headers = {} } = options
  const own = new Set(Object.keys(headers).map((name) => name.toLowerCase()))
  const added = Object.entries(trace).filter(([name]) => !own.has(name))
  return added.length === 0 ? options : { ...options, headers: { ...headers, ...Object.fromEntries(added) } }
}
