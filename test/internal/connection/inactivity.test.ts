import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { watchInactivity } from "../../../src/internal/connection/inactivity.ts"
import { turn } from "../../support/memory.ts"

const begin = Effect.gen(function*() {
  const timers = Timers.of(yield* Effect.context<never>())
  const state = { quiet: true, verdict: "none" }
  const stop = watchInactivity(timers, 4000, {
    isInactive: () => state.quiet,
    onTimeout: () => {
      state.verdict = "condemned"
    },
    onActivity: () => {
      state.verdict = "acquitted"
    }
  })
  return { state, stop }
})

describe("watch", () => {
  it.effect("condemns who was quiet all the time", () =>
    Effect.gen(function*() {
      const { state } = yield* begin
      yield* TestClock.adjust("3999 millis")
      assert.strictEqual(state.verdict, "none")
      yield* TestClock.adjust("1 millis")
      yield* turn
      assert.strictEqual(state.verdict, "condemned")
    }))

  it.effect("acquits who was not, when it looks", () =>
    Effect.gen(function*() {
      const { state } = yield* begin
      state.quiet = false
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(state.verdict, "none")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(state.verdict, "acquitted")
    }))

  /** Does something between the last look and the verdict, when what waits in the kernel is read. */
  const atLast = (then: (watched: Effect.Success<typeof begin>) => void) =>
    Effect.gen(function*() {
      const watched = yield* begin
      const { state } = watched
      yield* TestClock.adjust("3 seconds")
      let quiet = true
      Object.defineProperty(state, "quiet", {
        set: (value: boolean) => {
          quiet = value
        },
        get: () => {
          // After the timers of this turn of the event loop.
          setImmediate(() => then(watched))
          return quiet
        }
      })
      yield* TestClock.adjust("1 second")
      yield* turn
      return state.verdict
    })

  it.effect("acquits who is heard at the last moment", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* atLast(({ state }) => (state.quiet = false)), "acquitted")
    }))

  it.effect("says nothing once it is stopped, be it at the last moment", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* atLast(({ stop }) => stop()), "none")
      const { state, stop } = yield* begin
      stop()
      yield* TestClock.adjust("10 seconds")
      yield* turn
      assert.strictEqual(state.verdict, "none")
    }))
})
