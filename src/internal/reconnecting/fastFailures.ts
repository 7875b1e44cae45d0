/** Attempts that fail fast, one after the other: in a browser, the only sign that a server rejects the handshake. */
import * as Duration from "effect/Duration"
import { ConnectFailed } from "../../HandshakeError.ts"
import type { Options } from "../../Reconnecting.ts"

const defaultWithin = Duration.seconds(5)

/** Counts fast failures, and tells when there are too many of them. */
export class FastFailures {
  private readonly max: number
  /** In milliseconds. */
  private readonly within: number
  private count = 0

  constructor(limits: Options["fastFailures"]) {
    this.max = limits?.max ?? Number.POSITIVE_INFINITY
    this.within = Duration.toMillis(limits?.within ?? defaultWithin)
  }

  /**
   * Counts the end of an attempt, which took `millis`. Returns whether it is one fast failure too many. While the network
   * is down, attempts fail fast as well, and do not count.
   */
  isTooMany(failure: unknown, millis: number, isOffline: boolean): boolean {
    if (isOffline) return false
    this.count = failure instanceof ConnectFailed && millis <= this.within ? this.count + 1 : 0
    return this.count >= this.max
  }
}
