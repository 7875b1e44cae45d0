/** Time limits of effects. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { Timers } from "./timers.ts"

/**
 * Runs an effect for at most `millis`. After that it interrupts the effect, waits
 * for its end, and fails with `onTimeout`. It takes one fiber and a timer of
 * `Timers`, where `Effect.timeoutOrElse` takes two fibers and a timer of the host.
 */
export const withDeadline = <A, E, R, E2>(
  effect: Effect.Effect<A, E, R>,
  millis: number,
  onTimeout: () => E2
): Effect.Effect<A, E | E2, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.callback<A, E | E2>((resume) => {
      let isTimeout = false
      const fiber = Effect.runForkWith(context)(effect)
      const timers = Timers.of(context)
      const timer = timers.schedule(millis, () => {
        isTimeout = true
        fiber.interruptUnsafe()
      })
      fiber.addObserver((exit) => {
        timers.cancel(timer)
        resume(isTimeout ? Effect.fail(onTimeout()) : exit)
      })
      return Fiber.interrupt(fiber)
    })
  )
