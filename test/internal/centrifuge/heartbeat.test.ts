/** Pings of the protocol, on a test clock. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Heartbeat } from "../../../src/internal/centrifuge/heartbeat.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"

const setUp = Effect.map(Effect.context<never>(), (context) => {
  const state = { pings: 0, timeouts: 0, isBusy: false, isBlocked: false, unblock: () => {} }
  const heartbeat = new Heartbeat(Timers.of(context), 1000, 300, {
    ping: (sent) => {
      state.pings++
      if (state.isBlocked) state.unblock = sent
      else sent()
    },
    isBusy: () => state.isBusy,
    onTimeout: () => void state.timeouts++
  })
  return { heartbeat, state }
})

/** The first ping comes at some time between 500 and 1,000 ms. */
const first = TestClock.adjust("1000 millis")

describe("a heartbeat", () => {
  it.effect("pings first between half an interval and a whole one", () =>
    Effect.gen(function*() {
      const { heartbeat, state } = yield* setUp
      heartbeat.start()
      yield* TestClock.adjust("499 millis")
      assert.strictEqual(state.pings, 0)
      yield* TestClock.adjust("501 millis")
      assert.strictEqual(state.pings, 1)
    }))

  it.effect("expects a pong for each ping, and tells whether one was due", () =>
    Effect.gen(function*() {
      const { heartbeat, state } = yield* setUp
      assert.isFalse(heartbeat.pong())
      heartbeat.start()
      yield* first
      assert.isTrue(heartbeat.pong())
      assert.isFalse(heartbeat.pong())
      for (let i = 0; i < 3; i++) {
        yield* TestClock.adjust("1000 millis")
        assert.isTrue(heartbeat.pong())
      }
      assert.deepStrictEqual([state.pings, state.timeouts], [4, 0])
    }))

  it.effect("times out without a pong", () =>
    Effect.gen(function*() {
      const { heartbeat, state } = yield* setUp
      heartbeat.start()
      yield* TestClock.adjust("1300 millis")
      assert.strictEqual(state.timeouts, 1)
    }))

  it.effect("counts the time for a pong from when the ping was sent", () =>
    Effect.gen(function*() {
      const { heartbeat, state } = yield* setUp
      state.isBlocked = true
      heartbeat.start()
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([state.pings, state.timeouts], [1, 0])
      state.unblock()
      yield* TestClock.adjust("299 millis")
      assert.strictEqual(state.timeouts, 0)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(state.timeouts, 1)
    }))

  it.effect("gives a busy server more time to read the pong", () =>
    Effect.gen(function*() {
      const { heartbeat, state } = yield* setUp
      heartbeat.start()
      state.isBusy = true
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([state.pings, state.timeouts], [1, 0])
      state.isBusy = false
      yield* TestClock.adjust("300 millis")
      assert.strictEqual(state.timeouts, 1)
    }))

  it.effect("does nothing once it is stopped", () =>
    Effect.gen(function*() {
      const { heartbeat, state } = yield* setUp
      heartbeat.start()
      heartbeat.stop()
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(state.pings, 0)
    }))
})
