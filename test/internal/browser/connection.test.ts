import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import { BrowserClient, ConnectionError, Message } from "effect-ws"
import { TestClock } from "effect/testing"
import { fakeSockets, openFake } from "../../support/fakeWebSocket.ts"
import { contentOf, settle } from "../../support/memory.ts"

describe("a connection", () => {
  it.effect("fails with ReceiveQueueFull above maxUnreadAmount, and delivers what it has", () =>
    Effect.gen(function*() {
      const { connection, socket } = yield* openFake({ maxUnreadAmount: 100 })
      for (const text of ["a", "b", "c", "d"]) socket.deliver(text)
      assert.deepStrictEqual(socket.closes, [[4008, "ReceiveQueueFull"]])
      assert.strictEqual(contentOf(yield* connection.receive), "a")
      assert.strictEqual(contentOf(yield* connection.receive), "b")
      const closed = yield* Effect.flip(connection.receive)
      assert.include(closed.message, "expected at most 100 bytes to be unread, got 130")
      assert.strictEqual(yield* connection.closed, closed)
    }))

  it.effect("stays open when a program that only sends discards", () =>
    Effect.gen(function*() {
      const { connection, socket } = yield* openFake({ maxUnreadAmount: 100 })
      const end = yield* Effect.forkChild(connection.discard, { startImmediately: true })
      for (let i = 0; i < 1000; i++) socket.deliver("x".repeat(100))
      yield* connection.send("a")
      socket.end(1000)
      assert.isTrue((yield* Fiber.join(end)).normal)
    }))

  it.effect("fails for data that is no text and no ArrayBuffer", () =>
    Effect.gen(function*() {
      const { connection, socket } = yield* openFake()
      socket.deliver(new Blob(["a"]))
      const closed = yield* Effect.flip(connection.receive)
      assert.include(closed.message, "expected a string or an ArrayBuffer, got [object Blob]")
      assert.deepStrictEqual(socket.closes, [[4003, "TransportError"]])
    }))

  it.effect("fails when the socket throws for a message", () =>
    Effect.gen(function*() {
      const { connection, socket } = yield* openFake()
      socket.onSend = () => {
        throw new Error("on purpose")
      }
      const closed = yield* Effect.flip(connection.send("a"))
      assert.deepStrictEqual([closed.cause?._tag, socket.closes], ["TransportError", [[4011, "TransportError"]]])
    }))

  it.effect("fails with the cause of the program, and tells the server what a page may tell", () =>
    Effect.gen(function*() {
      for (
        const [cause, close] of [
          [new ConnectionError.SlowConsumer({ bufferedAmount: 7 }), [4008, "SlowConsumer"]],
          [new ConnectionError.KeepaliveTimeout({ duration: Duration.seconds(1) }), [4011, "KeepaliveTimeout"]]
        ] as const
      ) {
        const { connection, socket } = yield* openFake()
        const closed = yield* connection.fail(cause)
        assert.deepStrictEqual([closed.cause, socket.closes], [cause, [close]])
      }
      const { connection, socket } = yield* openFake()
      const invalid = new ConnectionError.InvalidMessage({
        reason: "Value",
        problem: "Expected number, got string",
        received: new Message.Text("a"),
        cause: undefined
      })
      const closed = yield* connection.fail(invalid)
      assert.deepStrictEqual([closed.cause?._tag, socket.closes], ["InvalidMessage", [[
        4007,
        "Expected number, got string"
      ]]])
    }))

  it.effect("ignores events after its end", () =>
    Effect.gen(function*() {
      const { connection, socket } = yield* openFake()
      socket.end(4000, "a")
      const closed = yield* connection.closed
      socket.accept()
      socket.deliver("late")
      socket.end(4001, "b")
      socket.dispatch("error", { error: new Error("late") })
      assert.strictEqual(yield* connection.closed, closed)
      assert.strictEqual(yield* Effect.flip(connection.receive), closed)
    }))

  it.effect("tells the codes that a page can send when a program closes with another", () =>
    Effect.gen(function*() {
      const { connection } = yield* openFake()
      const error = yield* Effect.flip(connection.close(1001))
      assert.strictEqual(
        error.message,
        "close frame: expected a code from 3000 to 4999, or 1000, because a browser sends no other, got 1001 (GoingAway)"
      )
    }))

  it.effect("waits for the peer's close frame when its Scope closes, at most for closeTimeout", () =>
    Effect.gen(function*() {
      const { layer, sockets } = fakeSockets((socket) => socket.accept())
      const fiber = yield* BrowserClient.connect("ws://there/", { closeTimeout: "3 seconds" }).pipe(
        Effect.scoped,
        Effect.provide(layer),
        Effect.forkChild
      )
      yield* settle
      assert.deepStrictEqual(sockets[0].closes, [[1000, ""]])
      yield* TestClock.adjust("2999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(fiber)
    }))

  it.effect("reports the bufferedAmount of the socket", () =>
    Effect.gen(function*() {
      const { connection, socket } = yield* openFake()
      socket.bufferedAmount = 7
      assert.strictEqual(yield* connection.bufferedAmount, 7)
    }))
})
