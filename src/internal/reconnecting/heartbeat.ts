/**
 * Heartbeats in messages, for connections without pings: asks a silent peer, and fails the connection if the peer stays
 * silent.
 *
 * A timer that fires late says nothing about the peer: the computer slept, the browser has throttled the page, or the event
 * loop was blocked. What has arrived meanwhile may be unread, so the peer is asked once more.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import { KeepaliveTimeout } from "../../ConnectionError.ts"
import type * as Heartbeat from "../../Heartbeat.ts"
import type { MessageConnection } from "../../MessageConnection.ts"

const defaultInterval = Duration.seconds(30)
const defaultTimeout = Duration.seconds(10)

/** The longest deadline for a peer that is asked out of turn, in milliseconds. */
const shortDeadline = 5000

/** A timer is late if it fires more than this many milliseconds after its time. */
const tolerance = 1000

type Target = Pick<MessageConnection, "activity" | "bufferedAmount" | "fail" | "send">

export class Heart {
  private readonly connection: Target
  private readonly message: Heartbeat.Options["message"]
  /** In milliseconds. */
  private readonly interval: number
  private readonly timeout: number
  private readonly shortTimeout: number
  /** Open if the peer is to be asked at once. */
  private readonly nudged = Latch.makeUnsafe(false)

  constructor(
    connection: Target,
    { interval = defaultInterval, message, timeout = defaultTimeout }: Heartbeat.Options
  ) {
    this.connection = connection
    this.message = message
    this.interval = Duration.toMillis(interval)
    this.timeout = Duration.toMillis(timeout)
    this.shortTimeout = Math.min(this.timeout, shortDeadline)
  }

  /** Asks the peer at once, with a short deadline. */
  nudge(): void {
    this.nudged.openUnsafe()
  }

  /** Asks the peer whenever it was silent for the interval. Returns after it has failed the connection. */
  get beat(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      for (;;) {
        const isAlive = yield* this.watch
        const outOfTurn = yield* Effect.raceFirst(sleepOnTime(this.interval), Effect.as(this.nudged.await, true))
        if (!outOfTurn && (yield* isAlive)) continue
        const silentFor = yield* this.ask(outOfTurn ? this.shortTimeout : this.timeout)
        if (silentFor === undefined) continue
        yield* this.connection.fail(new KeepaliveTimeout({ duration: Duration.millis(silentFor) }))
        return
      }
    })
  }

  /**
   * Asks the peer, and once more after each timer that was late. Returns how long the peer was silent, in milliseconds, or
   * undefined if it is alive.
   */
  private ask(firstTimeout: number): Effect.Effect<number | undefined> {
    return Effect.gen({ self: this }, function*() {
      for (let timeout = firstTimeout;; timeout = this.shortTimeout) {
        this.nudged.closeUnsafe()
        const isAlive = yield* this.watch
        // A `send` that waits for room has sent nothing, and is interrupted.
        const asking = Effect.andThen(Effect.ignore(this.connection.send(this.message)), Effect.never)
        const isLate = yield* Effect.raceFirst(sleepOnTime(timeout), asking)
        if (yield* isAlive) return undefined
        if (!isLate) return timeout
      }
    })
  }

  /**
   * Begins to watch the peer. The returned effect tells whether the peer has sent anything since, or could not, or has read
   * what was in its way.
   */
  private get watch(): Effect.Effect<Effect.Effect<boolean>> {
    const sample = Effect.zip(this.connection.activity, this.connection.bufferedAmount)
    return Effect.map(
      sample,
      ([before, bufferedBefore]) =>
        Effect.map(
          sample,
          ([now, buffered]) => now.received !== before.received || now.isPaused || buffered < bufferedBefore
        )
    )
  }
}

/** Sleeps. Returns whether the timer was late, by the monotonic clock or by the system's, which counts while a computer sleeps. */
const sleepOnTime = (millis: number): Effect.Effect<boolean> =>
  Clock.clockWith((clock) => {
    const monotonic = clock.monotonicTimeNanosUnsafe()
    const wall = clock.currentTimeMillisUnsafe()
    return Effect.map(Effect.sleep(millis), () => {
      const elapsed = Number(clock.monotonicTimeNanosUnsafe() - monotonic) / 1_000_000
      return Math.max(elapsed, clock.currentTimeMillisUnsafe() - wall) > millis + tolerance
    })
  })
