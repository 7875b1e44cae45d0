/** Servers that do not support WebSocket over HTTP/2, remembered for a while. */
import type { Timers } from "../runtime/timers.ts"

/** In milliseconds. A server may be updated. */
const lifetime = 600_000

const maxServers = 1000

export class Fallbacks {
  private readonly timers: Timers
  /** When each server is forgotten, in the order in which they were added. */
  private readonly until = new Map<string, number>()

  constructor(timers: Timers) {
    this.timers = timers
  }

  add(server: string): void {
    this.until.delete(server)
    this.until.set(server, this.timers.now() + lifetime)
    if (this.until.size > maxServers) this.until.delete(this.until.keys().next().value!)
  }

  has(server: string): boolean {
    const until = this.until.get(server)
    if (until === undefined) return false
    if (this.timers.now() < until) return true
    this.until.delete(server)
    return false
  }
}
