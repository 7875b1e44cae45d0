/** Ends an HTTP/2 session. */
import type { Http2Session } from "node:http2"
import { nextTurn } from "../runtime/turns.ts"

/**
 * Destroys a session in the next turn: Node 20 loops without end if a session with
 * an open stream is destroyed in an event of another stream. With a reason, the
 * streams fail with its error, and GOAWAY has its code (RFC 9113 §7).
 */
export const destroySession = (
  session: Http2Session,
  reason?: { readonly error: Error; readonly code: number }
): void =>
  nextTurn(() => {
    if (session.destroyed) return
    if (reason === undefined) session.destroy()
    else session.destroy(reason.error, reason.code)
  })
