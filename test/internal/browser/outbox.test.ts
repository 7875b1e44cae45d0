import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { ConnectionClosed } from "effect-ws/ConnectionError"
import { Outbox, pollInterval } from "../../../src/internal/browser/outbox.ts"
import { Frame, Opcode } from "../../../src/internal/protocol/frame.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { FakeWebSocket } from "../../support/fakeWebSocket.ts"
import { hostileValues } from "../../support/hostile.ts"
import { settle } from "../../support/memory.ts"

const closed = new ConnectionClosed({ sent: undefined, received: undefined, closedBy: undefined, cause: undefined })

const open = Effect.gen(function*() {
  const socket = new FakeWebSocket("ws://there/")
  socket.accept()
  const errors: Array<Error> = []
  const outbox: Outbox = new Outbox(socket, Timers.of(yield* Effect.context<never>()), 100, (error) => {
    errors.push(error)
    outbox.close(closed)
  })
  return { errors, outbox, socket }
})

const poll = Effect.andThen(TestClock.adjust(pollInterval), settle)

describe("Outbox", () => {
  it.effect("suspends senders above the high-water mark, and resumes them in order", () =>
    Effect.gen(function*() {
      const { outbox, socket } = yield* open
      socket.bufferedAmount = 101
      const fibers = yield* Effect.forEach(
        [["a"], ["b", "c"], ["d"]],
        (messages) => Effect.forkChild(outbox.send(messages), { startImmediately: true })
      )
      yield* poll
      assert.deepStrictEqual(socket.sent, [])
      socket.onSend = (data) => {
        if (data === "c") socket.bufferedAmount = 101
      }
      socket.bufferedAmount = 100
      yield* poll
      assert.deepStrictEqual(socket.sent, ["a", "b", "c"])
      assert.deepStrictEqual(fibers.map((fiber) => fiber.pollUnsafe() !== undefined), [true, true, false])
      socket.bufferedAmount = 0
      yield* poll
      yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual(socket.sent, ["a", "b", "c", "d"])
    }))

  it.effect("sends nothing for a sender that was interrupted while it waited, and looks no more", () =>
    Effect.gen(function*() {
      const { outbox, socket } = yield* open
      socket.bufferedAmount = 101
      const fibers = yield* Effect.forEach(
        ["a", "b"],
        (message) => Effect.forkChild(outbox.send([message]), { startImmediately: true })
      )
      yield* Fiber.interrupt(fibers[0])
      socket.bufferedAmount = 0
      yield* poll
      yield* Fiber.join(fibers[1])
      assert.deepStrictEqual(socket.sent, ["b"])
      socket.bufferedAmount = 101
      const last = yield* Effect.forkChild(outbox.send(["c"]), { startImmediately: true })
      yield* Fiber.interrupt(last)
      Object.defineProperty(socket, "bufferedAmount", { get: () => assert.fail("still looking") })
      yield* poll
    }))

  it.effect("does not pass a sender that waits, even with room", () =>
    Effect.gen(function*() {
      const { outbox, socket } = yield* open
      socket.bufferedAmount = 101
      yield* Effect.forkChild(outbox.send(["a"]), { startImmediately: true })
      socket.bufferedAmount = 0
      const second = yield* Effect.forkChild(outbox.send(["b"]), { startImmediately: true })
      assert.deepStrictEqual(socket.sent, [])
      yield* poll
      yield* Fiber.join(second)
      assert.deepStrictEqual(socket.sent, ["a", "b"])
    }))

  it.effect("does not send while the peer closes, and fails with the end", () =>
    Effect.gen(function*() {
      const { outbox, socket } = yield* open
      socket.beginClosing()
      const sending = yield* Effect.forkChild(Effect.exit(outbox.send(["a"])), { startImmediately: true })
      yield* poll
      assert.isUndefined(sending.pollUnsafe())
      outbox.close(closed)
      assert.deepStrictEqual(yield* Fiber.join(sending), Exit.fail(closed))
      assert.deepStrictEqual(yield* Effect.exit(outbox.send(["b"])), Exit.fail(closed))
      assert.deepStrictEqual(socket.sent, [])
    }))

  it.effect("reports an error whatever the socket throws", () =>
    Effect.gen(function*() {
      for (const [name, thrown] of hostileValues) {
        const { errors, outbox, socket } = yield* open
        socket.onSend = () => {
          throw thrown
        }
        assert.deepStrictEqual(yield* Effect.exit(outbox.send(["a"])), Exit.fail(closed), name)
        assert.deepStrictEqual(errors.map((error) => error instanceof Error), [true], name)
      }
    }))

  it.effect("fails all senders when the socket throws", () =>
    Effect.gen(function*() {
      const { errors, outbox, socket } = yield* open
      const thrown = new Error("on purpose")
      socket.bufferedAmount = 101
      socket.onSend = () => {
        throw thrown
      }
      const fibers = yield* Effect.forEach(
        ["a", "b"],
        (message) => Effect.forkChild(Effect.exit(outbox.send([message])), { startImmediately: true })
      )
      socket.bufferedAmount = 0
      yield* poll
      assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), [Exit.fail(closed), Exit.fail(closed)])
      assert.deepStrictEqual([errors, socket.sent], [[thrown], ["a"]])
      const other = yield* open
      other.socket.onSend = socket.onSend
      assert.deepStrictEqual(yield* Effect.exit(other.outbox.send(["a"])), Exit.fail(closed))
    }))

  it.effect("sends text of bytes as text, and copies memory that a browser rejects", () =>
    Effect.gen(function*() {
      const { outbox, socket } = yield* open
      const shared = new Uint8Array(new SharedArrayBuffer(2)).fill(7)
      yield* outbox.send([
        new Frame(Opcode.Text, new TextEncoder().encode("\ufeff€")),
        new Frame(Opcode.Binary, shared),
        new Frame(Opcode.Binary, Uint8Array.of(1))
      ])
      assert.deepStrictEqual(socket.sent, ["\ufeff€", Uint8Array.of(7, 7), Uint8Array.of(1)])
    }))
})
