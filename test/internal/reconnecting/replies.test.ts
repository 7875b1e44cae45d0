import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Result, Stream } from "effect"
import { KeepaliveTimeout } from "../../../src/ConnectionError.ts"
import { hideReplies } from "../../../src/internal/reconnecting/replies.ts"
import type * as Message from "../../../src/Message.ts"
import { contentOf, makePair, settle } from "../../support/memory.ts"

const isPong = (message: Message.Message) => message._tag === "Text" && message.text === "pong"

const decode = (message: Message.Message): Result.Result<number, "invalid"> => {
  const value = Number(contentOf(message))
  return Number.isNaN(value) ? Result.fail("invalid") : Result.succeed(value)
}

/** A connection without "pong", on which these have arrived. */
const received = (...messages: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const { client, server } = yield* makePair()
    yield* server.sendAll(messages)
    yield* settle
    return { client: hideReplies(client, isPong), original: client, server }
  })

describe("hideReplies", () => {
  it.effect("skips replies in each way to receive", () =>
    Effect.gen(function*() {
      const { client } = yield* received("pong", "1", "pong", "pong", "2", "pong", "x", "pong", "3", "4", "pong", "5")
      assert.strictEqual(contentOf(yield* client.receive), "1")
      assert.strictEqual(yield* client.receiveWith(decode, Effect.fail), 2)
      assert.strictEqual(yield* Effect.flip(client.receiveWith(decode, Effect.fail)), "invalid")
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(client.messagesWith(decode, Effect.fail), 3)), [
        3,
        4,
        5
      ])
    }))

  it.effect("skips replies among messages, and passes on what messagesWith cannot decode", () =>
    Effect.gen(function*() {
      const { client, server } = yield* received("pong", "1", "pong", "2")
      const texts = yield* Stream.runCollect(Stream.map(Stream.take(client.messages, 2), contentOf))
      assert.deepStrictEqual(texts, ["1", "2"])
      yield* server.sendAll(["3", "pong", "x", "pong", "4"])
      yield* settle
      const values: Array<number> = []
      const run = Stream.runForEach(
        client.messagesWith(decode, Effect.fail),
        (value) => Effect.sync(() => values.push(value))
      )
      assert.strictEqual(yield* Effect.flip(run), "invalid")
      yield* Effect.forkScoped(run)
      yield* settle
      assert.deepStrictEqual(values, [3, 4])
    }))

  it.effect("keeps the other operations", () =>
    Effect.gen(function*() {
      const { client, original, server } = yield* received()
      yield* client.send("a")
      yield* client.sendAll(["b"])
      assert.deepStrictEqual([contentOf(yield* server.receive), contentOf(yield* server.receive)], ["a", "b"])
      yield* client.writable
      assert.strictEqual(yield* client.bufferedAmount, yield* original.bufferedAmount)
      assert.deepStrictEqual(yield* client.activity, yield* original.activity)
      assert.strictEqual(client.subprotocol, original.subprotocol)
      assert.strictEqual((yield* client.close(4000, "enough")).code, 4000)
      assert.strictEqual((yield* client.closed).reason, "enough")
      assert.strictEqual((yield* client.discard).code, 4000)
    }))

  it.effect("fails the connection with a cause", () =>
    Effect.gen(function*() {
      const { client } = yield* received()
      const cause = new KeepaliveTimeout({ duration: Duration.seconds(1) })
      assert.strictEqual((yield* client.fail(cause)).cause, cause)
    }))

  it("returns the connection itself if no message is a reply", () => {
    const connection = {} as Parameters<typeof hideReplies>[0]
    assert.strictEqual(hideReplies(connection, undefined), connection)
  })
})
