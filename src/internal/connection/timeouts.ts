/** The timeouts of an open connection: peers that read nothing or too slowly, and connections without messages. */
import * as Duration from "effect/Duration"
import * as CloseCode from "../../CloseCode.ts"
import type * as Connection from "../../Connection.ts"
import { IdleTimeout, SlowConsumer, WriteTimeout } from "../../ConnectionError.ts"
import type { Timers } from "../runtime/timers.ts"
import type { Closing } from "./closing.ts"
import { watchInactivity } from "./inactivity.ts"
import type { SendQueue } from "./sendQueue.ts"

const defaultSlowConsumerTimeout = Duration.seconds(10)
const defaultWriteTimeout = Duration.seconds(30)

interface Progress {
  /** Whether there is a reason to watch. */
  readonly applies: () => boolean
  /** A value that changes with each progress. */
  readonly current: () => unknown
  readonly onTimeout: () => void
}

/** Calls `onTimeout` when there is no progress for `millis`. It watches again after progress, and does not restart once it was stopped. */
class ProgressWatch {
  private readonly timers: Timers
  private readonly millis: number
  private readonly progress: Progress
  private stopWatch: (() => void) | undefined

  constructor(timers: Timers, millis: number, progress: Progress) {
    this.timers = timers
    this.millis = millis
    this.progress = progress
  }

  start(): void {
    if (this.stopWatch === undefined) this.watch()
  }

  stop(): void {
    this.stopWatch?.()
  }

  private watch(): void {
    const { applies, current, onTimeout } = this.progress
    const before = current()
    this.stopWatch = watchInactivity(this.timers, this.millis, {
      isInactive: () => applies() && current() === before,
      onTimeout,
      onActivity: () => {
        this.stopWatch = undefined
        if (applies()) this.watch()
      }
    })
  }
}

/** The connection that the timeouts close. */
export interface TimeoutsHost {
  readonly sendQueue: SendQueue
  readonly closing: Closing
  readonly timers: Timers
}

/** The time limits for peers that read too slowly. */
export interface TimeLimits {
  readonly writeTimeout: Duration.Input
  /** Undefined if senders wait for slow consumers. */
  readonly slowConsumerTimeout: Duration.Input | undefined
}

const defaultLimits: TimeLimits = { writeTimeout: defaultWriteTimeout, slowConsumerTimeout: undefined }

/** Most connections have the default, and share it. */
export const timeLimitsOf = ({ slowConsumer, slowConsumerTimeout, writeTimeout }: Connection.Options): TimeLimits =>
  slowConsumer !== "close" && writeTimeout === undefined ? defaultLimits : {
    writeTimeout: writeTimeout ?? defaultWriteTimeout,
    slowConsumerTimeout: slowConsumer === "close" ? slowConsumerTimeout ?? defaultSlowConsumerTimeout : undefined
  }

/** It and its watches are made when they are first needed, because most connections are idle. */
export class Timeouts {
  private readonly host: TimeoutsHost
  private readonly limits: TimeLimits
  private writeWatch: ProgressWatch | undefined
  private slowConsumerWatch: ProgressWatch | undefined
  private idleWatch: ProgressWatch | undefined

  constructor(host: TimeoutsHost, limits: TimeLimits) {
    this.host = host
    this.limits = limits
  }

  /** Cuts the connection off when the peer reads nothing for `writeTimeout`, as long as the transport is above its mark. */
  onHighWaterMark(): void {
    if (this.host.sendQueue.closed !== undefined) return
    this.writeWatch ??= this.makeWriteWatch(Duration.fromInputUnsafe(this.limits.writeTimeout))
    this.writeWatch.start()
  }

  private makeWriteWatch(duration: Duration.Duration): ProgressWatch {
    const { sendQueue, timers } = this.host
    return new ProgressWatch(timers, Duration.toMillis(duration), {
      applies: () => sendQueue.overHighWaterMark,
      current: () => sendQueue.bytesFlushed,
      onTimeout: () => {
        const timeout = new WriteTimeout({ bufferedAmount: sendQueue.bufferedAmount, duration })
        this.host.closing.cutOff(CloseCode.PolicyViolation, timeout)
      }
    })
  }

  /** Closes the connection when the transport does not drain for `slowConsumerTimeout` while a sender waits. */
  onBlocked(): void {
    const { slowConsumerTimeout } = this.limits
    if (slowConsumerTimeout === undefined) return
    this.slowConsumerWatch ??= this.makeSlowConsumerWatch(slowConsumerTimeout)
    this.slowConsumerWatch.start()
  }

  private makeSlowConsumerWatch(duration: Duration.Input): ProgressWatch {
    const { sendQueue, timers } = this.host
    return new ProgressWatch(timers, Duration.toMillis(duration), {
      applies: () => sendQueue.overHighWaterMark,
      current: () => sendQueue.congestion,
      onTimeout: () => this.closeSlowConsumer()
    })
  }

  /** Closes the connection because the peer reads too slowly. */
  closeSlowConsumer(cause = new SlowConsumer({ bufferedAmount: this.host.sendQueue.bufferedAmount })): void {
    this.host.closing.fail(CloseCode.PolicyViolation, cause)
  }

  /** Closes the connection when `messageBytes` does not change for `duration`. */
  watchIdle(duration: Duration.Duration, messageBytes: () => number): void {
    this.idleWatch = new ProgressWatch(this.host.timers, Duration.toMillis(duration), {
      applies: () => true,
      current: messageBytes,
      onTimeout: () => this.host.closing.fail(CloseCode.GoingAway, new IdleTimeout({ duration }))
    })
    this.idleWatch.start()
  }

  /** Closing has begun, which has a timeout of its own. */
  stop(): void {
    this.writeWatch?.stop()
    this.slowConsumerWatch?.stop()
    this.idleWatch?.stop()
  }
}
