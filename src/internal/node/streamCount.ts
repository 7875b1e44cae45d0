/** The streams of an HTTP/2 session: how many are open, and whether the client resets too many. */
import { constVoid } from "effect/Function"
import type * as Http2 from "node:http2"
import type { Timers } from "../runtime/timers.ts"
import { destroySession } from "../streams/destroySession.ts"
import { ResetGuard } from "./resetGuard.ts"

/** RFC 9113 §7: ENHANCE_YOUR_CALM. Node's constants would load its HTTP/2 into every program. */
const enhanceYourCalm = 11

export class StreamCount {
  private readonly session: Http2.Http2Session
  private readonly guard: ResetGuard
  private readonly onNone: () => void
  private open = 0

  constructor(session: Http2.Http2Session, timers: Timers, onNone: () => void) {
    this.session = session
    this.guard = new ResetGuard(timers)
    this.onNone = onNone
  }

  add(stream: Http2.ServerHttp2Stream): void {
    // Without a listener, an error would end the process.
    stream.on("error", constVoid)
    if (stream.destroyed) return this.onClose(stream)
    this.open++
    stream.once("close", () => {
      this.open--
      this.onClose(stream)
    })
  }

  private onClose(stream: Http2.ServerHttp2Stream): void {
    if (!stream.headersSent && this.guard.isExceeded()) {
      const error = new Error("the client has reset too many HTTP/2 streams before their responses")
      destroySession(this.session, { error, code: enhanceYourCalm })
    } else if (this.open === 0) this.onNone()
  }
}
