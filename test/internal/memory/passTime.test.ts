import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { passTimeDuring } from "../../../src/internal/memory/passTime.ts"

describe("passTimeDuring", () => {
  it.effect("adjusts a TestClock until an effect that sleeps has ended", () =>
    Effect.gen(function*() {
      const before = yield* Clock.currentTimeMillis
      assert.strictEqual(yield* passTimeDuring(Effect.as(Effect.sleep("3 seconds"), "awake")), "awake")
      assert.isAtLeast((yield* Clock.currentTimeMillis) - before, 3000)
    }))

  it.effect("does so in an uninterruptible region, such as a finalizer", () =>
    Effect.uninterruptible(passTimeDuring(Effect.sleep("3 seconds"))))

  it.effect("lets no time pass for an effect that ends by itself, or that fails", () =>
    Effect.gen(function*() {
      const before = yield* Clock.currentTimeMillis
      yield* passTimeDuring(Effect.void)
      const exit = yield* Effect.exit(passTimeDuring(Effect.fail("on purpose")))
      assert.deepStrictEqual(exit, Exit.fail("on purpose"))
      const waiting = yield* Effect.forkChild(passTimeDuring(Effect.sleep("3 seconds")))
      yield* Effect.yieldNow
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(waiting)
      assert.strictEqual((yield* Clock.currentTimeMillis) - before, 3000)
    }))

  it.live("leaves the clock of the platform alone", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* passTimeDuring(Effect.as(Effect.sleep("1 millis"), "awake")), "awake")
    }))
})
