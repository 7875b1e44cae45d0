import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { ResetGuard } from "../../../src/internal/node/resetGuard.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"

const make = Effect.map(Effect.context<never>(), (context) => new ResetGuard(Timers.of(context)))

/** How many resets at once the guard allows. */
const allowedBy = (guard: ResetGuard) => {
  let count = 0
  while (!guard.isExceeded()) count++
  return count
}

describe("ResetGuard (CVE-2023-44487)", () => {
  it.effect("allows 100 resets at once", () =>
    Effect.gen(function*() {
      assert.strictEqual(allowedBy(yield* make), 100)
    }))

  it.effect("allows 10 further resets for each second, of which it collects at most 100", () =>
    Effect.gen(function*() {
      const guard = yield* make
      allowedBy(guard)
      // The reset that exceeds the limit counts too.
      yield* TestClock.adjust("1100 millis")
      assert.strictEqual(allowedBy(guard), 10)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(allowedBy(guard), 100)
    }))

  it.effect("allows 10 resets each second without end", () =>
    Effect.gen(function*() {
      const guard = yield* make
      for (let i = 0; i < 1000; i++) {
        assert.isFalse(guard.isExceeded())
        yield* TestClock.adjust("100 millis")
      }
    }))
})
