import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { Connection, Frame, Transport } from "effect-ws"
import { TestClock } from "effect/testing"
import { contentOf, makeRaw, settle } from "../support/memory.ts"

describe("the Scope of a connection", () => {
  const closedBy = (exit: Exit.Exit<unknown, unknown>) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const [left, right] = yield* Transport.makePair()
      yield* Connection.make(left, { role: "server" }).pipe(Scope.provide(scope))
      const other = yield* Connection.make(right, { role: "client" })
      yield* Scope.close(scope, exit)
      const { code, received } = yield* other.closed
      assert.strictEqual(received?.reason, "")
      return code
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

  it.effect("closes the connection of a layer", () =>
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

describe("stats of a connection", () => {
  it.effect("count bytes, frames and messages in both directions", () =>
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
