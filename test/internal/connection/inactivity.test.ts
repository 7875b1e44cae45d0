import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { watchInactivity } from "../../../src/internal/connection/inactivity.ts"
import { turn } from "../../support/memory.ts"

const begin = Effect.gen(function*() {
  const timers = Timers.of(yield* Effect.context<never>())
  const state = { isInactive: true, called: "nothing" }
  const stop = watchInactivity(timers, 4000, {
    isInactive: () => state.isInactive,
    onTimeout: () => {
      state.called = "onTimeout"
    },
    onActivity: () => {
      state.called = "onActivity"
    }
  })
  return { state, stop }
})

describe("watchInactivity", () => {
  it.effect("calls onTimeout when the peer stays inactive", () =>
    Effect.gen(function*() {
      const { state } = yield* begin
      yield* TestClock.adjust("3999 millis")
      assert.strictEqual(state.called, "nothing")
      yield* TestClock.adjust("1 millis")
      yield* turn
      assert.strictEqual(state.called, "onTimeout")
    }))

  it.effect("calls onActivity with the first sample that finds activity", () =>
    Effect.gen(function*() {
      const { state } = yield* begin
      state.isInactive = false
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(state.called, "nothing")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(state.called, "onActivity")
    }))

  /** Does something between the last sample and the final check, when data from the kernel is read. */
  const atLast = (then: (watch: Effect.Success<typeof begin>) => void) =>
    Effect.gen(function*() {
      const watch = yield* begin
      const { state } = watch
      yield* TestClock.adjust("3 seconds")
      let isInactive = true
      Object.defineProperty(state, "isInactive", {
        set: (value: boolean) => {
          isInactive = value
        },
        get: () => {
          // After the timers of this turn of the event loop.
          setImmediate(() => then(watch))
          return isInactive
        }
      })
      yield* TestClock.adjust("1 second")
      yield* turn
      return state.called
    })

  it.effect("calls onActivity for data that arrives before the final check", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* atLast(({ state }) => (state.isInactive = false)), "onActivity")
    }))

  it.effect("calls nothing once it is stopped, even before the final check", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* atLast(({ stop }) => stop()), "nothing")
      const { state, stop } = yield* begin
      stop()
      yield* TestClock.adjust("10 seconds")
      yield* turn
      assert.strictEqual(state.called, "nothing")
    }))
})
