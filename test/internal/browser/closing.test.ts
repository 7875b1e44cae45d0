import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { type ConnectionClosed, SlowConsumer } from "effect-ws/ConnectionError"
import { Closing } from "../../../src/internal/browser/closing.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { FakeWebSocket } from "../../support/fakeWebSocket.ts"
import { settle } from "../../support/memory.ts"

const open = Effect.gen(function*() {
  const socket = new FakeWebSocket("ws://there/")
  socket.accept()
  const ends: Array<ConnectionClosed> = []
  const timers = Timers.of(yield* Effect.context<never>())
  const closing = new Closing(socket, timers, Duration.seconds(10), (closed) => ends.push(closed))
  return { closing, ends, socket }
})

const clean = (code: number, reason = "") => ({ code, reason, wasClean: true })
const facts = ({ closedBy, received, sent }: ConnectionClosed) => ({ closedBy, received, sent })

describe("Closing", () => {
  it.effect("waits for the close event, and reports both close frames", () =>
    Effect.gen(function*() {
      const { closing, ends, socket } = yield* open
      const closed = yield* Effect.forkChild(closing.closeAndAwait({ code: 4000, reason: "a" }), {
        startImmediately: true
      })
      assert.deepStrictEqual(socket.closes, [[4000, "a"]])
      closing.onClose(clean(4001, "b"), undefined)
      const end = yield* Fiber.join(closed)
      assert.deepStrictEqual(facts(end), {
        closedBy: "local",
        sent: { code: 4000, reason: "a" },
        received: { code: 4001, reason: "b" }
      })
      assert.isTrue(end.clean)
      assert.deepStrictEqual(ends, [end])
    }))

  it.effect("sends an empty close frame for 1005", () =>
    Effect.gen(function*() {
      const { closing, socket } = yield* open
      yield* Effect.forkChild(closing.closeAndAwait({ code: 1005, reason: "" }), { startImmediately: true })
      assert.deepStrictEqual(socket.closes, [[]])
    }))

  it.effect("sends one close frame, however often it is closed", () =>
    Effect.gen(function*() {
      const { closing, socket } = yield* open
      for (const code of [1000, 4000]) {
        yield* Effect.forkChild(closing.closeAndAwait({ code, reason: "" }), { startImmediately: true })
      }
      closing.onClose(clean(1000), undefined)
      assert.strictEqual((yield* closing.closeAndAwait({ code: 4000, reason: "" })).sent?.code, 1000)
      assert.strictEqual(socket.closes.length, 1)
    }))

  it.effect("reports the peer's close frame, to which the browser has replied", () =>
    Effect.gen(function*() {
      const { closing } = yield* open
      closing.onClose(clean(4001, "b"), undefined)
      const end = yield* closing.ended.await
      assert.deepStrictEqual(facts(end), {
        closedBy: "remote",
        sent: { code: 4001, reason: "" },
        received: { code: 4001, reason: "b" }
      })
    }))

  it.effect("sends no close frame when the peer has begun to close", () =>
    Effect.gen(function*() {
      const { closing, socket } = yield* open
      socket.beginClosing()
      const closed = yield* Effect.forkChild(closing.closeAndAwait({ code: 1000, reason: "" }), {
        startImmediately: true
      })
      closing.onClose(clean(4001), undefined)
      assert.strictEqual((yield* Fiber.join(closed)).closedBy, "remote")
      assert.deepStrictEqual(socket.closes, [])
    }))

  it.effect("fails without a close frame when the peer has begun to close", () =>
    Effect.gen(function*() {
      const { closing, socket } = yield* open
      socket.beginClosing()
      const end = closing.fail({ code: 4008, reason: "SlowConsumer" }, new SlowConsumer({ bufferedAmount: 1 }))
      assert.deepStrictEqual(facts(end), { closedBy: undefined, sent: undefined, received: undefined })
      assert.deepStrictEqual(socket.closes, [])
    }))

  it.effect("ends once, even if closeTimeout passes after the end", () =>
    Effect.gen(function*() {
      const { closing, ends } = yield* open
      yield* Effect.forkChild(closing.closeAndAwait({ code: 1000, reason: "" }), { startImmediately: true })
      closing.onClose(clean(1000), undefined)
      yield* Effect.andThen(TestClock.adjust("1 minute"), settle)
      assert.lengthOf(ends, 1)
    }))

  it.effect("ends with CloseTimeout when the peer does not reply", () =>
    Effect.gen(function*() {
      const { closing, ends } = yield* open
      const closed = yield* Effect.forkChild(closing.closeAndAwait({ code: 1000, reason: "" }), {
        startImmediately: true
      })
      yield* TestClock.adjust("9 seconds")
      assert.isUndefined(closed.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* settle
      const end = yield* Fiber.join(closed)
      assert.deepStrictEqual([end.cause?._tag, end.code, end.clean], ["CloseTimeout", 1000, false])
      assert.strictEqual(ends.length, 1)
    }))

  it.effect("reports a lost connection with the error of the socket, if there is one", () =>
    Effect.gen(function*() {
      const one = yield* open
      const error = new Error("reset")
      one.closing.onClose({ code: 1006, reason: "", wasClean: false }, error)
      const { cause, code } = yield* one.closing.ended.await
      assert.deepStrictEqual([cause?._tag, cause?._tag === "TransportError" && cause.cause, code], [
        "TransportError",
        error,
        1006
      ])
      const deno = yield* open
      deno.closing.onClose({ code: 0, reason: "", wasClean: false }, undefined)
      assert.deepStrictEqual(facts(yield* deno.closing.ended.await), {
        closedBy: undefined,
        received: undefined,
        sent: undefined
      })
      const other = yield* open
      other.closing.onClose({ code: 4000, reason: "x", wasClean: false }, undefined)
      const end = yield* other.closing.ended.await
      assert.deepStrictEqual([end.received, end.sent, end.clean], [{ code: 4000, reason: "x" }, undefined, false])
      assert.include(end.message, "does not report why")
    }))

  it.effect("fails at once, without waiting for the peer, and keeps the first end", () =>
    Effect.gen(function*() {
      const { closing, ends, socket } = yield* open
      const cause = new SlowConsumer({ bufferedAmount: 1 })
      const end = closing.fail({ code: 4008, reason: "SlowConsumer" }, cause)
      assert.deepStrictEqual([end.cause, end.code, socket.closes], [cause, 4008, [[4008, "SlowConsumer"]]])
      assert.strictEqual(closing.fail({ code: 4011, reason: "" }, cause), end)
      assert.strictEqual(yield* closing.closeAndAwait({ code: 1000, reason: "" }), end)
      assert.deepStrictEqual(ends, [end])
    }))
})
