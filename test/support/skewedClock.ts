/** A test clock whose time can jump between two reads, as after the sleep of a computer. */
import { Clock, Effect } from "effect"

export interface Skew {
  /** What has passed unnoticed, in milliseconds, by the monotonic clock and by the system's. */
  monotonic: number
  wall: number
}

/** Runs an effect with a clock that is ahead of the test clock by a skew. Sleeps take as long as without it. */
export const withSkew = <A, E, R>(use: (skew: Skew) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Clock.Clock, (clock) => {
    const skew: Skew = { monotonic: 0, wall: 0 }
    const wall = () => clock.currentTimeMillisUnsafe() + skew.wall
    const skewed = Object.create(clock, {
      monotonicTimeNanosUnsafe: {
        value: () => clock.monotonicTimeNanosUnsafe() + BigInt(skew.monotonic * 1_000_000)
      },
      currentTimeMillisUnsafe: { value: wall },
      currentTimeMillis: { value: Effect.sync(wall) }
    }) as Clock.Clock
    return Effect.provideService(use(skew), Clock.Clock, skewed)
  })
