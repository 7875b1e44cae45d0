import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import * as Testing from "effect-ws/Testing"
import { TestClock } from "effect/testing"
import { contentOf } from "../../support/memory.ts"

describe("a link", () => {
  it.effect("delays bytes by the latency of their direction, in order", () =>
    Effect.gen(function*() {
      const { client, server } = yield* Testing.makePair({
        link: { toServer: { latency: "3 seconds" }, toClient: { latency: "1 second" } }
      })
      const roundTrip = yield* Effect.forkChild(client.ping(), { startImmediately: true })
      yield* client.sendAll(["a", "b"])
      yield* Testing.settle
      yield* TestClock.adjust("2999 millis")
      yield* Testing.settle
      assert.strictEqual((yield* server.stats).bytesIn, 0)
      yield* client.send("c")
      yield* Testing.settle
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(contentOf(yield* server.receive), "a")
      assert.strictEqual(contentOf(yield* server.receive), "b")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(Duration.toMillis(yield* Fiber.join(roundTrip)), 4000)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(contentOf(yield* server.receive), "c")
      const closing = yield* Effect.forkChild(client.close())
      yield* Testing.settle
      for (let i = 0; i < 4; i++) {
        yield* TestClock.adjust("3 seconds")
        yield* Testing.settle
      }
      assert.isTrue((yield* Fiber.join(closing)).clean)
    }))

  it.effect("delivers what is in flight when the Scope of the connections closes", () =>
    Effect.gen(function*() {
      const link = { toServer: { latency: "1 minute" }, toClient: { latency: "1 minute" } } as const
      const { client, server } = yield* Effect.scoped(
        Effect.tap(Testing.makePair({ link }), (pair) => pair.client.sendAll(["a", "b"]))
      )
      assert.strictEqual(contentOf(yield* server.receive), "a")
      assert.strictEqual(contentOf(yield* server.receive), "b")
      assert.deepStrictEqual([(yield* client.closed).clean, (yield* server.closed).clean], [true, true])
      const { connection } = yield* Effect.scoped(Testing.makeConnection({ role: "client", link }))
      assert.isFalse((yield* connection.closed).clean)
    }))

  it.effect("chunkSize splits a write into several reads", () =>
    Effect.gen(function*() {
      const { connection, link, peer } = yield* Testing.makeConnection({
        role: "client",
        keepalive: false,
        link: { toServer: { chunkSize: 4 } }
      })
      yield* connection.send("hello")
      assert.strictEqual(Buffer.from((yield* peer.receive).payload).toString(), "hello")
      assert.deepStrictEqual((yield* peer.reads).map(({ length }) => length), [4, 4, 3])
      assert.strictEqual(link.client.bufferedAmount(), 0)
    }))

  it.effect("dies with InvalidOption if chunkSize is 0", () =>
    Effect.gen(function*() {
      const defect = yield* Testing.makeLink({ toServer: { chunkSize: 0 } }).pipe(Effect.catchDefect(Effect.succeed))
      assert.deepInclude(defect, { _tag: "InvalidOption", option: "chunkSize" })
    }))

  it.effect("resetAfterBytes breaks the link in the middle of a frame", () =>
    Effect.gen(function*() {
      const { client, server } = yield* Testing.makePair({ link: { toServer: { resetAfterBytes: 20 } } })
      yield* client.sendAll(["12345", "12345"])
      assert.deepInclude((yield* server.closed).cause, { _tag: "UnexpectedEof" })
      assert.deepInclude((yield* client.closed).cause, { _tag: "TransportError", code: "ECONNRESET" })
      assert.strictEqual((yield* server.stats).bytesIn, 20)
      assert.strictEqual(contentOf(yield* server.receive), "12345")
    }))

  it.effect("blackhole drops all bytes, so that both ends time out", () =>
    Effect.gen(function*() {
      const { client, link, server } = yield* Testing.makePair()
      yield* link.blackhole
      yield* client.send("x")
      const closing = yield* Effect.forkChild(client.close())
      yield* Testing.settle
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude((yield* Fiber.join(closing)).cause, { _tag: "CloseTimeout" })
      yield* Testing.settle
      yield* TestClock.adjust("30 seconds")
      assert.deepInclude((yield* server.closed).cause, { _tag: "KeepaliveTimeout" })
    }))

  it.effect("a blackhole is reset when the Scope closes", () =>
    Effect.gen(function*() {
      const ends = yield* Effect.scoped(Effect.gen(function*() {
        const { client, link, server } = yield* Testing.makePair()
        yield* link.blackhole
        return [client.closed, server.closed]
      }))
      for (const end of ends) assert.deepInclude((yield* end).cause, { _tag: "TransportError", code: "ECONNRESET" })
    }))

  it.effect("backpressure suspends a sender when the receiver does not read", () =>
    Effect.gen(function*() {
      const { client, server } = yield* Testing.makePair({
        server: { inboundHighWaterMark: 1000, keepalive: false },
        client: { keepalive: false }
      })
      const sending = yield* Effect.forkChild(
        Effect.replicateEffect(client.send("x".repeat(1000)), 1000, { discard: true })
      )
      yield* Testing.settle
      assert.isUndefined(sending.pollUnsafe())
      assert.isBelow((yield* client.stats).bytesOut, 200_000)
      yield* Effect.replicateEffect(server.receive, 1000, { discard: true })
      yield* Fiber.join(sending)
    }))
})
