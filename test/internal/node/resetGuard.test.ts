import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { ResetGuard } from "../../../src/internal/node/resetGuard.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"

describe("ResetGuard", () => {
  it.effect("allows 100 resets at once, and 10 a second after that", () =>
    Effect.gen(function*() {
      const guard = new ResetGuard(Timers.of(yield* Effect.context<never>()))
      const exceeded = (count: number) => Array.from({ length: count }, () => guard.isExceeded()).filter(Boolean).length
      assert.strictEqual(exceeded(100), 0)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(exceeded(10), 0)
      assert.strictEqual(exceeded(1), 1)
    }))

  it.effect("saves no more than 100 resets over time", () =>
    Effect.gen(function*() {
      const guard = new ResetGuard(Timers.of(yield* Effect.context<never>()))
      yield* TestClock.adjust("1 hour")
      const exceeded = Array.from({ length: 101 }, () => guard.isExceeded())
      assert.deepStrictEqual(exceeded.indexOf(true), 100)
    }))
})
