import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { OneShot } from "../../../src/internal/runtime/oneShot.ts"

describe("OneShot", () => {
  it.effect("resumes fibers that wait when the value is set", () =>
    Effect.gen(function*() {
      const value = new OneShot<string>()
      const waiting = yield* Effect.replicateEffect(Effect.forkChild(value.await, { startImmediately: true }), 2)
      assert.deepStrictEqual(waiting.map((fiber) => fiber.pollUnsafe()), [undefined, undefined])
      value.set("a")
      assert.deepStrictEqual(yield* Fiber.joinAll(waiting), ["a", "a"])
    }))

  it.effect("returns a value that was set before", () =>
    Effect.gen(function*() {
      const value = new OneShot<string>()
      value.set("a")
      assert.strictEqual(yield* value.await, "a")
    }))

  it.effect("resumes the other fibers when one that waits is interrupted", () =>
    Effect.gen(function*() {
      const value = new OneShot<string>()
      const [first, second] = yield* Effect.replicateEffect(
        Effect.forkChild(value.await, { startImmediately: true }),
        2
      )
      yield* Fiber.interrupt(first)
      value.set("a")
      assert.strictEqual(yield* Fiber.join(second), "a")
    }))

  it.effect("counts as observed once a fiber waits for it, not once it is set", () =>
    Effect.gen(function*() {
      const value = new OneShot<string>()
      value.set("a")
      const { await: effect } = value
      assert.isFalse(value.isObserved)
      yield* effect
      assert.isTrue(value.isObserved)
    }))
})
