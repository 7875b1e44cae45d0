/** The end of a server. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Scope } from "effect"
import { Connection, Frame, WebSocketServer } from "effect-ws"
import { TestClock } from "effect/testing"
import { settle } from "../support/memory.ts"
import { rawConnect, rawHandshake, requestText, serve, splitHead } from "../support/net.ts"
import { connect, echo, idle, statusOf } from "../support/serving.ts"

describe("shutdown", () => {
  /** Starts a server with its own Scope, and returns an effect that closes it. */
  const stoppable = <E>(
    handler: Effect.Effect<unknown, E, Connection.Connection | Scope.Scope>,
    options?: WebSocketServer.ServeOptions
  ) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const server = yield* serve(handler, { serve: { keepalive: false, ...options } }).pipe(Scope.provide(scope))
      return { server, stop: Scope.close(scope, Exit.void) }
    })

  it.live("closes all connections with 1001, waits for handlers, and frees the port", () =>
    Effect.gen(function*() {
      let finished = 0
      const { server, stop } = yield* stoppable(Effect.andThen(echo, Effect.sync(() => finished++)))
      const clients = yield* Effect.replicateEffect(connect(server.url), 20)
      yield* Effect.forEach(clients, (client) => client.send("x"))
      yield* Effect.forEach(clients, (client) => client.receive)
      yield* stop
      const ends = yield* Effect.forEach(clients, (client) => client.closed)
      assert.deepStrictEqual(ends.map((end) => [end.code, end.clean]), ends.map(() => [1001, true]))
      assert.strictEqual(finished, 20)
      yield* WebSocketServer.make({ host: "127.0.0.1", port: server.port })
    }))

  it.live("closes with the code and reason of shutdownClose", () =>
    Effect.gen(function*() {
      const shutdownClose = { code: 1012, reason: "back in a minute" }
      const { server, stop } = yield* stoppable(echo, { shutdownClose })
      const client = yield* connect(server.url)
      yield* stop
      const end = yield* client.closed
      assert.deepStrictEqual([end.code, end.reason], [1012, "back in a minute"])
      const error = yield* Effect.flip(stoppable(echo, { shutdownClose: { code: 1006 } }))
      assert.deepInclude(error, { _tag: "InvalidOption", option: "shutdownClose" })
    }))

  const shutdownTimeouts = [["shutdownTimeout (4 seconds)", { shutdownTimeout: "4 seconds" }, 4], [
    "10 seconds",
    {},
    10
  ]] as const
  for (const [name, options, seconds] of shutdownTimeouts) {
    it.effect(`destroys sockets and interrupts handlers after ${name}`, () =>
      Effect.gen(function*() {
        const interrupted = yield* Deferred.make<void>()
        const { server, stop } = yield* stoppable(
          Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined)),
          { ...options, closeTimeout: "1 minute" }
        )
        const silent = yield* rawHandshake(server.port)
        const stopping = yield* Effect.forkChild(stop)
        const [close] = yield* silent.untilFrames(1)
        assert.deepStrictEqual(Frame.readClose(close.payload), { code: 1001, reason: "" })
        yield* TestClock.adjust(Duration.seconds(seconds - 1))
        assert.isUndefined(stopping.pollUnsafe())
        yield* TestClock.adjust("1 second")
        yield* Deferred.await(interrupted)
        yield* Fiber.join(stopping)
        yield* silent.ended
      }))
  }

  it.live("interrupts pending decisions, and rejects their requests and later ones with 503", () =>
    Effect.gen(function*() {
      const started = yield* Deferred.make<void>()
      const server = yield* WebSocketServer.make({ host: "127.0.0.1" })
      const port = server.address._tag === "Tcp" ? server.address.port : 0
      assert.strictEqual(yield* statusOf(port, requestText()), 503)
      const scope = yield* Scope.make()
      yield* server.serve(idle, { decide: () => Effect.andThen(Deferred.succeed(started, undefined), Effect.never) })
        .pipe(
          Scope.provide(scope)
        )
      const peer = yield* rawConnect(port)
      peer.write(requestText())
      yield* Deferred.await(started)
      yield* settle
      yield* Scope.close(scope, Exit.void)
      assert.match(splitHead(yield* peer.ended).head, /^HTTP\/1\.1 503 .*\r\nRetry-After: \d+$/s)
      assert.strictEqual(yield* statusOf(port, requestText()), 503)
      // A server can serve again.
      yield* server.serve(idle)
      yield* rawHandshake(port)
    }))

  it.live("closes connections with 1001 if the server's Scope closes before that of serve", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const server = yield* WebSocketServer.make({ host: "127.0.0.1" }).pipe(Scope.provide(scope))
      yield* server.serve(echo)
      const client = yield* connect(server.url)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* client.closed).code, 1001)
    }))

  it.live("rejects requests with 503 while it waits for handlers", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const release = yield* Deferred.make<void>()
      const server = yield* WebSocketServer.make({ host: "127.0.0.1" }).pipe(Scope.provide(scope))
      yield* server.serve(
        Connection.Connection.pipe(
          Effect.flatMap(({ closed }) => closed),
          Effect.andThen(Deferred.await(release)),
          Effect.uninterruptible
        )
      )
      const client = yield* connect(server.url)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      assert.strictEqual((yield* client.closed).code, 1001)
      assert.strictEqual(yield* statusOf(Number(new URL(server.url).port), requestText()), 503)
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.join(closing)
    }))

  it.live("dies with AlreadyServing if it serves a handler already", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle)
      const defect = yield* Effect.flip(Effect.catchDefect(Effect.scoped(server.serve(idle)), Effect.fail))
      assert.deepInclude(defect, { _tag: "AlreadyServing" })
      yield* rawHandshake(server.port)
    }))
})
