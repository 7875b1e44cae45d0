import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber } from "effect"
import { ConnectionError, Frame } from "effect-ws"
import { TestClock } from "effect/testing"
import { ConnectionMetrics } from "../../../src/internal/telemetry/metrics.ts"
import { SendQueue } from "../../../src/internal/connection/sendQueue.ts"
import { Pings } from "../../../src/internal/connection/pings.ts"
import { Protocol } from "../../../src/internal/protocol/connectionProtocol.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { makeNetwork } from "../../fuzz/transport.ts"
import { parse } from "../../fuzz/wire.ts"
import { makeRaw, settle } from "../../support/memory.ts"

const make = Effect.map(Effect.context<never>(), (context) => {
  const network = makeNetwork(10)
  const codec = Frame.makeCodec()
  const protocol = new Protocol("server", codec, {})
  const meter = ConnectionMetrics.of(context, "server")
  const owner = {
    meter,
    timers: Timers.of(context),
    onHighWaterMark: () => {},
    onBlocked: () => {},
    onTold: () => {},
    onNoneWaiting: () => {}
  }
  const outbox = new SendQueue(owner, network.transport, protocol, { coalesce: false })
  const pings = new Pings(outbox, 4)
  const onDrain = () => {
    outbox.drained()
    pings.drained()
  }
  network.transport.start({ onData: () => {}, onDrain, onEnd: () => {}, onClose: () => {} })
  const silent: Array<ConnectionError.KeepaliveTimeout> = []
  const watched = {
    bytesIn: 0,
    paused: false,
    onKeepaliveTimeout: (timeout: ConnectionError.KeepaliveTimeout) => void silent.push(timeout)
  }
  const wire = () =>
    parse(Buffer.concat(network.writes), "server").frames.map(({ opcode, payload }) =>
      `${opcode === 9 ? "ping" : "pong"} ${Buffer.from(payload).toString()}`
    )
  return { network, protocol, outbox, pings, wire, silent, watched }
})

const bytes = (text: string) => new TextEncoder().encode(text)
const start = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })
const drain = Number.POSITIVE_INFINITY

