/** Pings that find dead peers. */
import * as Duration from "effect/Duration"
import { KeepaliveTimeout } from "../../ConnectionError.ts"
import type { Timer, Timers, TimerTarget } from "../runtime/timers.ts"
import { watchInactivity } from "./inactivity.ts"
import type { PendingPing, Pings } from "./pings.ts"
import type { SendQueue } from "./sendQueue.ts"

/** The connection that is kept alive. */
export interface KeepaliveTarget {
  readonly pings: Pings
  readonly sendQueue: SendQueue
  readonly timers: Timers
  /** The bytes that the peer has sent, of whatever kind. */
  readonly bytesIn: number
  /** Whether this end is not reading, so that it would not see a pong. */
  readonly isPaused: boolean
  readonly onKeepaliveTimeout: (timeout: KeepaliveTimeout) => void
}

/** The slowest reader that the keepalive tolerates, in bytes per second. */
const minReadRate = 8 * 1024

/** The most bytes between two processes: in Linux, the kernels buffer 4 MiB of the sender's and 6 MiB of the receiver's. */
const maxInKernels = 16 * 1024 * 1024

/**
 * How long a ping may wait behind bytes that the peer may not have read, in
 * milliseconds. Node does not tell how many of them the kernels still hold.
 */
const timeToRead = (bytes: number): number => Math.ceil(Math.min(bytes, maxInKernels) * 1000 / minReadRate)

/**
 * Pings the peer each `interval`, and calls `onKeepaliveTimeout` when the peer
 * sends nothing for `timeout` after a ping. Any bytes of the peer are a sign of
 * life, because its pong waits while it sends a long frame.
 */
export class Keepalive implements TimerTarget {
  private readonly target: KeepaliveTarget
  /** In milliseconds. */
  private readonly interval: number
  private readonly timeout: number
  private timer: Timer | undefined
  private stopWatch: (() => void) | undefined
  /** Whether a ping is due and waits for the transport to drain. */
  private isPingDue = false
  /** The newest ping, until its pong arrives or the next ping is sent: a late pong still tells what the peer has read. */
  private ping: PendingPing | undefined

  constructor(target: KeepaliveTarget, interval: number, timeout: number) {
    this.target = target
    this.interval = interval
    this.timeout = timeout
  }

  start(): void {
    // Connections that begin together do not ping together.
    this.schedule(this.interval * (1 - this.target.timers.nextPhase() / 2))
  }

  stop(): void {
    this.cancel()
    this.forgetPing()
  }

  /** The transport has drained. */
  onDrain(): void {
    if (this.isPingDue && this.target.sendQueue.closed === undefined) this.sendPing()
  }

  private scheduleNext(): void {
    this.cancel()
    this.schedule(this.interval)
  }

  private schedule(millis: number): void {
    this.timer = this.target.timers.schedule(millis, this)
  }

  /** A ping is due. */
  onTimer(): void {
    this.forgetPing()
    if (this.target.sendQueue.overHighWaterMark) {
      this.isPingDue = true
      this.watchPeer()
    } else this.sendPing()
  }

  private sendPing(): void {
    const { pings } = this.target
    this.isPingDue = false
    this.ping = pings.newPing(pings.nextPayload(), (closed) => {
      this.ping = undefined
      if (closed === undefined) this.scheduleNext()
    })
    this.watchPeer()
    pings.sendPing(this.ping)
  }

  /**
   * Waits for a sign of life. Until the ping has left this process, the peer also
   * shows life by reading the bytes before it. After that it does not: bytes that
   * leave may only move into the buffers of the kernel.
   */
  private watchPeer(): void {
    const { ping, target } = this
    const { bytesIn, pings, sendQueue, timers } = target
    const { bytesFlushed } = sendQueue
    const bytesBefore = ping?.offset ?? sendQueue.bytesOut
    const duration = this.timeout + timeToRead(bytesBefore - pings.bytesRead)
    const hasLeft = () => ping !== undefined && sendQueue.bytesFlushed > ping.offset
    this.stopWatch?.()
    this.stopWatch = watchInactivity(timers, duration, {
      isInactive: () =>
        !target.isPaused && target.bytesIn === bytesIn && (hasLeft() || sendQueue.bytesFlushed === bytesFlushed),
      onTimeout: () => target.onKeepaliveTimeout(new KeepaliveTimeout({ duration: Duration.millis(duration) })),
      onActivity: () => this.scheduleNext()
    })
  }

  private cancel(): void {
    this.target.timers.cancel(this.timer)
    this.stopWatch?.()
    this.stopWatch = undefined
    this.isPingDue = false
  }

  private forgetPing(): void {
    if (this.ping !== undefined) this.target.pings.forget(this.ping)
    this.ping = undefined
  }
}
