import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import type { KeepaliveTimeout } from "../../../src/ConnectionError.ts"
import type * as Heartbeat from "../../../src/Heartbeat.ts"
import { Heart } from "../../../src/internal/reconnecting/heartbeat.ts"
import { settle } from "../../support/memory.ts"
import { makeFakeConnection } from "../../support/messageConnection.ts"
import { withSkew } from "../../support/skewedClock.ts"

/** A peer whose signs of life are set by hand. It counts heartbeats, and keeps the causes that its connection failed with. */
const makePeer = (options?: Partial<Heartbeat.Options>) =>
  Effect.gen(function*() {
    const peer = {
      asked: 0,
      failures: [] as Array<unknown>,
      received: 0,
      isPaused: false,
      bufferedAmount: 0,
      /** Whether there is room for a heartbeat. */
      hasRoom: true
    }
    const connection = makeFakeConnection({
      activity: Effect.sync(() => ({ received: peer.received, isPaused: peer.isPaused })),
      bufferedAmount: Effect.sync(() => peer.bufferedAmount),
      send: (message) =>
        Effect.suspend(() => {
          assert.strictEqual(message, "ping")
          if (!peer.hasRoom) return Effect.never
          peer.asked++
          return Effect.void
        }),
      fail: (cause) => Effect.sync(() => peer.failures.push(cause)) as unknown as Effect.Effect<never>
    })
    const heart = new Heart(connection, { message: "ping", interval: "30 seconds", timeout: "10 seconds", ...options })
    const fiber = yield* Effect.forkScoped(heart.beat)
    yield* settle
    return { fiber, heart, peer }
  })

const pass = (seconds: number) => Effect.andThen(TestClock.adjust(seconds * 1000), settle)

/** How long the peer was silent, in seconds, when its connection failed. */
const silence = (failures: ReadonlyArray<unknown>) =>
  failures.map((failure) => Duration.toSeconds((failure as KeepaliveTimeout).duration))

describe("Heart", () => {
  it.effect("asks a silent peer after the interval, and fails the connection after the timeout", () =>
    Effect.gen(function*() {
      const { fiber, peer } = yield* makePeer()
      yield* pass(29.9)
      assert.strictEqual(peer.asked, 0)
      yield* pass(0.1)
      assert.strictEqual(peer.asked, 1)
      yield* pass(9.9)
      assert.deepStrictEqual(peer.failures, [])
      yield* pass(0.1)
      assert.deepStrictEqual(silence(peer.failures), [10])
      assert.isDefined(fiber.pollUnsafe())
    }))

  it.effect("asks after 30 seconds, and fails after 10, by default", () =>
    Effect.gen(function*() {
      const { peer } = yield* makePeer({ interval: undefined, timeout: undefined })
      yield* pass(29.999)
      assert.strictEqual(peer.asked, 0)
      yield* pass(0.001)
      assert.strictEqual(peer.asked, 1)
      yield* pass(10)
      assert.deepStrictEqual(silence(peer.failures), [10])
    }))

  it.effect("does not ask a peer that sends", () =>
    Effect.gen(function*() {
      const { peer } = yield* makePeer()
      for (let i = 0; i < 5; i++) {
        peer.received++
        yield* pass(30)
      }
      assert.strictEqual(peer.asked, 0)
    }))

  for (
    const [about, live] of [
      ["sends anything", { received: 1 }],
      ["is held back by this end", { isPaused: true }],
      ["reads what was in its way", { bufferedAmount: 99 }]
    ] as const
  ) {
    it.effect(`does not fail the connection of a peer that was asked and ${about}`, () =>
      Effect.gen(function*() {
        const { peer } = yield* makePeer()
        peer.bufferedAmount = 100
        yield* pass(30)
        Object.assign(peer, live)
        yield* pass(10)
        assert.deepStrictEqual([peer.asked, peer.failures.length], [1, 0])
        // It is asked again, and fails if it is silent then.
        peer.isPaused = false
        yield* pass(30)
        assert.strictEqual(peer.asked, 2)
        yield* pass(10)
        assert.strictEqual(peer.failures.length, 1)
      }))
  }

  it.effect("fails a connection that has no room for the heartbeat, if nothing leaves", () =>
    Effect.gen(function*() {
      const { peer } = yield* makePeer()
      peer.hasRoom = false
      yield* pass(40)
      assert.deepStrictEqual([peer.asked, peer.failures.length], [0, 1])
    }))

  it.effect("nudge asks at once, with a deadline of 5 seconds", () =>
    Effect.gen(function*() {
      const { heart, peer } = yield* makePeer()
      yield* pass(1)
      heart.nudge()
      yield* settle
      assert.strictEqual(peer.asked, 1)
      yield* pass(4.9)
      assert.deepStrictEqual(peer.failures, [])
      yield* pass(0.1)
      assert.deepStrictEqual(silence(peer.failures), [5])
    }))

  it.effect("a nudge that the peer has replied to asks no more until the interval has passed", () =>
    Effect.gen(function*() {
      const { heart, peer } = yield* makePeer()
      heart.nudge()
      yield* settle
      peer.received++
      yield* pass(5)
      yield* pass(29.9)
      assert.strictEqual(peer.asked, 1)
      yield* pass(0.1)
      assert.strictEqual(peer.asked, 2)
    }))

  it.effect("nudge does not ask again while the peer is asked", () =>
    Effect.gen(function*() {
      const { heart, peer } = yield* makePeer({ timeout: "2 seconds" })
      heart.nudge()
      yield* settle
      for (let i = 0; i < 10; i++) heart.nudge()
      peer.received++
      yield* pass(1)
      assert.strictEqual(peer.asked, 1)
    }))
})

