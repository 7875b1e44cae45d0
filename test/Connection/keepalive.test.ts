import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import { Connection, Frame } from "effect-ws"
import { TestClock } from "effect/testing"
import { makeNetwork } from "../fuzz/transport.ts"
import { makeRaw, opcodesOf, settle } from "../support/memory.ts"

const bytes = (...values: Array<number>) => Uint8Array.from(values)

describe("keepalive", () => {
  const keepalive = { interval: "10 seconds", timeout: "5 seconds" } as const

  it.effect("pings each interval, and keeps the connection open if the peer replies", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", keepalive })
      for (let i = 1; i <= 3; i++) {
        yield* TestClock.adjust("10 seconds")
        yield* settle
        assert.strictEqual(peer.received.length, i)
        peer.send(Frame.pong(peer.received.at(-1)!.payload))
        yield* settle
      }
      assert.deepStrictEqual(opcodesOf(peer.received), [9, 9, 9])
      yield* connection.send("alive")
    }))

  it.effect("closes the connection when the peer sends nothing", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", keepalive })
      const fiber = yield* Effect.forkChild(connection.receive)
      yield* TestClock.adjust("15 seconds")
      const ended = yield* Effect.flip(Fiber.join(fiber))
      assert.strictEqual(ended.cause?._tag, "KeepaliveTimeout")
      assert.deepStrictEqual(ended.sent, { code: 1011, reason: "KeepaliveTimeout" })
      assert.deepStrictEqual(yield* connection.closed, ended)
      assert.deepStrictEqual(opcodesOf(peer.received), [9, 8])
    }))

  it.effect("counts any bytes of the peer as a sign of life", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", keepalive })
      yield* TestClock.adjust("10 seconds")
      // Part of a long message, whose end is still on its way: the pong must stand behind it.
      peer.sendBytes(bytes(0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4, 5))
      yield* TestClock.adjust("5 seconds")
      yield* connection.send("alive")
    }))

  it.effect("does not time out while this end reads nothing", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", keepalive, inboundHighWaterMark: 100 })
      peer.send(Frame.binary(new Uint8Array(200)))
      yield* settle
      yield* TestClock.adjust("60 seconds")
      yield* connection.send("alive")
    }))

  it.effect("stops when closing begins: no ping follows the close frame, and closeTimeout applies", () =>
    Effect.gen(function*() {
      for (const before of [1, 10] as const) {
        const { connection, peer } = yield* makeRaw({
          role: "server",
          keepalive: { interval: "10 seconds", timeout: "10 seconds" },
          closeTimeout: "1 minute"
        })
        yield* TestClock.adjust(Duration.seconds(before))
        const fiber = yield* Effect.forkChild(connection.close(1000), { startImmediately: true })
        yield* TestClock.adjust("59 seconds")
        yield* settle
        assert.isUndefined(fiber.pollUnsafe())
        assert.deepStrictEqual(opcodesOf(peer.received), before < 10 ? [8] : [9, 8])
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Fiber.join(fiber)).cause?._tag, "CloseTimeout")
      }
    }))

  it.effect("pings each 20 seconds by default", () =>
    Effect.gen(function*() {
      const { peer } = yield* makeRaw({ role: "server", keepalive: {} })
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(peer.received.length, 0)
      yield* TestClock.adjust("10 seconds")
      yield* settle
      assert.deepStrictEqual(opcodesOf(peer.received), [9])
      peer.send(Frame.pong(peer.received[0].payload))
      yield* settle
      yield* TestClock.adjust("19999 millis")
      assert.strictEqual(peer.received.length, 1)
      yield* TestClock.adjust("1 millis")
      yield* settle
      assert.strictEqual(peer.received.length, 2)
    }))

  it.effect("does not ping all connections at the same time", () =>
    Effect.gen(function*() {
      const peers = yield* Effect.replicateEffect(
        Effect.map(makeRaw({ role: "server", keepalive }), ({ peer }) => peer),
        100
      )
      yield* TestClock.adjust("5 seconds")
      let before = 0
      for (let i = 0; i < 10; i++) {
        yield* TestClock.adjust("500 millis")
        yield* settle
        const pinged = peers.filter(({ received }) => received.length > 0).length
        assert.isAtMost(pinged - before, 12)
        before = pinged
      }
      assert.strictEqual(before, 100)
    }))

  it.effect("does not count the time in which the event loop was blocked", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", keepalive })
      yield* TestClock.adjust("10 seconds")
      yield* settle
      // The pong has arrived and is unread: the event loop has no turn while the clock goes on.
      const pong = Frame.encode(Frame.pong(peer.received[0].payload), 1)
      setImmediate(() => peer.sendBytes(pong))
      yield* TestClock.adjust("5 seconds")
      yield* settle
      yield* connection.send("alive")
    }))

  it.effect("waits for the pong while the peer reads a long message before the ping", () =>
    Effect.gen(function*() {
      const network = makeNetwork(1000)
      const connection = yield* Connection.make(network.transport, {
        role: "server",
        keepalive,
        writeTimeout: Duration.infinity,
        closeTimeout: 0
      })
      yield* connection.send(new Uint8Array(100_000))
      yield* settle
      for (let i = 0; i < 20; i++) {
        network.drain(1000)
        yield* TestClock.adjust("1 second")
        yield* settle
      }
      assert.strictEqual((yield* connection.stats).bytesOut, 100_010)
      // It takes nothing any more.
      yield* TestClock.adjust("25 seconds")
      yield* settle
      assert.strictEqual((yield* connection.closed).cause?._tag, "KeepaliveTimeout")
    }))
})
