/** Clients that break the protocol: each is disconnected with the documented code, and leaves nothing behind. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Topics } from "effect-ws"
import { TestClock } from "effect/testing"
import { connected, layer, lobby, open, rawClient, Room, settle } from "../support/topicSession.ts"

describe("a topic server", () => {
  for (
    const [title, message, end] of [
      ["rejects garbage", "garbage", "3501 bad request"],
      ["rejects an empty message", "", "3501 bad request"],
      ["rejects a binary message", Uint8Array.of(1, 2, 3), "3501 bad request"],
      ["rejects half a command", `{"id":1`, "3501 bad request"],
      ["rejects an array", "[]", "3501 bad request"],
      ["rejects an id above 32 bits", `{"id":4294967296,"connect":{}}`, "3501 bad request"],
      ["rejects a connect command without an id", `{"connect":{}}`, "3501 bad request"],
      ["rejects a command before the connect command", `{"id":1,"subscribe":{"channel":"room:a"}}`, "3501 bad request"],
      ["rejects a pong before the connect command", "{}", "3501 bad request"],
      [
        "rejects a command above maxCommandSize",
        `{"id":1,"connect":{"token":"${"a".repeat(200)}"}}`,
        "1009 command too large"
      ],
      ["rejects more commands than maxCommands", "{}\n{}\n{}\n{}\n{}\n{}", "3501 bad request"]
    ] as const
  ) {
    it.effect(`${title} as the first message`, () =>
      Effect.gen(function*() {
        const client = yield* rawClient(open({ maxCommandSize: 200, maxCommands: 5 }))
        yield* client.sendRaw(message)
        assert.strictEqual(client.ended(), end)
        assert.deepStrictEqual(client.received, [])
        assert.isTrue(client.done())
      }).pipe(Effect.provide(layer)))
  }

  for (
    const [title, message, end] of [
      ["rejects a second connect command", `{"id":2,"connect":{}}`, "3501 bad request"],
      [
        "rejects a second connect command with another request",
        `{"id":2,"connect":{},"unsubscribe":{"channel":"room:a"}}`,
        "3501 bad request"
      ],
      ["rejects a pong that answers no ping", "{}", "3501 bad request"],
      ["rejects a command without an id", `{"subscribe":{"channel":"room:a"}}`, "3501 bad request"],
      ["rejects a command without a request", `{"id":7}`, "3501 bad request"],
      ["rejects a subscription without a channel", `{"id":2,"subscribe":{}}`, "3501 channel required"],
      ["rejects an unsubscription without a channel", `{"id":2,"unsubscribe":{}}`, "3501 bad request"],
      ["rejects a publication without a channel", `{"id":2,"publish":{"data":1}}`, "3501 channel required"],
      ["rejects a refresh without a token", `{"id":2,"refresh":{}}`, "3501 token required"],
      ["rejects data if the program does not handle it", `{"send":{"data":1}}`, "3508 not available"]
    ] as const
  ) {
    it.effect(`${title} once it is connected`, () =>
      Effect.gen(function*() {
        const client = yield* connected(open())
        yield* client.send({ id: 9, subscribe: { channel: "room:lobby" } })
        assert.lengthOf(yield* Topics.members(Room, lobby), 1)
        yield* client.sendRaw(message)
        assert.strictEqual(client.ended(), end)
        assert.isTrue(client.done())
        assert.deepStrictEqual(yield* Topics.members(Room, lobby), [])
      }).pipe(Effect.provide(layer)))
  }

  it.effect("handles nothing that follows a command which ends the connection", () =>
    Effect.gen(function*() {
      const client = yield* connected(open())
      yield* client.send({ id: 7 }, { id: 8, publish: { channel: "room:lobby", data: { text: "late" } } })
      assert.strictEqual(client.ended(), "3501 bad request")
      assert.deepStrictEqual((yield* Topics.history(Room, lobby)).messages, [])
    }).pipe(Effect.provide(layer)))

  it.effect("handles no message that follows one which ends the connection", () =>
    Effect.gen(function*() {
      const client = yield* connected(open())
      const publish = JSON.stringify({ id: 8, publish: { channel: "room:lobby", data: { text: "late" } } })
      yield* Effect.ignore(client.connection.sendAll(["garbage", publish]))
      yield* settle
      assert.strictEqual(client.ended(), "3501 bad request")
      assert.deepStrictEqual((yield* Topics.history(Room, lobby)).messages, [])
    }).pipe(Effect.provide(layer)))

  it.effect("disconnects a client that does not connect in time", () =>
    Effect.gen(function*() {
      const client = yield* rawClient(open({ connectTimeout: "3 seconds" }))
      yield* TestClock.adjust("2999 millis")
      assert.isUndefined(client.ended())
      yield* TestClock.adjust("1 millis")
      yield* settle
      assert.strictEqual(client.ended(), "3502 stale")
    }).pipe(Effect.provide(layer)))

  it.effect("disconnects a client that goes on after its connection was rejected", () =>
    Effect.gen(function*() {
      const client = yield* connected(open({ connect: () => Effect.fail({ _tag: "Rejected", code: 101 } as never) }))
      assert.deepStrictEqual(client.received, [{ id: 1, error: { code: 101, message: "unauthorized" } }])
      yield* client.send({ id: 2, connect: {} })
      assert.strictEqual(client.ended(), "3501 bad request")
    }).pipe(Effect.provide(layer)))

  it.effect("rejects commands above the rate, and disconnects a client that goes on", () =>
    Effect.gen(function*() {
      const client = yield* connected(open({ rate: { perSecond: 1, burst: 3 } }))
      const ask = () => client.ask({ unsubscribe: { channel: "room:a" } })
      for (let i = 0; i < 3; i++) assert.property(yield* ask(), "unsubscribe")
      const error = { code: 111, message: "too many requests", temporary: true }
      assert.deepNestedInclude(yield* ask(), { error })
      yield* TestClock.adjust("1 second")
      assert.property(yield* ask(), "unsubscribe")
      for (let i = 0; i < 3; i++) assert.deepNestedInclude(yield* ask(), { error })
      assert.isUndefined(client.ended())
      yield* ask()
      assert.strictEqual(client.ended(), "3013 too many requests")
    }).pipe(Effect.provide(layer)))

  it.effect("disconnects a client at once if it sends data above the rate", () =>
    Effect.gen(function*() {
      const got: Array<unknown> = []
      const client = yield* connected(open({
        rate: { perSecond: 1, burst: 2 },
        message: ({ data }) => Effect.sync(() => void got.push(data))
      }))
      yield* client.send({ send: { data: 1 } }, { send: { data: 2 } }, { send: { data: 3 } })
      assert.deepStrictEqual(got, [1, 2])
      assert.strictEqual(client.ended(), "3013 too many requests")
    }).pipe(Effect.provide(layer)))
})
