import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { steadyClock } from "../../../src/internal/runtime/steadyClock.ts"
import { Wakes } from "../../../src/internal/reconnecting/wakes.ts"
import type { Options } from "../../../src/Reconnecting.ts"
import { settle } from "../../support/memory.ts"

const make = (whileHidden?: Options["whileHidden"]) => Effect.map(steadyClock, (now) => new Wakes(now, whileHidden))

const pass = (seconds: number) => Effect.andThen(TestClock.adjust(seconds * 1000), settle)

const minute = 60_000

describe("Wakes", () => {
  for (const signal of ["online", "visible", "restored", "retry"] as const) {
    it.effect(`ends a wait at the signal "${signal}"`, () =>
      Effect.gen(function*() {
        const wakes = yield* make()
        const waiting = yield* Effect.forkChild(wakes.sleepUntil(minute, 0))
        yield* settle
        assert.isTrue(wakes.onSignal(signal))
        assert.isTrue(yield* Fiber.join(waiting))
      }))
  }

  for (const signal of ["offline", "hidden"] as const) {
    it.effect(`does not end a wait at the signal "${signal}"`, () =>
      Effect.gen(function*() {
        const wakes = yield* make()
        const waiting = yield* Effect.forkChild(wakes.sleepUntil(minute, 0))
        yield* settle
        assert.isFalse(wakes.onSignal(signal))
        yield* pass(59)
        assert.isUndefined(waiting.pollUnsafe())
        yield* pass(1)
        assert.isFalse(yield* Fiber.join(waiting))
      }))
  }

  it.effect("a signal that arrives before the wait ends it, but not one from before or during a connection", () =>
    Effect.gen(function*() {
      const wakes = yield* make()
      wakes.onSignal("online")
      assert.isTrue(yield* wakes.sleepUntil(minute, 0))
      wakes.onSignal("online")
      wakes.onOpen()
      assert.isTrue(wakes.onSignal("online"))
      wakes.onLost()
      const waiting = yield* Effect.forkChild(wakes.sleepUntil(minute, 0))
      yield* pass(60)
      assert.isFalse(yield* Fiber.join(waiting))
    }))

  it.effect("a signal ends a wait no sooner than 5 seconds after one before, and never before the earliest time", () =>
    Effect.gen(function*() {
      const wakes = yield* make()
      wakes.onSignal("online")
      yield* wakes.sleepUntil(minute, 0)
      for (const [earliest, seconds] of [[0, 5], [20_000, 15]]) {
        wakes.onSignal("online")
        const waiting = yield* Effect.forkChild(wakes.sleepUntil(minute, earliest))
        yield* pass(seconds - 0.001)
        assert.isUndefined(waiting.pollUnsafe())
        yield* pass(0.001)
        assert.isTrue(yield* Fiber.join(waiting))
      }
    }))

  it.effect("pauses at once with \"pause\", after the time with closeAfter, never with \"keep\"", () =>
    Effect.gen(function*() {
      const pausing = yield* make("pause")
      const closing = yield* make({ closeAfter: "5 minutes" })
      const keeping = yield* make("keep")
      const all = [pausing, closing, keeping]
      const paused = () => all.map((wakes) => wakes.isPaused)
      assert.deepStrictEqual(paused(), [false, false, false])
      for (const wakes of all) wakes.onSignal("hidden")
      assert.deepStrictEqual(paused(), [true, false, false])
      yield* pass(299)
      // The time counts from the first signal.
      closing.onSignal("hidden")
      yield* pass(1)
      assert.deepStrictEqual(paused(), [true, true, false])
      for (const wakes of all) wakes.onSignal("visible")
      assert.deepStrictEqual(paused(), [false, false, false])
      assert.deepStrictEqual(all.map((wakes) => wakes.closesWhileHidden), [false, true, false])
    }))

  it.effect("only \"hidden\" hides the page, and \"restored\" shows it again", () =>
    Effect.gen(function*() {
      const wakes = yield* make("pause")
      for (const signal of ["online", "offline", "retry", "restored", "visible"] as const) {
        wakes.onSignal(signal)
        assert.isFalse(wakes.isPaused)
      }
      wakes.onSignal("hidden")
      for (const signal of ["online", "offline", "retry"] as const) {
        wakes.onSignal(signal)
        assert.isTrue(wakes.isPaused)
      }
      wakes.onSignal("restored")
      assert.isFalse(wakes.isPaused)
    }))

  it.effect("hiddenTooLong waits for one stretch of time that is long enough", () =>
    Effect.gen(function*() {
      const wakes = yield* make({ closeAfter: "1 minute" })
      const waiting = yield* Effect.forkChild(wakes.hiddenTooLong)
      yield* pass(600)
      for (let i = 0; i < 3; i++) {
        wakes.onSignal("hidden")
        yield* pass(59)
        wakes.onSignal("visible")
        yield* pass(59)
      }
      assert.isUndefined(waiting.pollUnsafe())
      wakes.onSignal("hidden")
      yield* pass(60)
      assert.isDefined(waiting.pollUnsafe())
    }))

  it.effect("awaitVisible waits until the page is visible, and 5 seconds after the last attempt of a signal", () =>
    Effect.gen(function*() {
      const wakes = yield* make("pause")
      for (const seconds of [0, 5]) {
        wakes.onSignal("hidden")
        const waiting = yield* Effect.forkChild(wakes.awaitVisible(0))
        yield* settle
        assert.isUndefined(waiting.pollUnsafe())
        wakes.onSignal("visible")
        yield* pass(seconds)
        assert.isDefined(waiting.pollUnsafe())
      }
      // The signal is used up.
      const waiting = yield* Effect.forkChild(wakes.sleepUntil(minute, 0))
      yield* pass(10)
      assert.isUndefined(waiting.pollUnsafe())
    }))
})
