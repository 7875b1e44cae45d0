/** Handlers: their end, their Scope, and backpressure. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Stream } from "effect"
import { Connection } from "effect-ws"
import { TestClock } from "effect/testing"
import { rawHandshake, serve } from "../support/net.ts"
import { connect, echo, textOf } from "../support/serving.ts"

describe("a handler", () => {
  it.live("runs once per connection, which closes with 1000 after a success", () =>
    Effect.gen(function*() {
      const server = yield* serve(Effect.flatMap(Connection.Connection, (connection) => connection.send("bye")))
      for (let i = 0; i < 2; i++) {
        const connection = yield* connect(server.url)
        assert.deepStrictEqual((yield* Stream.runCollect(connection.messages)).map(textOf), ["bye"])
        assert.strictEqual((yield* connection.closed).code, 1000)
      }
    }))

  it.live("runs in a Scope that closes with the connection", () =>
    Effect.gen(function*() {
      const released = yield* Deferred.make<void>()
      const server = yield* serve(Effect.gen(function*() {
        yield* Effect.addFinalizer(() => Deferred.succeed(released, undefined))
        yield* echo
      }))
      const connection = yield* connect(server.url)
      yield* connection.close()
      yield* Deferred.await(released)
    }))

  const handlerTimeouts = [["handlerTimeout (7 seconds)", { handlerTimeout: "7 seconds" }, 7], [
    "30 seconds",
    {},
    30
  ]] as const
  for (const [name, options, seconds] of handlerTimeouts) {
    it.effect(`stops when it has run for ${name} after the end of its connection`, () =>
      Effect.gen(function*() {
        const exits = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
        const closed = yield* Deferred.make<void>()
        const server = yield* serve(
          Effect.gen(function*() {
            const connection = yield* Connection.Connection
            yield* Effect.forkChild(Effect.andThen(connection.closed, Deferred.succeed(closed, undefined)))
            return yield* Effect.never
          }).pipe(Effect.onExit((exit) => Deferred.succeed(exits, exit))),
          { serve: { ...options, keepalive: false } }
        )
        const peer = yield* rawHandshake(server.port)
        peer.socket.destroy()
        yield* Deferred.await(closed)
        yield* TestClock.adjust(Duration.seconds(seconds - 1))
        assert.isFalse(yield* Deferred.isDone(exits))
        yield* TestClock.adjust("1 second")
        assert.isTrue(Exit.hasInterrupts(yield* Deferred.await(exits)))
      }))
  }

  it.live("echoes 100,000 pipelined messages in order, in bounded memory", () =>
    Effect.gen(function*() {
      const total = 100_000
      const server = yield* serve(echo)
      const client = yield* connect(server.url)
      const [serverSide] = yield* server.connections
      yield* Effect.forkChild(
        Stream.range(0, total - 1).pipe(
          Stream.runForEachArray((numbers) => client.sendAll(numbers.map(String)))
        )
      )
      let next = 0
      let most = 0
      yield* Stream.runForEachArray(Stream.take(client.messages, total), (messages) =>
        Effect.gen(function*() {
          for (const message of messages) {
            if (textOf(message) !== String(next++)) assert.fail(`out of order at ${next - 1}`)
          }
          const { bufferedAmount, unreadAmount } = yield* serverSide.stats
          most = Math.max(most, bufferedAmount + unreadAmount)
        }))
      assert.strictEqual(next, total)
      assert.isBelow(most, 4 * 1024 * 1024)
    }), 30_000)

  it.live(
    "suspends in send while the peer does not read, and holds back the peer while it does not read itself",
    () =>
      Effect.gen(function*() {
        let sent = 0
        const server = yield* serve(
          Effect.gen(function*() {
            const connection = yield* Connection.Connection
            const chunk = new Uint8Array(100_000)
            return yield* Effect.forever(Effect.tap(connection.send(chunk), () => Effect.sync(() => sent++)))
          }),
          { serve: { shutdownTimeout: 0 } }
        )
        const peer = yield* rawHandshake(server.port)
        peer.socket.pause()
        const [connection] = yield* server.connections
        let before = -1
        while (before !== sent) {
          before = sent
          yield* Effect.sleep("100 millis")
        }
        assert.isBelow((yield* connection.stats).bufferedAmount, 1024 * 1024)

        const deaf = yield* serve(Effect.never, { serve: { shutdownTimeout: 0 } })
        const client = yield* connect(deaf.url, { closeTimeout: "10 millis" })
        const sending = yield* Effect.forkChild(Effect.forever(client.send(new Uint8Array(100_000))))
        const [unread] = yield* deaf.connections
        let amount = -1
        let stats = yield* unread.stats
        while (amount !== stats.bytesIn) {
          amount = stats.bytesIn
          yield* Effect.sleep("100 millis")
          stats = yield* unread.stats
        }
        assert.isUndefined(sending.pollUnsafe())
        assert.isBelow(stats.unreadAmount, 1024 * 1024)
        yield* Fiber.interrupt(sending)
        peer.socket.destroy()
      }),
    20_000
  )
})