describe("Heart and late timers", () => {
  for (const clock of ["monotonic", "wall"] as const) {
    it.effect(`asks once more with a short deadline if the timer of a deadline was late by the ${clock} clock`, () =>
      withSkew((skew) =>
        Effect.gen(function*() {
          const { peer } = yield* makePeer()
          yield* pass(30)
          skew[clock] += 3_600_000
          yield* pass(10)
          assert.deepStrictEqual([peer.asked, peer.failures.length], [2, 0])
          yield* pass(4.9)
          assert.deepStrictEqual(peer.failures, [])
          yield* pass(0.1)
          assert.deepStrictEqual(silence(peer.failures), [5])
        })
      ))

    it.effect(`asks with a short deadline if the timer of the interval was late by the ${clock} clock`, () =>
      withSkew((skew) =>
        Effect.gen(function*() {
          const { peer } = yield* makePeer()
          // What arrived before the computer slept tells nothing about now.
          peer.received++
          skew[clock] += 3_600_000
          yield* pass(30)
          assert.strictEqual(peer.asked, 1)
          yield* pass(5)
          assert.deepStrictEqual(silence(peer.failures), [5])
        })
      ))
  }

  it.effect("never fails the connection at a late timer, however many follow each other", () =>
    withSkew((skew) =>
      Effect.gen(function*() {
        const { peer } = yield* makePeer()
        yield* pass(30)
        for (let i = 0; i < 100; i++) {
          skew.monotonic += 60_000
          yield* pass(i === 0 ? 10 : 5)
        }
        assert.deepStrictEqual([peer.asked, peer.failures.length], [101, 0])
        peer.received++
        yield* pass(5)
        assert.deepStrictEqual(peer.failures, [])
      })
    ))

  for (const [late, asked] of [[1000, 1], [1001, 2]] as const) {
    it.effect(`asks ${asked === 1 ? "once" : "once more"} if the timer is ${late} milliseconds late`, () =>
      withSkew((skew) =>
        Effect.gen(function*() {
          const { peer } = yield* makePeer()
          yield* pass(30)
          skew.monotonic += late
          yield* pass(10)
          assert.deepStrictEqual([peer.asked, peer.failures.length], [asked, 2 - asked])
        })
      ))
  }

  it.effect("does not take a system clock that is set back for a late timer", () =>
    withSkew((skew) =>
      Effect.gen(function*() {
        const { peer } = yield* makePeer()
        yield* pass(30)
        skew.wall -= 3_600_000
        yield* pass(10)
        assert.deepStrictEqual(silence(peer.failures), [10])
      })
    ))
})
