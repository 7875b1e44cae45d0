/** The option `decide` and `Handshake.HandshakePolicy`. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Logger } from "effect"
import { Connection, Handshake, type HandshakeError, WebSocketServer } from "effect-ws"
import { TestClock } from "effect/testing"
import type * as Net from "node:net"
import { rawConnect, requestText, serve } from "../support/net.ts"
import { connect, idle, statusOf, textOf } from "../support/serving.ts"

describe("decide", () => {
  class User extends Context.Service<User, { readonly name: string }>()("test/User") {}

  it.live("accepts with headers, a subprotocol and services for the handler", () =>
    Effect.gen(function*() {
      const server = yield* WebSocketServer.make({ host: "127.0.0.1" })
      yield* server.serve(
        Effect.gen(function*() {
          const user = yield* User
          const connection = yield* Connection.Connection
          yield* connection.send(`hello ${user.name}`)
          yield* connection.closed
        }),
        {
          decide: (request) =>
            Effect.succeed(Handshake.accept({
              protocol: request.protocols[1],
              headers: { "Set-Cookie": ["a=1", "b=2"] },
              services: Context.make(User, { name: request.headers["x-name"] })
            }))
        }
      )
      const connection = yield* connect(server.url, { protocols: ["a", "b"], headers: { "X-Name": "Ada" } })
      assert.strictEqual(textOf(yield* connection.receive), "hello Ada")
      assert.strictEqual(connection.subprotocol, "b")
      assert.strictEqual(connection.responseHeaders["set-cookie"], "a=1, b=2")
    }))

  it.live("rejects with a status that has no standard reason phrase", () =>
    Effect.gen(function*() {
      const decide = () => Effect.succeed(Handshake.reject({ status: 499 }))
      const server = yield* serve(idle, { serve: { decide } })
      assert.strictEqual(yield* statusOf(server.port, requestText()), 499)
    }))

  it.live("rejects with status, headers and body, as a success or as a failure", () =>
    Effect.gen(function*() {
      const reject = Handshake.reject({ status: 401, headers: { "WWW-Authenticate": "Bearer" }, body: "who are you?" })
      for (const decide of [() => Effect.succeed(reject), () => Effect.fail(reject)]) {
        const server = yield* serve(idle, { serve: { decide } })
        const error = yield* Effect.flip(connect(server.url))
        assert.strictEqual(error._tag, "HandshakeRejected")
        const { body, headers, status } = error as HandshakeError.HandshakeRejected
        assert.deepStrictEqual([status, headers["www-authenticate"], body], [401, "Bearer", "who are you?"])
      }
    }))

  it.live("can suspend, and require services", () =>
    Effect.gen(function*() {
      const server = yield* WebSocketServer.make({ host: "127.0.0.1" })
      yield* server.serve(idle, {
        decide: () =>
          Effect.delay(
            Effect.map(User, (user) => user.name === "Ada" ? Handshake.accept() : Handshake.reject({ status: 403 })),
            "10 millis"
          )
      }).pipe(Effect.provideService(User, { name: "Ada" }))
      yield* connect(server.url)
    }))

  it.live("gives the client 500 and logs if it dies or makes an invalid response", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => void logged.push(String(message)))
      const decisions: ReadonlyArray<() => Effect.Effect<Handshake.Decision>> = [
        () => Effect.die("boom"),
        () => {
          throw new Error("boom")
        },
        () => Effect.succeed(Handshake.accept({ protocol: "never offered" })),
        () => Effect.succeed(Handshake.accept({ headers: { "X-Bad": "a\r\nb" } })),
        () => Effect.succeed(Handshake.reject({ status: 99 }))
      ]
      for (const decide of decisions) {
        const server = yield* serve(idle, { serve: { decide } }).pipe(Effect.provide(Logger.layer([logger])))
        assert.strictEqual(yield* statusOf(server.port, requestText()), 500)
      }
      assert.strictEqual(logged.length, decisions.length)
    }))

  it.effect("stops after handshakeTimeout, and the client gets 503", () =>
    Effect.gen(function*() {
      const started = yield* Deferred.make<void>()
      const server = yield* serve(idle, {
        handshakeTimeout: "5 seconds",
        serve: { decide: () => Effect.andThen(Deferred.succeed(started, undefined), Effect.never) }
      })
      const status = yield* Effect.forkChild(statusOf(server.port, requestText()))
      yield* Deferred.await(started)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* Fiber.join(status), 503)
    }))

  const waysToLeave: ReadonlyArray<readonly [string, (socket: Net.Socket) => void]> = [
    ["is reset", (socket) => socket.resetAndDestroy()],
    ["closes the socket", (socket) => socket.destroy()],
    ["ends its side", (socket) => socket.end()]
  ]
  for (const [how, leave] of waysToLeave) {
    it.live(`stops when the client ${how} (CVE-2022-21676)`, () =>
      Effect.gen(function*() {
        const started = yield* Deferred.make<void>()
        const interrupted = yield* Deferred.make<void>()
        const server = yield* serve(idle, {
          serve: {
            decide: () =>
              Effect.andThen(Deferred.succeed(started, undefined), Effect.never).pipe(
                Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
              )
          }
        })
        const peer = yield* rawConnect(server.port)
        peer.write(requestText())
        yield* Deferred.await(started)
        leave(peer.socket)
        yield* Deferred.await(interrupted)
        yield* peer.ended
        assert.deepStrictEqual(yield* server.connections, [])
      }))
  }

  it.live("defaults to the HandshakePolicy in the context", () =>
    Effect.gen(function*() {
      const closedToday = Handshake.layerPolicy({
        decide: () => Effect.succeed(Handshake.reject({ status: 503, body: "closed today" }))
      })
      const server = yield* serve(idle).pipe(Effect.provide(closedToday))
      assert.strictEqual(yield* statusOf(server.port, requestText()), 503)
    }))
})
