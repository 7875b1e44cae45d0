/**
 * What a session needs of an upgrade request. The server decides about requests of
 * any HTTP version through this interface; `node/http1Upgrade.ts` implements it for
 * HTTP/1.1, `node/http2Upgrade.ts` for extended CONNECT requests over HTTP/2 (RFC 8441).
 */
import type * as Effect from "effect/Effect"
import type * as Handshake from "../../Handshake.ts"
import type { Transport } from "../../Transport.ts"
import type { Timers } from "../runtime/timers.ts"

/** The head of a request, as data. */
export interface RequestHead extends Handshake.HttpRequest {
  readonly secure: boolean
  readonly remoteAddress: string | undefined
  /** Whether the HTTP parser may have dropped header lines. */
  readonly isTruncated: boolean
}

/** An upgrade request with its byte stream. A session calls one of `accept`, `reject` and `abandon`, once. */
export interface Upgrade {
  readonly head: RequestHead
  /**
   * Whether the client reset the stream or ended its side. It could no longer end a
   * connection in order, because it cannot send a close frame.
   */
  readonly hasClientLeft: boolean
  /**
   * Reads the stream while the request is decided, because only a stream that is
   * read reports that the client has left. Keeps the bytes for `accept`. Calls
   * `onLeft` if the client leaves, or sends so much that its stream is destroyed.
   * Returns a function that stops reading.
   */
  readonly watchClient: (onLeft: () => void) => () => void
  /** Writes the response that accepts the request. Returns the transport of the connection, which delivers the kept bytes first. */
  readonly accept: (request: Handshake.Request, response: Handshake.HttpResponse) => Transport
  /** Writes a response that does not accept, which the client has `timeout` milliseconds to read. */
  readonly reject: (response: Handshake.HttpResponse, timers: Timers, timeout: number) => void
  /** Rejects a request above a limit with 503, with as little work as possible. */
  readonly rejectUnavailable: (timers: Timers, timeout: number) => void
  /** Ends the handshake without a response of the session: the client has left, or the decision was interrupted. */
  readonly abandon: (timers: Timers, timeout: number) => void
  /** Calls `callback` when the stream is closed, at once if it is closed already. */
  readonly onClose: (callback: () => void) => void
  /** Suspends until everything written has left and this side has ended, or until the stream is closed. */
  readonly flushed: Effect.Effect<void>
  /** Closes the stream without waiting for writes. */
  readonly destroy: () => void
}
