import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { FileDescriptors } from "../../../src/internal/node/fileDescriptors.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"

describe("Descriptors", () => {
  it.effect("says once that there are none, and once that there are some again", () =>
    Effect.gen(function*() {
      const timers = Timers.of(yield* Effect.context<never>())
      let missing: Error | undefined
      let probes = 0
      let logs = 0
      const descriptors = new FileDescriptors(timers, () => logs++, () => {
        probes++
        return missing
      })
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([probes, logs], [0, 0])
      descriptors.onConnection()
      descriptors.onConnection()
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([probes, logs], [1, 0])
      missing = new Error("EMFILE")
      descriptors.onConnection()
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual([probes, logs], [4, 1])
      missing = undefined
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([probes, logs], [5, 2])
      descriptors.onConnection()
      descriptors.stop()
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([probes, logs], [5, 2])
    }))

  it.effect("tries for one itself", () =>
    Effect.gen(function*() {
      const logs: Array<unknown> = []
      const descriptors = new FileDescriptors(Timers.of(yield* Effect.context<never>()), (log) => logs.push(log))
      descriptors.onConnection()
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(logs, [])
    }))
})
