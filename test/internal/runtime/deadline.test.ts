import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { withDeadline } from "../../../src/internal/runtime/deadline.ts"

const onTimeout = () => "timeout" as const

describe("withDeadline", () => {
  it.effect("returns the value and the failure of an effect that ends in time", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* withDeadline(Effect.succeed(1), 1000, onTimeout), 1)
      assert.strictEqual(yield* Effect.flip(withDeadline(Effect.fail("failed"), 1000, onTimeout)), "failed")
      const slow = yield* Effect.forkChild(withDeadline(Effect.as(Effect.sleep(999), 2), 1000, onTimeout), {
        startImmediately: true
      })
      yield* TestClock.adjust(999)
      assert.strictEqual(yield* Fiber.join(slow), 2)
    }))

  it.effect("fails at the deadline, once the effect has ended its finalizers", () =>
    Effect.gen(function*() {
      const finish = yield* Deferred.make<void>()
      const order: Array<string> = []
      const effect = Effect.onInterrupt(Effect.never, () =>
        Effect.andThen(Deferred.await(finish), Effect.sync(() => order.push("finalized"))))
      const fiber = yield* Effect.forkChild(
        withDeadline(effect, 1000, () => {
          order.push("timed out")
          return "timeout"
        }),
        { startImmediately: true }
      )
      yield* TestClock.adjust(999)
      assert.deepStrictEqual(order, [])
      yield* TestClock.adjust(1)
      assert.isUndefined(fiber.pollUnsafe())
      yield* Deferred.succeed(finish, undefined)
      assert.strictEqual(yield* Effect.flip(Fiber.join(fiber)), "timeout")
      assert.deepStrictEqual(order, ["finalized", "timed out"])
    }))

  it.effect("fails at the deadline if an uninterruptible effect succeeds later", () =>
    Effect.gen(function*() {
      const effect = Effect.uninterruptible(Effect.as(Effect.sleep(2000), 1))
      const fiber = yield* Effect.forkChild(withDeadline(effect, 1000, onTimeout), { startImmediately: true })
      yield* TestClock.adjust(2000)
      assert.strictEqual(yield* Effect.flip(Fiber.join(fiber)), "timeout")
    }))

  it.effect("interrupts the effect with its caller, and waits for its end", () =>
    Effect.gen(function*() {
      const finish = yield* Deferred.make<void>()
      const effect = Effect.onInterrupt(Effect.never, () => Deferred.await(finish))
      const fiber = yield* Effect.forkChild(withDeadline(effect, 1000, onTimeout), { startImmediately: true })
      fiber.interruptUnsafe()
      assert.isUndefined(fiber.pollUnsafe())
      yield* Deferred.succeed(finish, undefined)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    }))

  it.effect("sets no deadline with Infinity", () =>
    Effect.gen(function*() {
      const effect = Effect.as(Effect.sleep("30 days"), 1)
      const fiber = yield* Effect.forkChild(withDeadline(effect, Number.POSITIVE_INFINITY, onTimeout), {
        startImmediately: true
      })
      yield* TestClock.adjust("30 days")
      assert.strictEqual(yield* Fiber.join(fiber), 1)
    }))
})
