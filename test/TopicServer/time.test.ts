/** Tokens that expire, and pings, on a test clock. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import { TopicError, Topics } from "effect-ws"
import { TestClock } from "effect/testing"
import {
  connected,
  layer,
  lobby,
  open,
  pushes,
  type RawClient,
  type Reply,
  Room,
  settle
} from "../support/topicSession.ts"

const channel = "room:lobby"

const error = (reply: Reply) => (reply["error"] as { readonly code: number } | undefined)?.code

const after = (duration: string) => Effect.andThen(TestClock.adjust(duration as "1 second"), settle)

const pings = ({ received }: RawClient) => received.filter((reply) => Object.keys(reply).length === 0).length

describe("connection tokens", () => {
  const handler = open({
    connect: ({ token }) =>
      token === "other"
        ? Effect.succeed({ user: "bob" })
        : token === "over"
        ? Effect.succeed({ user: "ada", expiresIn: 0 })
        : token === "no"
        ? Effect.fail(new TopicError.Rejected({ code: 101 }))
        : Effect.succeed({ user: "ada", expiresIn: token === "lasting" ? Infinity : "10 seconds" }),
    pingInterval: Infinity,
    refreshTimeout: "5 seconds"
  })

  it.effect("end the connection when they have expired, some time later", () =>
    Effect.gen(function*() {
      const client = yield* connected(handler, { token: "t" })
      yield* after("14999 millis")
      assert.isUndefined(client.ended())
      yield* after("1 millis")
      assert.strictEqual(client.ended(), "3005 connection expired")
    }).pipe(Effect.provide(layer)))

  it.effect("last until new ones replace them", () =>
    Effect.gen(function*() {
      const client = yield* connected(handler, { token: "t" })
      yield* after("14 seconds")
      const { refresh } = yield* client.ask({ refresh: { token: "t" } })
      assert.deepInclude(refresh as object, { expires: true, ttl: 10 })
      yield* after("14 seconds")
      assert.deepInclude(yield* client.ask({ refresh: { token: "lasting" } }), {})
      yield* after("1 day")
      assert.isUndefined(client.ended())
    }).pipe(Effect.provide(layer)))

  it.effect("may be of no user, as those that they replace", () =>
    Effect.gen(function*() {
      const client = yield* connected(open({ connect: () => Effect.succeed({ expiresIn: "10 seconds" }) }), {})
      assert.deepInclude((yield* client.ask({ refresh: { token: "t" } }))["refresh"] as object, { expires: true })
    }).pipe(Effect.provide(layer)))

  it.effect("must not be of another user, nor have expired, nor be rejected", () =>
    Effect.gen(function*() {
      const client = yield* connected(handler, { token: "t" })
      assert.strictEqual(error(yield* client.ask({ refresh: { token: "over" } })), 110)
      assert.strictEqual(error(yield* client.ask({ refresh: { token: "no" } })), 101)
      yield* client.ask({ refresh: { token: "other" } })
      assert.strictEqual(client.ended(), "3500 invalid token")
      const expired = yield* connected(handler, { token: "over" })
      assert.strictEqual(error(expired.received[0]), 109)
    }).pipe(Effect.provide(layer)))
})

describe("a connection that has ended", () => {
  for (
    const [what, decisions] of [
      ["the server decides about the connection", (gate: Effect.Effect<void>) => ({
        connect: () => Effect.as(gate, { user: "ada", channels: [channel] })
      })],
      ["the server decides about a channel", (gate: Effect.Effect<void>) => ({
        connect: () => Effect.succeed({ user: "ada", channels: [channel] }),
        subscribe: () => Effect.as(gate, { member: { name: "ada" } })
      })]
    ] as const
  ) {
    it.effect(`has no subscription if it ended while ${what}`, () =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        const client = yield* connected(open({ connectTimeout: "3 seconds", ...decisions(Deferred.await(gate)) }))
        yield* after("3 seconds")
        assert.strictEqual(client.ended(), "3502 stale")
        yield* Deferred.succeed(gate, undefined)
        yield* settle
        assert.deepStrictEqual(client.received, [])
        assert.deepStrictEqual(yield* Topics.members(Room, lobby), [])
        assert.isTrue(client.done())
      }).pipe(Effect.provide(layer)))
  }

  it.effect("handles what the client sent before its connection ended, even after its token has expired", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const client = yield* connected(open({
        connect: () => Effect.succeed({ user: "ada", expiresIn: "10 seconds" }),
        publish: () => Deferred.await(gate),
        pingInterval: Infinity
      }))
      const publish = (text: string) => ({ publish: { channel, data: { text } } })
      yield* client.send({ id: 2, ...publish("a") }, { id: 3, ...publish("b") })
      yield* Effect.forkScoped(client.connection.terminate)
      yield* after("50 seconds")
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      assert.lengthOf((yield* Topics.history(Room, lobby)).messages, 2)
    }).pipe(Effect.provide(layer)))
})

describe("subscription tokens", () => {
  const handler = open({
    subscribe: ({ client, refresh, token }) =>
      token === "over"
        ? Effect.succeed({ expiresIn: 0 })
        : Effect.succeed({
          member: { name: client.user },
          data: { refresh },
          ...token === "t" ? { expiresIn: "10 seconds" as const } : {}
        }),
    pingInterval: Infinity,
    refreshTimeout: "5 seconds"
  })

  it.effect("end the subscription when they have expired, some time later", () =>
    Effect.gen(function*() {
      const client = yield* connected(handler, { token: "ada" })
      const { subscribe } = yield* client.ask({ subscribe: { channel, token: "t" } })
      assert.deepInclude(subscribe as object, { expires: true, ttl: 10, data: { refresh: false } })
      yield* after("14999 millis")
      assert.lengthOf(yield* Topics.members(Room, lobby), 1)
      yield* after("1 millis")
      assert.deepStrictEqual(pushes(client).at(-1), {
        channel,
        unsubscribe: { code: 2501, reason: "subscription expired" }
      })
      assert.deepStrictEqual(yield* Topics.members(Room, lobby), [])
      assert.isUndefined(client.ended())
    }).pipe(Effect.provide(layer)))

  it.effect("last until new ones replace them", () =>
    Effect.gen(function*() {
      const client = yield* connected(handler)
      yield* client.ask({ subscribe: { channel, token: "t" } })
      yield* after("14 seconds")
      assert.deepStrictEqual((yield* client.ask({ sub_refresh: { channel, token: "t" } }))["sub_refresh"], {
        expires: true,
        ttl: 10
      })
      yield* after("14 seconds")
      assert.deepStrictEqual((yield* client.ask({ sub_refresh: { channel, token: "lasting" } }))["sub_refresh"], {})
      yield* after("1 day")
      assert.isFalse(pushes(client).some((push) => "unsubscribe" in push))
    }).pipe(Effect.provide(layer)))

  it.effect("must not have expired, and belong to a subscription", () =>
    Effect.gen(function*() {
      const client = yield* connected(handler)
      assert.strictEqual(error(yield* client.ask({ subscribe: { channel, token: "over" } })), 110)
      assert.strictEqual(error(yield* client.ask({ sub_refresh: { channel, token: "t" } })), 103)
      yield* client.ask({ subscribe: { channel, token: "t" } })
      assert.strictEqual(error(yield* client.ask({ sub_refresh: { channel } })), 107)
      assert.strictEqual(error(yield* client.ask({ sub_refresh: { channel, token: "over" } })), 110)
    }).pipe(Effect.provide(layer)))
})

describe("pings", () => {
  it.effect("come at the interval, the first one earlier, and keep clients that answer", () =>
    Effect.gen(function*() {
      const client = yield* connected(open({ pingInterval: "20 seconds", pongTimeout: "5 seconds" }))
      assert.deepInclude(client.received[0]["connect"] as object, { ping: 20, pong: true })
      yield* after("20 seconds")
      assert.strictEqual(pings(client), 1)
      for (let i = 2; i < 5; i++) {
        yield* client.send({})
        yield* after("20 seconds")
        assert.strictEqual(pings(client), i)
      }
      assert.isUndefined(client.ended())
    }).pipe(Effect.provide(layer)))

  it.effect("end the connection of a client that does not answer in time", () =>
    Effect.gen(function*() {
      const client = yield* connected(open({ pingInterval: "20 seconds", pongTimeout: "5 seconds" }))
      yield* client.ask({ subscribe: { channel } })
      yield* after("10 seconds")
      while (pings(client) === 0) yield* after("100 millis")
      yield* after("4800 millis")
      assert.isUndefined(client.ended())
      yield* after("200 millis")
      assert.strictEqual(client.ended(), "3012 no pong")
      assert.deepStrictEqual(yield* Topics.members(Room, lobby), [])
    }).pipe(Effect.provide(layer)))

  it.effect("do not blame a client while the server is busy with its commands", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const client = yield* connected(open({
        pingInterval: "20 seconds",
        pongTimeout: "5 seconds",
        subscribe: () => Effect.as(Deferred.await(gate), {})
      }))
      yield* client.send({ id: 2, subscribe: { channel } })
      yield* after("20 seconds")
      yield* client.send({})
      yield* after("20 seconds")
      assert.isUndefined(client.ended())
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      while (pings(client) < 2) yield* after("100 millis")
      assert.isUndefined(client.ended())
    }).pipe(Effect.provide(layer)))

  it.effect("do not come with pingInterval: Infinity", () =>
    Effect.gen(function*() {
      const client = yield* connected(open({ pingInterval: Infinity }))
      assert.notProperty(client.received[0]["connect"], "ping")
      yield* after("1 day")
      assert.strictEqual(pings(client), 0)
    }).pipe(Effect.provide(layer)))
})
