/** Counts and traces the handshakes of any client. */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Connection } from "../../Connection.ts"
import * as Handshake from "../../Handshake.ts"
import type { ConnectError } from "../../HandshakeError.ts"
import { httpVersion } from "../connection/hooks.ts"
import { ConnectionMetrics } from "../telemetry/metrics.ts"
import { endSpan, startSpan, within } from "../telemetry/tracing.ts"
import { shownPath } from "../protocol/url.ts"

export const instrument = (
  url: string | URL,
  connecting: Effect.Effect<Connection, ConnectError, Scope.Scope>
): Effect.Effect<Connection, ConnectError, Scope.Scope> =>
  Effect.contextWith((context: Context.Context<Scope.Scope>) => {
    const span = startSpan(context, "websocket.handshake", "client", () => ({ attributes: attributesOf(url) }))
    return Effect.onExit(
      span === undefined ? connecting : Effect.provideContext(connecting, within(context, span)),
      (exit) =>
        Effect.sync(() => {
          const result = resultOf(exit)
          ConnectionMetrics.of(context, "client").handshake(result)
          if (span === undefined) return
          span.attribute("websocket.handshake.result", result)
          endSpan(span, context, exit)
        })
    )
  })

/** The server and the path, without parts of the URL that may be secret. */
const attributesOf = (url: string | URL): Record<string, unknown> => {
  const parsed = Handshake.parseUrl(url)
  return Result.isFailure(parsed)
    ? {}
    : { "server.address": parsed.success.hostname, "url.path": shownPath(parsed.success) }
}

const versionOf = (connection: Connection & { readonly [httpVersion]?: string | undefined }): string =>
  connection[httpVersion] ?? connection.request.httpVersion

const resultOf = (exit: Exit.Exit<Connection, ConnectError>): string => {
  if (Exit.isSuccess(exit)) return versionOf(exit.value) === "2" ? "200" : "101"
  const error = Cause.findError(exit.cause)
  if (Result.isFailure(error)) return Cause.hasInterruptsOnly(exit.cause) ? "Interrupted" : "Defect"
  const { success } = error
  return success._tag === "HandshakeRejected" || success._tag === "HandshakeRedirected"
    ? String(success.status)
    : success._tag
}
