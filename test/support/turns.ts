/** The turns of the event loop. */
import { Effect } from "effect"

/** Runs an effect, and counts the turns that the event loop takes until it ends. */
export const countTurns = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<readonly [A, number], E, R> =>
  Effect.suspend(() => {
    let turns = 0
    let hasEnded = false
    const count = () => {
      turns++
      if (!hasEnded) setImmediate(count)
    }
    setImmediate(count)
    return Effect.ensuring(
      Effect.map(effect, (value) => [value, turns] as const),
      Effect.sync(() => {
        hasEnded = true
      })
    )
  })
