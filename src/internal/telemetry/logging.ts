/**
 * What a server logs about requests and handlers: one record each, which names
 * the request. A record never has the query of a URL, in which there may be
 * secrets.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as CloseCode from "../../CloseCode.ts"
import type { ConnectionClosed } from "../../ConnectionError.ts"
import type { Request } from "../../Handshake.ts"
import type { ConnectionImpl } from "../connection/connection.ts"

/** Names the request in all that is logged. The key is in the logs of the client and of proxies, too. */
export const namingRequest = ({ key, path, remoteAddress }: Request) =>
  Effect.annotateLogs({
    "url.path": path,
    ...remoteAddress === undefined ? {} : { "client.address": remoteAddress },
    "websocket.key": key
  })

/** Names the connection, with the code that it has ended with, or will, because its handler fails. */
const namingConnection = (connection: ConnectionImpl) => {
  const { closingCode = CloseCode.InternalError, request, span } = connection
  const naming = Effect.annotateLogs({
    "websocket.close.code": closingCode,
    ...span === undefined ? {} : { "trace.id": span.traceId, "span.id": span.spanId }
  })
  return (log: Effect.Effect<void>) => naming(namingRequest(request)(log))
}

/**
 * Logs how a handler failed. A handler that ends with its connection has not failed. But
 * an invalid message shows that two programs do not agree: that is a warning.
 */
export const logFailure = (connection: ConnectionImpl, cause: Cause.Cause<unknown>): Effect.Effect<void> => {
  const errors = cause.reasons.flatMap((reason) =>
    reason._tag === "Interrupt" ? [] : [reason._tag === "Die" ? reason.defect : reason.error]
  )
  const unexpected = errors.some((error) => !connection.isExpectedEnd(error))
  // All of them, if none is unexpected, say how the connection ended.
  const invalid = unexpected
    ? undefined
    : errors.map((error) => (error as ConnectionClosed).cause).find((end) => end?._tag === "InvalidMessage")
  return namingConnection(connection)(
    unexpected
      ? Effect.logError("a WebSocket handler failed", cause)
      : invalid !== undefined
      ? Effect.logWarning(`a WebSocket peer sent an invalid message: ${invalid.problem}`)
      : Effect.logDebug("a WebSocket handler ended with its connection", cause)
  )
}

/** Logs a defect of a finalizer: the handler has ended, and the connection is closed all the same. */
export const logRelease = (connection: ConnectionImpl, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  namingConnection(connection)(Effect.logError("a finalizer of a WebSocket handler died", cause))
