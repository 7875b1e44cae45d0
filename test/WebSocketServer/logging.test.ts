/** What a server logs about handlers and decisions. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Logger, Schema, Stream, Tracer } from "effect"
import { Connection, type ConnectionError, Frame, TypedConnection } from "effect-ws"
import { rawConnect, rawHandshake, requestText, sampleKey, serve } from "../support/net.ts"
import { eventually } from "../support/resources.ts"
import { connect, echo, idle, textOf } from "../support/serving.ts"

describe("logs of a server", () => {
  it.live("closes only the connection of a handler that fails or dies, with 1011, and logs it", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const logger = Logger.make(({ logLevel, message }) => void logged.push([logLevel, message]))
      const server = yield* serve(
        Effect.gen(function*() {
          const connection = yield* Connection.Connection
          const message = textOf(yield* connection.receive)
          if (message === "fail") return yield* Effect.fail("failed on purpose")
          if (message === "die") return yield* Effect.die("died on purpose")
          if (message === "throw") throw new Error("thrown on purpose")
          yield* connection.send(message)
          return yield* idle
        })
      ).pipe(Effect.provide(Logger.layer([logger])))
      const bystander = yield* connect(server.url)
      for (const command of ["fail", "die", "throw"]) {
        const connection = yield* connect(server.url)
        yield* connection.send(command)
        assert.strictEqual((yield* connection.closed).code, 1011)
      }
      yield* bystander.send("unharmed")
      assert.strictEqual(textOf(yield* bystander.receive), "unharmed")
      assert.strictEqual(logged.length, 3)
    }))

  const records = Effect.sync(() => {
    const logged: Array<Record<string, unknown>> = []
    const logger = Logger.map(Logger.formatStructured, ({ annotations, cause, level, message }) => {
      logged.push({ level, message, cause, ...annotations })
    })
    return { logged, layer: Logger.layer([logger]) }
  })

  it.live("logs a failed handler with the path, the address, the key and the close code, without the query", () =>
    Effect.gen(function*() {
      const { layer, logged } = yield* records
      const server = yield* serve(Effect.fail("on purpose")).pipe(Effect.provide(layer))
      const peer = yield* rawConnect(server.port)
      peer.write(requestText({}, "GET /chat?token=s3cret HTTP/1.1"))
      yield* eventually(() => logged.length > 0)
      const [{ cause, ...record }] = logged
      assert.deepStrictEqual(record, {
        level: "ERROR",
        message: "a WebSocket handler failed",
        "url.path": "/chat",
        "client.address": "127.0.0.1",
        "websocket.key": sampleKey,
        "websocket.close.code": 1011
      })
      assert.include(String(cause), "on purpose")
      assert.notInclude(JSON.stringify(logged), "s3cret")
    }))

  it.live("logs a handler that fails after it has closed with the code of its close frame", () =>
    Effect.gen(function*() {
      const { layer, logged } = yield* records
      const failing = Effect.gen(function*() {
        yield* (yield* Connection.Connection).close(4000)
        return yield* Effect.die("on purpose")
      })
      const server = yield* serve(failing).pipe(Effect.provide(layer))
      const connection = yield* connect(server.url)
      assert.strictEqual((yield* connection.closed).code, 4000)
      yield* eventually(() => logged.length > 0)
      assert.deepInclude(logged[0], { level: "ERROR", "websocket.close.code": 4000 })
    }))

  it.live("logs a failed handler with its span if there is a tracer", () =>
    Effect.gen(function*() {
      const { layer, logged } = yield* records
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const server = yield* serve(Effect.fail("on purpose")).pipe(
        Effect.provide(layer),
        Effect.provideService(Tracer.Tracer, tracer)
      )
      yield* (yield* connect(server.url)).closed
      yield* eventually(() => logged.length > 0)
      const { spanId, traceId } = spans.find(({ kind, name }) => name === "websocket.connection" && kind === "server")!
      assert.deepInclude(logged[0], { "trace.id": traceId, "span.id": spanId })
    }))

  it.live("logs an invalid message as a warning of one line, without the message", () =>
    Effect.gen(function*() {
      const { layer, logged } = yield* records
      const typed = Effect.flatMap(Connection.Connection, (connection) =>
        Stream.runDrain(
          TypedConnection.make(connection, { receives: Schema.Struct({ a: Schema.Finite }), sends: Schema.String })
            .messages
        ))
      const server = yield* serve(typed).pipe(Effect.provide(layer))
      for (const [sent, said] of [[`{"a":"s3cret"}`, `Expected number at ["a"]`], ["s3cret", "Expected valid JSON"]]) {
        const connection = yield* connect(server.url)
        yield* connection.send(sent)
        const { code, reason } = yield* connection.closed
        assert.deepStrictEqual([code, reason], [1007, said])
        yield* eventually(() => logged.length > 0)
        assert.deepInclude(logged[0], {
          level: "WARN",
          message: `a WebSocket peer sent an invalid message: ${said}`,
          "url.path": "/",
          "websocket.close.code": 1007
        })
        assert.notInclude(JSON.stringify(logged.splice(0)), "s3cret")
      }
    }))

  it.live("logs a finalizer that dies, and closes the connection", () =>
    Effect.gen(function*() {
      const { layer, logged } = yield* records
      const server = yield* serve(Effect.addFinalizer(() => Effect.die("on purpose"))).pipe(Effect.provide(layer))
      assert.strictEqual((yield* (yield* connect(server.url)).closed).code, 1000)
      yield* eventually(() => logged.length > 0)
      assert.deepInclude(logged[0], {
        level: "ERROR",
        message: "a finalizer of a WebSocket handler died",
        "url.path": "/"
      })
    }))

  it.live("logs a decision that dies with the request", () =>
    Effect.gen(function*() {
      const { layer, logged } = yield* records
      const server = yield* serve(idle, { serve: { decide: () => Effect.die("on purpose") } }).pipe(
        Effect.provide(layer)
      )
      yield* Effect.flip(connect(`${server.url}/chat?token=s3cret`))
      assert.deepInclude(logged[0], { level: "ERROR", "url.path": "/chat", "client.address": "127.0.0.1" })
      assert.notInclude(JSON.stringify(logged), "s3cret")
    }))

  it.live("logs no error if a handler fails because the peer was reset", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const logger = Logger.make(({ logLevel }) => void logged.push(logLevel))
      const ended = yield* Deferred.make<string>()
      const server = yield* serve(
        Effect.onExit(echo, (exit) => Deferred.succeed(ended, exit._tag))
      ).pipe(Effect.provide(Logger.layer([logger])))
      const peer = yield* rawHandshake(server.port)
      peer.socket.resetAndDestroy()
      assert.strictEqual(yield* Deferred.await(ended), "Failure")
      assert.deepStrictEqual(logged, [])
    }))

  it.live("logs no error if a handler sends while the connection is closing", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const logger = Logger.make(({ logLevel }) => void logged.push(logLevel))
      const failed = yield* Deferred.make<ConnectionError.ConnectionClosed>()
      const server = yield* serve(Effect.gen(function*() {
        const connection = yield* Connection.Connection
        yield* Effect.forkChild(connection.close(1001), { startImmediately: true })
        return yield* Effect.tapError(connection.send("late"), (error) => Deferred.succeed(failed, error))
      })).pipe(Effect.provide(Logger.layer([logger])))
      const peer = yield* rawHandshake(server.port)
      // The failure precedes the reply of the peer.
      assert.deepInclude(yield* Deferred.await(failed), { sent: { code: 1001, reason: "" }, received: undefined })
      peer.send(Frame.close(1001))
      yield* peer.ended
      while ((yield* server.connections).length > 0) yield* Effect.sleep(1)
      assert.deepStrictEqual(logged, [])
    }))

  it.live("logs a handler that fails with undefined", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const logger = Logger.make(({ logLevel }) => void logged.push(logLevel))
      const server = yield* serve(Effect.fail(undefined)).pipe(Effect.provide(Logger.layer([logger])))
      const connection = yield* connect(server.url)
      assert.strictEqual((yield* connection.closed).code, 1011)
      assert.deepStrictEqual(logged, ["Error"])
    }))
})
