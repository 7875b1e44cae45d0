/** What the guide to browsers exports does what the guide says. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, type Scope, Stream } from "effect"
import {
  BrowserClient,
  Connection,
  type HandshakeError,
  type MessageClient,
  type MessageConnection,
  type TypedConnection,
  WebSocketClient,
  WebSocketServer
} from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { TestClock } from "effect/testing"
import { example } from "../support/guides.ts"
import { contentOf } from "../support/memory.ts"
import { memoryWebSocket } from "../support/memoryWebSocket.ts"

interface Price {
  readonly symbol: string
  readonly price: number
}

describe("browser", () => {
  it.effect("Browsers: sends hello and reads messages until the server closes", () =>
    Effect.gen(function*() {
      const { program } = yield* example<{ readonly program: Effect.Effect<void, unknown> }>("browser", "Browsers")
      const greetings: Array<unknown> = []
      const server = yield* WebSocketServer.WebSocketServer
      yield* server.serve(
        Effect.flatMap(Connection.Connection, (connection) =>
          Effect.flatMap(connection.receive, (message) =>
            Effect.sync(() => greetings.push(contentOf(message))))),
        { protocols: ["v2"], origin: "any" }
      )
      const construct = yield* memoryWebSocket(WebSocketClient.connect)
      // A page would resolve the URL at its own.
      yield* Effect.acquireRelease(
        Effect.sync(() =>
          Object.assign(globalThis, { location: { href: "http://there/" } })
        ),
        () => Effect.sync(() => Reflect.deleteProperty(globalThis, "location"))
      )
      yield* Effect.provideService(program, BrowserClient.WebSocketConstructor, construct)
      assert.deepStrictEqual(greetings, ["hello"])
    }).pipe(Effect.scoped, Effect.provide(Testing.layer())))

  it.effect("One program for both ends: receives typed values on Node and in a browser", () =>
    Effect.gen(function*() {
      const { prices } = yield* example<{
        readonly prices: (symbol: string) => Effect.Effect<
          TypedConnection.TypedReconnecting<Price, unknown, never, never, MessageConnection.MessageConnection>,
          never,
          MessageClient.MessageClient | Scope.Scope
        >
      }>("browser", "One program for both ends")
      const server = yield* WebSocketServer.WebSocketServer
      yield* server.serve(
        Effect.flatMap(Connection.Connection, (connection) =>
          Stream.runForEach(connection.messages, (message) => {
            const { subscribe } = JSON.parse(String(contentOf(message))) as { readonly subscribe: string }
            return connection.send(JSON.stringify({ symbol: subscribe, price: 1.5 }))
          })),
        { origin: "any" }
      )
      const construct = yield* memoryWebSocket(WebSocketClient.connect)
      const first = Effect.scoped(Effect.flatMap(prices("EFCT"), (feed) => feed.receive))
      const expected = { symbol: "EFCT", price: 1.5 }
      assert.deepStrictEqual(yield* Effect.provide(first, WebSocketClient.layerMessageClient()), expected)
      const inBrowser = Effect.provide(first, BrowserClient.layer())
      assert.deepStrictEqual(
        yield* Effect.provideService(inBrowser, BrowserClient.WebSocketConstructor, construct),
        expected
      )
    }).pipe(Effect.scoped, Effect.provide(Testing.layer())))

  it.effect("Tests: a socket that stays silent times out", () =>
    Effect.gen(function*() {
      const { timesOut } = yield* example<{ readonly timesOut: Effect.Effect<HandshakeError.ConnectError> }>(
        "browser",
        "Tests"
      )
      const fiber = yield* Effect.forkChild(timesOut, { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "HandshakeTimeout")
    }))
})
