import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber } from "effect"
import { loadOnce, once } from "../../../src/internal/runtime/loadOnce.ts"

describe("loadOnce", () => {
  it.effect("runs its load with the first run, and only then", () =>
    Effect.gen(function*() {
      let loads = 0
      const value = loadOnce(() => Promise.resolve({ load: ++loads }))
      assert.strictEqual(loads, 0)
      const first = yield* value
      assert.strictEqual(yield* value, first)
      assert.strictEqual(loads, 1)
    }))

  it.effect("gives concurrent runs the same value", () =>
    Effect.gen(function*() {
      let loads = 0
      const value = loadOnce(() => Promise.resolve({ load: ++loads }))
      const [one, two] = yield* Effect.all([value, value], { concurrency: "unbounded" })
      assert.strictEqual(one, two)
      assert.strictEqual(loads, 1)
    }))

  it.effect("succeeds in one step after it has loaded", () =>
    Effect.gen(function*() {
      const value = loadOnce(() => Promise.resolve("loaded"))
      yield* value
      assert.strictEqual(Effect.runSync(value), "loaded")
    }))

  it.effect("an interrupted run leaves the value to the next one", () =>
    Effect.gen(function*() {
      let loads = 0
      const value = loadOnce(() => Promise.resolve({ load: ++loads }))
      const fiber = yield* Effect.forkChild(value, { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* value, { load: 1 })
    }))

  it.effect("dies with the error of a load that rejects", () =>
    Effect.gen(function*() {
      const error = new Error("not found")
      const exit = yield* Effect.exit(loadOnce(() => Promise.reject(error)))
      assert.isTrue(Exit.isFailure(exit))
      if (Exit.isFailure(exit)) assert.strictEqual(Cause.squash(exit.cause), error)
    }))
})

describe("once", () => {
  it("makes its value with the first call, and only then", () => {
    let made = 0
    const value = once(() => ({ made: ++made }))
    assert.strictEqual(made, 0)
    assert.strictEqual(value(), value())
    assert.deepStrictEqual(value(), { made: 1 })
  })

  it("makes null, too, only once", () => {
    let made = 0
    const value = once(() => (made++, null))
    assert.deepStrictEqual([value(), value(), made], [null, null, 1])
  })
})
