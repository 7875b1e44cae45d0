/** Heartbeats, of a connection and of a reconnecting client, in memory and with a test clock. */
import { assert, describe, it } from "@effect/vitest"
import { type Duration, Effect, Exit, Fiber, Option, Result, Schedule, Scope, Stream } from "effect"
import { ConnectionError, Heartbeat, type Message, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { contentOf, makePair, settle } from "../support/memory.ts"
import { collect, network, receive, stateOf } from "../support/reconnecting.ts"
import { withSkew } from "../support/skewedClock.ts"

const isReply = (message: Message.Message) => message._tag === "Text" && message.text === "pong"

const pass = (seconds: number) => Effect.andThen(TestClock.adjust(seconds * 1000), settle)

describe("Heartbeat.make", () => {
  it.effect("fails the connection with KeepaliveTimeout if the peer does not reply", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      const connection = yield* Heartbeat.make(client, { message: "ping", isReply })
      yield* pass(30)
      assert.strictEqual(contentOf(yield* server.receive), "ping")
      const receiving = yield* Effect.forkChild(Effect.flip(connection.receive))
      yield* pass(10)
      const { cause } = yield* Fiber.join(receiving)
      assert.instanceOf(cause, ConnectionError.KeepaliveTimeout)
      assert.strictEqual(cause.message, "the peer sent nothing for 10s after it was asked for a sign of life")
    }))

  it.effect("hides the replies from the program, and accepts any message as a sign of life", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      const connection = yield* Heartbeat.make(client, { message: "ping", isReply })
      for (const reply of ["pong", "news"]) {
        yield* pass(30)
        assert.strictEqual(contentOf(yield* server.receive), "ping")
        yield* server.send(reply)
        yield* pass(10)
      }
      assert.strictEqual(contentOf(yield* connection.receive), "news")
      assert.strictEqual((yield* Effect.forkChild(connection.closed)).pollUnsafe(), undefined)
    }))

  it.effect("does not need a reader: unread messages are signs of life", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      yield* Heartbeat.make(client, { message: "ping" })
      for (let i = 0; i < 10; i++) {
        yield* pass(20)
        yield* server.send("unread")
      }
      assert.strictEqual((yield* client.stats).messagesOut, 0)
    }))

  it.effect("stops when its Scope closes", () =>
    Effect.gen(function*() {
      const { client } = yield* makePair()
      const scope = yield* Scope.make()
      yield* Scope.provide(Heartbeat.make(client, { message: "ping" }), scope)
      yield* settle
      yield* Scope.close(scope, Exit.void)
      yield* pass(60)
      assert.strictEqual((yield* client.stats).messagesOut, 0)
    }))

  for (
    const [option, value] of [["interval", 0], ["interval", -1], ["timeout", 0], ["timeout", "soon"]] as const
  ) {
    it.effect(`fails with InvalidOption for ${option}: ${value}`, () =>
      Effect.gen(function*() {
        const { client } = yield* makePair()
        const options = { message: "ping", [option]: value as Duration.Input }
        assert.deepInclude(yield* Effect.flip(Heartbeat.make(client, options)), { _tag: "InvalidOption", option })
      }))
  }
})

describe("the heartbeat of a reconnecting client", () => {
  it.effect("replaces a dead connection, and delivers what arrived on it, without replies", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: Schedule.spaced(0),
        heartbeat: { message: "ping", isReply }
      }).pipe(Effect.provide(layer))
      const { messages } = yield* collect(client)
      yield* pass(30)
      assert.strictEqual(yield* receive(servers[0]), "ping")
      yield* servers[0].connection.sendAll(["a", "pong", "b"])
      // The messages were signs of life; the next heartbeat has no answer.
      yield* pass(10)
      yield* pass(30)
      assert.strictEqual(servers.length, 1)
      yield* pass(10)
      assert.deepInclude(stateOf(client), { _tag: "Open", number: 2 })
      yield* servers[1].connection.send("c")
      yield* settle
      assert.deepStrictEqual(messages, ["a", "b", "c"])
    }))

  it.effect("hides replies from receive, receiveWith and messagesWith", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const client = yield* WebSocketClient.reconnecting("ws://there/", { heartbeat: { message: "ping", isReply } })
        .pipe(
          Effect.provide(layer)
        )
      yield* settle
      yield* servers[0].connection.sendAll(["pong", "a", "pong", "b", "pong", "c"])
      yield* settle
      const decode = (message: Message.Message) => Result.succeed(contentOf(message))
      assert.strictEqual(contentOf(yield* client.receive), "a")
      assert.strictEqual(yield* client.receiveWith(decode, Effect.fail), "b")
      assert.deepStrictEqual(yield* Stream.runHead(client.messagesWith(decode, Effect.fail)), Option.some("c"))
    }))

  for (const replies of [true, false]) {
    it.effect(
      replies
        ? "keeps a connection that survived the sleep of the computer"
        : "replaces a connection that did not survive the sleep of the computer within 5 seconds",
      () =>
        withSkew((skew) =>
          Effect.gen(function*() {
            const { layer, servers } = yield* network()
            const client = yield* WebSocketClient.reconnecting("ws://there/", {
              schedule: Schedule.spaced(0),
              heartbeat: { message: "ping", isReply }
            }).pipe(Effect.provide(layer))
            yield* pass(10)
            skew.monotonic += 8 * 3_600_000
            skew.wall += 8 * 3_600_000
            yield* pass(20)
            assert.strictEqual(yield* receive(servers[0]), "ping")
            if (replies) yield* servers[0].connection.send("pong")
            yield* pass(5)
            assert.deepInclude(stateOf(client), { _tag: "Open", number: replies ? 1 : 2 })
          })
        )
    )
  }

  it.effect("begins after onOpen", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      yield* WebSocketClient.reconnecting("ws://there/", {
        heartbeat: { message: "ping", interval: "1 second" },
        onOpen: () => Effect.sleep("10 seconds")
      }).pipe(Effect.provide(layer))
      yield* pass(10)
      assert.strictEqual((yield* servers[0].connection.stats).messagesIn, 0)
      yield* pass(1)
      assert.strictEqual(yield* receive(servers[0]), "ping")
    }))
})
