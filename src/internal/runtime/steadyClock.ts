/** Time for intervals. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { Timers } from "./timers.ts"

/**
 * A clock for intervals, in milliseconds: the time of day when it was made, plus
 * what the monotonic clock has counted since. Setting the system's clock does not move it.
 */
export const steadyClock: Effect.Effect<() => number> = Effect.contextWith((context: Context.Context<never>) => {
  const timers = Timers.of(context)
  const offset = timers.clock.currentTimeMillisUnsafe() - timers.now()
  return Effect.succeed(() => offset + timers.now())
})
