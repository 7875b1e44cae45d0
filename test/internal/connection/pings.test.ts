import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber } from "effect"
import { ConnectionError, Frame } from "effect-ws"
import { TestClock } from "effect/testing"
import { makeRaw, settle } from "../../support/memory.ts"
import { makeSendQueueWithClock } from "../../support/sendQueue.ts"

const make = Effect.map(makeSendQueueWithClock(), (made) => ({ ...made, wire: made.controlFrames }))

const bytes = (text: string) => new TextEncoder().encode(text)
const start = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })
const drain = Number.POSITIVE_INFINITY

describe("Pings", () => {
  it.effect("returns the round-trip time; a pong replies to the pings before its own too", () =>
    Effect.gen(function*() {
      const { network, pings, wire } = yield* make
      const first = yield* start(pings.pingWith("a"))
      const second = yield* start(pings.pingWith(bytes("b")))
      const third = yield* start(pings.pingWith("ccc"))
      yield* TestClock.adjust("3 seconds")
      pings.onPong(bytes("unsolicited"))
      assert.isUndefined(first.pollUnsafe())
      pings.onPong(bytes("b"))
      const times = yield* Fiber.joinAll([first, second])
      assert.deepStrictEqual(times.map(Duration.toMillis), [3000, 3000])
      assert.isUndefined(third.pollUnsafe())
      // Above the high-water mark, no further ping is sent.
      const fourth = yield* start(pings.ping())
      assert.deepStrictEqual(wire(), ["ping a", "ping b", "ping ccc"])
      network.drain(drain)
      assert.deepStrictEqual(wire(), ["ping a", "ping b", "ping ccc", "ping effect-ws 1"])
      yield* Fiber.interruptAll([third, fourth])
      pings.onPong(bytes("ccc"))
    }))

  it.effect("reports the end as observed if a ping waits for it", () =>
    Effect.gen(function*() {
      const ended = new ConnectionError.ConnectionClosed({
        sent: undefined,
        received: undefined,
        closedBy: undefined,
        cause: new ConnectionError.UnexpectedEof()
      })
      const { calls, pings } = yield* make
      const ping = yield* start(Effect.flip(pings.ping()))
      pings.close(ended)
      assert.strictEqual(yield* Fiber.join(ping), ended)
      const quiet = yield* make
      quiet.pings.close(ended)
      assert.deepStrictEqual([calls, quiet.calls].map((all) => all.includes("onObserved")), [true, false])
    }))

  it.effect("ignores a pong that no ping awaits", () =>
    Effect.map(make, ({ pings, wire }) => {
      pings.onPong(bytes("x"))
      assert.deepStrictEqual(wire(), [])
    }))

  it.effect("forgets an interrupted ping: its pong is as one that no ping awaits", () =>
    Effect.gen(function*() {
      const { network, pings } = yield* make
      const first = yield* start(pings.pingWith("a"))
      network.drain(drain)
      const second = yield* start(pings.pingWith("b"))
      yield* Fiber.interrupt(second)
      pings.onPong(bytes("b"))
      assert.isUndefined(first.pollUnsafe())
      pings.onPong(bytes("a"))
      yield* Fiber.join(first)
    }))

  it.effect("matches the pongs of one read to their pings, wherever unsolicited ones stand among them", () =>
    Effect.gen(function*() {
      for (const order of [["mine", "unsolicited"], ["unsolicited", "mine"], ["unsolicited", "mine", "mine"]]) {
        const { connection, peer } = yield* makeRaw({ role: "server" })
        const ping = yield* start(connection.ping("mine"))
        const later = yield* start(connection.ping("later"))
        yield* settle
        peer.send(...order.map((payload) => Frame.pong(bytes(payload))))
        yield* Fiber.join(ping)
        yield* settle
        assert.isUndefined(later.pollUnsafe())
      }
    }))

  it.effect("fails with ControlPayloadTooLong for a payload above 125 bytes (RFC 6455 §5.5)", () =>
    Effect.gen(function*() {
      const { pings } = yield* make
      const error = yield* Effect.flip(pings.pingWith("é".repeat(63)))
      assert.deepInclude(error, { _tag: "ControlPayloadTooLong", length: 126 })
    }))

  it.effect("fails with TooManyPings above maxUnansweredPings, whether pings wait for the transport or for pongs", () =>
    Effect.gen(function*() {
      const { network, pings, wire } = yield* make
      const rejected = Effect.map(Effect.flip(pings.ping()), ({ _tag }) => assert.strictEqual(_tag, "TooManyPings"))
      const long = yield* start(pings.pingWith("past the mark"))
      const waiting = yield* Effect.replicateEffect(start(pings.ping()), 3)
      assert.deepStrictEqual(wire(), ["ping past the mark"])
      yield* rejected
      // An interrupted ping frees its slot, whether it was sent or not; and so does a pong.
      yield* Fiber.interrupt(waiting[0])
      const next = yield* start(pings.ping())
      yield* rejected
      network.drain(drain)
      yield* Fiber.interrupt(long)
      const last = yield* start(pings.pingWith("last"))
      while (wire().at(-1) !== "ping last") {
        network.drain(drain)
        yield* Effect.yieldNow
      }
      yield* rejected
      pings.onPong(bytes("last"))
      yield* Fiber.joinAll([waiting[1], waiting[2], next, last])
      yield* Fiber.interruptAll(yield* Effect.replicateEffect(start(pings.ping()), 4))
    }))

  it.effect("fails pings that wait, and new ones, once the connection has ended", () =>
    Effect.gen(function*() {
      const { pings, protocol } = yield* make
      const waiting = yield* start(pings.ping())
      protocol.cut(new ConnectionError.UnexpectedEof())
      pings.close(protocol.closed)
      const closed = Exit.fail(protocol.closed)
      assert.deepStrictEqual(yield* Effect.exit(Fiber.join(waiting)), closed)
      assert.deepStrictEqual(yield* Effect.exit(pings.ping()), closed)
    }))

  it.effect("keeps only the newest pong above the high-water mark (RFC 6455 §5.5.3), and sends none after the end", () =>
    Effect.gen(function*() {
      const { network, pings, protocol, wire } = yield* make
      const pong = (text: string) => pings.pong(Frame.pong(bytes(text)))
      pong("0123456789")
      pong("a")
      pong("b")
      network.drain(drain)
      assert.deepStrictEqual(wire(), ["pong 0123456789", "pong b"])
      pong("0123456789")
      pong("c")
      protocol.cut(new ConnectionError.UnexpectedEof())
      network.drain(drain)
      assert.strictEqual(wire().length, 3)
    }))
})
