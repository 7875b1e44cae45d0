import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Option, Scope, Stream } from "effect"
import {
  CloseCode,
  Connection,
  type ConnectionError,
  Extension,
  Frame,
  Message,
  PerMessageDeflate,
  Transport
} from "effect-ws"
import { TestClock } from "effect/testing"
import { makeNetwork } from "./fuzz/transport.ts"
import { decode } from "./support/deflate.ts"
import { contentOf, makePair, makeRaw, opcodesOf, settle, turn } from "./support/memory.ts"

const bytes = (...values: Array<number>) => Uint8Array.from(values)
const textOf = (frame: Frame.Frame) => Buffer.from(frame.payload).toString("utf8")
const closeOf = (frame: Frame.Frame) => Frame.readClose(frame.payload)

describe("receive (RFC 6455 §6.2)", () => {
  it.effect("gives messages in order, text and binary", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("one"), Frame.binary(bytes(1, 2)), Frame.text(""), Frame.text("four"))
      const got = yield* Effect.replicateEffect(connection.receive, 4)
      assert.deepStrictEqual(got.map(contentOf), ["one", [1, 2], "", "four"])
    }))

  it.effect("joins fragments, with control frames between them (§5.4)", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(
        Frame.text("Hel", { fin: false }),
        Frame.ping(bytes(9)),
        Frame.continuation("lo ", { fin: false }),
        Frame.pong(),
        Frame.continuation("world")
      )
      assert.strictEqual(contentOf(yield* connection.receive), "Hello world")
      yield* settle
      assert.deepStrictEqual(peer.received.map((frame) => [frame.opcode, Array.from(frame.payload)]), [
        [Frame.Opcode.Pong, [9]]
      ])
    }))

  it.effect("waits for what has not come yet", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "client" })
      const fiber = yield* Effect.forkChild(connection.receive)
      yield* settle
      assert.isUndefined(fiber.pollUnsafe())
      peer.send(Frame.text("late"))
      assert.strictEqual(contentOf(yield* Fiber.join(fiber)), "late")
    }))

  it.effect("gives each of several fibers messages of its own, first come first served", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fibers = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(connection.receive))
      yield* settle
      peer.send(Frame.text("a"), Frame.text("b"))
      yield* settle
      peer.send(Frame.text("c"))
      const got = yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual(got.map(contentOf), ["a", "b", "c"])
    }))

  it.effect("gives what came before the end, then fails with how it ended", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("last"), Frame.close(1000, "done"))
      assert.strictEqual(contentOf(yield* connection.receive), "last")
      const ended = yield* Effect.flip(connection.receive)
      assert.strictEqual(ended._tag, "ConnectionClosed")
      assert.deepStrictEqual(ended.received, { code: 1000, reason: "done" })
      assert.deepStrictEqual(ended.sent, { code: 1000, reason: "" })
      assert.strictEqual(ended.closedBy, "remote")
      assert.isTrue(ended.clean)
      assert.isTrue(ended.normal)
      assert.isUndefined(ended.cause)
    }))

  it.effect("ignores what comes after a close frame (§1.4)", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.close(1000), Frame.text("too late"))
      const ended = yield* Effect.flip(connection.receive)
      assert.strictEqual(ended.code, 1000)
      assert.strictEqual((yield* connection.stats).messagesIn, 0)
    }))
})

describe("messages", () => {
  for (const code of [CloseCode.NormalClosure, CloseCode.GoingAway, CloseCode.NoStatusReceived]) {
    it.effect(`end normally with ${code}`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server" })
        peer.send(Frame.text("a"), Frame.text("b"), Frame.close(code))
        const got = yield* Stream.runCollect(connection.messages)
        assert.deepStrictEqual(got.map(contentOf), ["a", "b"])
      }))
  }

  it.effect("fail with another code, after all messages", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const got: Array<unknown> = []
      peer.send(Frame.text("a"), Frame.text("b"), Frame.close(4001, "why"))
      const ended = yield* Effect.flip(
        Stream.runForEach(connection.messages, (message) => Effect.sync(() => got.push(contentOf(message))))
      )
      assert.deepStrictEqual(got, ["a", "b"])
      assert.strictEqual(ended.code, 4001)
      assert.strictEqual(ended.reason, "why")
    }))

  it.effect("come in one array when they came in one read", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const sizes: Array<number> = []
      const fiber = yield* Effect.forkChild(
        Stream.runForEachArray(connection.messages, (messages) => Effect.sync(() => sizes.push(messages.length)))
      )
      yield* settle
      peer.send(...Array.from({ length: 100 }, (_, i) => Frame.text(`${i}`)))
      yield* settle
      peer.send(Frame.text("one more"), Frame.close(1000))
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(sizes, [100, 1])
    }))
})

