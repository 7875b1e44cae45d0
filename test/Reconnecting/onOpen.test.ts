/** The `onOpen` of a reconnecting client. */
import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Exit, Fiber, Stream } from "effect"
import { CloseCode, WebSocketClient } from "effect-ws"
import { contentOf, settle } from "../support/memory.ts"
import { collect, everySecond, network, receive, second, stateOf } from "../support/reconnecting.ts"

describe("onOpen", () => {
  it.effect("onOpen is the first to send and read on each connection", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const released: Array<number> = []
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        onOpen: (connection) =>
          Effect.gen(function*() {
            const at = servers.length
            yield* Effect.addFinalizer(() => Effect.sync(() => released.push(at)))
            yield* connection.send("login")
            assert.strictEqual(contentOf(yield* connection.receive), "welcome")
          })
      }).pipe(Effect.provide(layer))
      const { messages } = yield* collect(client)
      for (const i of [0, 1]) {
        const sending = yield* Effect.forkChild(client.send("first"))
        yield* settle
        assert.strictEqual(stateOf(client)._tag, "Connecting")
        assert.strictEqual(yield* receive(servers[i]), "login")
        assert.strictEqual((yield* servers[i].connection.stats).messagesIn, 1)
        yield* servers[i].connection.sendAll(["welcome", `news ${i}`])
        assert.strictEqual(yield* receive(servers[i]), "first")
        yield* Fiber.join(sending)
        yield* settle
        assert.strictEqual(stateOf(client)._tag, "Open")
        servers[i].transport.destroy()
        yield* second
      }
      assert.deepStrictEqual(messages, ["news 0", "news 1"])
      assert.deepStrictEqual(released, [1, 2])
    }))

  class Refused extends Data.TaggedError("Refused")<{}> {}

  it.effect("an onOpen that fails counts as a failed attempt, and closes the connection with 1011", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      let openings = 0
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        onOpen: () => Effect.suspend(() => ++openings === 1 ? Effect.fail(new Refused()) : Effect.void)
      }).pipe(Effect.provide(layer))
      yield* settle
      const state = stateOf(client)
      assert.strictEqual(state._tag === "Waiting" && state.cause._tag, "Refused")
      assert.strictEqual((yield* servers[0].connection.closed).code, CloseCode.InternalError)
      yield* second
      assert.strictEqual(stateOf(client)._tag, "Open")
    }))

  it.effect("an onOpen that waits ends with its connection", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        onOpen: () => servers.length === 1 ? Effect.never : Effect.void
      }).pipe(Effect.provide(layer))
      yield* settle
      servers[0].transport.destroy()
      yield* second
      assert.strictEqual(stateOf(client)._tag, "Open")
    }))

  it.effect("an onOpen that dies ends all operations with its defect", () =>
    Effect.gen(function*() {
      const { layer } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        onOpen: () => Effect.die("a bug")
      }).pipe(Effect.provide(layer))
      for (
        const effect of [
          client.closed,
          client.send("x"),
          Effect.asVoid(client.connection),
          Stream.runDrain(client.messages)
        ]
      ) {
        const exit = yield* Effect.exit<void, unknown, never>(effect)
        assert.isTrue(Exit.hasDies(exit))
      }
    }))
})
