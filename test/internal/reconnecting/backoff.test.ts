import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { HandshakeRejected, HandshakeTimeout } from "../../../src/HandshakeError.ts"
import { type Backoff, makeBackoff } from "../../../src/internal/reconnecting/backoff.ts"

const timeout = new HandshakeTimeout({
  url: "ws://a.example/",
  phase: "connect",
  duration: Duration.seconds(1),
  addresses: []
})
const busy = (retryAfter: string) =>
  new HandshakeRejected({ status: 503, headers: { "retry-after": retryAfter }, rawHeaders: [], body: "" })

/** The number of the next attempt, and the delay before it in milliseconds. */
const next = <E3, R3>(backoff: Backoff<never, E3, R3>, failure: HandshakeRejected | HandshakeTimeout = timeout) =>
  Effect.map(backoff.next(failure), (delay) => [backoff.attempt, delay && Duration.toMillis(delay.duration)] as const)

describe("makeBackoff", () => {
  it.effect("counts attempts, and takes their delays from the schedule until it ends", () =>
    Effect.gen(function*() {
      const schedule = Schedule.max([Schedule.exponential("1 second"), Schedule.recurs(2)])
      const backoff = yield* makeBackoff({ schedule })
      assert.strictEqual(backoff.attempt, 1)
      assert.deepStrictEqual(yield* next(backoff), [2, 1000])
      assert.deepStrictEqual(yield* next(backoff), [3, 2000])
      assert.deepStrictEqual(yield* next(backoff), [4, undefined])
    }))

  it.effect("restarts after a connection that lasted for resetAfter", () =>
    Effect.gen(function*() {
      const backoff = yield* makeBackoff({ schedule: Schedule.exponential("1 second"), resetAfter: "1 minute" })
      yield* next(backoff)
      backoff.opened()
      yield* TestClock.adjust(59_999)
      assert.deepStrictEqual(yield* next(backoff), [3, 2000])
      backoff.opened()
      yield* TestClock.adjust(60_000)
      assert.deepStrictEqual(yield* next(backoff), [1, 1000])
      // A failed attempt has not lasted, although its predecessor did.
      yield* TestClock.adjust(60_000)
      assert.deepStrictEqual(yield* next(backoff), [2, 2000])
    }))

  it.effect("prefers a longer Retry-After up to maxRetryAfter, with up to a fifth more", () =>
    Effect.gen(function*() {
      const backoff = yield* makeBackoff({ schedule: Schedule.spaced("2 seconds"), maxRetryAfter: "1 minute" })
      for (const [value, base] of [["1", 2000], ["30", 30_000], ["3600", 60_000], ["soon", 2000]] as const) {
        const [, delay = 0] = yield* next(backoff, busy(value))
        assert.isAtLeast(delay, base)
        assert.isAtMost(delay, base === 2000 ? base : base * 1.2 + 1)
      }
    }))

  it.effect("returns a Retry-After as the least delay, also where the schedule's is longer", () =>
    Effect.gen(function*() {
      const backoff = yield* makeBackoff({ schedule: Schedule.spaced("1 minute") })
      const none = yield* backoff.next(timeout)
      assert.strictEqual(none && Duration.toMillis(none.least), 0)
      const asked = yield* backoff.next(busy("30"))
      assert.isAtLeast(asked === undefined ? 0 : Duration.toMillis(asked.least), 30_000)
      assert.strictEqual(asked && Duration.toMillis(asked.duration), 60_000)
    }))

  it.effect("restart starts the schedule and the attempts anew", () =>
    Effect.gen(function*() {
      const backoff = yield* makeBackoff({ schedule: Schedule.exponential("1 second") })
      yield* next(backoff)
      yield* next(backoff)
      yield* backoff.restart
      assert.strictEqual(backoff.attempt, 1)
      assert.deepStrictEqual(yield* next(backoff), [2, 1000])
    }))

  it.effect("fails with the error of the schedule", () =>
    Effect.gen(function*() {
      const schedule = Schedule.tap(Schedule.forever, () => Effect.fail("no schedule"))
      const backoff = yield* makeBackoff({ schedule })
      assert.strictEqual(yield* Effect.flip(backoff.next(timeout)), "no schedule")
    }))
})