describe("send (RFC 6455 §6.1)", () => {
  it.effect("sends strings as text, bytes as binary, messages as what they are", () =>
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

  it.effect("masks as a client, with a fresh key a frame, and not as a server (§5.1)", () =>
    Effect.gen(function*() {
      let key = 0
      const keys = Frame.layerCodec({ maskKey: () => ++key })
      const client = yield* makeRaw({ role: "client" }).pipe(Effect.provide(keys))
      yield* client.connection.sendAll(["ab", "cd"])
      const server = yield* makeRaw({ role: "server" })
      yield* server.connection.send("ab")
      yield* settle
      assert.deepStrictEqual(Array.from(Buffer.concat(client.peer.writes)), [
        ...[0x81, 0x82, 1, 0, 0, 0, 0x61 ^ 1, 0x62],
        ...[0x81, 0x82, 2, 0, 0, 0, 0x63 ^ 2, 0x64]
      ])
      assert.deepStrictEqual(Array.from(Buffer.concat(server.peer.writes)), [0x81, 0x02, 0x61, 0x62])
    }))

  it.effect("leaves the caller's bytes as they are", () =>
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

  it.effect("writes what one turn sends in one write, and at once without coalescing", () =>
    Effect.gen(function*() {
      const together = yield* makeRaw({ role: "server" })
      const apart = yield* makeRaw({ role: "server", coalesceWrites: false })
      for (const { connection } of [together, apart]) {
        yield* connection.send("a")
        yield* connection.sendAll(["b", "c"])
        yield* connection.send("d")
      }
      yield* settle
      assert.strictEqual(together.peer.writes.length, 1)
      assert.strictEqual(apart.peer.writes.length, 3)
      assert.deepStrictEqual(together.peer.received.map(textOf), ["a", "b", "c", "d"])
      assert.deepStrictEqual(apart.peer.received.map(textOf), ["a", "b", "c", "d"])
    }))

  it.effect("answers all that one read brought in one write", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      yield* Effect.forkChild(Stream.runForEach(connection.messages, connection.send))
      yield* settle
      peer.send(...Array.from({ length: 50 }, (_, i) => Frame.text(`${i}`)))
      yield* settle
      assert.strictEqual(peer.received.length, 50)
      assert.strictEqual(peer.writes.length, 1)
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

  it.effect("carries what the two ends send each other, whole and in order", () =>
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

describe("backpressure", () => {
  it.effect("send waits while the peer reads nothing, and goes on in order when it reads", () =>
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

  it.effect("a waiting send that is interrupted sends nothing, and the others go on", () =>
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

  it.effect("an unread connection holds the peer back, and costs no more than its mark", () =>
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

  it.effect("control frames are answered while the program reads nothing", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("unread"), Frame.ping(bytes(1)))
      yield* settle
      assert.deepStrictEqual(opcodesOf(peer.received), [Frame.Opcode.Pong])
      assert.isAbove((yield* connection.stats).unreadAmount, 0)
    }))

  it.effect("of many pings that cannot be answered at once, only the newest is (§5.5.3)", () =>
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

describe("sendFragments (RFC 6455 §5.4)", () => {
  it.effect("sends each element as a frame, of which the last ends the message", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      yield* connection.sendFragments(Stream.make("a", "b", "c"))
      yield* settle
      assert.deepStrictEqual(peer.received.map((frame) => [frame.opcode, textOf(frame), frame.fin]), [
        [Frame.Opcode.Text, "a", false],
        [Frame.Opcode.Continuation, "b", false],
        [Frame.Opcode.Continuation, "c", true]
      ])
      for (
        const one of [
          Stream.make(bytes(1)),
          Stream.fromIterable([bytes(1)]),
          Stream.fromEffect(Effect.succeed(bytes(1)))
        ]
      ) {
        const before = peer.received.length
        yield* connection.sendFragments(one)
        yield* settle
        const frames = peer.received.slice(before)
        assert.deepStrictEqual(frames.map(({ fin, opcode }) => [opcode, fin]), [[Frame.Opcode.Binary, true]])
      }
      assert.strictEqual((yield* connection.stats).messagesOut, 4)
    }))

  it.effect("sends an element before the next one is there, and ends with an empty frame if the end comes later", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const late = Stream.make("a", "b").pipe(Stream.concat(Stream.drain(Stream.fromEffect(Effect.sleep("1 second")))))
      const fiber = yield* Effect.forkChild(connection.sendFragments(late as Stream.Stream<string>))
      yield* settle
      assert.deepStrictEqual(peer.received.map((frame) => [textOf(frame), frame.fin]), [["a", false], ["b", false]])
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      yield* connection.send("next")
      yield* settle
      assert.deepStrictEqual(peer.received.slice(2).map((frame) => [textOf(frame), frame.fin]), [["", true], [
        "next",
        true
      ]])
    }))

  it.effect("a source may use the memory of an element again", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      const memory = new Uint8Array(8000)
      const numbered = Stream.map(Stream.make(1, 2, 3).pipe(Stream.rechunk(1)), (n) => memory.fill(n))
      yield* client.sendFragments(numbered)
      const { bytes: received } = yield* server.receive
      assert.deepStrictEqual([0, 8000, 16_000].map((at) => received[at]), [1, 2, 3])
    }))

  it.effect("releases what the stream acquired, also when it is interrupted while it is pulled", () =>
    Effect.gen(function*() {
      const { connection } = yield* makeRaw({ role: "server" })
      const events: Array<string> = []
      const source = Stream.concat(
        Stream.make("a"),
        Stream.fromEffect(Effect.onInterrupt(Effect.never, () => Effect.sync(() => void events.push("interrupted"))))
      ).pipe(Stream.ensuring(Effect.sync(() => void events.push("released"))))
      const fiber = yield* Effect.forkChild(connection.sendFragments(source as Stream.Stream<string>))
      yield* settle
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(events, ["interrupted", "released"])
    }))

  it.effect("keeps other messages out, and lets control frames through", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const slow = Stream.make("a", "b").pipe(Stream.tap(() => Effect.sleep("1 second")))
      const fragments = yield* Effect.forkChild(connection.sendFragments(slow))
      yield* TestClock.adjust("1 second")
      const other = yield* Effect.forkChild(connection.send("other"))
      const ping = yield* Effect.forkChild(connection.ping("p"))
      yield* settle
      peer.send(Frame.ping(bytes(7)))
      yield* settle
      assert.isUndefined(other.pollUnsafe())
      assert.deepStrictEqual(opcodesOf(peer.received), [1, Frame.Opcode.Ping, Frame.Opcode.Pong])
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fragments)
      yield* Fiber.join(other)
      yield* settle
      assert.deepStrictEqual(opcodesOf(peer.received.slice(3)), [0, 1])
      yield* Fiber.interrupt(ping)
    }))

  it.effect("does not lock the connection before the first element", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fiber = yield* Effect.forkChild(connection.sendFragments(Stream.never as Stream.Stream<string>))
      yield* settle
      yield* connection.send("other")
      yield* Fiber.interrupt(fiber)
      yield* connection.send("still usable")
      yield* settle
      assert.deepStrictEqual(peer.received.map(textOf), ["other", "still usable"])
    }))

  it.effect("sends nothing for an empty stream", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      yield* connection.sendFragments(Stream.empty as Stream.Stream<string>)
      yield* connection.send("after")
      yield* settle
      assert.deepStrictEqual(peer.received.map(textOf), ["after"])
    }))

  it.effect("does not tear a surrogate pair that the stream cuts in two", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      yield* client.sendFragments(Stream.make("a\ud83d", "\ude00b", "\ud83d"))
      assert.strictEqual(contentOf(yield* server.receive), "a😀b\ufffd")
    }))

  it.effect("closes with 1011 when the stream fails after its first element", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const failing = Stream.concat(Stream.make("a"), Stream.fail("broken"))
      assert.strictEqual(yield* Effect.flip(connection.sendFragments(failing)), "broken")
      yield* settle
      const last = closeOf(peer.received.at(-1)!)
      assert.deepStrictEqual(last, { code: 1011, reason: "MessageAborted" })
      const ended = yield* Effect.flip(connection.send("x"))
      assert.strictEqual((ended as { cause?: { _tag: string } }).cause?._tag, "MessageAborted")
    }))

  it.effect("leaves the connection usable when the stream fails before its first element", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      yield* Effect.flip(connection.sendFragments(Stream.fail("broken") as Stream.Stream<string, string>))
      yield* connection.send("fine")
      yield* settle
      assert.deepStrictEqual(peer.received.map(textOf), ["fine"])
    }))

  it.effect("refuses text among binary", () =>
    Effect.gen(function*() {
      const { connection } = yield* makeRaw({ role: "server" })
      const mixed = Stream.make("a", bytes(1)) as Stream.Stream<string>
      const error = yield* Effect.flip(connection.sendFragments(mixed))
      assert.strictEqual(error._tag, "UnexpectedFragment")
    }))
})

describe("receiveFragments", () => {
  it.effect("gives fragments before the message is over", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.binary(bytes(1), { fin: false }))
      const message = yield* connection.receiveFragments
      assert.strictEqual(message._tag, "Binary")
      const got: Array<unknown> = []
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(message.fragments as Stream.Stream<Uint8Array, unknown>, (part) =>
          Effect.sync(() => got.push(Array.from(part))))
      )
      yield* settle
      assert.deepStrictEqual(got, [[1]])
      peer.send(Frame.continuation(bytes(2, 3), { fin: false }), Frame.ping(), Frame.continuation(bytes()))
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(got, [[1], [2, 3], []])
      peer.send(Frame.text("next"))
      assert.strictEqual(contentOf(yield* connection.receive), "next")
    }))

  it.effect("decodes text over cuts inside a code point", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const euro = new TextEncoder().encode("€")
      peer.send(Frame.text(euro.subarray(0, 1), { fin: false }), Frame.continuation(euro.subarray(1)))
      const message = yield* connection.receiveFragments
      assert.strictEqual(message._tag, "Text")
      const parts = yield* Stream.runCollect(message.fragments as Stream.Stream<string, unknown>)
      assert.strictEqual(parts.join(""), "€")
    }))

  it.effect("gives a message of one frame as one fragment", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("whole"), Frame.text("next"))
      const message = yield* connection.receiveFragments
      assert.deepStrictEqual(yield* Stream.runCollect(message.fragments as Stream.Stream<string, unknown>), ["whole"])
      assert.strictEqual(contentOf(yield* connection.receive), "next")
    }))

  it.effect("skips the rest when something else is asked for, and says so", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("a", { fin: false }))
      const message = yield* connection.receiveFragments
      const reader = yield* Effect.forkChild(Stream.runDrain(message.fragments as Stream.Stream<string, unknown>))
      yield* settle
      const next = yield* Effect.forkChild(connection.receive)
      yield* settle
      peer.send(Frame.continuation("b"), Frame.text("next"))
      // The reader was first in line for the fragment, so that nothing was skipped.
      assert.strictEqual(contentOf(yield* Fiber.join(next)), "next")
      yield* Fiber.join(reader)

      peer.send(Frame.text("a", { fin: false }), Frame.continuation("b", { fin: false }))
      const left = yield* connection.receiveFragments
      peer.send(Frame.continuation("c"), Frame.text("after"))
      assert.strictEqual(contentOf(yield* connection.receive), "after")
      const error = yield* Effect.flip(Stream.runDrain(left.fragments as Stream.Stream<string, { _tag: string }>))
      assert.strictEqual(error._tag, "MessageSkipped")
    }))

  it.effect("fails when the connection ends in the middle, even normally", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("a", { fin: false }), Frame.close(1000))
      const message = yield* connection.receiveFragments
      const error = yield* Effect.flip(Stream.runDrain(message.fragments as Stream.Stream<string, { _tag: string }>))
      assert.strictEqual(error._tag, "ConnectionClosed")
    }))
})

