/**
 * Pings of the protocol, beside those of WebSocket: an empty reply, which the client answers with an empty command. A program
 * in a browser sees no other pings.
 */
import type { Timer, Timers } from "../runtime/timers.ts"

export interface HeartbeatTarget {
  /** Sends a ping, and calls back when it was handed on. */
  readonly ping: (sent: () => void) => void
  /** Whether the server is behind with reading, so that a pong may be unread. */
  readonly isBusy: () => boolean
  readonly onTimeout: () => void
}

export class Heartbeat {
  private readonly timers: Timers
  private readonly interval: number
  private readonly timeout: number
  private readonly target: HeartbeatTarget
  private timer: Timer | undefined
  private awaiting = false

  /** Times are in milliseconds. */
  constructor(timers: Timers, interval: number, timeout: number, target: HeartbeatTarget) {
    this.timers = timers
    this.interval = interval
    this.timeout = timeout
    this.target = target
  }

  /** The first ping comes after half an interval or more, so that clients that connect together are pinged apart. */
  start(): void {
    this.timer = this.timers.schedule(this.interval * (1 + this.timers.nextPhase()) / 2, this.ping)
  }

  stop(): void {
    this.timers.cancel(this.timer)
  }

  /** A pong has arrived. Returns whether one was due. */
  pong(): boolean {
    const due = this.awaiting
    this.awaiting = false
    return due
  }

  private readonly ping = (): void => {
    this.awaiting = true
    this.target.ping(() => {
      this.timer = this.timers.schedule(this.timeout, this.check)
    })
  }

  private readonly check = (): void => {
    if (this.awaiting && this.target.isBusy()) this.timer = this.timers.schedule(this.timeout, this.check)
    else if (this.awaiting) this.target.onTimeout()
    else this.timer = this.timers.schedule(this.interval - this.timeout, this.ping)
  }
}
