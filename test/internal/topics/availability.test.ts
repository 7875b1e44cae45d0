import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Queue, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { Broker } from "effect-ws"
import { Availability } from "../../../src/internal/topics/availability.ts"
import { settle } from "../../support/memory.ts"

const down: Broker.Status = { _tag: "Down", cause: "refused" }
const up: Broker.Status = { _tag: "Up" }

const make = Effect.gen(function*() {
  const statuses = yield* Queue.unbounded<Broker.Status>()
  const availability = yield* Availability.make(Stream.fromQueue(statuses))
  yield* Effect.forkScoped(availability.watch)
  const log: Array<string> = []
  yield* Effect.forkScoped(
    Stream.runForEach(availability.changes, ({ _tag }) => Effect.sync(() => void log.push(_tag)))
  )
  const tell = (...values: ReadonlyArray<Broker.Status>) => Effect.andThen(Queue.offerAll(statuses, values), settle)
  return { availability, log, tell }
})

describe("Availability", () => {
  it.effect("follows Up with Resynced once no channel reads what it missed", () =>
    Effect.gen(function*() {
      const { availability, log, tell } = yield* make
      yield* tell(up)
      yield* availability.onHealing(true)
      yield* availability.onHealing(true)
      yield* tell(down)
      yield* availability.onHealing(false)
      yield* tell(up)
      assert.deepStrictEqual(log, ["Up", "Down", "Up"])
      yield* Effect.andThen(availability.onHealing(false), settle)
      assert.deepStrictEqual(log, ["Up", "Down", "Up", "Resynced"])
      yield* Effect.andThen(availability.onHealing(true), availability.onHealing(false))
      yield* tell(up)
      assert.deepStrictEqual(log, ["Up", "Down", "Up", "Resynced", "Up"])
    }))

  it.effect("does not tell Resynced while the broker is down", () =>
    Effect.gen(function*() {
      const { availability, log, tell } = yield* make
      yield* tell(down)
      yield* availability.onHealing(true)
      yield* Effect.andThen(availability.onHealing(false), settle)
      assert.deepStrictEqual(log, ["Down"])
      yield* tell(up)
      assert.deepStrictEqual(log, ["Down", "Up", "Resynced"])
    }))

  it.effect("delays a read by 100 milliseconds, twice as long after each failure, and by 2 seconds at most", () =>
    Effect.gen(function*() {
      const { availability } = yield* make
      for (const [failures, delay] of [[0, 100], [1, 200], [4, 1600], [5, 2000], [100, 2000]] as const) {
        const fiber = yield* Effect.forkChild(availability.delay(failures), { startImmediately: true })
        yield* TestClock.adjust(delay - 1)
        assert.isUndefined(fiber.pollUnsafe(), `${failures}`)
        yield* TestClock.adjust(1)
        yield* Fiber.join(fiber)
      }
    }))

  it.effect("ends a delay when the broker is up again, and does not shorten it while the broker is up", () =>
    Effect.gen(function*() {
      const { availability, tell } = yield* make
      yield* tell(down)
      const fiber = yield* Effect.forkChild(availability.delay(9), { startImmediately: true })
      yield* settle
      assert.isUndefined(fiber.pollUnsafe())
      yield* tell(up)
      yield* Fiber.join(fiber)
      const next = yield* Effect.forkChild(availability.delay(9), { startImmediately: true })
      yield* settle
      assert.isUndefined(next.pollUnsafe())
      yield* tell(down)
      assert.isUndefined(next.pollUnsafe())
    }))
})