describe("frames", () => {
  it.effect("gives data frames as they come, and leaves control frames out", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(
        Frame.text("a", { fin: false }),
        Frame.ping(),
        Frame.continuation("b"),
        Frame.binary(bytes(1)),
        Frame.close(1000)
      )
      const frames = yield* Stream.runCollect(connection.frames)
      assert.deepStrictEqual(frames.map((frame) => [frame.opcode, frame.fin]), [[1, false], [0, true], [2, true]])
    }))

  it.effect("leaves pings to the program with autoPong: false", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", autoPong: false })
      peer.send(Frame.ping(bytes(5)), Frame.text("x"), Frame.close(1000))
      const frames = yield* Stream.runCollect(connection.frames)
      assert.deepStrictEqual(opcodesOf(frames), [Frame.Opcode.Ping, Frame.Opcode.Text])
      yield* settle
      assert.deepStrictEqual(opcodesOf(peer.received), [Frame.Opcode.Close])
    }))

  it.effect("leaves the close frame to the program with autoClose: false", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", autoClose: false })
      peer.send(Frame.text("x"), Frame.close(4000, "over"))
      const frames = yield* connection.frames.pipe(Stream.take(2), Stream.runCollect)
      assert.deepStrictEqual(closeOf(frames[1]), { code: 4000, reason: "over" })
      yield* settle
      assert.deepStrictEqual(peer.received, [])
      yield* connection.send("one more")
      peer.transport.end()
      const ended = yield* connection.close(4001, "indeed")
      assert.strictEqual(ended.closedBy, "remote")
      assert.deepStrictEqual(ended.received, { code: 4000, reason: "over" })
      assert.deepStrictEqual(ended.sent, { code: 4001, reason: "indeed" })
      assert.isTrue(ended.clean)
    }))

  it.effect("end behind the close frame that is left to the program, and the reply is its own", () =>
    Effect.gen(function*() {
      for (const code of [1000, 1005, 4001]) {
        const { connection, peer } = yield* makeRaw({ role: "server", autoClose: false })
        peer.send(Frame.text("x"), Frame.close(code))
        const opcodes: Array<number> = []
        yield* Stream.runForEach(connection.frames, ({ opcode }) => Effect.sync(() => void opcodes.push(opcode)))
        assert.deepStrictEqual(opcodes, [Frame.Opcode.Text, Frame.Opcode.Close])
        assert.deepStrictEqual(yield* Stream.runCollect(connection.frames), [])
        peer.transport.end()
        const ended = yield* connection.close(1000)
        assert.deepStrictEqual([ended.closedBy, ended.code, ended.sent?.code], ["remote", code, 1000])
        assert.deepStrictEqual(yield* Effect.flip(connection.receive), ended)
      }
    }))

  it.effect("messages end behind a close frame that is left to the program, as with a reply", () =>
    Effect.gen(function*() {
      const collect = (code: number) =>
        Effect.gen(function*() {
          const { connection, peer } = yield* makeRaw({ role: "server", autoClose: false })
          const collected = yield* Effect.forkChild(Effect.exit(Stream.runCollect(connection.messages)))
          yield* settle
          peer.send(Frame.text("x"), Frame.close(code))
          return Exit.map(yield* Fiber.join(collected), (messages) => messages.map(contentOf))
        })
      assert.deepStrictEqual(yield* collect(1000), Exit.succeed(["x"]))
      const failed = yield* Effect.flip(yield* collect(4001))
      assert.deepStrictEqual([failed.code, failed.sent, failed.cause], [4001, undefined, undefined])
    }))

  it.effect("a close frame that the program does not answer ends the connection after closeTimeout", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", autoClose: false, closeTimeout: "3 seconds" })
      peer.send(Frame.close(1000))
      yield* settle
      yield* TestClock.adjust("2999 millis")
      yield* settle
      assert.isFalse(peer.gone())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* connection.closed).cause?._tag, "CloseTimeout")
    }))

  it.effect("share a queue with messages: what one takes the other does not see", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("a", { fin: false }), Frame.continuation("b"), Frame.text("c"), Frame.text("d"))
      const first = yield* connection.frames.pipe(Stream.take(1), Stream.runCollect)
      assert.strictEqual(textOf(first[0]), "a")
    }))

  it.effect("an interrupted receive gives the beginning of a message back", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("a", { fin: false }), Frame.continuation("b", { fin: false }))
      const fiber = yield* Effect.forkChild(connection.receive)
      yield* settle
      yield* Fiber.interrupt(fiber)
      const collected = yield* Effect.forkChild(Stream.runCollect(connection.frames))
      yield* settle
      peer.send(Frame.continuation("c"), Frame.close())
      const frames = yield* Fiber.join(collected)
      assert.deepStrictEqual(frames.map((frame) => [frame.opcode, textOf(frame), frame.fin]), [
        [1, "ab", false],
        [0, "c", true]
      ])
    }))

  it.effect("sendFrame sends a message in frames of the program's", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      yield* connection.sendFrame(Frame.text("a", { fin: false }))
      const other = yield* Effect.forkChild(connection.send("other"))
      yield* connection.sendFrame(Frame.ping(bytes(1)))
      yield* connection.sendFrame(Frame.continuation("b"))
      yield* Fiber.join(other)
      yield* settle
      assert.deepStrictEqual(opcodesOf(peer.received), [1, Frame.Opcode.Ping, 0, 1])
    }))

  it.effect("sendFrame refuses what the protocol does not allow", () =>
    Effect.gen(function*() {
      const { connection } = yield* makeRaw({ role: "server" })
      const tag = <E extends { readonly _tag: string }>(effect: Effect.Effect<unknown, E>) =>
        Effect.map(Effect.flip(effect), (error) => error._tag)
      assert.strictEqual(yield* tag(connection.sendFrame(Frame.continuation("x"))), "UnexpectedFragment")
      yield* connection.sendFrame(Frame.text("a", { fin: false }))
      assert.strictEqual(yield* tag(connection.sendFrame(Frame.text("b"))), "UnexpectedFragment")
      assert.strictEqual(
        yield* tag(connection.sendFrame(Frame.ping(new Uint8Array(126)))),
        "ControlPayloadTooLong"
      )
    }))

  it.effect("sendFrame refuses a frame that breaks RFC 6455, sends nothing of it, and goes on", () =>
    Effect.gen(function*() {
      const { Close, Ping, Pong } = Frame.Opcode
      const utf8 = new TextEncoder()
      const codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535]
      const broken: ReadonlyArray<readonly [Frame.Frame, string, unknown]> = [
        ...codes.map((code) => [new Frame.Frame(Close, bytes(code >> 8, code)), "InvalidCloseCode", code] as const),
        [new Frame.Frame(Close, bytes(3)), "InvalidFrame", "CloseFrameTooShort"],
        [new Frame.Frame(Close, bytes(3, 232, 0xff)), "InvalidFrame", "InvalidUtf8"],
        [new Frame.Frame(Close, bytes(3, 232, 0xe2, 0x82)), "InvalidFrame", "InvalidUtf8"],
        ...[Close, Ping, Pong].flatMap((opcode) => [
          [new Frame.Frame(opcode, new Uint8Array(126)), "ControlPayloadTooLong", opcode] as const,
          [new Frame.Frame(opcode, bytes(), false), "InvalidFrame", "FragmentedControlFrame"] as const,
          [new Frame.Frame(opcode, bytes(), true, 4), "InvalidFrame", "ReservedBits"] as const
        ]),
        ...[1, 2, 4].map((reserved) =>
          [
            new Frame.Frame(Frame.Opcode.Text, utf8.encode("x"), true, reserved),
            "InvalidFrame",
            "ReservedBits"
          ] as const
        )
      ]
      for (const role of ["server", "client"] as const) {
        const { connection, peer } = yield* makeRaw({ role })
        for (const [frame, tag, fact] of broken) {
          const error = yield* Effect.flip(connection.sendFrame(frame))
          assert.strictEqual(error._tag, tag)
          if (error._tag === "InvalidCloseCode") assert.strictEqual(error.code, fact)
          if (error._tag === "InvalidFrame") assert.strictEqual(error.rule, fact)
          if (error._tag === "ControlPayloadTooLong") assert.strictEqual(error.opcode, fact)
        }
        yield* connection.send("fine")
        yield* settle
        assert.deepStrictEqual(peer.received.map(textOf), ["fine"])
      }
    }))

  it.effect("nothing follows a close frame that sendFrame has sent, with a code or without", () =>
    Effect.gen(function*() {
      for (const frame of [Frame.close(), Frame.close(1000), Frame.close(4999, "x".repeat(123))]) {
        const { connection, peer } = yield* makeRaw({ role: "server" })
        yield* connection.sendFrame(Frame.text("begun", { fin: false }))
        yield* connection.sendFrame(frame)
        for (
          const late of [
            connection.send("x"),
            connection.sendFrame(Frame.continuation("x")),
            connection.sendFrame(Frame.ping()),
            connection.sendFrame(Frame.close(1001))
          ]
        ) assert.strictEqual((yield* Effect.flip(late))._tag, "ConnectionClosed")
        yield* settle
        assert.deepStrictEqual(peer.received.slice(1).map(({ payload }) => payload), [frame.payload])
        peer.send(Frame.close(1000))
        const ended = yield* connection.closed
        assert.deepStrictEqual([ended.sent, ended.closedBy], [closeOf(frame), "local"])
      }
    }))

  it.effect("sendFrame of a close frame begins the closing handshake", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      yield* connection.sendFrame(Frame.close(4002, "frame"))
      yield* settle
      peer.send(Frame.close(4002))
      peer.transport.end()
      const ended = yield* connection.closed
      assert.deepStrictEqual(ended.sent, { code: 4002, reason: "frame" })
      assert.isTrue(ended.clean)
    }))
})

