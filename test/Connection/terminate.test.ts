import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Frame } from "effect-ws"
import { contentOf, makeRaw, settle, turn } from "../support/memory.ts"

describe("terminate", () => {
  it.effect("ends the connection without a close frame, with the cause Terminated", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const waiting = yield* Effect.forkChild(Effect.flip(connection.receive), { startImmediately: true })
      const closed = yield* connection.terminate
      assert.deepStrictEqual([closed.code, closed.closedBy, closed.cause?._tag], [1006, undefined, "Terminated"])
      assert.strictEqual(yield* Fiber.join(waiting), closed)
      assert.strictEqual(yield* Effect.flip(connection.send("late")), closed)
      yield* settle
      assert.deepStrictEqual(peer.received, [])
      assert.isTrue(peer.receivedEof || peer.isClosed)
    }))

  it.effect("leaves unread messages to receive", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.text("unread"))
      yield* settle
      const closed = yield* connection.terminate
      assert.strictEqual(contentOf(yield* connection.receive), "unread")
      assert.strictEqual(yield* Effect.flip(connection.receive), closed)
    }))

  it.effect("wakes senders that wait for a peer that does not read", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.transport.pause()
      const sending = yield* Effect.forkChild(
        Effect.flip(Effect.forever(connection.send("x".repeat(100_000)))),
        { startImmediately: true }
      )
      yield* settle
      assert.strictEqual(yield* connection.terminate, yield* Fiber.join(sending))
    }))

  it.effect("ends a closing handshake that the peer does not finish, and keeps the close frame that was sent", () =>
    Effect.gen(function*() {
      const { connection } = yield* makeRaw({ role: "server" })
      const closing = yield* Effect.forkChild(connection.close(4000, "bye"), { startImmediately: true })
      yield* settle
      const closed = yield* connection.terminate
      assert.strictEqual(yield* Fiber.join(closing), closed)
      assert.deepStrictEqual([closed.code, closed.clean, closed.cause?._tag], [4000, false, "Terminated"])
    }))

  it.effect("destroys the transport of a connection that has ended, and keeps how it ended", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "client" })
      peer.send(Frame.close(1000))
      const closed = yield* connection.closed
      yield* turn
      assert.isFalse(peer.isClosed)
      assert.strictEqual(yield* connection.terminate, closed)
      assert.strictEqual(yield* connection.terminate, closed)
      assert.isUndefined(closed.cause)
    }))

  it.effect("goes on if its fiber is interrupted", () =>
    Effect.gen(function*() {
      const { connection } = yield* makeRaw({ role: "server" })
      const terminating = yield* Effect.forkChild(connection.terminate, { startImmediately: true })
      yield* Fiber.interrupt(terminating)
      assert.strictEqual((yield* connection.closed).cause?._tag, "Terminated")
    }))
})

describe("close with 1005", () => {
  it.effect("sends an empty close frame, and ends with 1005", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const closing = yield* Effect.forkChild(connection.close(1005), { startImmediately: true })
      yield* settle
      assert.deepStrictEqual(peer.received.map(({ opcode, payload }) => [opcode, payload.length]), [[
        Frame.Opcode.Close,
        0
      ]])
      peer.send(Frame.close())
      peer.transport.end()
      const closed = yield* Fiber.join(closing)
      assert.deepStrictEqual([closed.code, closed.reason, closed.normal], [1005, "", true])
    }))

  it.effect("fails with InvalidCloseCode if there is a reason, which an empty close frame has no room for", () =>
    Effect.gen(function*() {
      const { connection } = yield* makeRaw({ role: "server" })
      const error = yield* Effect.flip(connection.close(1005, "why"))
      assert.deepStrictEqual([error._tag, "code" in error && error.code], ["InvalidCloseCode", 1005])
    }))
})
