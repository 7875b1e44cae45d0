import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { CloseCode, Frame } from "effect-ws"
import { contentOf, makeRaw, settle } from "../support/memory.ts"

const bytes = (...values: Array<number>) => Uint8Array.from(values)

describe("receive (RFC 6455 §6.2)", () => {
  it.effect("returns text and binary messages in the order in which they arrive", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("one"), Frame.binary(bytes(1, 2)), Frame.text(""), Frame.text("four"))
      const got = yield* Effect.replicateEffect(connection.receive, 4)
      assert.deepStrictEqual(got.map(contentOf), ["one", [1, 2], "", "four"])
    }))

  it.effect("joins fragments that have control frames between them (§5.4)", () =>
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

  it.effect("waits for a message that has not arrived", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "client" })
      const fiber = yield* Effect.forkChild(connection.receive)
      yield* settle
      assert.isUndefined(fiber.pollUnsafe())
      peer.send(Frame.text("late"))
      assert.strictEqual(contentOf(yield* Fiber.join(fiber)), "late")
    }))

  it.effect("gives each of several fibers other messages, in the order in which they began to wait", () =>
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

  it.effect("returns the messages before the close frame, then fails with ConnectionClosed", () =>
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

  it.effect("ignores frames after a close frame (§1.4)", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.close(1000), Frame.text("too late"))
      const ended = yield* Effect.flip(connection.receive)
      assert.strictEqual(ended.code, 1000)
      assert.strictEqual((yield* connection.stats).messagesIn, 0)
    }))
})

describe("messages of a connection", () => {
  for (const code of [CloseCode.NormalClosure, CloseCode.GoingAway, CloseCode.NoStatusReceived]) {
    it.effect(`end without an error after a close frame with ${code}`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server" })
        peer.send(Frame.text("a"), Frame.text("b"), Frame.close(code))
        const got = yield* Stream.runCollect(connection.messages)
        assert.deepStrictEqual(got.map(contentOf), ["a", "b"])
      }))
  }

  it.effect("fail after a close frame with another code, behind all messages", () =>
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

  it.effect("pass on the messages of one read as one array", () =>
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

describe("discard", () => {
  it.effect("drops all unread and further data, and reads the close frame behind it", () =>
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

  it.effect("wakes readers when the connection ends, and skips a message that is read in fragments", () =>
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

  it.effect("checks the limits and rules of the messages that it drops", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", maxMessageSize: 100 })
      const discarding = yield* Effect.forkChild(connection.discard, { startImmediately: true })
      peer.send(Frame.binary(new Uint8Array(101)))
      assert.strictEqual((yield* Fiber.join(discarding)).cause?._tag, "MessageTooLarge")
    }))
})
