/** The delays between the attempts of a reconnecting client. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import { HandshakeRedirected, HandshakeRejected } from "../../HandshakeError.ts"
import type { Failure, Options } from "../../Reconnecting.ts"
import { readRetryAfter } from "./retryAfter.ts"
import { steadyClock } from "../runtime/steadyClock.ts"

const defaultResetAfter = Duration.seconds(5)
const defaultMaxRetryAfter = Duration.minutes(5)
/** The largest random addition to a server's Retry-After, as a fraction: its clients must not all return at once. */
const retryAfterJitter = 0.2
const defaultSchedule = Schedule.jittered(
  Schedule.min([Schedule.exponential("500 millis"), Schedule.spaced("30 seconds")])
)

/** How long to wait before an attempt. */
export interface Delay {
  readonly duration: Duration.Duration
  /** What the server asked for, which no signal shortens. */
  readonly least: Duration.Duration
}

/** Counts attempts, and decides how long to wait before the next one. */
export interface Backoff<in E, out E3, out R3> {
  /** The number of the attempt that runs or comes next: from 1, and from 1 again after a connection that lasted. */
  readonly attempt: number
  /** Records that the attempt has led to a connection. */
  opened(): void
  /** Goes on to the next attempt, and returns the delay before it, or undefined if the schedule has ended. */
  next(failure: Failure<E>): Effect.Effect<Delay | undefined, E3, R3>
  /** Starts the schedule anew: the next attempt is the first. */
  readonly restart: Effect.Effect<void, never, R3>
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

  const restart = Effect.map(Schedule.toStep(schedule), (first) => {
    step = first
    attempt = 1
  })

  const next = Effect.fnUntraced(function*(failure: Failure<E>) {
    const lasted = openedAt !== undefined && now() - openedAt >= lasting
    openedAt = undefined
    if (lasted) yield* restart
    else attempt++
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
    next,
    restart
  }
})

/** Returns the schedule's delay, or a longer one if the response asks for it with a Retry-After (RFC 9110 §10.2.3). */
const delayAfter = (
  failure: Failure<unknown>,
  scheduled: Duration.Duration,
  maxRetryAfter: number
): Effect.Effect<Delay> => {
  const value = failure instanceof HandshakeRejected || failure instanceof HandshakeRedirected
    ? failure.headers["retry-after"]
    : undefined
  if (value === undefined) return Effect.succeed({ duration: scheduled, least: Duration.zero })
  return Effect.zipWith(Clock.currentTimeMillis, Random.next, (now, random) => {
    const requested = Math.min(readRetryAfter(value, now) ?? 0, maxRetryAfter)
    const least = Duration.millis(Math.ceil(requested * (1 + retryAfterJitter * random)))
    return { duration: Duration.max(scheduled, least), least }
  })
}
