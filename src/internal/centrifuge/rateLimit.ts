/** A bucket of tokens: how many commands a client may send at once, and on average. */

export class RateLimit {
  private readonly perSecond: number
  private readonly burst: number
  private readonly now: () => number
  private tokens: number
  private refilled: number
  /** How many commands were rejected since one was allowed. */
  private rejected = 0

  /** `now` returns milliseconds. */
  constructor({ burst, perSecond }: { readonly perSecond: number; readonly burst: number }, now: () => number) {
    this.perSecond = perSecond
    this.burst = burst
    this.now = now
    this.tokens = burst
    this.refilled = now()
  }

  /** Takes a token. "reject": there is no token. "end": there was no token for `burst` commands in a row. */
  take(): "allow" | "reject" | "end" {
    if (this.burst === Number.POSITIVE_INFINITY) return "allow"
    const now = this.now()
    const gained = this.perSecond * (now - this.refilled) / 1000
    this.tokens = gained > 0 ? Math.min(this.burst, this.tokens + gained) : this.tokens
    this.refilled = now
    if (this.tokens >= 1) {
      this.tokens--
      this.rejected = 0
      return "allow"
    }
    return ++this.rejected > this.burst ? "end" : "reject"
  }
}
