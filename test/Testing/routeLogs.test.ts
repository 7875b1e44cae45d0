/** What an application with routes logs about connections. */
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Schema, Stream } from "effect"
import { HttpRouter } from "effect/http"
import { Connection, TypedConnection, WebSocketClient, WebSocketServer } from "effect-ws"
import * as Testing from "effect-ws/Testing"

/** Runs a client against a route, and returns what the application logged above debug. */
const logsOf = <E, R, E2>(
  handler: Effect.Effect<unknown, E, R>,
  client: (url: string) => Effect.Effect<unknown, E2, never>,
  options?: WebSocketServer.UpgradeOptions
) =>
  Effect.gen(function*() {
    const logged: Array<Record<string, unknown>> = []
    const logger = Logger.map(Logger.formatStructured, ({ annotations, cause, level, message }) => {
      logged.push({ level, message, cause, ...annotations })
    })
    const routes = HttpRouter.add("GET", "/chat/:room", WebSocketServer.upgrade(handler, options))
    const application = HttpRouter.serve(routes as Layer.Layer<never, never, HttpRouter.HttpRouter>, {
      disableListenLog: true
    })
    yield* client("ws://anywhere/chat/blue?token=s3cret").pipe(
      Effect.provide(application.pipe(
        Layer.provideMerge(Testing.layerHttpServer(NodeHttpServer.layer)),
        Layer.provideMerge(Logger.layer([logger]))
      ))
    )
    assert.notInclude(JSON.stringify(logged.filter(({ message }) => message !== "Sent HTTP response")), "s3cret")
    return logged.filter(({ level }) => level !== "INFO")
  })

const connected = (url: string) => Effect.scoped(Effect.flatMap(WebSocketClient.connect(url), ({ closed }) => closed))

describe("logs of a route", () => {
  it.effect("a handler that fails is one record with the path, the key and the close code", () =>
    Effect.gen(function*() {
      const key = { current: "" }
      const failing = Effect.flatMap(Connection.Connection, ({ request }) => {
        key.current = request.key
        return Effect.fail("on purpose")
      })
      const [{ cause, ...record }, ...others] = yield* logsOf(failing, connected)
      assert.deepStrictEqual(record, {
        level: "ERROR",
        message: "a WebSocket handler failed",
        "url.path": "/chat/blue",
        "websocket.key": key.current,
        "websocket.close.code": 1011
      })
      assert.include(String(cause), "on purpose")
      assert.deepStrictEqual(others, [])
    }))

  it.effect("an invalid message is one warning that does not contain it", () =>
    Effect.gen(function*() {
      const typed = Effect.flatMap(Connection.Connection, (connection) =>
        Stream.runDrain(
          TypedConnection.make(connection, { receives: Schema.Struct({ a: Schema.Finite }), sends: Schema.String })
            .messages
        ))
      const records = yield* logsOf(typed, (url) =>
        Effect.scoped(Effect.gen(function*() {
          const connection = yield* WebSocketClient.connect(url)
          yield* connection.send(`{"a":"s3cret"}`)
          const { code, reason } = yield* connection.closed
          assert.deepStrictEqual([code, reason], [1007, `Expected number at ["a"]`])
        })))
      assert.strictEqual(records.length, 1)
      assert.deepInclude(records[0], {
        level: "WARN",
        message: `a WebSocket peer sent an invalid message: Expected number at ["a"]`,
        "url.path": "/chat/blue",
        "websocket.close.code": 1007
      })
    }))

  it.effect("a decision that dies is one record with the request", () =>
    Effect.gen(function*() {
      const records = yield* logsOf(
        Effect.void,
        (url) => Effect.scoped(Effect.flip(WebSocketClient.connect(url))),
        { decide: () => Effect.die("on purpose") }
      )
      assert.strictEqual(records.length, 1)
      assert.deepInclude(records[0], { level: "ERROR", "url.path": "/chat/blue" })
    }))

  it.effect("a handler that ends with its connection logs nothing above debug", () =>
    Effect.gen(function*() {
      const reading = Effect.flatMap(Connection.Connection, ({ receive }) => receive)
      const records = yield* logsOf(reading, (url) =>
        Effect.scoped(Effect.gen(function*() {
          yield* WebSocketClient.connect(url)
          yield* Effect.flatMap(Testing.Network, ({ lastLink }) => Effect.flatMap(lastLink, ({ reset }) => reset))
          yield* Testing.settle
        })) as Effect.Effect<void, never>)
      assert.deepStrictEqual(records, [])
    }))
})
