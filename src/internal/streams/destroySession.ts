/** Ends an HTTP/2 session. */
import type { Http2Session } from "node:http2"
import { nextTurn } from "../runtime/turns.ts"

/**
 * Destroys a session in the next turn: Node 20 loops without end if a session with
 * an open stream is destroyed in an event of another stream. `code` is an error code
 * of RFC 9113 §7 for GOAWAY.
 */
export const destroySession = (session: Http2Session, code?: number): void =>
  nextTurn(() => {
    if (!session.destroyed) session.destroy(undefined, code)
  })
