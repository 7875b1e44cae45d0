/** Receiving single messages over the connections of a reconnecting client. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result, Stream } from "effect"
import { ConnectionError, type Message, WebSocketClient } from "effect-ws"
import { contentOf, settle } from "../support/memory.ts"
import { everySecond, network, second } from "../support/reconnecting.ts"

const make = Effect.gen(function*() {
  const { layer, servers } = yield* network()
  const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
    Effect.provide(layer)
  )
  yield* settle
  return { client, servers }
})

const numberOf = (message: Message.Message) => {
  const value = Number(contentOf(message))
  return Number.isNaN(value) ? Result.fail("NotANumber" as const) : Result.succeed(value)
}

const tooStrange = (received: Message.Message) =>
  new ConnectionError.InvalidMessage({ reason: "Value", problem: "Expected a number", received, cause: undefined })

describe("receive", () => {
  it.effect("receives one message after the other, over all connections, until the client is closed", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* make
      yield* servers[0].connection.sendAll(["a", "b"])
      yield* settle
      servers[0].transport.destroy()
      yield* second
      yield* servers[1].connection.send("c")
      yield* settle
      const texts: Array<unknown> = []
      for (let i = 0; i < 3; i++) texts.push(contentOf(yield* client.receive))
      assert.deepStrictEqual(texts, ["a", "b", "c"])
      const last = yield* Effect.forkChild(Effect.flip(client.receive))
      yield* settle
      yield* servers[1].connection.close()
      assert.deepInclude(yield* Fiber.join(last), { _tag: "NotConnected", final: true })
    }))

  it.effect("removes no message when it is interrupted", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* make
      const receiving = yield* Effect.forkChild(client.receive)
      yield* settle
      yield* Fiber.interrupt(receiving)
      yield* servers[0].connection.send("a")
      assert.strictEqual(contentOf(yield* client.receive), "a")
    }))
})

describe("receiveWith and messagesWith", () => {
  it.effect("decode messages, and fail with what onInvalid fails with, leaving the connection open", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* make
      yield* servers[0].connection.sendAll(["1", "x", "2", "3", "y", "4"])
      yield* settle
      assert.strictEqual(yield* client.receiveWith(numberOf, Effect.fail), 1)
      assert.strictEqual(yield* Effect.flip(client.receiveWith(numberOf, Effect.fail)), "NotANumber")
      const values: Array<number> = []
      const run = Stream.runForEach(
        client.messagesWith(numberOf, Effect.fail),
        (value) => Effect.sync(() => values.push(value))
      )
      assert.strictEqual(yield* Effect.flip(run), "NotANumber")
      yield* Effect.forkScoped(run)
      yield* settle
      assert.deepStrictEqual(values, [2, 3, 4])
      assert.strictEqual(servers.length, 1)
    }))

  for (const name of ["receiveWith", "messagesWith"] as const) {
    it.effect(`${name} goes on with the next connection if onInvalid fails the connection of the message`, () =>
      Effect.gen(function*() {
        const { client, servers } = yield* make
        const decode = (message: Message.Message) => Result.mapError(numberOf(message), () => tooStrange(message))
        const read = name === "receiveWith"
          ? client.receiveWith(decode, (error, connection) => Effect.flatMap(connection.fail(error), Effect.fail))
          : Effect.flatMap(
            Stream.runHead(
              client.messagesWith(decode, (error, connection) => Effect.flatMap(connection.fail(error), Effect.fail))
            ),
            Effect.fromOption
          )
        yield* servers[0].connection.sendAll(["x", "1"])
        const reading = yield* Effect.forkChild(read)
        yield* second
        assert.strictEqual((yield* servers[0].connection.closed).code, 1007)
        yield* servers[1].connection.send("2")
        assert.strictEqual(yield* Fiber.join(reading), 2)
      }))
  }
})
