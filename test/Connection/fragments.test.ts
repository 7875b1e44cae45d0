import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { Frame } from "effect-ws"
import { TestClock } from "effect/testing"
import { contentOf, makePair, makeRaw, opcodesOf, settle } from "../support/memory.ts"

const bytes = (...values: Array<number>) => Uint8Array.from(values)
const textOf = (frame: Frame.Frame) => Buffer.from(frame.payload).toString("utf8")
const closeOf = (frame: Frame.Frame) => Frame.readClose(frame.payload)

describe("sendFragments (RFC 6455 §5.4)", () => {
  it.effect("sends each element as a frame, and ends the message with the last", () =>
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

  it.effect("sends an element before the next one is available, and an empty frame if the stream ends later", () =>
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

  it.effect("copies an element that it holds back, because the source may reuse its memory", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      const memory = new Uint8Array(8000)
      const numbered = Stream.map(Stream.make(1, 2, 3).pipe(Stream.rechunk(1)), (n) => memory.fill(n))
      yield* client.sendFragments(numbered)
      const { bytes: received } = yield* server.receive
      assert.deepStrictEqual([0, 8000, 16_000].map((at) => received[at]), [1, 2, 3])
    }))

  it.effect("releases the resources of the stream, also when it is interrupted while it is pulled", () =>
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

  it.effect("lets other messages wait, and control frames pass, until the message ends", () =>
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

  it.effect("does not hold up other messages before its first element", () =>
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

  it.effect("encodes a surrogate pair whole that the stream has cut in two", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      yield* client.sendFragments(Stream.make("a\ud83d", "\ude00b", "\ud83d"))
      assert.strictEqual(contentOf(yield* server.receive), "a😀b\ufffd")
    }))

  it.effect("closes the connection with 1011 when the stream fails after its first element", () =>
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

  it.effect("fails with UnexpectedFragment for text among binary", () =>
    Effect.gen(function*() {
      const { connection } = yield* makeRaw({ role: "server" })
      const mixed = Stream.make("a", bytes(1)) as Stream.Stream<string>
      const error = yield* Effect.flip(connection.sendFragments(mixed))
      assert.strictEqual(error._tag, "UnexpectedFragment")
    }))
})

describe("receiveFragments", () => {
  it.effect("returns fragments before the message has arrived whole", () =>
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

  it.effect("decodes text whose code points are cut between fragments", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const euro = new TextEncoder().encode("€")
      peer.send(Frame.text(euro.subarray(0, 1), { fin: false }), Frame.continuation(euro.subarray(1)))
      const message = yield* connection.receiveFragments
      assert.strictEqual(message._tag, "Text")
      const parts = yield* Stream.runCollect(message.fragments as Stream.Stream<string, unknown>)
      assert.strictEqual(parts.join(""), "€")
    }))

  it.effect("returns a message of one frame as one fragment", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("whole"), Frame.text("next"))
      const message = yield* connection.receiveFragments
      assert.deepStrictEqual(yield* Stream.runCollect(message.fragments as Stream.Stream<string, unknown>), ["whole"])
      assert.strictEqual(contentOf(yield* connection.receive), "next")
    }))

  it.effect("fails with MessageSkipped when the program receives something else before the last fragment", () =>
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

  it.effect("fails when the connection ends within the message, even normally", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("a", { fin: false }), Frame.close(1000))
      const message = yield* connection.receiveFragments
      const error = yield* Effect.flip(Stream.runDrain(message.fragments as Stream.Stream<string, { _tag: string }>))
      assert.strictEqual(error._tag, "ConnectionClosed")
    }))
})
