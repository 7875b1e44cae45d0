/** The delays between the attempts of a reconnecting client. */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import { HandshakeRedirected, HandshakeRejected } from "../../HandshakeError.ts"
import type { Failure, Options } from "../../Reconnecting.ts"
import { Timers } from "../runtime/timers.ts"
import { readRetryAfter } from "./retryAfter.ts"

const defaultResetAfter = Duration.seconds(5)
const defaultMaxRetryAfter = Duration.minutes(5)
/** The largest random addition to a server's Retry-After, as a fraction: its clients must not all return at once. */
const retryAfterJitter = 0.2
const defaultSchedule = Schedule.jittered(
  Schedule.min([Schedule.exponential("500 millis"), Schedule.spaced("30 seconds")])
)

/** Counts attempts, and decides how long to wait before the next one. */
export interface Backoff<in E, out E3, out R3> {
  /** The number of the attempt that runs or comes next: from 1, and from 1 again after a connection that lasted. */
  readonly attempt: number
  /** Records that the attempt has led to a connection. */
  opened(): void
  /** Goes on to the next attempt, and returns the delay before it, or undefined if the schedule has ended. */
  next(failure: Failure<E>): Effect.Effect<Duration.Duration | undefined, E3, R3>
}

export type BackoffOptions<E, E3, R3> = Pick<
  Options<never, E, never, never, E3, R3>,
  "schedule" | "resetAfter" | "maxRetryAfter"
>

export const makeBackoff = Effect.fnUntraced(function*<E, E3, R3>(
  {
    maxRetryAfter = defaultMaxRetryAfter,
    resetAfter = defaultResetAfter,
    schedule = defaultSchedule
  }: BackoffOptions<E, E3, R3>
): Effect.fn.Return<Backoff<E, E3, R3>, never, R3> {
  const lasting = Duration.toMillis(resetAfter)
  const longest = Duration.toMillis(maxRetryAfter)
  const now = yield* steadyClock
  let step = yield* Schedule.toStep(schedule)
  let attempt = 1
  let openedAt: number | undefined

  const next = Effect.fnUntraced(function*(failure: Failure<E>) {
    const lasted = openedAt !== undefined && now() - openedAt >= lasting
    openedAt = undefined
    if (lasted) step = yield* Schedule.toStep(schedule)
    attempt = lasted ? 1 : attempt + 1
    const scheduled = yield* Pull.matchEffect(step(now(), failure), {
      onSuccess: ([, duration]) => Effect.succeed(duration),
      onFailure: Effect.failCause,
      onDone: () => Effect.undefined
    })
    return scheduled === undefined ? undefined : yield* delayAfter(failure, scheduled, longest)
  })

  return {
    get attempt() {
      return attempt
    },
    opened() {
      openedAt = now()
    },
    next
  }
})

/**
 * A clock for intervals, in milliseconds: the time of day when it was made, plus
 * what the monotonic clock has counted since. Setting the system's clock does not move it.
 */
const steadyClock: Effect.Effect<() => number> = Effect.contextWith((context: Context.Context<never>) => {
  const timers = Timers.of(context)
  const offset = timers.clock.currentTimeMillisUnsafe() - timers.now()
  return Effect.succeed(() => offset + timers.now())
})

/** Returns the schedule's delay, or a longer one if the response asks for it with a Retry-After (RFC 9110 §10.2.3). */
const delayAfter = (
  failure: Failure<unknown>,
  scheduled: Duration.Duration,
  maxRetryAfter: number
): Effect.Effect<Duration.Duration> => {
  const value = failure instanceof HandshakeRejected || failure instanceof HandshakeRedirected
    ? failure.headers["retry-after"]
    : undefined
  if (value === undefined) return Effect.succeed(scheduled)
  return Effect.zipWith(Clock.currentTimeMillis, Random.next, (now, random) => {
    const requested = Math.min(readRetryAfter(value, now) ?? 0, maxRetryAfter)
    return Duration.max(scheduled, Duration.millis(Math.ceil(requested * (1 + retryAfterJitter * random))))
  })
}
