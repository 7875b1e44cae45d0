/**
 * Finds clients that open streams and reset them before the response, which costs a
 * client less than a server ("rapid reset", CVE-2023-44487). A client may reset
 * `burst` streams at once, as a browser does that closes a page, and
 * `perSecond` in the long run.
 */
import type { Timers } from "../runtime/timers.ts"

const burst = 100
const perSecond = 10

export class ResetGuard {
  private readonly timers: Timers
  private left = burst
  private at: number

  constructor(timers: Timers) {
    this.timers = timers
    this.at = timers.now()
  }

  /** Counts a reset. Returns whether the client has reset too many streams. */
  isExceeded(): boolean {
    const now = this.timers.now()
    this.left = Math.min(burst, this.left + (now - this.at) / 1000 * perSecond) - 1
    this.at = now
    return this.left < 0
  }
}
