/** Time in tests: letting all happen that needs none, and letting it pass for layers that close. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as TestClock from "effect/testing/TestClock"
import { nextTurn } from "../runtime/turns.ts"

/** Suspends until bytes are delivered, and the fibers that they wake have run. */
export const settle: Effect.Effect<void> = Effect.replicateEffect(
  Effect.promise(() => new Promise<void>(nextTurn)),
  5,
  { discard: true }
)

/** The real time after which a shutdown under `TestClock` counts as stuck, in milliseconds. */
const stuckAfter = 1000

/**
 * Lets the time of a `TestClock` pass if an effect does not end: nothing adjusts the
 * clock while the layers of a test close, so that a handler that sleeps would turn
 * each failed assertion into a test that times out.
 */
export const passTimeDuring = <A, E, R>(closing: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.clockWith((clock) => {
    if (!isTestClock(clock)) return closing
    const passTime = Effect.forever(Effect.andThen(settle, clock.adjust("1 second")))
    return Effect.raceFirst(closing, Effect.interruptible(Effect.andThen(realSleep(stuckAfter), passTime)))
  })

const isTestClock = (clock: Clock.Clock): clock is TestClock.TestClock => "adjust" in clock

const realSleep = (millis: number): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const timer = setTimeout(() => resume(Effect.void), millis)
    return Effect.sync(() => clearTimeout(timer))
  })
