/** A reconnecting client and its connections, in memory and with a test clock. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Exit, Fiber, Latch, Scope, Stream } from "effect"
import { WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { settle, type Shape } from "../support/memory.ts"
import {
  collect,
  everySecond,
  network,
  receive,
  refused,
  rejected,
  second,
  stateOf,
  watchStates
} from "../support/reconnecting.ts"

describe("the connections of a reconnecting client", () => {
  it.effect("connects on the schedule, and makes one stream of the messages of all connections", () =>
    Effect.gen(function*() {
      const { attempts, layer, servers } = yield* network(refused, rejected(503), undefined, refused)
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      const { fiber, messages } = yield* collect(client)
      const states = yield* watchStates(client)
      yield* settle
      assert.strictEqual(attempts(), 1)
      yield* second
      assert.strictEqual(attempts(), 2)
      yield* second
      assert.strictEqual(servers.length, 1)
      yield* servers[0].connection.sendAll(["a", "b"])
      yield* settle
      servers[0].transport.destroy()
      yield* second
      yield* second
      yield* servers[1].connection.send("c")
      yield* settle
      assert.deepStrictEqual(messages, ["a", "b", "c"])
      const { stats } = yield* client.connection
      assert.strictEqual((yield* stats).messagesIn, 1)
      yield* servers[1].connection.close()
      yield* Fiber.join(fiber)
      yield* client.closed
      assert.deepStrictEqual(states, [
        "connecting, 1",
        "waiting for 2, ConnectFailed",
        "connecting, 2",
        "waiting for 3, HandshakeRejected",
        "connecting, 3",
        "Open",
        "waiting for 4, ConnectionClosed",
        "connecting, 4",
        "waiting for 5, ConnectFailed",
        "connecting, 5",
        "Open",
        "Closed"
      ])
    }))

  it.effect("the default schedule doubles its delay, and starts anew after a connection that lasted", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network(refused, refused, refused)
      const client = yield* Effect.provide(WebSocketClient.reconnecting("ws://there/"), layer)
      const delays: Array<number> = []
      const waitOut = Effect.gen(function*() {
        yield* settle
        const state = stateOf(client)
        if (state._tag !== "Waiting") throw new Error(state._tag)
        delays.push(Duration.toMillis(state.delay))
        yield* TestClock.adjust(state.delay)
        yield* settle
        return state.attempt
      })
      assert.deepStrictEqual([yield* waitOut, yield* waitOut, yield* waitOut], [2, 3, 4])
      servers[0].transport.destroy()
      assert.strictEqual(yield* waitOut, 5)
      yield* TestClock.adjust("6 seconds")
      servers[1].transport.destroy()
      assert.strictEqual(yield* waitOut, 1)
      for (const [i, base] of [500, 1000, 2000, 4000, 500].entries()) {
        assert.isAtLeast(delays[i], base * 0.8)
        assert.isAtMost(delays[i], base * 1.2)
      }
    }))

  it.effect("reads the messages of a lost connection before those of the next", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      yield* settle
      yield* servers[0].connection.sendAll(["a", "b"])
      yield* settle
      servers[0].transport.destroy()
      yield* second
      yield* servers[1].connection.send("c")
      const { messages } = yield* collect(client)
      yield* settle
      assert.deepStrictEqual(messages, ["a", "b", "c"])
    }))

  it.effect("without a reader, keeps the messages of the last eight connections", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      for (let i = 0; i < 10; i++) {
        yield* settle
        yield* servers[i].connection.send(String(i))
        yield* settle
        servers[i].transport.destroy()
        yield* second
      }
      const { messages } = yield* collect(client)
      yield* settle
      assert.deepStrictEqual(messages, ["3", "4", "5", "6", "7", "8", "9"])
    }))

  it.effect("connects again while the lost connection is still closing", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      yield* settle
      const first = yield* client.connection
      // The peer replies to the close frame, and does not end the transport: closeTimeout is 10 seconds.
      yield* Effect.forkScoped(first.close(4000))
      yield* settle
      yield* second
      assert.strictEqual(servers.length, 2)
    }))

  it.effect("runs the effects for URL and headers for each attempt", () =>
    Effect.gen(function*() {
      class Tokens extends Context.Service<Tokens, { readonly next: Effect.Effect<string> }>()("test/Tokens") {}
      let count = 0
      const { layer, servers } = yield* network()
      yield* WebSocketClient.reconnecting(Effect.sync(() => `ws://host-${++count}/`), {
        schedule: everySecond,
        headers: Effect.map(Effect.flatMap(Tokens, (tokens) => tokens.next), (token) => ({ Authorization: token }))
      }).pipe(
        Effect.provide(layer),
        Effect.provideService(Tokens, { next: Effect.sync(() => `token-${count}`) })
      )
      yield* settle
      servers[0].transport.destroy()
      yield* second
      assert.deepStrictEqual(servers.map(({ headers, url }) => [url, headers]), [
        ["ws://host-1/", { Authorization: "token-1" }],
        ["ws://host-2/", { Authorization: "token-2" }]
      ])
    }))
})

describe("subprotocols", () => {
  it.effect("runs the effect for subprotocols for each attempt", () =>
    Effect.gen(function*() {
      const offered: Array<unknown> = []
      let token = 0
      yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        protocols: Effect.sync(() => ["v1", `token-${++token}`])
      }).pipe(Effect.provideService(WebSocketClient.WebSocketClient, {
        connect: (_url, options) => {
          offered.push(options?.protocols)
          return Effect.fail(refused)
        }
      }))
      yield* second
      assert.deepStrictEqual(offered, [["v1", "token-1"], ["v1", "token-2"]])
    }))

  it.effect("leaves headers and subprotocols that are not given to the client of the context", () =>
    Effect.gen(function*() {
      const given: Array<unknown> = []
      yield* WebSocketClient.reconnecting("ws://there/", { handshakeTimeout: 1 }).pipe(
        Effect.provideService(WebSocketClient.WebSocketClient, {
          connect: (_url, options) => {
            given.push(options)
            return Effect.fail(refused)
          }
        })
      )
      yield* settle
      assert.deepStrictEqual(given, [{ handshakeTimeout: 1 }])
    }))
})

describe("reconnected", () => {
  it.effect("emits each connection after the first, once it is open", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      const seen: Array<unknown> = []
      yield* Effect.forkScoped(
        Stream.runForEach(client.reconnected, (connection) => Effect.sync(() => seen.push(connection)))
      )
      for (let i = 0; i < 3; i++) {
        yield* settle
        assert.strictEqual(seen.length, i)
        if (i > 0) assert.strictEqual(seen[i - 1], yield* client.connection)
        servers[i].transport.destroy()
        yield* second
      }
    }))

  it.effect("begins with the open connection unless that is the first, and leaves out lost ones", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      yield* settle
      servers[0].transport.destroy()
      yield* second
      const slow = Latch.makeUnsafe(false)
      const seen: Array<unknown> = []
      yield* Effect.forkScoped(
        Stream.runForEach(client.reconnected, (connection) => {
          seen.push(connection)
          return slow.await
        })
      )
      yield* settle
      assert.deepStrictEqual(seen, [yield* client.connection])
      for (let i = 1; i < 4; i++) {
        servers[i].transport.destroy()
        yield* second
      }
      slow.openUnsafe()
      yield* settle
      assert.deepStrictEqual(seen.slice(1), [yield* client.connection])
    }))
})

describe("several readers", () => {
  it.effect("several readers share the messages of all connections until the end", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      const first = yield* collect(client)
      const other = yield* collect(client)
      for (const i of [0, 1]) {
        yield* settle
        for (let n = 0; n < 10; n++) {
          yield* servers[i].connection.send(String(10 * i + n))
          yield* settle
        }
        if (i === 0) servers[0].transport.destroy()
        yield* second
      }
      yield* servers[1].connection.close()
      yield* Fiber.join(first.fiber)
      yield* Fiber.join(other.fiber)
      assert.deepStrictEqual(
        [...first.messages, ...other.messages].map(Number).toSorted((a, b) => a - b),
        Array.from({ length: 20 }, (_, n) => n)
      )
    }))
})

describe("operations that outlast a lost connection", () => {
  it.effect("readers that finish a lost connection late do not take the next one from others", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provide(layer)
      )
      const slow = Latch.makeUnsafe(false)
      const reading = yield* Effect.forEach(
        [0, 1],
        () => Effect.forkScoped(Stream.runForEach(client.messages, () => slow.await))
      )
      yield* settle
      for (const text of ["a", "b"]) {
        yield* servers[0].connection.send(text)
        yield* settle
      }
      servers[0].transport.destroy()
      yield* second
      // Both find the first connection at its end when the second is open.
      slow.openUnsafe()
      yield* settle
      yield* Effect.forEach(reading, Fiber.interrupt)
      const { messages } = yield* collect(client)
      yield* servers[1].connection.send("c")
      yield* settle
      assert.deepStrictEqual(messages, ["c"])
    }))

  it.effect("a send that fails late does not close the next connection to others", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const { connect } = yield* Effect.provide(WebSocketClient.WebSocketClient, layer)
      const late = Latch.makeUnsafe(false)
      // As with a slow extension: a send fails some time after the end of the connection.
      const delayed: WebSocketClient.WebSocketClient["connect"] = (url, options) =>
        Effect.map(connect(url, options), (connection) => {
          const sendAll: Shape["sendAll"] = (messages) => Effect.onError(connection.sendAll(messages), () => late.await)
          return Object.create(connection, { sendAll: { value: sendAll } }) as Shape
        })
      const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
        Effect.provideService(WebSocketClient.WebSocketClient, { connect: delayed })
      )
      yield* settle
      // The next send waits for room behind these.
      for (let i = 0; i < 2; i++) {
        yield* client.send("x".repeat(1 << 20))
        yield* settle
      }
      const sending = yield* Effect.forkChild(client.send("a"))
      yield* settle
      servers[0].transport.destroy()
      yield* second
      late.openUnsafe()
      yield* settle
      assert.isDefined(sending.pollUnsafe())
      assert.strictEqual(yield* receive(servers[1]), "a")
      assert.strictEqual(stateOf(client)._tag, "Open")
      assert.isDefined((yield* Effect.forkChild(client.send("b"), { startImmediately: true })).pollUnsafe())
    }))

  it.effect("the Scope waits until lost connections are closed", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const scope = yield* Scope.make()
      const slow = Latch.makeUnsafe(false)
      yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        onOpen: () => servers.length === 1 ? Effect.addFinalizer(() => slow.await) : Effect.void
      }).pipe(Effect.provide(layer), Scope.provide(scope))
      yield* settle
      servers[0].transport.destroy()
      yield* second
      assert.strictEqual(servers.length, 2)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* servers[1].connection.closed
      yield* settle
      assert.isUndefined(closing.pollUnsafe())
      slow.openUnsafe()
      yield* Fiber.join(closing)
    }))
})
