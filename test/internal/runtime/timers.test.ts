import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Clock, type Duration, Effect, Schema } from "effect"
import { TestClock } from "effect/testing"
import { type Timer, Timers } from "../../../src/internal/runtime/timers.ts"
import { settle } from "../../support/memory.ts"
import { eventually } from "../../support/resources.ts"

const timersOf = Effect.map(Effect.context<never>(), (context) => Timers.of(context))

describe("Timers", () => {
  it.effect("fires in the order of the deadlines, each at its deadline", () =>
    Effect.gen(function*() {
      const timers = yield* timersOf
      const fired: Array<string> = []
      timers.schedule(3000, () => fired.push("c"))
      timers.schedule(1000, () => fired.push("a"))
      timers.schedule(2000, () => fired.push("b"))
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(fired, [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(fired, ["a"])
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(fired, ["a", "b", "c"])
    }))

  it.effect("calls onTimer of an object", () =>
    Effect.gen(function*() {
      const timers = yield* timersOf
      const target = { fired: 0, onTimer: () => void target.fired++ }
      timers.schedule(1000, target)
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual(target.fired, 1)
    }))

  it.effect("fires no cancelled timer, and no timer twice", () =>
    Effect.gen(function*() {
      const timers = yield* timersOf
      const fired: Array<string> = []
      const first = timers.schedule(1000, () => fired.push("a"))
      timers.schedule(1000, () => fired.push("b"))
      timers.cancel(first)
      timers.cancel(first)
      timers.cancel(undefined)
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(fired, ["b"])
      timers.cancel(first)
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(fired, ["b"])
    }))

  it.live("fires a timer that is due at once in a later turn, after schedule has returned", () =>
    Effect.gen(function*() {
      const timers = yield* timersOf
      const fired: Array<number> = []
      for (let i = 0; i < 10; i++) timers.schedule(0, () => fired.push(i))
      assert.deepStrictEqual(fired, [])
      yield* eventually(() => fired.length === 10)
    }))

  it.effect("fires later timers after the timer that the fiber slept for was cancelled", () =>
    Effect.gen(function*() {
      const timers = yield* timersOf
      const fired: Array<string> = []
      const early = timers.schedule(1000, () => fired.push("early"))
      timers.schedule(5000, () => fired.push("late"))
      timers.cancel(early)
      timers.schedule(3000, () => fired.push("between"))
      timers.schedule(500, () => fired.push("soon"))
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(fired, ["soon"])
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(fired, ["soon", "between", "late"])
    }))

  it.effect("a callback can schedule and cancel timers", () =>
    Effect.gen(function*() {
      const timers = yield* timersOf
      const fired: Array<string> = []
      const victim = timers.schedule(1000, () => fired.push("cancelled"))
      timers.schedule(900, () => {
        timers.cancel(victim)
        timers.schedule(50, () => fired.push("next"))
        timers.schedule(0, () => fired.push("at once"))
      })
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(fired, ["at once", "next"])
    }))

  it.effect("never fires a timer with an infinite duration", () =>
    Effect.gen(function*() {
      const timers = yield* timersOf
      const timer = timers.schedule(Number.POSITIVE_INFINITY, () => assert.fail("it came"))
      assert.deepStrictEqual([timer.deadline, timer.index], [Number.POSITIVE_INFINITY, -1])
      yield* TestClock.adjust("100 days")
      timers.cancel(timer)
    }))

  /** Timers on a Clock that counts how often it was asked to sleep, and how many sleep now. */
  const countingSleeps = Effect.map(Clock.Clock, (clock) => {
    const sleeps = { begun: 0, now: 0 }
    const counting: Clock.Clock = Object.create(clock, {
      sleep: {
        value: (duration: Duration.Duration) =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              sleeps.begun++
              sleeps.now++
            }),
            () => clock.sleep(duration),
            () => Effect.sync(() => sleeps.now--)
          )
      }
    })
    return { timers: new Timers(counting), sleeps }
  })

  it.effect("sleeps once for all timers, and not after the last is cancelled", () =>
    Effect.gen(function*() {
      const { sleeps, timers } = yield* countingSleeps
      const all = [1000, 2000, 3000].map((millis) => timers.schedule(millis, () => assert.fail("it came")))
      yield* settle
      assert.deepStrictEqual(sleeps, { begun: 1, now: 1 })
      for (const timer of [all[1], all[0]]) timers.cancel(timer)
      yield* settle
      assert.deepStrictEqual(sleeps, { begun: 1, now: 1 })
      timers.cancel(all[2])
      yield* settle
      assert.deepStrictEqual(sleeps, { begun: 1, now: 0 })
    }))

  it.effect("sleeps once for all timers that callbacks schedule and cancel", () =>
    Effect.gen(function*() {
      const { sleeps, timers } = yield* countingSleeps
      timers.schedule(1000, () => {
        for (const millis of [5000, 3000, 1000]) timers.schedule(millis, () => {})
      })
      timers.schedule(2000, () => {
        timers.cancel(timers.schedule(1000, () => assert.fail("it came")))
      })
      yield* settle
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(sleeps, { begun: 2, now: 1 })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(sleeps, { begun: 3, now: 1 })
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(sleeps, { begun: 4, now: 0 })
    }))

  it.effect("nextPhase spreads repetitions evenly, with the same sequence for each Clock", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const phases = (count: number) => {
        const timers = new Timers(clock)
        return Array.from({ length: count }, () => timers.nextPhase())
      }
      assert.deepStrictEqual(phases(10), phases(10))
      for (const count of [10, 100, 1000]) {
        const sorted = phases(count).toSorted((a, b) => a - b)
        const gaps = [...sorted, 1].map((phase, i) => phase - (sorted[i - 1] ?? 0))
        assert.isAtLeast(sorted[0], 0)
        assert.isBelow(Math.max(...gaps), 2 / count)
      }
    }))

  it.effect("Timers.of returns one instance per Clock", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* timersOf, yield* timersOf)
    }))

  const moments = Arbitrary.array(Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 50 }))), {
    minLength: 1,
    maxLength: 60
  })

  it.effect.prop(
    "fires what is left, sorted, whatever is cancelled",
    [moments, moments],
    ([delays, cancelled]) =>
      Effect.gen(function*() {
        const timers = yield* timersOf
        const fired: Array<number> = []
        const scheduled = delays.map((delay): { readonly delay: number; readonly timer: Timer } => ({
          delay,
          timer: timers.schedule(delay * 1000 + 1, () => fired.push(delay))
        }))
        const left = new Set(scheduled)
        for (const index of cancelled) {
          const one = scheduled[index]
          if (one === undefined) continue
          timers.cancel(one.timer)
          left.delete(one)
        }
        yield* TestClock.adjust("51 seconds")
        assert.deepStrictEqual(fired, Array.from(left, ({ delay }) => delay).toSorted((a, b) => a - b))
      })
  )
})
