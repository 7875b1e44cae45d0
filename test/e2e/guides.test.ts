/** The guides about requests, answers and rates do what they say. */
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { HttpRouter } from "effect/http"
import { RateLimiter } from "effect/persistence"
import { Connection, type ConnectionError, type HandshakeError, WebSocketClient, type WebSocketServer } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { TestClock } from "effect/testing"
import { example } from "../support/guides.ts"
import { contentOf } from "../support/memory.ts"

type Served = Layer.Layer<never, never, WebSocketServer.WebSocketServer>

const inMemory = (served: Served) => served.pipe(Layer.provideMerge(Testing.layer()))

describe("rate-limits", () => {
  it.effect("delays the reads of a connection above its limit, and of no other", () =>
    Effect.gen(function*() {
      const { Limited } = yield* example<{ readonly Limited: Served }>("rate-limits", "Messages of a connection")
      const program = Effect.gen(function*() {
        const fast = yield* WebSocketClient.connect("ws://anywhere/")
        const other = yield* WebSocketClient.connect("ws://anywhere/")
        yield* fast.sendAll(Array.from({ length: 11 }, (_, i) => String(i)))
        for (let i = 0; i < 10; i++) assert.strictEqual(contentOf(yield* fast.receive), String(i))
        const delayed = yield* Effect.forkChild(fast.receive, { startImmediately: true })
        yield* other.send("unharmed")
        assert.strictEqual(contentOf(yield* other.receive), "unharmed")
        yield* Testing.settle
        assert.isUndefined(delayed.pollUnsafe())
        yield* TestClock.adjust("100 millis")
        assert.strictEqual(contentOf(yield* Fiber.join(delayed)), "10")
      })
      yield* Effect.provide(program, inMemory(Limited))
    }))

  it.effect("closes the connection of a user above the limit, counted over connections", () =>
    Effect.gen(function*() {
      const { Chat } = yield* example<{ readonly Chat: Served }>("rate-limits", "Requests of a user")
      const program = Effect.gen(function*() {
        const [first, second, grace] = yield* Effect.forEach(
          ["Ada", "Ada", "Grace"],
          (name) => WebSocketClient.connect(`ws://anywhere/?name=${name}`)
        )
        for (const connection of [first, second, first]) {
          yield* connection.send("hello")
          yield* connection.receive
        }
        yield* second.send("too much")
        const { code, reason } = yield* second.closed
        assert.deepStrictEqual([code, reason], [1008, "3 messages a minute"])
        yield* grace.send("hello")
        yield* grace.receive
      })
      yield* Effect.provide(program, inMemory(Chat))
    }))

  it.effect("rejects handshakes above the limit with 429", () =>
    Effect.gen(function*() {
      const { makeGuarded } = yield* example<{
        readonly makeGuarded: (store: Layer.Layer<RateLimiter.RateLimiterStore>) => Served
      }>("rate-limits", "Handshakes of an address")
      const program = Effect.gen(function*() {
        for (let i = 0; i < 20; i++) yield* WebSocketClient.connect("ws://anywhere/")
        const error = yield* Effect.flip(WebSocketClient.connect("ws://anywhere/"))
        assert.deepInclude(error, { _tag: "HandshakeRejected", status: 429 })
        const { headers } = error as HandshakeError.HandshakeRejected
        assert.strictEqual(headers["retry-after"], "60")
        yield* TestClock.adjust("1 minute")
        yield* WebSocketClient.connect("ws://anywhere/")
      })
      yield* Effect.provide(program, inMemory(makeGuarded(RateLimiter.layerStoreMemory)))
    }))
})

describe("requests", () => {
  it.effect("serves RPC and messages at one URL, by subprotocol", () =>
    Effect.gen(function*() {
      const { program, Routes } = yield* example<{
        readonly Routes: Layer.Layer<never, never, HttpRouter.HttpRouter>
        readonly program: (url: string) => Effect.Effect<number>
      }>("requests", "RPC beside plain messages")
      const application = HttpRouter.serve(Routes, { disableLogger: true, disableListenLog: true })
      const sum = yield* Effect.provide(
        program("ws://anywhere/ws"),
        application.pipe(Layer.provideMerge(Testing.layerHttpServer(NodeHttpServer.layer)))
      )
      assert.strictEqual(sum, "hello".length + 1)
    }))

  it.effect("speaks JSON-RPC to a peer that sends it as text", () =>
    Effect.gen(function*() {
      const { JsonRpc } = yield* example<{ readonly JsonRpc: Served }>("requests", "JSON-RPC")
      const program = Effect.gen(function*() {
        const connection = yield* WebSocketClient.connect("ws://anywhere/")
        yield* connection.send(
          `{"jsonrpc":"2.0","id":1,"method":"subtract","params":{"minuend":42,"subtrahend":23}}`
        )
        const answer: unknown = JSON.parse(String(contentOf(yield* connection.receive)))
        assert.deepStrictEqual(answer, { jsonrpc: "2.0", id: 1, result: 19 })
      })
      yield* Effect.provide(program, inMemory(JsonRpc))
    }))

  const asking = Effect.gen(function*() {
    const guide = yield* example<{
      readonly makeAsk: (
        connection: Connection.Connection
      ) => Effect.Effect<(question: string) => Effect.Effect<string, ConnectionError.ConnectionClosed>>
      readonly answerAll: (
        connection: Connection.Connection,
        reply: (question: string) => Effect.Effect<string>
      ) => Effect.Effect<void>
    }>("requests", "Other protocols")
    const { client, server } = yield* Testing.makePair()
    return { client, server, ask: yield* guide.makeAsk(client), answerAll: guide.answerAll }
  })

  it.effect("gives each request its own answer, in whatever order answers come", () =>
    Effect.gen(function*() {
      const { answerAll, ask, server } = yield* asking
      yield* Effect.forkChild(answerAll(server, (question) =>
        question === "slow" ? Effect.delay(Effect.succeed("slowly"), "1 second") : Effect.succeed(`${question}!`)))
      const slow = yield* Effect.forkChild(ask("slow"), { startImmediately: true })
      const answers = yield* Effect.forEach(["a", "b", "c"], ask, { concurrency: "unbounded" })
      assert.deepStrictEqual(answers, ["a!", "b!", "c!"])
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(slow), "slowly")
    }))

  it.effect("fails requests when they take too long, and when the connection ends", () =>
    Effect.gen(function*() {
      const { ask, server } = yield* asking
      const late = yield* Effect.forkChild(Effect.flip(ask("anybody?")), { startImmediately: true })
      yield* Testing.settle
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(late))._tag as string, "TimeoutError")
      const cut = yield* Effect.forkChild(Effect.flip(ask("anybody?")), { startImmediately: true })
      yield* Testing.settle
      yield* Effect.forkChild(server.close(4000))
      assert.deepInclude(yield* Fiber.join(cut), { _tag: "ConnectionClosed", code: 4000 })
    }))
})
