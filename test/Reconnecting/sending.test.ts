/** Sending over a reconnecting client that is not connected. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Message, WebSocketClient } from "effect-ws"
import { settle } from "../support/memory.ts"
import { collect, everySecond, network, receive, refused, second, stateOf } from "../support/reconnecting.ts"

/** A client whose first attempt fails, and that buffers four sends until the next. */
const bufferingFour = Effect.gen(function*() {
  const { layer, servers } = yield* network(refused)
  const client = yield* WebSocketClient.reconnecting("ws://there/", {
    schedule: everySecond,
    whileDisconnected: { buffer: { messages: 4, bytes: Infinity } }
  }).pipe(Effect.provide(layer))
  return { client, servers }
})

describe("sending while the client is not connected", () => {
  it.effect("send suspends until the next connection, and an interrupted send sends nothing", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network(refused)
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      const back = yield* Effect.forkChild(client.send("taken back"))
      const sending = yield* Effect.forkChild(Effect.andThen(client.send("a"), client.sendAll(["b", "c"])))
      yield* settle
      yield* Fiber.interrupt(back)
      yield* second
      yield* Fiber.join(sending)
      assert.deepStrictEqual([yield* receive(servers[0]), yield* receive(servers[0]), yield* receive(servers[0])], [
        "a",
        "b",
        "c"
      ])
    }))

  it.effect("a send that waits for room on a lost connection goes over the next", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      yield* settle
      // The peer's receive queue is full after the first; the second is in transit.
      for (let i = 0; i < 2; i++) {
        yield* client.send("x".repeat(1 << 20))
        yield* settle
      }
      const sending = yield* Effect.forkChild(Effect.forEach(["a", "b"], (word) => client.send(word)))
      yield* settle
      assert.strictEqual(sending.pollUnsafe(), undefined)
      servers[0].transport.destroy()
      yield* second
      yield* Fiber.join(sending)
      assert.deepStrictEqual([yield* receive(servers[1]), yield* receive(servers[1])], ["a", "b"])
    }))

  it.effect("send fails with the last failure as its cause, with whileDisconnected: \"fail\"", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network(refused)
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        whileDisconnected: "fail"
      }).pipe(Effect.provide(layer))
      const first = yield* Effect.flip(client.send("a"))
      assert.deepInclude(first, { _tag: "NotConnected", final: false, cause: undefined })
      assert.strictEqual(first.message, "not connected at the moment")
      yield* settle
      assert.strictEqual((yield* Effect.flip(client.send("b"))).cause, refused)
      yield* second
      yield* client.send("c")
      assert.strictEqual(yield* receive(servers[0]), "c")
      servers[0].transport.destroy()
      yield* settle
      assert.deepInclude((yield* Effect.flip(client.sendAll(["d"]))).cause, { _tag: "ConnectionClosed" })
    }))

  it.effect("buffers sends in order up to the limit, and suspends further ones", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network(refused)
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        whileDisconnected: { buffer: { messages: 3 } },
        onOpen: (connection) => connection.send("login")
      }).pipe(Effect.provide(layer))
      yield* client.send("a")
      yield* client.sendAll(["b", "c"])
      const third = yield* Effect.forkChild(client.send("d"))
      yield* settle
      assert.strictEqual(third.pollUnsafe(), undefined)
      yield* second
      yield* Fiber.join(third)
      const got: Array<unknown> = []
      for (let i = 0; i < 5; i++) got.push(yield* receive(servers[0]))
      assert.deepStrictEqual(got, ["login", "a", "b", "c", "d"])
    }))

  it.effect("buffers up to the limit on bytes, by default 1 MiB, and suspends further sends", () =>
    Effect.gen(function*() {
      for (const [bytes, limit] of [[undefined, 1024 * 1024], [3, 3]]) {
        const { layer, servers } = yield* network(refused)
        const client = yield* WebSocketClient.reconnecting("ws://there/", {
          schedule: everySecond,
          whileDisconnected: { buffer: { messages: Infinity, bytes } }
        }).pipe(Effect.provide(layer))
        yield* client.send(new Uint8Array(limit! - 1))
        const large = yield* Effect.forkChild(client.send("€"))
        yield* client.send("x")
        yield* settle
        assert.strictEqual(large.pollUnsafe(), undefined)
        yield* second
        yield* receive(servers[0])
        assert.deepStrictEqual([yield* receive(servers[0]), yield* receive(servers[0])], ["x", "€"])
        yield* Fiber.join(large)
      }
    }))

  it.effect("fails with InvalidInput at once, connected or not, and buffers nothing", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* bufferingFour
      const tag = (value: unknown) =>
        Effect.map(
          Effect.flip(client.sendAll([value as string]) as Effect.Effect<void, { readonly _tag: string }>),
          (error) => error._tag
        )
      for (const value of [[1], { length: 200 }, null]) assert.strictEqual(yield* tag(value), "InvalidInput")
      yield* client.send("kept")
      yield* second
      assert.strictEqual(yield* receive(servers[0]), "kept")
      for (const value of [[1], { length: 200 }, null]) assert.strictEqual(yield* tag(value), "InvalidInput")
      yield* client.send("still connected")
      assert.strictEqual(yield* receive(servers[0]), "still connected")
    }))

  it.effect("the program may change or transfer buffers of buffered messages", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* bufferingFour
      const changed = Uint8Array.of(1, 2, 3)
      const transferred = Uint8Array.of(4, 5, 6)
      const text = new TextEncoder().encode("text")
      yield* client.sendAll([changed, transferred, Message.text(text), "string"])
      changed.fill(0)
      text.fill(0)
      structuredClone(transferred.buffer, { transfer: [transferred.buffer] })
      yield* second
      const got: Array<unknown> = []
      for (let i = 0; i < 4; i++) got.push(yield* receive(servers[0]))
      assert.deepStrictEqual(got, [[1, 2, 3], [4, 5, 6], "text", "string"])
    }))

  it.effect("buffered messages stay buffered if the connection is lost before they are sent", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* bufferingFour
      const large = "x".repeat(1 << 20)
      yield* client.send(large)
      yield* client.send(large)
      yield* client.send("a")
      yield* client.send("b")
      yield* second
      // The peer's receive queue is full after the first, the second is in transit, and the others wait for room.
      assert.strictEqual(stateOf(client)._tag, "Connecting")
      servers[0].transport.destroy()
      yield* second
      assert.deepStrictEqual([yield* receive(servers[1]), yield* receive(servers[1])], ["a", "b"])
    }))

  it.effect("messages are received while buffered ones wait for room, even if the connection is lost meanwhile", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* bufferingFour
      const first = yield* collect(client)
      const large = "x".repeat(1 << 20)
      for (let i = 0; i < 4; i++) yield* client.send(large)
      yield* second
      // The peer replies before it reads more.
      yield* servers[0].connection.send("a")
      yield* settle
      assert.strictEqual(stateOf(client)._tag, "Connecting")
      assert.deepStrictEqual(first.messages, ["a"])
      yield* Fiber.interrupt(first.fiber)
      yield* servers[0].connection.send("b")
      yield* settle
      servers[0].transport.destroy()
      yield* second
      yield* servers[1].connection.send("c")
      const { messages } = yield* collect(client)
      yield* settle
      assert.deepStrictEqual(messages, ["b", "c"])
    }))
})