describe("discard", () => {
  it.effect("drops what came and what comes, however much, and sees the close frame behind it", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", inboundHighWaterMark: 1000 })
      // The beginning of a message is here, and some fiber may have looked for its end.
      peer.send(Frame.text("a", { fin: false }))
      const reader = yield* Effect.forkChild(connection.receive)
      yield* settle
      yield* Fiber.interrupt(reader)
      peer.send(Frame.continuation("b"))
      for (let i = 0; i < 100; i++) peer.send(Frame.binary(new Uint8Array(500)), Frame.ping(bytes(i)))
      yield* settle
      const before = (yield* connection.stats).unreadAmount
      assert.isAtLeast(before, 1000)
      assert.isBelow(before, 2000)
      const discarding = yield* Effect.forkChild(connection.discard, { startImmediately: true })
      yield* settle
      assert.strictEqual((yield* connection.stats).unreadAmount, 0)
      assert.deepStrictEqual(peer.received.filter(({ opcode }) => opcode === 10).length, 100)
      peer.send(Frame.binary(new Uint8Array(5000)), Frame.close(1000, "done"))
      const ended = yield* Fiber.join(discarding)
      assert.deepStrictEqual(ended.received, { code: 1000, reason: "done" })
      assert.isTrue(ended.clean)
      assert.deepStrictEqual(yield* Effect.flip(connection.receive), ended)
    }))

  it.effect("wakes readers only at the end; a message read in fragments is skipped", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("a", { fin: false }))
      const message = yield* connection.receiveFragments
      assert(message._tag === "Text")
      const fragments = yield* Effect.forkChild(Effect.flip(Stream.runCollect(message.fragments)))
      const reader = yield* Effect.forkChild(Effect.flip(connection.receive))
      yield* settle
      const discarding = yield* Effect.forkChild(connection.discard, { startImmediately: true })
      assert.strictEqual((yield* Fiber.join(fragments))._tag, "MessageSkipped")
      yield* Fiber.interrupt(discarding)
      peer.send(Frame.continuation("b"), Frame.text("c"))
      yield* settle
      assert.isUndefined(reader.pollUnsafe())
      peer.send(Frame.close(1000))
      assert.strictEqual(yield* Fiber.join(reader), yield* connection.discard)
    }))

  it.effect("keeps the limits and rules of messages", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", maxMessageSize: 100 })
      const discarding = yield* Effect.forkChild(connection.discard, { startImmediately: true })
      peer.send(Frame.binary(new Uint8Array(101)))
      assert.strictEqual((yield* Fiber.join(discarding)).cause?._tag, "MessageTooLarge")
    }))
})

describe("writable", () => {
  it.effect("suspends until there is room, so that what is sent can be chosen then", () =>
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

describe("ping (RFC 6455 §5.5.2)", () => {
  it.effect("is answered before the message that it came within (§5.4)", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      yield* Effect.forkScoped(Stream.runForEach(connection.messages, connection.send))
      yield* settle
      peer.send(Frame.text("a", { fin: false }), Frame.ping(bytes(9)), Frame.continuation("b"))
      yield* settle
      assert.deepStrictEqual(opcodesOf(peer.received), [Frame.Opcode.Pong, Frame.Opcode.Text])
    }))

  it.effect("answers how long the pong took", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fiber = yield* Effect.forkChild(connection.ping())
      yield* settle
      yield* TestClock.adjust("30 millis")
      peer.send(Frame.pong(peer.received[0].payload))
      assert.strictEqual(Duration.toMillis(yield* Fiber.join(fiber)), 30)
    }))

  it.effect("takes a payload of up to 125 bytes", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fiber = yield* Effect.forkChild(connection.ping("hello"))
      yield* settle
      assert.strictEqual(textOf(peer.received[0]), "hello")
      peer.send(Frame.pong(peer.received[0].payload))
      yield* Fiber.join(fiber)
      const error = yield* Effect.flip(connection.ping(new Uint8Array(126)))
      assert.strictEqual(error._tag, "ControlPayloadTooLong")
    }))

  it.effect("takes a pong for its own ping and all before it (§5.5.3)", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fibers = yield* Effect.forEach(["a", "b", "c"], (payload) => Effect.forkChild(connection.ping(payload)))
      yield* settle
      peer.send(Frame.pong(new TextEncoder().encode("b")))
      yield* Fiber.join(fibers[0])
      yield* Fiber.join(fibers[1])
      yield* settle
      assert.isUndefined(fibers[2].pollUnsafe())
      peer.send(Frame.pong(new TextEncoder().encode("c")))
      yield* Fiber.join(fibers[2])
    }))

  it.effect("passes over pongs that answer nothing", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.pong(), Frame.pong(bytes(1, 2)), Frame.text("x"))
      assert.strictEqual(contentOf(yield* connection.receive), "x")
    }))

  it.effect("can be interrupted, and its pong is passed over", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fiber = yield* Effect.forkChild(connection.ping("a"))
      yield* settle
      yield* Fiber.interrupt(fiber)
      peer.send(Frame.pong(new TextEncoder().encode("a")), Frame.text("x"))
      assert.strictEqual(contentOf(yield* connection.receive), "x")
    }))

  it.effect("without waiting, to a peer that never answers, takes no more than so much (maxUnansweredPings)", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const outcomes: Record<string, number> = {}
      const count = (name: string) => Effect.sync(() => void (outcomes[name] = (outcomes[name] ?? 0) + 1))
      const careless = yield* Effect.forkChild(Effect.gen(function*() {
        for (let i = 0; i < 10_000; i++) {
          yield* Effect.forkChild(Effect.matchEffect(connection.ping(), {
            onFailure: ({ _tag }) => count(_tag),
            onSuccess: () => count("answered")
          }))
          yield* Effect.sleep("1 millis")
        }
        return yield* Effect.never
      }))
      yield* TestClock.adjust("10 seconds")
      const pings = () => peer.received.filter(({ opcode }) => opcode === Frame.Opcode.Ping).length
      assert.deepStrictEqual(outcomes, { TooManyPings: 9900 })
      assert.strictEqual(pings(), 100)
      // One pong answers all before it, and there is room again (§5.5.3).
      peer.send(Frame.pong(peer.received[98].payload))
      yield* settle
      assert.deepStrictEqual(outcomes, { TooManyPings: 9900, answered: 99 })
      const late = yield* Effect.replicateEffect(Effect.forkChild(connection.ping()), 100)
      yield* settle
      assert.strictEqual(pings(), 199)
      assert.strictEqual((yield* Effect.flip(Fiber.join(late[99])))._tag, "TooManyPings")
      // So there is when they are given up.
      yield* Fiber.interrupt(careless)
      yield* Fiber.interruptAll(late)
      yield* Effect.timeoutOption(connection.ping(), "1 seconds").pipe(
        Effect.forkChild,
        Effect.replicateEffect(100)
      )
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual(pings(), 299)
      const last = yield* Effect.forkChild(connection.ping("last"))
      yield* settle
      peer.send(Frame.pong(new TextEncoder().encode("last")))
      yield* Fiber.join(last)
    }))

  it.effect("fails when the connection ends before the pong", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fiber = yield* Effect.forkChild(connection.ping())
      yield* settle
      peer.transport.destroy()
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.strictEqual(error._tag, "ConnectionClosed")
    }))
})

