/** A reconnecting client over real sockets. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Option, Schedule, Scope, Stream, SubscriptionRef } from "effect"
import { Connection, WebSocketClient } from "effect-ws"
import { contentOf } from "../support/memory.ts"
import { rawServer, serve } from "../support/net.ts"

describe("over real sockets", () => {
  it.live("connects again to a server that restarts on its port", () =>
    Effect.gen(function*() {
      const greet = (name: string) =>
        Effect.gen(function*() {
          const connection = yield* Connection.Connection
          yield* connection.send(`${name}: ${connection.request.headers["x-attempt"]}`)
          yield* Stream.runForEach(connection.messages, connection.send)
        })
      const start = (name: string, port: number) =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const server = yield* Scope.provide(serve(greet(name), { port }), scope)
          return { ...server, stop: Scope.close(scope, Exit.void) }
        })
      const first = yield* start("first", 0)
      let attempt = 0
      const client = yield* WebSocketClient.reconnecting(first.url, {
        schedule: Schedule.spaced("5 millis"),
        // While it stops, the server answers with 503 and a Retry-After.
        maxRetryAfter: 0,
        headers: Effect.sync(() => ({ "X-Attempt": String(++attempt) }))
      })
      const messages: Array<string> = []
      const arrived = (pattern: RegExp) =>
        Effect.repeat(Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve))), {
          until: () => messages.some((message) => pattern.test(message))
        })
      yield* Effect.forkScoped(
        Stream.runForEach(client.messages, (message) => Effect.sync(() => messages.push(String(contentOf(message)))))
      )
      yield* client.send("a")
      yield* arrived(/^a$/)
      yield* first.stop
      const waiting = yield* Effect.forkChild(client.send("b"))
      const again = yield* start("second", first.port)
      yield* Fiber.join(waiting)
      yield* arrived(/^b$/)
      assert.strictEqual(messages[0], "first: 1")
      assert.match(messages[2], /^second: \d+$/)
      assert.deepStrictEqual([messages[1], messages[3]], ["a", "b"])
      yield* again.stop
    }))

  it.live("waits for the Retry-After of a server that has no room", () =>
    Effect.gen(function*() {
      const { url } = yield* serve(Effect.never, { serve: { maxConnections: 0 } })
      const client = yield* WebSocketClient.reconnecting(url, { schedule: Schedule.spaced("5 millis") })
      const waiting = yield* SubscriptionRef.changes(client.state).pipe(
        Stream.filter((state) => state._tag === "Waiting"),
        Stream.runHead
      )
      const { cause, delay } = Option.getOrThrow(waiting)
      assert.deepInclude(cause, { _tag: "HandshakeRejected", status: 503 })
      assert.isAtLeast(Duration.toMillis(delay), 5000)
      assert.isAtMost(Duration.toMillis(delay), 15_000 * 1.2 + 1)
    }))

  it.live("a 401 from a server is final", () =>
    Effect.gen(function*() {
      const server = yield* rawServer((peer) =>
        peer.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
      )
      const client = yield* WebSocketClient.reconnecting(`ws://127.0.0.1:${server.port}/`)
      assert.deepInclude(yield* Effect.flip(client.closed), { _tag: "HandshakeRejected", status: 401 })
      assert.strictEqual(server.peers.length, 1)
    }))
})
