/** The delays between the attempts of a reconnecting client. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Schedule } from "effect"
import { HandshakeError, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { settle } from "../support/memory.ts"
import { network, refused, rejected, stateOf, watchStates } from "../support/reconnecting.ts"

describe("resetAfter", () => {
  /** Opens connections that last for these times, in milliseconds; returns the next attempt and its delay after each. */
  const attemptsAfter = (lasting: ReadonlyArray<number>, resetAfter?: Duration.Input) =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: Schedule.exponential("1 second"),
        resetAfter
      }).pipe(Effect.provide(layer))
      const seen: Array<readonly [attempt: number, delay: number]> = []
      for (const millis of lasting) {
        yield* settle
        yield* TestClock.adjust(millis)
        servers.at(-1)!.transport.destroy()
        yield* settle
        const state = stateOf(client)
        if (state._tag !== "Waiting") throw new Error(state._tag)
        seen.push([state.attempt, Duration.toMillis(state.delay)])
        yield* TestClock.adjust(state.delay)
      }
      return seen
    })

  it.effect("resetAfter: the schedule and the attempts start anew after a connection that was open for this time", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* attemptsAfter([0, 59_999, 60_000, 59_999], "1 minute"), [
        [2, 1000],
        [3, 2000],
        [1, 1000],
        [2, 2000]
      ])
    }))

  it.effect("resetAfter defaults to 5 seconds", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* attemptsAfter([4999, 5000]), [[2, 1000], [1, 1000]])
    }))

  it.effect("resetAfter: failed attempts after a connection that lasted are counted", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network(undefined, refused, refused)
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: Schedule.exponential("1 second")
      }).pipe(Effect.provide(layer))
      const states = yield* watchStates(client)
      yield* settle
      yield* TestClock.adjust("1 minute")
      servers[0].transport.destroy()
      yield* settle
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(states.filter((state) => state.startsWith("waiting")), [
        "waiting for 1, ConnectionClosed",
        "waiting for 2, ConnectFailed",
        "waiting for 3, ConnectFailed"
      ])
    }))

  it.effect("resetAfter does not count changes of the system's clock", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const { layer, servers } = yield* network()
      let ahead = 0
      const adjusted = Object.create(clock, {
        currentTimeMillisUnsafe: { value: () => clock.currentTimeMillisUnsafe() + ahead },
        currentTimeMillis: { value: Effect.sync(() => clock.currentTimeMillisUnsafe() + ahead) }
      }) as Clock.Clock
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: Schedule.max([Schedule.exponential("1 second"), Schedule.during("1 hour")])
      }).pipe(Effect.provide(layer), Effect.provideService(Clock.Clock, adjusted))
      const attempts: Array<number> = []
      const hours = 3_600_000
      for (const [jump, lasting] of [[12 * hours, 0], [12 * hours, 0], [-48 * hours, 6000]]) {
        yield* settle
        ahead += jump
        yield* TestClock.adjust(lasting)
        servers.at(-1)!.transport.destroy()
        yield* settle
        const state = stateOf(client)
        if (state._tag !== "Waiting") throw new Error(state._tag)
        attempts.push(state.attempt)
        yield* TestClock.adjust(state.delay)
      }
      assert.deepStrictEqual(attempts, [2, 3, 1])
    }))
})

describe("Retry-After", () => {
  /** The delay of a client after a failure, in milliseconds. That of the schedule is 2 seconds. */
  const delayAfter = (failure: HandshakeError.ConnectError, options?: WebSocketClient.ReconnectingOptions) =>
    Effect.gen(function*() {
      const { attempts, layer, servers } = yield* network(failure)
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: Schedule.spaced("2 seconds"),
        ...options
      }).pipe(Effect.provide(layer))
      yield* settle
      const state = stateOf(client)
      if (state._tag !== "Waiting") throw new Error(state._tag)
      const millis = Duration.toMillis(state.delay)
      // The client waits for the delay that its state has.
      yield* TestClock.adjust(millis - 1)
      yield* settle
      assert.strictEqual(attempts(), 1)
      yield* TestClock.adjust(1)
      yield* settle
      assert.strictEqual(servers.length, 1)
      return millis
    })
  const within = (millis: number, least: number) => {
    assert.isAtLeast(millis, least)
    assert.isAtMost(millis, least * 1.2 + 1)
  }

  for (const status of [429, 503]) {
    it.effect(`Retry-After of a ${status} delays the next attempt by that time and up to a fifth more`, () =>
      Effect.gen(function*() {
        const delays: Array<number> = []
        for (let i = 0; i < 5; i++) delays.push(yield* delayAfter(rejected(status, { "retry-after": "30" })))
        for (const delay of delays) within(delay, 30_000)
        assert.isAbove(new Set(delays).size, 1)
      }))
  }

  it.effect("Retry-After may be a date, which is compared with the Clock", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2030, 0, 1))
      const date = new Date(Date.UTC(2030, 0, 1, 0, 1)).toUTCString()
      within(yield* delayAfter(rejected(503, { "retry-after": date })), 60_000)
      // The date has passed now.
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* delayAfter(rejected(503, { "retry-after": date })), 2000)
    }))

  it.effect("Retry-After does not shorten the delay of the schedule", () =>
    Effect.gen(function*() {
      for (const value of ["0", "1"]) {
        assert.strictEqual(yield* delayAfter(rejected(503, { "retry-after": value })), 2000)
      }
    }))

  it.effect("ignores an invalid Retry-After", () =>
    Effect.gen(function*() {
      for (const value of ["", "-30", "30s", "1.5", "soon", "30, 30"]) {
        assert.strictEqual(yield* delayAfter(rejected(429, { "retry-after": value })), 2000)
      }
    }))

  it.effect("maxRetryAfter limits Retry-After, by default to 5 minutes", () =>
    Effect.gen(function*() {
      const endless = rejected(503, { "retry-after": "9".repeat(400) })
      within(yield* delayAfter(endless), 300_000)
      within(yield* delayAfter(endless, { maxRetryAfter: "1 hour" }), 3_600_000)
      assert.strictEqual(yield* delayAfter(endless, { maxRetryAfter: 0 }), 2000)
    }))

  it.effect("Retry-After of a redirect counts, if isFinal does not end the client", () =>
    Effect.gen(function*() {
      const redirected = new HandshakeError.HandshakeRedirected({
        status: 302,
        location: "ws://elsewhere/",
        headers: { "retry-after": "30" },
        rawHeaders: []
      })
      within(yield* delayAfter(redirected, { isFinal: () => false }), 30_000)
    }))

  it.effect("Retry-After does not change whether a failure is final", () =>
    Effect.gen(function*() {
      const { attempts, layer } = yield* network(rejected(404, { "retry-after": "1" }), rejected(503))
      const final = yield* Effect.provide(WebSocketClient.reconnecting("ws://there/"), layer)
      assert.deepInclude(yield* Effect.flip(final.closed), { _tag: "HandshakeRejected", status: 404 })
      const done = yield* WebSocketClient.reconnecting("ws://there/", { schedule: Schedule.recurs(0) }).pipe(
        Effect.provide(layer)
      )
      assert.deepInclude(yield* Effect.flip(done.closed), { _tag: "HandshakeRejected", status: 503 })
      assert.strictEqual(attempts(), 2)
    }))
})
