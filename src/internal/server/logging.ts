/** What a server logs about requests and handlers. Each record names the request. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as CloseCode from "../../CloseCode.ts"
import type { ConnectionClosed } from "../../ConnectionError.ts"
import type { Request } from "../../Handshake.ts"
import type { ConnectionImpl } from "../connection/connection.ts"
import { requestAttributes } from "../telemetry/requestAttributes.ts"

const annotateRequest = (request: Request) => Effect.annotateLogs(requestAttributes("server", request))

/** Annotates records with the request, the span and the close code. A connection that is open closes with 1011 when its handler fails. */
const annotateConnection = (connection: ConnectionImpl) => {
  const { closing: { code = CloseCode.InternalError }, request, span } = connection
  const annotate = Effect.annotateLogs({
    "websocket.close.code": code,
    ...span === undefined ? {} : { "trace.id": span.traceId, "span.id": span.spanId }
  })
  return (log: Effect.Effect<void>) => annotate(annotateRequest(request)(log))
}

/**
 * Logs the failure of a handler. If the handler failed because its connection ended,
 * the level is debug, or warning for an invalid message, which shows that client and
 * server do not agree.
 */
export const logHandlerFailure = (connection: ConnectionImpl, cause: Cause.Cause<unknown>): Effect.Effect<void> => {
  const errors = cause.reasons.flatMap((reason) =>
    reason._tag === "Interrupt" ? [] : [reason._tag === "Die" ? reason.defect : reason.error]
  )
  const unexpected = errors.some((error) => !connection.closing.isExpectedEnd(error))
  // If no error is unexpected, each of them says how the connection ended.
  const invalid = unexpected
    ? undefined
    : errors.map((error) => (error as ConnectionClosed).cause).find((end) => end?._tag === "InvalidMessage")
  return annotateConnection(connection)(
    unexpected
      ? Effect.logError("a WebSocket handler failed", cause)
      : invalid !== undefined
      ? Effect.logWarning(`a WebSocket peer sent an invalid message: ${invalid.problem}`)
      : Effect.logDebug("a WebSocket handler ended with its connection", cause)
  )
}

/** Logs a defect of a finalizer. The handler has ended, and the connection closes regardless. */
export const logFinalizerDefect = (connection: ConnectionImpl, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  annotateConnection(connection)(Effect.logError("a finalizer of a WebSocket handler died", cause))

/** Logs a defect of `decide`. */
export const logDecisionDefect = (request: Request, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  annotateRequest(request)(Effect.logError("the decision about a WebSocket request died", cause))

/** Logs why a decision makes no valid response. */
export const logInvalidDecision = (request: Request, { message }: { readonly message: string }): Effect.Effect<void> =>
  annotateRequest(request)(Effect.logError(message))
