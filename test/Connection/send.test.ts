import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { Frame, Message } from "effect-ws"
import { contentOf, makePair, makeRaw, opcodesOf, settle } from "../support/memory.ts"

const bytes = (...values: Array<number>) => Uint8Array.from(values)
const textOf = (frame: Frame.Frame) => Buffer.from(frame.payload).toString("utf8")

describe("send (RFC 6455 §6.1)", () => {
  it.effect("sends strings as text, bytes as binary, and messages by their type", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      yield* connection.send("text")
      yield* connection.send(bytes(1, 2, 3))
      yield* connection.send(Message.text(new TextEncoder().encode("ü")))
      yield* connection.send(Message.binary(bytes(4)))
      yield* settle
      assert.deepStrictEqual(opcodesOf(peer.received), [1, 2, 1, 2])
      assert.deepStrictEqual(peer.received.map((frame) => frame.fin), [true, true, true, true])
      assert.deepStrictEqual(peer.received.map((frame) => Array.from(frame.payload)), [
        [116, 101, 120, 116],
        [1, 2, 3],
        [195, 188],
        [4]
      ])
    }))

  it.effect("masks each frame of a client with a new key, and no frame of a server (§5.1)", () =>
    Effect.gen(function*() {
      let key = 0
      const keys = Frame.layerCodec({ maskKey: () => ++key })
      const client = yield* makeRaw({ role: "client" }).pipe(Effect.provide(keys))
      yield* client.connection.sendAll(["ab", "cd"])
      const server = yield* makeRaw({ role: "server" })
      yield* server.connection.send("ab")
      yield* settle
      assert.deepStrictEqual(Array.from(Buffer.concat(client.peer.reads)), [
        ...[0x81, 0x82, 1, 0, 0, 0, 0x61 ^ 1, 0x62],
        ...[0x81, 0x82, 2, 0, 0, 0, 0x63 ^ 2, 0x64]
      ])
      assert.deepStrictEqual(Array.from(Buffer.concat(server.peer.reads)), [0x81, 0x02, 0x61, 0x62])
    }))

  it.effect("does not change the bytes of the caller", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "client" })
      const small = bytes(1, 2, 3)
      const large = new Uint8Array(100_000).fill(7)
      yield* connection.sendAll([small, large])
      yield* settle
      assert.deepStrictEqual(Array.from(small), [1, 2, 3])
      assert.isTrue(large.every((byte) => byte === 7))
      assert.deepStrictEqual(peer.received.map((frame) => frame.payload.length), [3, 100_000])
      assert.isTrue(peer.received[1].payload.every((byte) => byte === 7))
    }))

  it.effect("writes the messages of one turn in one write, or each at once with coalesceWrites: false", () =>
    Effect.gen(function*() {
      const together = yield* makeRaw({ role: "server" })
      const apart = yield* makeRaw({ role: "server", coalesceWrites: false })
      for (const { connection } of [together, apart]) {
        yield* connection.send("a")
        yield* connection.sendAll(["b", "c"])
        yield* connection.send("d")
      }
      yield* settle
      assert.strictEqual(together.peer.reads.length, 1)
      assert.strictEqual(apart.peer.reads.length, 3)
      assert.deepStrictEqual(together.peer.received.map(textOf), ["a", "b", "c", "d"])
      assert.deepStrictEqual(apart.peer.received.map(textOf), ["a", "b", "c", "d"])
    }))

  it.effect("writes the replies to all messages of one read in one write", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      yield* Effect.forkChild(Stream.runForEach(connection.messages, connection.send))
      yield* settle
      peer.send(...Array.from({ length: 50 }, (_, i) => Frame.text(`${i}`)))
      yield* settle
      assert.strictEqual(peer.received.length, 50)
      assert.strictEqual(peer.reads.length, 1)
    }))

  it.effect("fails once the connection is closed", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.close(1001, "bye"))
      yield* settle
      for (const attempt of [connection.send("x"), connection.sendAll(["x"]), connection.sendFrame(Frame.text("x"))]) {
        const ended = yield* Effect.flip(attempt)
        assert.strictEqual(ended._tag, "ConnectionClosed")
      }
      assert.strictEqual((yield* Effect.flip(connection.ping()))._tag, "ConnectionClosed")
    }))

  it.effect("carries the messages of two ends, whole and in order", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      const sizes = [0, 1, 125, 126, 65535, 65536, 200_000, 3]
      const echo = yield* Effect.forkChild(Stream.runForEach(server.messages, server.send))
      yield* Effect.forkChild(Effect.forEach(sizes, (size) => client.send(new Uint8Array(size).fill(size))))
      const got = yield* Effect.replicateEffect(client.receive, sizes.length)
      assert.deepStrictEqual(got.map((message) => message.bytes.length), sizes)
      yield* client.close()
      yield* Fiber.join(echo)
    }))
})

