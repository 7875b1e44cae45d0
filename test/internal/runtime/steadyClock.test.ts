import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { steadyClock } from "../../../src/internal/runtime/steadyClock.ts"

/** A clock whose time of day and monotonic time the test sets, in milliseconds. */
const makeClock = () => {
  const time = { ofDay: 1_000_000, monotonic: 5000 }
  const clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => time.ofDay,
    currentTimeMillis: Effect.sync(() => time.ofDay),
    currentTimeNanosUnsafe: () => BigInt(time.ofDay) * 1_000_000n,
    currentTimeNanos: Effect.sync(() => BigInt(time.ofDay) * 1_000_000n),
    monotonicTimeNanosUnsafe: () => BigInt(time.monotonic) * 1_000_000n,
    monotonicTimeNanos: Effect.sync(() => BigInt(time.monotonic) * 1_000_000n),
    sleep: () => Effect.never
  }
  return { clock, time }
}

describe("steadyClock", () => {
  it.effect("begins at the time of day, and does not move when the system's clock is set", () =>
    Effect.gen(function*() {
      const { clock, time } = makeClock()
      const now = yield* Effect.provideService(steadyClock, Clock.Clock, clock)
      assert.strictEqual(now(), 1_000_000)
      time.monotonic += 250
      time.ofDay -= 3_600_000
      assert.strictEqual(now(), 1_000_250)
    }))
})
