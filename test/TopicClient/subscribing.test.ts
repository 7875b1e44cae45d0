/** Subscriptions of a client over connections that come and go, in memory and with a test clock. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Stream } from "effect"
import { TopicClient, TopicError, Topics } from "effect-ws"
import { TestClock } from "effect/testing"
import { cut, follow, memoryServer, short } from "../support/topicClient.ts"
import { everySecond } from "../support/reconnecting.ts"
import { Feed, layer, lobby, open, Room, settle } from "../support/topicSession.ts"

const second = Effect.andThen(TestClock.adjust("1 second"), settle)

const publish = (text: string) => Effect.andThen(Topics.publish(Room, lobby, { text }), settle)

const setUp = (options: { readonly queueSize?: number } = {}) =>
  Effect.gen(function*() {
    const server = yield* memoryServer(open())
    const client = yield* TopicClient.make(server.connect, { token: "ada", schedule: everySecond, ...options })
    yield* settle
    return { server, client }
  })

describe("a subscription of a client", () => {
  it.effect("begins with the position and the members, then follows", () =>
    Effect.gen(function*() {
      yield* publish("before")
      yield* Topics.join(Room, lobby, { id: "1", member: { name: "bot" } })
      const { client } = yield* setUp()
      const { events } = yield* follow(client.subscribe(Room, lobby))
      yield* publish("a")
      yield* Effect.scoped(Effect.andThen(Topics.join(Room, lobby, { id: "2", member: { name: "bob" } }), settle))
      yield* settle
      assert.deepStrictEqual(events.map(short), ["Subscribed 1 ada bot", "Message 2 a", "Joined bob", "Left bob"])
    }).pipe(Effect.provide(layer)))

  it.effect("resumes over the next connection without a loss", () =>
    Effect.gen(function*() {
      const { client, server } = yield* setUp()
      const { events } = yield* follow(client.subscribe(Room, lobby))
      yield* publish("a")
      yield* cut(server)
      yield* publish("b")
      yield* publish("c")
      yield* second
      yield* publish("d")
      assert.deepStrictEqual(events.map(short), [
        "Subscribed 0 ada",
        "Message 1 a",
        "Subscribed 1 ada",
        "Message 2 b",
        "Message 3 c",
        "Message 4 d"
      ])
    }).pipe(Effect.provide(layer)))

  it.effect("tells a gap if the history is too short, or another one", () =>
    Effect.gen(function*() {
      const { client, server } = yield* setUp()
      const { events } = yield* follow(client.subscribe(Room, lobby))
      yield* publish("a")
      yield* cut(server)
      for (let i = 0; i < 7; i++) yield* publish(String(i))
      yield* second
      yield* publish("after")
      assert.deepStrictEqual(events.slice(2).map(short), ["Subscribed 1 ada", "Gap 1-8", "Message 9 after"])
      assert.deepInclude(events[3], { missed: 7 })
      const { events: others } = yield* follow(client.subscribe(Feed, lobby, { since: { epoch: "other", offset: 3 } }))
      assert.deepStrictEqual(others.map(short), ["Subscribed 3", "Gap 3-0"])
      assert.notProperty(others[1], "missed")
    }).pipe(Effect.provide(layer)))

  it.effect("tells a gap if the history has expired meanwhile", () =>
    Effect.gen(function*() {
      const { client, server } = yield* setUp()
      const { events } = yield* follow(client.subscribe(Room, lobby))
      yield* publish("a")
      server.isUp = false
      yield* cut(server)
      yield* publish("lost")
      yield* Effect.andThen(TestClock.adjust("2 minutes"), settle)
      server.isUp = true
      yield* second
      yield* publish("after")
      assert.deepStrictEqual(events.slice(2).map(short), ["Subscribed 1 ada", "Gap 1-2", "Message 3 after"])
    }).pipe(Effect.provide(layer)))

  it.effect("begins behind a given position", () =>
    Effect.gen(function*() {
      const since = yield* Topics.publish(Room, lobby, { text: "a" })
      yield* publish("b")
      const { client } = yield* setUp()
      const { events } = yield* follow(client.subscribe(Room, lobby, { since }))
      assert.deepStrictEqual(events.map(short), ["Subscribed 1 ada", "Message 2 b"])
    }).pipe(Effect.provide(layer)))

  it.effect("waits for the first connection", () =>
    Effect.gen(function*() {
      const server = yield* memoryServer(open())
      server.isUp = false
      const client = yield* TopicClient.make(server.connect, { schedule: everySecond })
      const { events } = yield* follow(client.subscribe(Room, lobby))
      yield* second
      assert.deepStrictEqual(events, [])
      server.isUp = true
      yield* second
      assert.deepStrictEqual(events.map(({ _tag }) => _tag), ["Subscribed"])
    }).pipe(Effect.provide(layer)))

  it.effect("unsubscribes at its end, and can begin again", () =>
    Effect.gen(function*() {
      const { client } = yield* setUp()
      for (let i = 0; i < 3; i++) {
        const { fiber } = yield* follow(client.subscribe(Room, lobby))
        assert.lengthOf(yield* Topics.members(Room, lobby), 1)
        yield* Fiber.interrupt(fiber)
        yield* settle
        assert.deepStrictEqual(yield* Topics.members(Room, lobby), [])
      }
    }).pipe(Effect.provide(layer)))

  it.effect("fails with 105 beside another one to the same channel", () =>
    Effect.gen(function*() {
      const { client } = yield* setUp()
      yield* follow(client.subscribe(Room, lobby))
      const error = yield* Effect.flip(Stream.runDrain(client.subscribe(Room, lobby)))
      assert.deepInclude(error, { _tag: "Rejected", code: 105 })
    }).pipe(Effect.provide(layer)))

  it.effect("serves several consumers with one subscription through Stream.share", () =>
    Effect.gen(function*() {
      const { client, server } = yield* setUp()
      const shared = yield* Stream.share(client.subscribe(Room, lobby), { capacity: 16, replay: 1 })
      const one = yield* follow(shared)
      yield* publish("a")
      const other = yield* follow(shared)
      assert.lengthOf(yield* Topics.members(Room, lobby), 1)
      yield* cut(server)
      yield* publish("b")
      yield* second
      const later = ["Subscribed 1 ada", "Message 2 b"]
      assert.deepStrictEqual(one.events.map(short), ["Subscribed 0 ada", "Message 1 a", ...later])
      assert.deepStrictEqual(other.events.map(short), ["Message 1 a", ...later])
      yield* Fiber.interrupt(one.fiber)
      yield* settle
      assert.lengthOf(yield* Topics.members(Room, lobby), 1)
      yield* Fiber.interrupt(other.fiber)
      yield* settle
      assert.deepStrictEqual(yield* Topics.members(Room, lobby), [])
    }).pipe(Effect.provide(layer)))

  it.effect("keeps at most queueSize events, and resumes when the program goes on", () =>
    Effect.gen(function*() {
      const { client } = yield* setUp({ queueSize: 16 })
      const gate = yield* Deferred.make<void>()
      const seen: Array<string> = []
      yield* Effect.forkScoped(Stream.runForEach(client.subscribe(Feed, lobby), (event) =>
        Effect.andThen(
          event._tag === "Subscribed" && seen.length === 0 ? Deferred.await(gate) : Effect.void,
          Effect.sync(() => seen.push(short(event)))
        )))
      yield* settle
      for (let i = 1; i <= 40; i++) {
        yield* Effect.andThen(Topics.publish(Feed, lobby, { text: String(i) }), settle)
      }
      assert.strictEqual(yield* client.rpc("a").pipe(Effect.flip, Effect.map((error) => error._tag)), "Rejected")
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      yield* Effect.andThen(Topics.publish(Feed, lobby, { text: "last" }), settle)
      const texts = seen.filter((entry) => entry.startsWith("Message"))
      assert.deepStrictEqual(texts.slice(0, 16), Array.from({ length: 16 }, (_, i) => `Message ${i + 1} ${i + 1}`))
      assert.strictEqual(texts.at(-1), "Message 41 last")
      const gaps = seen.filter((entry) => entry.startsWith("Gap"))
      const missing = 41 - texts.length
      assert.deepStrictEqual(gaps, missing === 0 ? [] : ["Gap 16-40"])
    }).pipe(Effect.provide(layer)))

  it.effect("ends with the client", () =>
    Effect.gen(function*() {
      const server = yield* memoryServer(open())
      const ended = yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* TopicClient.make(server.connect)
        return yield* Effect.forkDetach(Effect.exit(Stream.runDrain(client.subscribe(Room, lobby))))
      }))
      const exit = yield* Fiber.join(ended)
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(yield* Topics.members(Room, lobby), [])
    }).pipe(Effect.provide(layer)))

  it.effect("repeats after a temporary rejection, and with a new token after 109", () =>
    Effect.gen(function*() {
      const codes = [100, 109]
      const tokens: Array<string> = []
      const server = yield* memoryServer(open({
        subscribe: ({ token }) => {
          tokens.push(token)
          const code = codes.shift()
          return code === undefined ? Effect.succeed({}) : Effect.fail(new TopicError.Rejected({ code }))
        }
      }))
      const client = yield* TopicClient.make(server.connect)
      let made = 0
      const { events } = yield* follow(client.subscribe(Feed, lobby, { token: Effect.sync(() => `t${++made}`) }))
      for (let i = 0; i < 3; i++) yield* second
      assert.deepStrictEqual(tokens, ["t1", "t1", "t2"])
      assert.deepStrictEqual(events.map(({ _tag }) => _tag), ["Subscribed"])
    }).pipe(Effect.provide(layer)))

  it.effect("sends a new token before the old one expires, and ends if the server rejects it", () =>
    Effect.gen(function*() {
      const seen: Array<readonly [string, boolean]> = []
      const server = yield* memoryServer(open({
        subscribe: ({ refresh, token }) => {
          seen.push([token, refresh])
          return token === "t3"
            ? Effect.fail(new TopicError.Rejected({ code: 103 }))
            : Effect.succeed({ expiresIn: "10 seconds" })
        }
      }))
      const client = yield* TopicClient.make(server.connect)
      let made = 0
      const { fiber } = yield* follow(client.subscribe(Feed, lobby, { token: Effect.sync(() => `t${++made}`) }))
      yield* Effect.andThen(TestClock.adjust("10 seconds"), settle)
      assert.deepStrictEqual(seen, [["t1", false], ["t2", true]])
      yield* Effect.andThen(TestClock.adjust("10 seconds"), settle)
      assert.deepInclude(yield* Effect.flip(Fiber.join(fiber)), { _tag: "Rejected", code: 103 })
    }).pipe(Effect.provide(layer)))
})