describe("strings in messages", () => {
  const strings = [
    "",
    "a",
    "a".repeat(125),
    "a".repeat(126),
    "é".repeat(62),
    "é".repeat(63),
    "é".repeat(125),
    "€".repeat(41) + "ab",
    "€".repeat(42),
    "😀".repeat(31) + "a",
    "😀".repeat(32),
    "x\ud800y",
    "\udc00",
    "a".repeat(1365),
    "€".repeat(1365),
    "a".repeat(1366),
    "€".repeat(1366),
    "é".repeat(40_000)
  ]
  for (const role of ["server", "client"] as const) {
    it.effect(`are UTF-8 on the wire, whatever their length, from a ${role} sends them (§5.6)`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role }, { highWaterMark: 1024 * 1024 })
        for (const string of strings) yield* connection.send(string)
        yield* connection.sendAll(strings)
        yield* settle
        const expected = [...strings, ...strings].map((string) => Buffer.from(string).toString("hex"))
        assert.deepStrictEqual(peer.received.map((frame) => Buffer.from(frame.payload).toString("hex")), expected)
        assert.isTrue(peer.received.every((frame) => frame.opcode === Frame.Opcode.Text && frame.fin))
        const stats = yield* connection.stats
        assert.strictEqual(stats.bytesOut, peer.reads.reduce((sum, { length }) => sum + length, 0))
        assert.deepStrictEqual([stats.framesOut, stats.messagesOut], [expected.length, expected.length])
      }))
  }
})

describe("writable", () => {
  it.effect("suspends until the transport has drained, so that the program can choose what to send then", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" }, { highWaterMark: 100 })
      yield* connection.writable
      peer.transport.pause()
      yield* connection.send(new Uint8Array(200))
      yield* settle
      let newest = 1
      const sending = yield* Effect.forkChild(
        Effect.andThen(connection.writable, Effect.suspend(() => connection.send(`${newest}`))),
        { startImmediately: true }
      )
      yield* settle
      newest = 2
      peer.transport.resume()
      yield* Fiber.join(sending)
      yield* settle
      assert.deepStrictEqual(peer.received.slice(1).map(textOf), ["2"])
    }))

  it.effect("fails once nothing can be sent any more", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.close(1000))
      yield* settle
      assert.strictEqual(yield* Effect.flip(connection.writable), yield* connection.closed)
    }))
})

describe("backpressure of a connection", () => {
  it.effect("suspends send while the peer reads nothing, and resumes in order when it reads", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" }, { highWaterMark: 1000 })
      peer.transport.pause()
      let sent = 0
      const fiber = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 100 }, (_, i) => i),
          (i) => Effect.tap(connection.send(String(i).padEnd(10_000)), () => Effect.sync(() => sent++)),
          { discard: true }
        )
      )
      yield* settle
      assert.isBelow(sent, 100)
      const { bufferedAmount } = yield* connection.stats
      assert.isAtLeast(bufferedAmount, 1000)
      assert.isAtMost(bufferedAmount, 80_000)
      peer.transport.resume()
      yield* Fiber.join(fiber)
      yield* settle
      assert.deepStrictEqual(
        peer.received.map((frame) => textOf(frame).trim()),
        Array.from({ length: 100 }, (_, i) => String(i))
      )
    }))

  it.effect("sends nothing for an interrupted send that waited, and does not hold up the others", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", coalesceWrites: false }, { highWaterMark: 10 })
      peer.transport.pause()
      yield* connection.send("0123456789")
      const fibers = yield* Effect.forEach(["a", "b", "c"], (text) => Effect.forkChild(connection.send(text)))
      yield* settle
      assert.deepStrictEqual(fibers.map((fiber) => fiber.pollUnsafe()), [undefined, undefined, undefined])
      yield* Fiber.interrupt(fibers[1])
      peer.transport.resume()
      yield* Fiber.join(fibers[0])
      yield* Fiber.join(fibers[2])
      yield* settle
      assert.deepStrictEqual(peer.received.map(textOf), ["0123456789", "a", "c"])
    }))

  it.effect("pauses the peer of an unread connection, which buffers no more than its high-water mark", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair({
        server: { inboundHighWaterMark: 10_000 },
        transport: { highWaterMark: 10_000 }
      })
      const total = 1000
      const sender = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: total }, (_, i) => i), (i) => client.send(String(i).padEnd(1000)), {
          discard: true
        })
      )
      yield* settle
      assert.isUndefined(sender.pollUnsafe())
      assert.isAtMost((yield* server.stats).unreadAmount, 90_000)
      const got = yield* Effect.replicateEffect(server.receive, total)
      assert.deepStrictEqual(
        got.map((message) => String(contentOf(message)).trim()),
        Array.from({ length: total }, (_, i) => String(i))
      )
      yield* Fiber.join(sender)
    }))

  it.effect("replies to control frames while the program reads nothing", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("unread"), Frame.ping(bytes(1)))
      yield* settle
      assert.deepStrictEqual(opcodesOf(peer.received), [Frame.Opcode.Pong])
      assert.isAbove((yield* connection.stats).unreadAmount, 0)
    }))

  it.effect("sends a pong only for the newest of many pings above the high-water mark (§5.5.3)", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" }, { highWaterMark: 100 })
      peer.transport.pause()
      yield* connection.send(new Uint8Array(200))
      yield* settle
      for (let i = 0; i < 50; i++) peer.send(Frame.ping(bytes(i)))
      yield* settle
      assert.isAtMost((yield* connection.stats).bufferedAmount, 250)
      peer.transport.resume()
      yield* settle
      assert.deepStrictEqual(peer.received.slice(1).map((frame) => [frame.opcode, frame.payload[0]]), [
        [Frame.Opcode.Pong, 49]
      ])
    }))
})
