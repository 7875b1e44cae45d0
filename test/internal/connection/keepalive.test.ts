import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { type ConnectionError, Frame } from "effect-ws"
import { TestClock } from "effect/testing"
import { Keepalive } from "../../../src/internal/connection/keepalive.ts"
import { settle } from "../../support/memory.ts"
import { makeSendQueueWithClock } from "../../support/sendQueue.ts"

/** A keepalive of 10 seconds with a timeout of 5. */
const begin = Effect.map(makeSendQueueWithClock(), ({ host, network, pings, sendQueue, controlFrames }) => {
  const timeouts: Array<ConnectionError.KeepaliveTimeout> = []
  const target = {
    pings,
    sendQueue,
    timers: host.timers,
    bytesIn: 0,
    isPaused: false,
    onKeepaliveTimeout: (timeout: ConnectionError.KeepaliveTimeout) => void timeouts.push(timeout)
  }
  const keepalive = new Keepalive(target, 10_000, 5000)
  keepalive.start()
  const drain = (bytes = Number.POSITIVE_INFINITY) => {
    network.drain(bytes)
    keepalive.onDrain()
  }
  return { drain, keepalive, pings, sendQueue, target, timeouts, wire: controlFrames }
})

const bytes = (text: string) => new TextEncoder().encode(text)

describe("Keepalive", () => {
  it.effect("pings each interval, and calls onKeepaliveTimeout when the peer sends nothing", () =>
    Effect.gen(function*() {
      const { drain, pings, timeouts, target, wire } = yield* begin
      yield* TestClock.adjust("10 seconds")
      drain()
      pings.onPong(bytes("effect-ws 1"))
      yield* TestClock.adjust("10 seconds")
      target.bytesIn++
      yield* TestClock.adjust("15 seconds")
      assert.deepStrictEqual(wire(), ["ping effect-ws 1", "ping effect-ws 2"])
      drain()
      assert.deepStrictEqual(wire().at(-1), "ping effect-ws 3")
      assert.deepStrictEqual(timeouts, [])
      target.isPaused = true
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(timeouts, [])
      target.isPaused = false
      yield* TestClock.adjust("15 seconds")
      // Some 40 bytes of pings are unread.
      assert.deepStrictEqual(timeouts.map(({ duration }) => Duration.toMillis(duration)), [5005])
    }))

  it.effect("waits one second more for each 8 KiB before the ping that the peer may not have read", () =>
    Effect.gen(function*() {
      const { drain, sendQueue, pings, timeouts } = yield* begin
      for (const before of ["before any pong", "after the first pong"]) {
        sendQueue.write(Frame.binary(new Uint8Array(80 * 1024)))
        drain()
        yield* TestClock.adjust("10 seconds")
        drain()
        yield* TestClock.adjust("11 seconds")
        yield* settle
        assert.deepStrictEqual(timeouts, [], before)
        pings.onPong(bytes(`effect-ws ${before.startsWith("before") ? 1 : 2}`))
      }
      sendQueue.write(Frame.binary(new Uint8Array(80 * 1024)))
      drain()
      yield* TestClock.adjust("10 seconds")
      drain()
      yield* TestClock.adjust("16 seconds")
      yield* settle
      assert.strictEqual(timeouts.length, 1)
    }))

  it.effect("counts bytes that leave before the ping as a sign of life", () =>
    Effect.gen(function*() {
      const { drain, sendQueue, timeouts } = yield* begin
      sendQueue.write(Frame.binary(new Uint8Array(5)))
      yield* TestClock.adjust("10 seconds")
      for (let i = 0; i < 5; i++) {
        drain(1)
        yield* TestClock.adjust("4 seconds")
        yield* settle
      }
      assert.deepStrictEqual(timeouts, [])
      yield* TestClock.adjust("1 minute")
      yield* settle
      assert.lengthOf(timeouts, 1)
    }))

  it.effect("does not count bytes that leave behind the ping as a sign of life", () =>
    Effect.gen(function*() {
      const { drain, sendQueue, timeouts } = yield* begin
      yield* TestClock.adjust("10 seconds")
      drain()
      for (let i = 0; i < 20; i++) {
        sendQueue.write(Frame.binary(new Uint8Array(10)))
        drain(5)
        yield* TestClock.adjust("251 millis")
      }
      yield* settle
      assert.strictEqual(timeouts.length, 1)
    }))

  it.effect("learns from a late pong what the peer has read, even after other signs of life", () =>
    Effect.gen(function*() {
      const { drain, sendQueue, pings, timeouts, target } = yield* begin
      sendQueue.write(Frame.binary(new Uint8Array(8 * 1024 * 1024)))
      drain()
      yield* TestClock.adjust("10 seconds")
      drain()
      target.bytesIn++
      // Until the next sample: the watch over the whole message takes four.
      yield* TestClock.adjust("260 seconds")
      assert.strictEqual(timeouts.length, 0)
      pings.onPong(bytes("effect-ws 1"))
      yield* TestClock.adjust("10 seconds")
      drain()
      yield* TestClock.adjust("6 seconds")
      yield* settle
      assert.strictEqual(timeouts.length, 1)
    }))

  it.effect("sends no pings and reports no timeout once it is stopped", () =>
    Effect.gen(function*() {
      const { keepalive, timeouts, wire } = yield* begin
      yield* TestClock.adjust("10 seconds")
      keepalive.stop()
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([wire().length, timeouts.length], [1, 0])
    }))
})
