/** Why a request over HTTP/2 has no response. */
import type * as Http2 from "node:http2"

/** RFC 9113 §7. Node's constants would load its HTTP/2 into every program. */
const codes = { NO_ERROR: 0, REFUSED_STREAM: 7, CANCEL: 8, HTTP_1_1_REQUIRED: 13 }

export class StreamFailure {
  /**
   * "full": the session has no room any more, and nothing was sent. "refused": the server has not processed the request, so that it may be sent
   * again (RFC 9113 §8.7). "http1": the server requires HTTP/1.1.
   */
  readonly kind: "full" | "refused" | "http1" | "failed"
  readonly cause: NodeJS.ErrnoException

  constructor(kind: StreamFailure["kind"], cause: NodeJS.ErrnoException) {
    this.kind = kind
    this.cause = cause
  }
}

/** Why a stream was closed before the response. `lastProcessed` is the last stream that a GOAWAY of the server has named. */
export const failureOf = (
  { errored, id, rstCode }: Http2.ClientHttp2Stream,
  lastProcessed: number
): StreamFailure => {
  if (rstCode === codes.REFUSED_STREAM || id === undefined || id > lastProcessed) {
    return new StreamFailure("refused", resetError("expected a response, got REFUSED_STREAM or GOAWAY"))
  }
  if (rstCode === codes.HTTP_1_1_REQUIRED) {
    return new StreamFailure("http1", resetError("expected a response, got a reset with HTTP_1_1_REQUIRED"))
  }
  if (errored) return new StreamFailure("failed", errored)
  const code = rstCode === codes.CANCEL ? "CANCEL" : "NO_ERROR"
  return new StreamFailure(
    "failed",
    resetError(`expected a response, got a reset with ${code} or the end of the session`)
  )
}

const resetError = (message: string): NodeJS.ErrnoException => Object.assign(new Error(message), { code: "ECONNRESET" })