describe("keepalive", () => {
  const keepalive = { interval: "10 seconds", timeout: "5 seconds" } as const

  it.effect("pings each interval, and is content with a pong", () =>
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

  it.effect("closes the connection when nothing comes", () =>
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

  it.effect("takes anything that comes for a sign of life", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", keepalive })
      yield* TestClock.adjust("10 seconds")
      // Part of a long message, whose end is still on its way: the pong must stand behind it.
      peer.sendBytes(bytes(0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4, 5))
      yield* TestClock.adjust("5 seconds")
      yield* connection.send("alive")
    }))

  it.effect("does not blame the peer while this end reads nothing", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", keepalive, inboundHighWaterMark: 100 })
      peer.send(Frame.binary(new Uint8Array(200)))
      yield* settle
      yield* TestClock.adjust("60 seconds")
      yield* connection.send("alive")
    }))

  it.effect("is over when closing begins: no ping follows the close frame, and closing has a deadline of its own", () =>
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

  it.effect("is on by default, each 20 seconds", () =>
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

  it.effect("does not ping all connections at the same moment", () =>
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

  it.effect("does not blame the peer for the time in which this process was blocked", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", keepalive })
      yield* TestClock.adjust("10 seconds")
      yield* settle
      // The pong is there, and nobody reads it: the loop has no turn while the clock goes on.
      const pong = Frame.encode(Frame.pong(peer.received[0].payload), 1)
      setImmediate(() => peer.sendBytes(pong))
      yield* TestClock.adjust("5 seconds")
      yield* settle
      yield* connection.send("alive")
    }))

  it.effect("waits for its pong while the peer takes a long message before the ping", () =>
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

describe("a peer that does not read", () => {
  const stalled = (options: Partial<Connection.MakeOptions>) =>
    Effect.gen(function*() {
      const network = makeNetwork(1000)
      const connection = yield* Connection.make(network.transport, {
        role: "server",
        keepalive: false,
        closeTimeout: 0,
        ...options
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => network.close()))
      yield* connection.send(new Uint8Array(5000))
      yield* settle
      return { connection, network }
    })

  it.effect("is cut off after writeTimeout", () =>
    Effect.gen(function*() {
      const { connection, network } = yield* stalled({ writeTimeout: "8 seconds" })
      const waiting = yield* Effect.forkChild(connection.send("later"), { startImmediately: true })
      yield* TestClock.adjust("7 seconds")
      yield* settle
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* settle
      const ended = yield* Effect.flip(Fiber.join(waiting))
      assert.deepInclude(ended.cause, { _tag: "WriteTimeout", bufferedAmount: 5004 })
      assert.isTrue(network.gone())
    }))

  it.effect("has 30 seconds by default, from the last byte that it took", () =>
    Effect.gen(function*() {
      const { connection, network } = yield* stalled({})
      yield* TestClock.adjust("29 seconds")
      yield* settle
      network.drain(1)
      yield* TestClock.adjust("30 seconds")
      yield* settle
      assert.isFalse(network.gone())
      yield* TestClock.adjust("8 seconds")
      yield* settle
      assert.strictEqual((yield* connection.closed).cause?._tag, "WriteTimeout")
    }))

  it.effect("is left alone once it has taken all, and is watched again when it stops again", () =>
    Effect.gen(function*() {
      const { connection, network } = yield* stalled({ writeTimeout: "4 seconds" })
      network.drain(Number.POSITIVE_INFINITY)
      yield* TestClock.adjust("1 hour")
      yield* settle
      yield* connection.send(new Uint8Array(5000))
      yield* settle
      yield* TestClock.adjust("4 seconds")
      yield* settle
      assert.strictEqual((yield* connection.closed).cause?._tag, "WriteTimeout")
    }))

  it.effect("may be a reason for a send to give up: it has sent nothing then", () =>
    Effect.gen(function*() {
      const { connection, network } = yield* stalled({})
      const sending = yield* Effect.forkChild(Effect.timeoutOption(connection.send("late"), "1 second"))
      yield* settle
      yield* TestClock.adjust("1 second")
      assert.isTrue(Option.isNone(yield* Fiber.join(sending)))
      network.drain(Number.POSITIVE_INFINITY)
      yield* connection.send("next")
      yield* settle
      assert.deepStrictEqual(network.writes.at(-1), Buffer.from(Frame.encode(Frame.text("next"))))
      assert.strictEqual((yield* connection.stats).messagesOut, 2)
    }))

  it.effect("is closed with 1008 when a send found no room for slowConsumerTimeout, with slowConsumer: \"close\"", () =>
    Effect.gen(function*() {
      const { connection, network } = yield* stalled({ slowConsumer: "close", slowConsumerTimeout: "4 seconds" })
      // Nothing waits for room.
      yield* TestClock.adjust("10 seconds")
      yield* settle
      const sending = yield* Effect.forkChild(connection.send("more"), { startImmediately: true })
      for (let i = 0; i < 3; i++) {
        yield* TestClock.adjust("1 second")
        yield* settle
        // Bytes leave, and there is no room yet.
        network.drain(1)
      }
      assert.isUndefined(sending.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* settle
      const ended = yield* Effect.flip(Fiber.join(sending))
      assert.deepInclude(ended.cause, { _tag: "SlowConsumer", bufferedAmount: 5001 })
      assert.deepStrictEqual(ended.sent, { code: 1008, reason: "SlowConsumer" })
    }))

  it.effect("is no slow consumer once there was room, and may become one again", () =>
    Effect.gen(function*() {
      const { connection, network } = yield* stalled({ slowConsumer: "close", slowConsumerTimeout: "4 seconds" })
      for (let i = 0; i < 5; i++) {
        const sending = yield* Effect.forkChild(connection.send(new Uint8Array(5000)), { startImmediately: true })
        yield* TestClock.adjust("3 seconds")
        yield* settle
        network.drain(Number.POSITIVE_INFINITY)
        yield* Fiber.join(sending)
        yield* settle
      }
      const late = yield* Effect.forkChild(Effect.flip(connection.send("late")), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      yield* settle
      assert.strictEqual((yield* Fiber.join(late)).cause?._tag, "SlowConsumer")
    }))

  it.effect("has 10 seconds to make room by default, with slowConsumer: \"close\"", () =>
    Effect.gen(function*() {
      const { connection } = yield* stalled({ slowConsumer: "close" })
      const sending = yield* Effect.forkChild(Effect.flip(connection.send("more")), { startImmediately: true })
      yield* TestClock.adjust("9999 millis")
      yield* settle
      assert.isUndefined(sending.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* settle
      assert.strictEqual((yield* Fiber.join(sending)).cause?._tag, "SlowConsumer")
    }))
})

describe("idleTimeout", () => {
  const idle = { role: "server", idleTimeout: "40 seconds" } as const
  type Raw = Effect.Success<ReturnType<typeof makeRaw>>

  /** Does something each 5 seconds, and returns after how many seconds the connection was closed, if it was. */
  const closedAfter = (made: Raw, each: (made: Raw, seconds: number) => Effect.Effect<unknown, unknown>) =>
    Effect.gen(function*() {
      const closed = yield* Effect.forkChild(made.connection.closed, { startImmediately: true })
      for (let seconds = 0; seconds < 200; seconds += 5) {
        yield* each(made, seconds)
        yield* settle
        yield* TestClock.adjust("5 seconds")
        yield* settle
        if (closed.pollUnsafe() === undefined) continue
        const { cause, sent } = yield* Fiber.join(closed)
        assert.strictEqual(cause?._tag, "IdleTimeout")
        assert.deepStrictEqual(sent, { code: 1001, reason: "IdleTimeout" })
        return seconds + 5
      }
      return undefined
    })

  const uses: ReadonlyArray<readonly [string, (made: Raw) => Effect.Effect<unknown, unknown>]> = [
    ["messages that are sent", ({ connection }) => connection.send("in use")],
    ["messages that are received", ({ peer }) => Effect.sync(() => peer.send(Frame.text("in use")))],
    [
      "parts of a message",
      ({ peer }) => Effect.sync(() => peer.send(Frame.binary(bytes(1), { fin: false }), Frame.continuation(bytes(2))))
    ],
    ["broadcasts", ({ connection }) => Connection.broadcast([connection], "in use")]
  ]
  for (const [title, use] of uses) {
    it.effect(`does not close a connection in use: ${title}`, () =>
      Effect.gen(function*() {
        const made = yield* makeRaw(idle)
        // Each 20 seconds, in 200.
        assert.isUndefined(yield* closedAfter(made, (_, seconds) => seconds % 20 === 0 ? use(made) : Effect.void))
        // The last use was 20 seconds ago.
        const seconds = yield* closedAfter(made, () => Effect.void)
        assert.isTrue(seconds === 20 || seconds === 30, `after ${seconds} s`)
      }))
  }

  it.effect("does not close a connection on which one frame keeps coming, byte by byte", () =>
    Effect.gen(function*() {
      const made = yield* makeRaw(idle)
      const frame = Frame.encode(Frame.binary(new Uint8Array(100)), 7)
      const byByte = closedAfter(made, ({ peer }, seconds) =>
        Effect.sync(() => peer.sendBytes(frame.slice(seconds / 5, seconds / 5 + 1))))
      assert.isUndefined(yield* byByte)
    }))

  const controls: ReadonlyArray<
    readonly [string, Partial<Connection.MakeOptions>, (made: Raw) => Effect.Effect<unknown, unknown>]
  > = [
    ["nothing", {}, () => Effect.void],
    ["pings of the peer, and their pongs", {}, ({ peer }) => Effect.sync(() => peer.send(Frame.ping(bytes(63))))],
    ["unsolicited pongs", {}, ({ peer }) => Effect.sync(() => peer.send(Frame.pong(bytes(1, 2, 3))))],
    ["pings of the program", {}, ({ connection }) => Effect.forkChild(Effect.exit(connection.ping()))],
    [
      "the keepalive, and its pongs",
      { keepalive: { interval: "5 seconds", timeout: "1 hour" } },
      ({ peer }) =>
        Effect.sync(() =>
          peer.send(...peer.received.filter(({ opcode }) => opcode === 9).map(({ payload }) => Frame.pong(payload)))
        )
    ]
  ]
  for (const [title, options, use] of controls) {
    it.effect(`closes a connection that carries no message: ${title}`, () =>
      Effect.gen(function*() {
        const made = yield* makeRaw({ ...idle, ...options })
        const seconds = yield* closedAfter(made, use)
        assert.isTrue(seconds === 40 || seconds === 50, `after ${seconds} s`)
      }))
  }
})

describe("close (RFC 6455 §7)", () => {
  it.effect("sends a close frame, waits for the peer's, and says how it ended", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fiber = yield* Effect.forkChild(connection.close(4000, "enough"))
      yield* settle
      assert.deepStrictEqual(closeOf(peer.received[0]), { code: 4000, reason: "enough" })
      assert.isUndefined(fiber.pollUnsafe())
      assert.isFalse(peer.sawEnd())
      peer.send(Frame.close(4000, "fine"))
      yield* settle
      assert.isTrue(peer.sawEnd())
      peer.transport.end()
      const ended = yield* Fiber.join(fiber)
      assert.strictEqual(ended.closedBy, "local")
      assert.strictEqual(ended.code, 4000)
      assert.strictEqual(ended.reason, "enough")
      assert.deepStrictEqual(ended.received, { code: 4000, reason: "fine" })
      assert.isTrue(ended.clean)
    }))

  it.effect("answers the peer's close frame with the same code, and the server ends TCP first (§7.1.1)", () =>
    Effect.gen(function*() {
      const server = yield* makeRaw({ role: "server" })
      server.peer.send(Frame.close(1001, "bye"))
      yield* settle
      assert.deepStrictEqual(closeOf(server.peer.received[0]), { code: 1001, reason: "" })
      assert.isTrue(server.peer.sawEnd())

      const client = yield* makeRaw({ role: "client" })
      client.peer.send(Frame.close(1001, "bye"))
      yield* settle
      assert.deepStrictEqual(closeOf(client.peer.received[0]), { code: 1001, reason: "" })
      assert.isFalse(client.peer.sawEnd())
      client.peer.transport.end()
      yield* settle
      assert.isTrue(client.peer.sawEnd())
      assert.strictEqual((yield* client.connection.closed).code, 1001)
    }))

  it.effect("answers an empty close frame with an empty one", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.close())
      yield* settle
      assert.strictEqual(peer.received[0].payload.length, 0)
      const ended = yield* Effect.flip(connection.receive)
      assert.strictEqual(ended.code, 1005)
      assert.isTrue(ended.normal)
    }))

  it.effect("both at once comes to one outcome", () =>
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
    it.effect(`the reply goes behind sends that wait for room when the peer's close frame comes: ${mode}`, () =>
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

  it.effect("the reply waits for senders no longer than closeTimeout, and not when they give up", () =>
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

  it.effect("a peer that sends a close frame, and ends or is gone while a send waits, has closed cleanly", () =>
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

  it.effect("twice is once", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      const all = yield* Effect.all([client.close(4000), client.close(4001), client.close(4002)], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(all.map((ended) => ended.code), [4000, 4000, 4000])
      assert.strictEqual((yield* client.close(4003)).code, 4000)
      assert.strictEqual((yield* server.closed).code, 4000)
    }))

  it.effect("what was sent before it arrives before it", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      yield* client.send("first")
      yield* client.close()
      assert.strictEqual(contentOf(yield* server.receive), "first")
    }))

  it.effect("messages that come while closing are still given", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const closing = yield* Effect.forkChild(connection.close())
      yield* settle
      peer.send(Frame.text("on its way"), Frame.close(1000))
      peer.transport.end()
      assert.strictEqual(contentOf(yield* connection.receive), "on its way")
      yield* Fiber.join(closing)
    }))

  it.effect("finds the peer's close frame behind more than anybody reads", () =>
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

  it.effect("drops what comes past the mark after this end has closed, and all that follows: nothing is torn", () =>
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
    it.effect(`gives up on a peer that never answers, after ${name}`, () =>
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
        assert.isTrue(peer.sawEnd())
      }))
  }

  it.effect("cuts a peer that answers but never ends TCP, and it was clean all the same", () =>
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

  it.effect("goes on when it is interrupted", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fiber = yield* Effect.forkChild(connection.close(4000))
      yield* settle
      yield* Fiber.interrupt(fiber)
      peer.send(Frame.close(4000))
      peer.transport.end()
      assert.isTrue((yield* connection.closed).clean)
    }))

  it.effect("refuses codes and reasons that cannot be sent", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      for (const code of [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 1.5, Number.NaN]) {
        assert.strictEqual((yield* Effect.flip(connection.close(code)))._tag, "InvalidCloseCode")
      }
      assert.strictEqual((yield* Effect.flip(connection.close(1000, "€".repeat(42))))._tag, "CloseReasonTooLong")
      yield* connection.send("still open")
      yield* settle
      assert.deepStrictEqual(opcodesOf(peer.received), [1])
    }))

  it.effect("a peer that ends without a close frame is told apart: 1006", () =>
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

  it.effect("a peer that ends its side but never reads is cut after closeTimeout", () =>
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

  it.effect("a write to a peer that is gone ends the connection with the transport's error", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "client", coalesceWrites: false })
      peer.transport.destroy()
      yield* connection.send("into the void")
      const ended = yield* connection.closed
      assert.strictEqual(ended.code, 1006)
    }))
})

