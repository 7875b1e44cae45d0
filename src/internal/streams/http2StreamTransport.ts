/**
 * A transport over an HTTP/2 stream (RFC 8441 §5): END_STREAM is the FIN of TCP, and
 * RST_STREAM with CANCEL is its RST. Flow control is that of the stream: while the
 * transport is paused, Node does not extend the stream's window, and the other
 * streams of the session go on.
 */
import type * as Http2 from "node:http2"
import type { Duplex } from "node:stream"
import { abortStream } from "#platform"
import type { Receiver } from "../../Transport.ts"
import { nextTurn } from "../runtime/turns.ts"
import { DuplexTransport } from "./duplexTransport.ts"

/** RFC 9113 §7: CANCEL. Node's constants would load its HTTP/2 into every program. */
const cancelCode = 8

/** Undocumented: whether END_STREAM was received. A stream reports its end only once its data is read. */
interface WithState {
  readonly _readableState?: { readonly ended?: boolean }
}

export const isHttp2Stream = (duplex: Duplex): duplex is Http2.Http2Stream => "rstCode" in duplex

export class Http2StreamTransport extends DuplexTransport {
  readonly isMultiplexed = true
  private readonly stream: Http2.Http2Stream & WithState
  /** A destroyed stream does not name its session any more. */
  private readonly session: Http2.Http2Session | undefined
  private isDestroying = false
  /** Whether the stream was reset before END_STREAM of the peer. */
  private isReset = false
  private hasPeerEnded = false

  constructor(stream: Http2.Http2Stream, head?: Uint8Array) {
    super(stream, head)
    this.stream = stream
    this.session = stream.session
  }

  override start(receiver: Receiver): void {
    this.stream.once("aborted", () => this.onAborted())
    super.start(receiver)
  }

  /** The stream was reset. Delivers what the peer sent before, which a paused stream would drop. */
  private onAborted(): void {
    if (this.isDestroying) return
    this.isReset = this.stream._readableState?.ended !== true
    if (this.stream.readableLength > 0) { while (this.stream.read() !== null); }
  }

  /** Node ends a stream, too, if it is reset with NO_ERROR or destroyed. */
  override peerEnded(): void {
    if (this.isReset || this.stream.destroyed) return
    this.hasPeerEnded = true
    super.peerEnded()
  }

  /** Errors of its own reset do not count. */
  override fail(cause: NodeJS.ErrnoException): void {
    if (!this.isDestroying) super.fail(cause)
  }

  override close(): void {
    const { stream } = this
    if (!this.hasPeerEnded && !stream.errored) this.fail(resetError(stream.rstCode, this.session))
    super.close()
  }

  /**
   * Resets the stream. Node writes in the next turn of the event loop what it got in
   * this one, and a reset would overtake it. After END_STREAM nothing is lost with
   * the reset, so its code is NO_ERROR (RFC 9113 §8.1): browsers count others as a
   * failure of HTTP/2.
   */
  override destroy(): void {
    const { stream } = this
    if (this.isDestroying) return
    this.isDestroying = true
    stream.pause()
    nextTurn(() => {
      if (stream.writableFinished) stream.destroy()
      else cancel(stream)
    })
  }
}

/** Resets a stream with CANCEL. `stream.close` would send END_STREAM first, and the peer would see an end in order. */
export const cancel = (stream: Http2.Http2Stream): void => abortStream(stream)

/** Returns how the stream was reset. Node has an error of its own for codes other than CANCEL and NO_ERROR. */
const resetError = (
  code: number | undefined,
  session: Http2.Http2Session | undefined
): NodeJS.ErrnoException => {
  const how = session?.destroyed === true
    ? "the HTTP/2 session was closed"
    : `the peer reset the HTTP/2 stream with ${code === cancelCode ? "CANCEL" : "NO_ERROR"}`
  return Object.assign(new Error(how), { code: "ECONNRESET" })
}
