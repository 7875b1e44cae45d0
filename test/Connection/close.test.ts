import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Stream } from "effect"
import { Connection, Frame } from "effect-ws"
import { TestClock } from "effect/testing"
import { makeNetwork } from "../fuzz/transport.ts"
import { contentOf, makePair, makeRaw, opcodesOf, settle } from "../support/memory.ts"

const closeOf = (frame: Frame.Frame) => Frame.readClose(frame.payload)

describe("close (RFC 6455 §7)", () => {
  it.effect("sends a close frame, waits for the peer's, and returns how the connection ended", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fiber = yield* Effect.forkChild(connection.close(4000, "enough"))
      yield* settle
      assert.deepStrictEqual(closeOf(peer.received[0]), { code: 4000, reason: "enough" })
      assert.isUndefined(fiber.pollUnsafe())
      assert.isFalse(peer.receivedEof)
      peer.send(Frame.close(4000, "fine"))
      yield* settle
      assert.isTrue(peer.receivedEof)
      peer.transport.end()
      const ended = yield* Fiber.join(fiber)
      assert.strictEqual(ended.closedBy, "local")
      assert.strictEqual(ended.code, 4000)
      assert.strictEqual(ended.reason, "enough")
      assert.deepStrictEqual(ended.received, { code: 4000, reason: "fine" })
      assert.isTrue(ended.clean)
    }))

  it.effect("replies to the peer's close frame with the same code, and the server ends TCP first (§7.1.1)", () =>
    Effect.gen(function*() {
      const server = yield* makeRaw({ role: "server" })
      server.peer.send(Frame.close(1001, "bye"))
      yield* settle
      assert.deepStrictEqual(closeOf(server.peer.received[0]), { code: 1001, reason: "" })
      assert.isTrue(server.peer.receivedEof)

      const client = yield* makeRaw({ role: "client" })
      client.peer.send(Frame.close(1001, "bye"))
      yield* settle
      assert.deepStrictEqual(closeOf(client.peer.received[0]), { code: 1001, reason: "" })
      assert.isFalse(client.peer.receivedEof)
      client.peer.transport.end()
      yield* settle
      assert.isTrue(client.peer.receivedEof)
      assert.strictEqual((yield* client.connection.closed).code, 1001)
    }))

  it.effect("replies to an empty close frame with an empty one", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.close())
      yield* settle
      assert.strictEqual(peer.received[0].payload.length, 0)
      const ended = yield* Effect.flip(connection.receive)
      assert.strictEqual(ended.code, 1005)
      assert.isTrue(ended.normal)
    }))

  it.effect("ends once when both ends close at the same time", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      const [one, other] = yield* Effect.all([client.close(1000, "a"), server.close(1001, "b")], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual([one.sent, one.received], [other.received, other.sent])
      assert.isTrue(one.clean && other.clean)
      assert.deepStrictEqual([one.closedBy, other.closedBy], ["local", "local"])
    }))

  for (const mode of ["messages one by one", "all that is here"] as const) {
    it.effect(`sends the reply behind sends that wait when the peer's close frame arrives: ${mode}`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server" }, { highWaterMark: 100 })
        const echo = mode === "all that is here"
          ? Stream.runForEachArray(connection.messages, (messages) => connection.sendAll(messages))
          : Stream.runForEach(connection.messages, connection.send)
        const echoing = yield* Effect.forkChild(echo)
        yield* settle
        peer.transport.pause()
        peer.send(
          Frame.text("x".repeat(256 * 1024)),
          Frame.text("short"),
          Frame.text("last"),
          Frame.close(1000, "done")
        )
        yield* settle
        assert.deepStrictEqual(peer.received, [])
        peer.transport.resume()
        yield* Fiber.join(echoing)
        yield* settle
        assert.deepStrictEqual(peer.received.map(({ opcode, payload }) => [opcode, payload.length]), [
          [1, 256 * 1024],
          [1, 5],
          [1, 4],
          [8, 2]
        ])
        assert.isTrue((yield* connection.closed).clean)
      }))
  }

  it.effect("sends the reply after closeTimeout at the latest, or when the senders that wait are interrupted", () =>
    Effect.gen(function*() {
      for (const givesUp of [false, true]) {
        const network = makeNetwork(100)
        const connection = yield* Connection.make(network.transport, { role: "server", keepalive: false })
        yield* connection.send(new Uint8Array(200))
        yield* settle
        const sending = yield* Effect.forkChild(Effect.exit(connection.send("waits")), { startImmediately: true })
        network.deliver(Frame.encode(Frame.close(1000), 7))
        yield* settle
        assert.strictEqual(network.writes.length, 1)
        if (givesUp) {
          yield* Fiber.interrupt(sending)
          yield* settle
          assert.deepStrictEqual(network.writes.at(-1), Buffer.from(Frame.encode(Frame.close(1000))))
          assert.isTrue((yield* connection.closed).clean)
        } else {
          yield* TestClock.adjust("10 seconds")
          yield* settle
          assert.isTrue(network.gone())
          assert.strictEqual((yield* connection.closed).cause?._tag, "CloseTimeout")
          assert(Exit.isFailure(yield* Fiber.join(sending)))
        }
        network.close()
      }
    }))

  it.effect("ends cleanly if the peer sends a close frame and ends or closes the transport while a send waits", () =>
    Effect.gen(function*() {
      for (const leave of ["end", "close"] as const) {
        const network = makeNetwork(100)
        const connection = yield* Connection.make(network.transport, { role: "server", keepalive: false })
        yield* connection.send(new Uint8Array(200))
        yield* settle
        const sending = yield* Effect.forkChild(Effect.flip(connection.send("waits")), { startImmediately: true })
        network.deliver(Frame.encode(Frame.close(1000), 7))
        yield* settle
        if (leave === "end") network.peerEnds()
        else network.close()
        const ended = yield* connection.closed
        assert.isTrue(ended.clean)
        assert.strictEqual(yield* Fiber.join(sending), ended)
        network.close()
      }
    }))

  it.effect("sends one close frame if it is called twice", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      const all = yield* Effect.all([client.close(4000), client.close(4001), client.close(4002)], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(all.map((ended) => ended.code), [4000, 4000, 4000])
      assert.strictEqual((yield* client.close(4003)).code, 4000)
      assert.strictEqual((yield* server.closed).code, 4000)
    }))

  it.effect("sends its close frame behind the messages before it", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      yield* client.send("first")
      yield* client.close()
      assert.strictEqual(contentOf(yield* server.receive), "first")
    }))

  it.effect("delivers messages that arrive while closing", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const closing = yield* Effect.forkChild(connection.close())
      yield* settle
      peer.send(Frame.text("on its way"), Frame.close(1000))
      peer.transport.end()
      assert.strictEqual(contentOf(yield* connection.receive), "on its way")
      yield* Fiber.join(closing)
    }))

  it.effect("reads the peer's close frame behind more data than the program reads", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", inboundHighWaterMark: 1000 })
      for (let i = 0; i < 100; i++) peer.send(Frame.binary(new Uint8Array(500)))
      yield* settle
      const closing = yield* Effect.forkChild(connection.close())
      yield* settle
      peer.send(Frame.close(1000))
      peer.transport.end()
      assert.isTrue((yield* Fiber.join(closing)).clean)
    }))

  it.effect("drops whole messages, and all that follow, above the high-water mark after this end has closed", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", inboundHighWaterMark: 200 })
      yield* Effect.forkChild(connection.close(1000), { startImmediately: true })
      yield* settle
      peer.send(Frame.text("a".repeat(200)), Frame.text("begin, ", { fin: false }))
      yield* settle
      peer.send(Frame.continuation("middle, ", { fin: false }))
      yield* settle
      assert.strictEqual(contentOf(yield* connection.receive), "a".repeat(200))
      // There is room again, but what this would continue is gone.
      peer.send(Frame.continuation("end"), Frame.text("after"), Frame.close(1000))
      assert.isTrue((yield* Effect.flip(connection.receive)).normal)
    }))

  const closeTimeouts = [["closeTimeout", { closeTimeout: "3 seconds" }, 3], ["10 seconds", {}, 10]] as const
  for (const [name, options, seconds] of closeTimeouts) {
    it.effect(`times out if the peer never replies, after ${name}`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server", ...options })
        const fiber = yield* Effect.forkChild(connection.close(1000))
        yield* TestClock.adjust(Duration.seconds(seconds - 1))
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("1 second")
        const ended = yield* Fiber.join(fiber)
        assert.strictEqual(ended.cause?._tag, "CloseTimeout")
        assert.deepStrictEqual(ended.sent, { code: 1000, reason: "" })
        assert.isUndefined(ended.received)
        assert.isFalse(ended.clean)
        yield* settle
        assert.isTrue(peer.receivedEof)
      }))
  }

  it.effect("destroys the transport, and is clean, if the peer replies but never ends TCP", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", closeTimeout: "3 seconds" })
      const fiber = yield* Effect.forkChild(connection.close(1000))
      yield* settle
      peer.send(Frame.close(1000))
      yield* settle
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("3 seconds")
      assert.isTrue((yield* Fiber.join(fiber)).clean)
    }))

  it.effect("continues when it is interrupted", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fiber = yield* Effect.forkChild(connection.close(4000))
      yield* settle
      yield* Fiber.interrupt(fiber)
      peer.send(Frame.close(4000))
      peer.transport.end()
      assert.isTrue((yield* connection.closed).clean)
    }))

  it.effect("fails for codes and reasons that must not be sent", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      for (const code of [0, 999, 1004, 1006, 1015, 2999, 5000, 1.5, Number.NaN]) {
        assert.strictEqual((yield* Effect.flip(connection.close(code)))._tag, "InvalidCloseCode")
      }
      assert.strictEqual((yield* Effect.flip(connection.close(1000, "€".repeat(42))))._tag, "CloseReasonTooLong")
      yield* connection.send("still open")
      yield* settle
      assert.deepStrictEqual(opcodesOf(peer.received), [1])
    }))

  it.effect("ends with 1006 and UnexpectedEof if the peer sends no close frame", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("last words"))
      peer.transport.end()
      assert.strictEqual(contentOf(yield* connection.receive), "last words")
      const ended = yield* Effect.flip(connection.receive)
      assert.strictEqual(ended.code, 1006)
      assert.strictEqual(ended.cause?._tag, "UnexpectedEof")
      assert.isUndefined(ended.closedBy)
      const streamed = yield* Effect.flip(Stream.runDrain(connection.messages))
      assert.deepStrictEqual(streamed, ended)
    }))

  it.effect("destroys the transport after closeTimeout if the peer ends its side but never reads", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", closeTimeout: "3 seconds" })
      yield* connection.send(new Uint8Array(100_000))
      peer.transport.pause()
      peer.transport.end()
      assert.strictEqual((yield* connection.closed).cause?._tag, "UnexpectedEof")
      const gone = yield* Effect.forkChild(connection.close())
      yield* TestClock.adjust("2 seconds")
      assert.isUndefined(gone.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(gone)).cause?._tag, "UnexpectedEof")
    }))

  it.effect("ends the connection with the error of the transport if a write fails", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "client", coalesceWrites: false })
      peer.transport.destroy()
      yield* connection.send("into the void")
      const ended = yield* connection.closed
      assert.strictEqual(ended.code, 1006)
    }))
})