describe("failing the connection (RFC 6455 §7.1.7)", () => {
  const cases: ReadonlyArray<readonly [string, ReadonlyArray<Frame.Frame>, string, number]> = [
    ["a reserved bit", [new Frame.Frame(1, bytes(), true, 4)], "ReservedBits", 1002],
    ["a reserved opcode", [new Frame.Frame(3 as Frame.Opcode, bytes())], "ReservedOpcode", 1002],
    ["a fragmented ping", [new Frame.Frame(9, bytes(), false)], "FragmentedControlFrame", 1002],
    ["a ping of 126 bytes", [Frame.ping(new Uint8Array(126))], "ControlFrameTooLong", 1002],
    ["a continuation of nothing", [Frame.continuation("x")], "UnexpectedContinuation", 1002],
    [
      "a message inside another",
      [Frame.text("a", { fin: false }), Frame.text("b")],
      "UnfinishedMessage",
      1002
    ],
    ["text that is not UTF-8", [Frame.text(bytes(0x61, 0xff))], "InvalidUtf8", 1007],
    [
      "text that ends inside a code point",
      [Frame.text(bytes(0xe2), { fin: false }), Frame.continuation(bytes(0x82))],
      "InvalidUtf8",
      1007
    ],
    ["a message over the limit", [Frame.binary(new Uint8Array(1001))], "MessageTooLarge", 1009],
    [
      "a fragmented message over the limit",
      [Frame.binary(new Uint8Array(600), { fin: false }), Frame.continuation(new Uint8Array(600))],
      "MessageTooLarge",
      1009
    ],
    [
      "fragments without end",
      [Frame.text("", { fin: false }), ...Array.from({ length: 10 }, () => Frame.continuation("", { fin: false }))],
      "TooManyFragments",
      1008
    ],
    ["a close frame of one byte", [new Frame.Frame(8, bytes(3))], "CloseFrameTooShort", 1002],
    ["a close code that is none", [new Frame.Frame(8, bytes(0x03, 0xee))], "InvalidCloseCode", 1002],
    ["a close reason that is not UTF-8", [new Frame.Frame(8, bytes(0x03, 0xe8, 0xff))], "InvalidUtf8", 1007]
  ]
  for (const [name, frames, tag, code] of cases) {
    it.effect(`${name}: ${tag}, ${code}`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server", maxMessageSize: 1000, maxFragments: 5 })
        peer.send(Frame.text("before"), ...frames)
        assert.strictEqual(contentOf(yield* connection.receive), "before")
        const ended = yield* Effect.flip(connection.receive)
        assert.strictEqual(ended.cause?._tag, tag)
        assert.strictEqual(ended.code, code)
        assert.strictEqual(ended.closedBy, "local")
        yield* settle
        assert.deepStrictEqual(closeOf(peer.received.at(-1)!), { code, reason: tag })
        assert.isTrue(peer.sawEnd())
      }))
  }

  it.effect("an unmasked frame to a server, a masked one to a client", () =>
    Effect.gen(function*() {
      const server = yield* makeRaw({ role: "server" })
      server.peer.sendBytes(Frame.encode(Frame.text("x")))
      assert.strictEqual((yield* Effect.flip(server.connection.receive)).cause?._tag, "UnmaskedFrame")
      const client = yield* makeRaw({ role: "client" })
      client.peer.sendBytes(Frame.encode(Frame.text("x"), 1))
      assert.strictEqual((yield* Effect.flip(client.connection.receive)).cause?._tag, "MaskedFrame")
    }))

  it.effect("text is refused at its first impossible byte, inside a frame that is not all here", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const frame = Frame.encode(Frame.text(bytes(0x61, 0x62, 0xc0, 0x61, 0x61, 0x61)), 0)
      peer.sendBytes(frame.subarray(0, frame.length - 3))
      const ended = yield* Effect.flip(connection.receive)
      assert.strictEqual(ended.cause?._tag, "InvalidUtf8")
      assert.strictEqual((ended.cause as { offset: number }).offset, 2)
    }))

  it.effect("a length over the limit is refused before any of the payload has come", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", maxMessageSize: 1000 })
      peer.sendBytes(bytes(0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4))
      const ended = yield* Effect.flip(connection.receive)
      assert.strictEqual(ended.cause?._tag, "MessageTooLarge")
    }))

  it.effect("a frame over the codec's own limit, whatever the limit on messages", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" }).pipe(
        Effect.provide(Frame.layerCodec({ maxFrameSize: 10 }))
      )
      peer.send(Frame.ping(new Uint8Array(100)), Frame.binary(new Uint8Array(11)))
      const ended = yield* Effect.flip(connection.receive)
      assert.deepStrictEqual([ended.cause?._tag, ended.code], ["FrameTooLarge", 1009])
    }))

  it.effect("the peer's answer to the failure is not awaited, but the transport is drained until it ends", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", closeTimeout: "3 seconds" })
      peer.send(Frame.continuation("x"))
      yield* settle
      for (let i = 0; i < 100; i++) peer.send(Frame.binary(new Uint8Array(10_000)))
      yield* settle
      assert.isFalse(peer.gone())
      const closed = yield* Effect.forkChild(connection.closed)
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual((yield* Fiber.join(closed)).cause?._tag, "UnexpectedContinuation")
    }))
})