describe("Pings", () => {
  it.effect("says how long the pong took; a pong answers the pings before its own too", () =>
    Effect.gen(function*() {
      const { network, pings, wire } = yield* make
      const first = yield* start(pings.pingWith("a"))
      const second = yield* start(pings.pingWith(bytes("b")))
      const third = yield* start(pings.pingWith("ccc"))
      yield* TestClock.adjust("3 seconds")
      pings.onPong(bytes("nobody's"))
      assert.isUndefined(first.pollUnsafe())
      pings.onPong(bytes("b"))
      const took = yield* Fiber.joinAll([first, second])
      assert.deepStrictEqual(took.map(Duration.toMillis), [3000, 3000])
      assert.isUndefined(third.pollUnsafe())
      // Past its mark, the network gets no further ping.
      const fourth = yield* start(pings.ping())
      assert.deepStrictEqual(wire(), ["ping a", "ping b", "ping ccc"])
      network.drain(drain)
      assert.deepStrictEqual(wire(), ["ping a", "ping b", "ping ccc", "ping effect-ws 1"])
      yield* Fiber.interruptAll([third, fourth])
      pings.onPong(bytes("ccc"))
    }))

  it.effect("a pong that nobody waits for is nothing", () =>
    Effect.map(make, ({ pings, wire }) => {
      pings.onPong(bytes("x"))
      assert.deepStrictEqual(wire(), [])
    }))

  it.effect("pongs of one read answer what they answer, wherever unsolicited ones stand among them", () =>
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

  it.effect("a payload has its limit (RFC 6455 §5.5)", () =>
    Effect.gen(function*() {
      const { pings } = yield* make
      const error = yield* Effect.flip(pings.pingWith("é".repeat(63)))
      assert.deepInclude(error, { _tag: "ControlPayloadTooLong", length: 126 })
    }))

  it.effect("so many wait, for room or for their pongs, and no more (maxUnansweredPings)", () =>
    Effect.gen(function*() {
      const { network, pings, wire } = yield* make
      const refused = Effect.map(Effect.flip(pings.ping()), ({ _tag }) => assert.strictEqual(_tag, "TooManyPings"))
      const long = yield* start(pings.pingWith("past the mark"))
      const waiting = yield* Effect.replicateEffect(start(pings.ping()), 3)
      assert.deepStrictEqual(wire(), ["ping past the mark"])
      yield* refused
      // Who gives up makes room, whether it had been sent or not; and so does a pong.
      yield* Fiber.interrupt(waiting[0])
      const next = yield* start(pings.ping())
      yield* refused
      network.drain(drain)
      yield* Fiber.interrupt(long)
      const last = yield* start(pings.pingWith("last"))
      while (wire().at(-1) !== "ping last") {
        network.drain(drain)
        yield* Effect.yieldNow
      }
      yield* refused
      pings.onPong(bytes("last"))
      yield* Fiber.joinAll([waiting[1], waiting[2], next, last])
      yield* Fiber.interruptAll(yield* Effect.replicateEffect(start(pings.ping()), 4))
    }))

  it.effect("nobody waits for a pong after the end", () =>
    Effect.gen(function*() {
      const { pings, protocol } = yield* make
      const waiting = yield* start(pings.ping())
      protocol.cut(new ConnectionError.UnexpectedEof())
      pings.close(protocol.closed)
      const closed = Exit.fail(protocol.closed)
      assert.deepStrictEqual(yield* Effect.exit(Fiber.join(waiting)), closed)
      assert.deepStrictEqual(yield* Effect.exit(pings.ping()), closed)
    }))

  it.effect("owes only the newest pong when there is no room (RFC 6455 §5.5.3), and none after the end", () =>
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

describe("keepalive", () => {
  const begin = Effect.map(make, (made) => {
    made.pings.keepalive(10_000, 5000, made.watched)
    return made
  })

  it.effect("pings each interval, and tells of silence", () =>
    Effect.gen(function*() {
      const { network, pings, silent, watched, wire } = yield* begin
      yield* TestClock.adjust("10 seconds")
      network.drain(drain)
      pings.onPong(bytes("effect-ws 1"))
      yield* TestClock.adjust("10 seconds")
      watched.bytesIn++
      yield* TestClock.adjust("15 seconds")
      assert.deepStrictEqual(wire(), ["ping effect-ws 1", "ping effect-ws 2"])
      network.drain(drain)
      assert.deepStrictEqual(wire().at(-1), "ping effect-ws 3")
      assert.deepStrictEqual(silent, [])
      watched.paused = true
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(silent, [])
      watched.paused = false
      yield* TestClock.adjust("15 seconds")
      // Some 40 bytes of pings are unread.
      assert.deepStrictEqual(silent.map(({ duration }) => Duration.toMillis(duration)), [5005])
    }))

  it.effect("waits longer for a pong behind bytes that may be unread, a second for 8 KiB", () =>
    Effect.gen(function*() {
      const { network, outbox, pings, silent } = yield* begin
      for (const before of ["nothing is known to be read", "the first ping is known to be read"]) {
        outbox.write(Frame.binary(new Uint8Array(80 * 1024)))
        network.drain(drain)
        yield* TestClock.adjust("10 seconds")
        network.drain(drain)
        yield* TestClock.adjust("11 seconds")
        yield* settle
        assert.deepStrictEqual(silent, [], before)
        pings.onPong(bytes(`effect-ws ${before.startsWith("nothing") ? 1 : 2}`))
      }
      outbox.write(Frame.binary(new Uint8Array(80 * 1024)))
      network.drain(drain)
      yield* TestClock.adjust("10 seconds")
      network.drain(drain)
      yield* TestClock.adjust("16 seconds")
      yield* settle
      assert.strictEqual(silent.length, 1)
    }))

  it.effect("takes what leaves behind the ping for no sign of life", () =>
    Effect.gen(function*() {
      const { network, outbox, silent } = yield* begin
      yield* TestClock.adjust("10 seconds")
      network.drain(drain)
      for (let i = 0; i < 20; i++) {
        outbox.write(Frame.binary(new Uint8Array(10)))
        network.drain(5)
        yield* TestClock.adjust("251 millis")
      }
      yield* settle
      assert.strictEqual(silent.length, 1)
    }))

  it.effect("a pong that comes late, behind other signs of life, still says what was read", () =>
    Effect.gen(function*() {
      const { network, outbox, pings, silent, watched } = yield* begin
      outbox.write(Frame.binary(new Uint8Array(8 * 1024 * 1024)))
      network.drain(drain)
      yield* TestClock.adjust("10 seconds")
      network.drain(drain)
      watched.bytesIn++
      // Until it is looked at: the watch over the whole message looks four times.
      yield* TestClock.adjust("260 seconds")
      assert.strictEqual(silent.length, 0)
      pings.onPong(bytes("effect-ws 1"))
      yield* TestClock.adjust("10 seconds")
      network.drain(drain)
      yield* TestClock.adjust("6 seconds")
      yield* settle
      assert.strictEqual(silent.length, 1)
    }))

  it.effect("stops", () =>
    Effect.gen(function*() {
      const { pings, silent, wire } = yield* begin
      yield* TestClock.adjust("10 seconds")
      pings.stopKeepalive()
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([wire().length, silent.length], [1, 0])
    }))
})