describe("the Scope", () => {
  const closedBy = (exit: Exit.Exit<unknown, unknown>) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const [left, right] = yield* Transport.makePair()
      yield* Connection.make(left, { role: "server" }).pipe(Scope.provide(scope))
      const other = yield* Connection.make(right, { role: "client" })
      yield* Scope.close(scope, exit)
      return (yield* other.closed).code
    })

  it.effect("closes with 1000 after a success, 1001 after an interruption, 1011 after a failure", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* closedBy(Exit.void), 1000)
      assert.strictEqual(yield* closedBy(Exit.interrupt()), 1001)
      assert.strictEqual(yield* closedBy(Exit.fail("x")), 1011)
      assert.strictEqual(yield* closedBy(Exit.die("x")), 1011)
    }))

  it.effect("waits for the closing handshake, no longer than closeTimeout", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const [left] = yield* Transport.makePair()
      yield* Connection.make(left, { role: "server", closeTimeout: "2 seconds" }).pipe(Scope.provide(scope))
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
    }))

  it.effect("is what a layer gives a connection", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      const other = yield* Connection.make(right, { role: "client" })
      const said = Effect.flatMap(Connection.Connection, (connection) => connection.send("from the layer"))
      yield* said.pipe(
        Effect.provide(Connection.layer({ role: "server" })),
        Effect.provideService(Transport.Transport, left)
      )
      assert.strictEqual(contentOf(yield* other.receive), "from the layer")
      assert.strictEqual((yield* other.closed).code, 1000)
    }))
})

describe("stats", () => {
  it.effect("count what went in and out", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("abc", { fin: false }), Frame.continuation("def"), Frame.ping())
      yield* connection.receive
      yield* connection.sendAll(["x", "yy"])
      yield* settle
      assert.deepStrictEqual(yield* connection.stats, {
        bytesIn: 9 + 9 + 6,
        bytesOut: 2 + 3 + 4,
        framesIn: 3,
        framesOut: 3,
        messagesIn: 1,
        messagesOut: 2,
        messagesSkipped: 0,
        bufferedAmount: 0,
        unreadAmount: 0
      })
    }))
})

describe("strings", () => {
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
    it.effect(`are UTF-8 on the wire, whatever their length, as a ${role} sends them (§5.6)`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role }, { highWaterMark: 1024 * 1024 })
        for (const string of strings) yield* connection.send(string)
        yield* connection.sendAll(strings)
        yield* settle
        const expected = [...strings, ...strings].map((string) => Buffer.from(string).toString("hex"))
        assert.deepStrictEqual(peer.received.map((frame) => Buffer.from(frame.payload).toString("hex")), expected)
        assert.isTrue(peer.received.every((frame) => frame.opcode === Frame.Opcode.Text && frame.fin))
        const stats = yield* connection.stats
        assert.strictEqual(stats.bytesOut, peer.writes.reduce((sum, { length }) => sum + length, 0))
        assert.deepStrictEqual([stats.framesOut, stats.messagesOut], [expected.length, expected.length])
      }))
  }
})

describe("broadcast", () => {
  const open = (count: number, options?: Partial<Connection.MakeOptions>, transport?: Transport.PairOptions) =>
    Effect.all(Array.from({ length: count }, () => makeRaw({ role: "server", ...options }, transport)))
  const connectionsOf = (all: ReadonlyArray<{ readonly connection: Connection.Connection }>) =>
    all.map(({ connection }) => connection)

  it.effect("sends through connections of the program's own making, too", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const sent: Array<unknown> = []
      const wrapped: Connection.Connection = {
        ...connection,
        sendAll: (messages, options) => {
          sent.push(messages)
          return connection.sendAll(messages, options)
        }
      }
      yield* Connection.broadcast([wrapped], "one")
      yield* settle
      assert.deepStrictEqual([sent, peer.received.map(textOf)], [[["one"]], ["one"]])
    }))

  it.effect("sends to all, what a turn brings in one write", () =>
    Effect.gen(function*() {
      const all = yield* open(3)
      yield* Connection.broadcast(connectionsOf(all), "one")
      yield* Connection.broadcast(connectionsOf(all), [bytes(2), Message.text("three")])
      yield* settle
      for (const { connection, peer } of all) {
        assert.deepStrictEqual(peer.received.map((frame) => [frame.opcode, textOf(frame)]), [
          [1, "one"],
          [2, "\u0002"],
          [1, "three"]
        ])
        assert.strictEqual(peer.writes.length, 1)
        const stats = yield* connection.stats
        assert.deepStrictEqual([stats.messagesOut, stats.framesOut, stats.bytesOut], [3, 3, 15])
      }
    }))

  it.effect("keeps the order with what is sent to one of them", () =>
    Effect.gen(function*() {
      const all = yield* open(2)
      yield* all[0].connection.send("before")
      yield* Connection.broadcast(connectionsOf(all), "to all")
      yield* all[0].connection.send("after")
      yield* settle
      assert.deepStrictEqual(all[0].peer.received.map(textOf), ["before", "to all", "after"])
      assert.deepStrictEqual(all[1].peer.received.map(textOf), ["to all"])
    }))

  it.effect("gives each what it is sent, whatever others are sent in the same turn", () =>
    Effect.gen(function*() {
      const all = yield* open(3, undefined, { highWaterMark: 100_000 })
      const [first, second, third] = connectionsOf(all)
      const large = "large".repeat(1000)
      yield* Connection.broadcast([first, second], "a")
      yield* Connection.broadcast([first, second, third], "b")
      yield* first.send("to the first")
      yield* second.send(large)
      yield* Connection.broadcast([first, third, second], "c")
      yield* Connection.broadcast([third, second], large)
      yield* Connection.broadcast([first, second, third], "d")
      yield* settle
      assert.deepStrictEqual(all.map(({ peer }) => peer.received.map(textOf)), [
        ["a", "b", "to the first", "c", "d"],
        ["a", "b", large, "c", large, "d"],
        ["b", "c", large, "d"]
      ])
    }))

  it.effect("passes over connections that have ended", () =>
    Effect.gen(function*() {
      const all = yield* open(2)
      all[0].peer.transport.destroy()
      yield* settle
      for (const slowConsumer of ["wait", "skip", "close"] as const) {
        yield* Connection.broadcast(connectionsOf(all), slowConsumer, { slowConsumer })
      }
      yield* settle
      assert.deepStrictEqual(all[1].peer.received.map(textOf), ["wait", "skip", "close"])
    }))

  describe("to many connections that compress", () => {
    const count = 300
    const message = "x".repeat(1000)
    /** Many connections with context takeover, and what each has sent so far, as it would be inflated. */
    const openMany = Effect.gen(function*() {
      const deflate = PerMessageDeflate.make()
      const negotiated = Extension.accept([deflate], Extension.offer([deflate]))
      const all = yield* open(count, { negotiated }, { highWaterMark: 100_000 })
      const received = Effect.forEach(all, ({ peer }) =>
        Effect.gen(function*() {
          const { open: begin } = Extension.accept([deflate], Extension.offer([deflate]))[0]
          const session = yield* begin
          return yield* Effect.forEach(peer.received, (frame) =>
            Effect.map(frame.reserved === 0 ? Effect.succeed(frame) : decode(session, frame), textOf))
        }))
      return { all, received }
    })
    /** Answers how often the event loop turned meanwhile. */
    const turnsOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.suspend(() => {
        let turns = 0
        let over = false
        const tick = () => {
          turns++
          if (!over) setImmediate(tick)
        }
        setImmediate(tick)
        return Effect.map(effect, () => {
          over = true
          return turns
        })
      })

    it.effect(
      "lets the event loop turn, also for connections of the program's own making",
      () =>
        Effect.gen(function*() {
          const { all, received } = yield* openMany
          const own = connectionsOf(all)
          for (
            const connections of [
              own,
              own.map((connection) => Object.assign({}, connection, { sendAll: connection.sendAll }))
            ]
          ) {
            // 64 KiB of messages a turn, with 2 KiB more for each: 22 of these.
            assert.isAtLeast(yield* turnsOf(Connection.broadcast(connections, message)), count / 30)
            assert.isAtLeast(yield* turnsOf(Connection.broadcast(connections, message.repeat(70))), count - 1)
            assert.strictEqual(yield* turnsOf(Connection.broadcast(connections.slice(0, 20), message)), 0)
          }
          yield* settle
          const expected = [message, message.repeat(70)]
          for (const [i, texts] of (yield* received).entries()) {
            const small = i < 20 ? [message] : []
            assert.deepStrictEqual(texts, [...expected, ...small, ...expected, ...small])
          }
        }),
      60_000
    )

    it.effect("keeps the order with what others send meanwhile", () =>
      Effect.gen(function*() {
        const { all, received } = yield* openMany
        const connections = connectionsOf(all)
        const fork = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })
        const fibers = [
          yield* fork(Connection.broadcast(connections, `1${message}`)),
          yield* fork(Connection.broadcast(connections.toReversed(), `2${message}`, { slowConsumer: "skip" })),
          yield* fork(Connection.broadcast(connections, `3${message}`)),
          yield* fork(Effect.forEach(connections, (connection) => connection.send("4"), { concurrency: "unbounded" }))
        ]
        for (const fiber of fibers) yield* Fiber.join<unknown, ConnectionError.ConnectionClosed>(fiber)
        yield* settle
        for (const texts of yield* received) {
          assert.deepStrictEqual(texts.map((text) => text[0]), ["1", "2", "3", "4"])
        }
      }))

    it.effect("leaves each with all or nothing of it, and usable, when it is interrupted", () =>
      Effect.gen(function*() {
        const { all, received } = yield* openMany
        const fiber = yield* Effect.forkChild(Connection.broadcast(connectionsOf(all), [message, "end"]), {
          startImmediately: true
        })
        for (let step = 0; step < 3; step++) yield* Effect.yieldNow
        all[count - 1].peer.transport.destroy()
        yield* Fiber.interrupt(fiber)
        yield* Connection.broadcast(connectionsOf(all), "after")
        yield* settle
        const texts = (yield* received).slice(0, -1)
        const got = texts.filter(({ length }) => length === 3).length
        assert.isAbove(got, 0)
        assert.isBelow(got, count - 1)
        for (const [i, each] of texts.entries()) {
          assert.deepStrictEqual(each, i < got ? [message, "end", "after"] : ["after"])
        }
      }))
  })

  it.effect("masks for each where clients send it", () =>
    Effect.gen(function*() {
      const all = yield* open(2, { role: "client" })
      yield* Connection.broadcast(connectionsOf(all), "masked")
      yield* settle
      for (const { peer } of all) assert.deepStrictEqual(peer.received.map(textOf), ["masked"])
    }))

  /** Three connections, of which the peer of the second reads nothing, until it is told to. */
  const openWithSlow = Effect.gen(function*() {
    const all = yield* open(3, undefined, { highWaterMark: 100 })
    all[1].peer.transport.pause()
    yield* Connection.broadcast(connectionsOf(all), new Uint8Array(200))
    yield* settle
    return all
  })

  it.effect("waits for slow consumers, by default", () =>
    Effect.gen(function*() {
      const all = yield* openWithSlow
      const fiber = yield* Effect.forkChild(Connection.broadcast(connectionsOf(all), "x"), { startImmediately: true })
      yield* settle
      assert.isUndefined(fiber.pollUnsafe())
      assert.deepStrictEqual(all.map(({ peer }) => peer.received.length), [2, 0, 2])
      all[1].peer.transport.resume()
      yield* Fiber.join(fiber)
      yield* settle
      assert.deepStrictEqual(all.map(({ peer }) => peer.received.length), [2, 2, 2])
    }))

  const slowly = { maxBufferedAmount: 10 } as const

  it.effect("leaves slow consumers out, if they are to be skipped, and counts what they missed", () =>
    Effect.gen(function*() {
      const all = yield* openWithSlow
      for (const text of ["first", "second", "third", "fourth"]) {
        yield* Connection.broadcast(connectionsOf(all), text, { ...slowly, slowConsumer: "skip" })
        yield* settle
      }
      const stats = yield* Effect.forEach(connectionsOf(all), (connection) => connection.stats)
      assert.deepStrictEqual(stats.map(({ messagesSkipped }) => messagesSkipped), [0, 2, 0])
      all[1].peer.transport.resume()
      yield* settle
      assert.deepStrictEqual(all[1].peer.received.slice(1).map(textOf), ["first", "second"])
      yield* Connection.broadcast(connectionsOf(all), "last", { ...slowly, slowConsumer: "skip" })
      yield* settle
      assert.deepStrictEqual(all.map(({ peer }) => peer.received.length), [6, 4, 6])
    }))

  it.effect("closes slow consumers with 1008, if they are to be closed", () =>
    Effect.gen(function*() {
      const all = yield* openWithSlow
      for (const text of ["first", "second", "third"]) {
        yield* Connection.broadcast(connectionsOf(all), text, { ...slowly, slowConsumer: "close" })
        yield* settle
      }
      const ended = yield* all[1].connection.closed
      assert.deepStrictEqual(ended.sent, { code: 1008, reason: "SlowConsumer" })
      assert.deepInclude({ ...ended.cause }, { _tag: "SlowConsumer", bufferedAmount: 204 + 7 + 8 })
      assert.deepStrictEqual([all[0].peer.received.length, all[2].peer.received.length], [4, 4])
    }))

  for (const slowConsumer of ["skip", "close"] as const) {
    const options = { ...slowly, slowConsumer }

    it.effect(`takes all that is sent within one turn, whatever the policy: ${slowConsumer}`, () =>
      Effect.gen(function*() {
        const all = yield* open(2, undefined, { highWaterMark: 100 })
        // As many bytes as leave before the end of a turn.
        for (let i = 0; i < 5; i++) yield* Connection.broadcast(connectionsOf(all), "x".repeat(70_000), options)
        yield* settle
        yield* Connection.broadcast(connectionsOf(all), "x", options)
        yield* settle
        assert.deepStrictEqual(all.map(({ peer }) => peer.received.length), [6, 6])
      }))

    it.effect(`does not count what was sent before, however large: ${slowConsumer}`, () =>
      Effect.gen(function*() {
        const all = yield* openWithSlow
        for (const text of ["123", "4567"]) {
          yield* Connection.broadcast(connectionsOf(all), text, options)
          yield* settle
        }
        all[1].peer.transport.resume()
        yield* settle
        assert.deepStrictEqual(all.map(({ peer }) => peer.received.length), [3, 3, 3])
      }))

    it.effect(`waits for a message in fragments that is being sent to one of them: ${slowConsumer}`, () =>
      Effect.gen(function*() {
        const all = yield* open(2)
        yield* all[0].connection.sendFrame(Frame.text("a", { fin: false }))
        const sending = yield* Effect.forkChild(Connection.broadcast(connectionsOf(all), "x", options), {
          startImmediately: true
        })
        yield* settle
        assert.isUndefined(sending.pollUnsafe())
        yield* all[0].connection.sendFrame(Frame.continuation("b"))
        yield* Fiber.join(sending)
        yield* settle
        assert.deepStrictEqual(all.map(({ peer }) => peer.received.map(textOf)), [["a", "b", "x"], ["x"]])
      }))
  }

  it.effect("does not leave out a peer that takes as much as it is sent, though there never is room", () =>
    Effect.gen(function*() {
      const network = makeNetwork(1000)
      const connection = yield* Connection.make(network.transport, {
        role: "server",
        closeTimeout: 0,
        keepalive: false
      })
      yield* connection.send(new Uint8Array(2000))
      yield* settle
      for (let i = 0; i < 50; i++) {
        yield* Connection.broadcast([connection], new Uint8Array(398), {
          slowConsumer: "skip",
          maxBufferedAmount: 3000
        })
        yield* turn
        network.drain(400)
      }
      const { bufferedAmount, messagesOut, messagesSkipped } = yield* connection.stats
      assert.deepStrictEqual({ bufferedAmount, messagesOut, messagesSkipped }, {
        bufferedAmount: 2004 + 50 * 2,
        messagesOut: 51,
        messagesSkipped: 0
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => network.close()))
    }))

  it.effect("passes sends that wait for room, unless it waits for slow consumers itself; masked, too", () =>
    Effect.gen(function*() {
      const all = yield* open(1, { role: "client" }, { highWaterMark: 100 })
      all[0].peer.transport.pause()
      yield* all[0].connection.send(new Uint8Array(200))
      yield* settle
      const waiting = yield* Effect.forkChild(all[0].connection.send("waits"), { startImmediately: true })
      yield* Connection.broadcast(connectionsOf(all), "x", { slowConsumer: "skip" })
      all[0].peer.transport.resume()
      yield* Fiber.join(waiting)
      yield* settle
      assert.deepStrictEqual(all[0].peer.received.slice(1).map(textOf), ["x", "waits"])
    }))

  it.effect("dies with a maxBufferedAmount of NaN", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Connection.broadcast([], "x", { slowConsumer: "skip", maxBufferedAmount: NaN }))
      assert(Exit.hasDies(exit))
    }))
})
