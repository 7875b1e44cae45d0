/** Subscriptions at servers that a test plays: replies that are late, missing, malformed or those of other implementations. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { TopicClient, TopicError } from "effect-ws"
import { TestClock } from "effect/testing"
import { everySecond } from "../support/reconnecting.ts"
import { cut, follow, played, short } from "../support/topicClient.ts"
import { Feed, lobby, Room, settle } from "../support/topicSession.ts"

const second = Effect.andThen(TestClock.adjust("1 second"), settle)

type Answers = Readonly<Record<string, (command: Readonly<Record<string, unknown>>) => object | undefined>>

/** A client of a server that replies to each kind of command with a function's result. */
const setUp = (answers: Answers, options: { readonly timeout?: string } = {}) =>
  Effect.gen(function*() {
    const seen: Array<Readonly<Record<string, unknown>>> = []
    const server = yield* played((command) => {
      const kind = Object.keys(command).find((key) => key !== "id")
      return answers[kind ?? ""]?.(command) ?? (kind === "connect" ? { connect: { client: "c" } } : undefined)
    }, seen)
    const client = yield* TopicClient.make(server.connect, {
      schedule: everySecond,
      timeout: (options.timeout ?? "1 hour") as "1 hour"
    })
    yield* settle
    const push = (value: object) => Effect.andThen(server.servers.at(-1)!.send(JSON.stringify({ push: value })), settle)
    return { client, push, seen, server }
  })

const channel = "feed:lobby"
const position = { epoch: "e", offset: 5 }

describe("a subscription at another server", () => {
  it.effect("reconnects if the server does not confirm it in time", () =>
    Effect.gen(function*() {
      let confirms = false
      const { client, server } = yield* setUp(
        { subscribe: () => confirms ? { subscribe: position } : undefined },
        { timeout: "3 seconds" }
      )
      const { events } = yield* follow(client.subscribe(Feed, lobby))
      confirms = true
      yield* Effect.andThen(TestClock.adjust("3 seconds"), settle)
      yield* second
      assert.lengthOf(server.servers, 2)
      assert.deepStrictEqual(events.map(short), ["Subscribed 5"])
      yield* Effect.andThen(TestClock.adjust("1 minute"), settle)
      assert.lengthOf(server.servers, 2)
    }))

  it.effect("keeps its position if messages have no offsets, and skips repeated ones", () =>
    Effect.gen(function*() {
      const { client, push } = yield* setUp({ subscribe: () => ({ subscribe: position }) })
      const { events } = yield* follow(client.subscribe(Feed, lobby))
      const data = { text: "a" }
      yield* push({ channel, pub: { data } })
      yield* push({ channel, pub: { data, offset: 6 } })
      yield* push({ channel, pub: { data, offset: 6 } })
      yield* push({ channel, pub: { data, offset: 7 } })
      yield* push({ channel: "feed:other", pub: { data, offset: 8 } })
      yield* push({ channel, other: {} })
      assert.deepStrictEqual(events.map(short), ["Subscribed 5", "Message 5 a", "Message 6 a", "Message 7 a"])
    }))

  it.effect("tells a gap for a message that the schema cannot decode", () =>
    Effect.gen(function*() {
      const { client, push } = yield* setUp({ subscribe: () => ({ subscribe: position }) })
      const { events } = yield* follow(client.subscribe(Feed, lobby))
      yield* push({ channel, pub: { data: 1, offset: 6 } })
      yield* push({ channel, pub: { data: { text: "b" }, offset: 7 } })
      assert.deepStrictEqual(events.map(short), ["Subscribed 5", "Gap 5-6", "Message 7 b"])
    }))

  it.effect("joins the members and their changes, in whichever order they arrive", () =>
    Effect.gen(function*() {
      const members = { a: { user: "a", client: "a", chan_info: { name: "Ada" } }, x: { client: "x", chan_info: 1 } }
      const { client, push, server } = yield* setUp({ subscribe: () => ({ subscribe: position }) })
      const { events } = yield* follow(client.subscribe(Room, lobby))
      const join = (id: string, name: string) =>
        push({ channel: "room:lobby", join: { info: { client: id, chan_info: { name } } } })
      const leave = (id: string) =>
        push({ channel: "room:lobby", leave: { info: { client: id, chan_info: { name: id } } } })
      yield* join("a", "Ada")
      yield* join("b", "Bob")
      yield* leave("c")
      assert.deepStrictEqual(events, [])
      yield* server.servers[0].send(JSON.stringify({ id: 3, presence: { presence: members } }))
      yield* settle
      yield* join("b", "Bobby")
      yield* push({ channel: "room:lobby", join: { info: { client: "y", chan_info: 1 } } })
      yield* leave("a")
      yield* leave("a")
      assert.deepStrictEqual(events.map(short), ["Subscribed 5 Ada", "Joined Bob", "Joined Bobby", "Left a"])
    }))

  it.effect("tells that a member has left if the server leaves its value out", () =>
    Effect.gen(function*() {
      const members = { a: { client: "a", chan_info: { name: "Ada" } } }
      const { client, push } = yield* setUp({
        subscribe: () => ({ subscribe: position }),
        presence: () => ({ presence: { presence: members } })
      })
      const { events } = yield* follow(client.subscribe(Room, lobby))
      yield* push({ channel: "room:lobby", leave: { info: { client: "a" } } })
      yield* push({ channel: "room:lobby", leave: { info: { client: "a" } } })
      assert.deepStrictEqual(events.map(short), ["Subscribed 5 Ada", "Left Ada"])
    }))

  it.effect("ignores members of a topic that has none", () =>
    Effect.gen(function*() {
      const info = { client: "a", chan_info: { name: "Ada" } }
      const { client, push } = yield* setUp({
        subscribe: () => ({ subscribe: position }),
        presence: () => ({ presence: { presence: { a: info } } })
      })
      const { events } = yield* follow(client.subscribe(Feed, lobby))
      yield* push({ channel, join: { info } })
      yield* push({ channel, leave: { info } })
      assert.deepStrictEqual(events.map(short), ["Subscribed 5"])
      assert.deepStrictEqual(yield* client.members(Feed as never, lobby as never), [])
    }))

  it.effect("repeats if the members cannot be read now, and fails if they never can", () =>
    Effect.gen(function*() {
      const codes = [100, 103]
      const { client, seen } = yield* setUp({
        subscribe: () => ({ subscribe: position }),
        presence: () => ({ error: { code: codes[0], message: "", temporary: codes.shift() === 100 } })
      })
      const { fiber } = yield* follow(client.subscribe(Room, lobby))
      yield* second
      assert.deepInclude(yield* Effect.flip(Fiber.join(fiber)), { _tag: "Rejected", code: 103 })
      assert.lengthOf(seen.filter((command) => "subscribe" in command), 2)
    }))

  it.effect("bounds what it keeps until the members arrive", () =>
    Effect.gen(function*() {
      const { client, seen, server } = yield* setUp({ subscribe: () => ({ subscribe: position }) })
      yield* follow(client.subscribe(Room, lobby))
      const line = JSON.stringify({ push: { channel: "room:lobby", pub: { data: { text: "a" } } } })
      yield* server.servers[0].send(Array.from({ length: 4097 }, () => line).join("\n"))
      yield* settle
      assert.deepInclude(seen.at(-1), { unsubscribe: { channel: "room:lobby" } })
      yield* second
      assert.property(seen.at(-2), "subscribe")
    }))

  it.effect("subscribes again after a push with 2500, and ends after one below", () =>
    Effect.gen(function*() {
      const { client, push, seen } = yield* setUp({
        subscribe: () => ({ subscribe: { ...position, recovered: true, was_recovering: true } })
      })
      const { events, fiber } = yield* follow(client.subscribe(Feed, lobby))
      yield* push({ channel, unsubscribe: { code: 2500, reason: "insufficient state" } })
      assert.deepStrictEqual(seen.at(-1)?.["subscribe"], {
        channel,
        positioned: true,
        recoverable: true,
        recover: true,
        ...position
      })
      assert.deepStrictEqual(events.map(short), ["Subscribed 5", "Subscribed 5"])
      yield* push({ channel, unsubscribe: {} })
      assert.deepInclude(yield* Effect.flip(Fiber.join(fiber)), { _tag: "Unsubscribed", channel, code: 0, reason: "" })
    }))

  it.effect("repeats after temporary rejections, later each time, until it ends", () =>
    Effect.gen(function*() {
      const { client, seen } = yield* setUp({
        subscribe: () => ({ error: { code: 100, message: "", temporary: true } })
      })
      const { fiber } = yield* follow(client.subscribe(Feed, lobby))
      const attempts = () => seen.filter((command) => "subscribe" in command).length
      for (let i = 0; i < 4; i++) yield* second
      const early = attempts()
      assert.isAtLeast(early, 3)
      yield* Fiber.interrupt(fiber)
      for (let i = 0; i < 30; i++) yield* second
      assert.strictEqual(attempts(), early)
    }))

  it.effect("fails if there is no token for it, at the beginning or later", () =>
    Effect.gen(function*() {
      const { client } = yield* setUp({ subscribe: () => ({ subscribe: { ...position, expires: true, ttl: 10 } }) })
      const none = new TopicError.Rejected({ code: 103 })
      const { fiber } = yield* follow(client.subscribe(Feed, lobby, { token: Effect.fail(none) }))
      assert.strictEqual(yield* Effect.flip(Fiber.join(fiber)), none)
      const tokens = ["t1"]
      const token = Effect.suspend(() => {
        const next = tokens.shift()
        return next === undefined ? Effect.fail(none) : Effect.succeed(next)
      })
      const later = yield* follow(client.subscribe(Feed, lobby, { token }))
      yield* Effect.andThen(TestClock.adjust("10 seconds"), settle)
      assert.strictEqual(yield* Effect.flip(Fiber.join(later.fiber)), none)
    }))

  it.effect("sends new tokens as often as the server asks for them, and again after temporary errors", () =>
    Effect.gen(function*() {
      const replies = [{ sub_refresh: { expires: true } }, { error: { code: 100, temporary: true } }, {
        sub_refresh: {}
      }]
      const { client, seen } = yield* setUp({
        subscribe: () => ({ subscribe: { ...position, expires: true } }),
        sub_refresh: () => replies.shift()
      })
      let made = 0
      yield* follow(client.subscribe(Feed, lobby, { token: Effect.sync(() => `t${++made}`) }))
      const sent = () =>
        seen.flatMap((command) =>
          "sub_refresh" in command ? [(command["sub_refresh"] as { readonly token: string }).token] : []
        )
      const counts: Array<number> = []
      for (let i = 0; i < 20; i++) {
        yield* second
        counts.push(sent().length)
      }
      assert.deepStrictEqual(counts.slice(0, 7), [1, 2, 2, 2, 2, 2, 3])
      assert.deepStrictEqual(sent(), ["t2", "t3", "t4"])
    }))

  it.effect("ignores the reply to a token that it sent on a connection that is lost", () =>
    Effect.gen(function*() {
      const { client, seen, server } = yield* setUp({
        subscribe: () => ({ subscribe: { ...position, recovered: true, expires: true, ttl: 10 } })
      })
      const { events, fiber } = yield* follow(client.subscribe(Feed, lobby, { token: Effect.succeed("t") }))
      const refreshes = () => seen.filter((command) => "sub_refresh" in command).length
      yield* Effect.andThen(TestClock.adjust("10 seconds"), settle)
      assert.strictEqual(refreshes(), 1)
      yield* cut(server)
      yield* second
      assert.deepStrictEqual(events.map(short), ["Subscribed 5", "Subscribed 5"])
      assert.isUndefined(fiber.pollUnsafe())
      yield* Effect.andThen(TestClock.adjust("10 seconds"), settle)
      assert.strictEqual(refreshes(), 2)
    }))

  it.effect("sends no token for an earlier subscription of the channel", () =>
    Effect.gen(function*() {
      const { client, seen, server } = yield* setUp({
        subscribe: () => ({ subscribe: { ...position, recovered: true, expires: true, ttl: 10 } }),
        sub_refresh: () => ({ sub_refresh: {} })
      })
      yield* follow(client.subscribe(Feed, lobby, { token: Effect.succeed("t") }))
      yield* Effect.andThen(TestClock.adjust("9 seconds"), settle)
      yield* cut(server)
      yield* second
      yield* Effect.andThen(TestClock.adjust("9 seconds"), settle)
      assert.lengthOf(seen.filter((command) => "sub_refresh" in command), 0)
      yield* second
      assert.lengthOf(seen.filter((command) => "sub_refresh" in command), 1)
    }))

  it.effect("drops a token that is late", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<string>()
      const { client, seen, server } = yield* setUp({ subscribe: () => ({ subscribe: position }) })
      const { events } = yield* follow(client.subscribe(Feed, lobby, { token: Deferred.await(gate) }))
      yield* cut(server)
      yield* second
      yield* Deferred.succeed(gate, "late")
      yield* settle
      assert.deepStrictEqual(events.map(short), ["Subscribed 5"])
      assert.lengthOf(seen.filter((command) => "subscribe" in command), 1)
    }))

  it.effect("takes what a server leaves out for its default", () =>
    Effect.gen(function*() {
      const { client, push } = yield* setUp({
        subscribe: () => ({ subscribe: {} }),
        presence: () => ({ presence: {} }),
        history: () => ({ history: { publications: [{ data: { text: "a" } }] } }),
        publish: ({ publish }) =>
          (publish as { readonly data: { readonly text: string } }).data.text === "a" ? { publish: {} } : {},
        rpc: () => ({ rpc: {} })
      })
      const { events } = yield* follow(client.subscribe(Room, lobby))
      yield* push({ channel: "room:lobby", join: { info: {} } })
      yield* push({ channel: "room:lobby", leave: { info: {} } })
      yield* push({ channel: "room:lobby", join: {} })
      assert.deepStrictEqual(events.map(short), ["Subscribed 0"])
      assert.deepStrictEqual(yield* client.members(Room, lobby), [])
      assert.deepStrictEqual((yield* client.history(Room, lobby)).messages[0]?.position, { epoch: "", offset: 0 })
      assert.isUndefined(yield* client.publish(Room, lobby, { text: "a" }))
      assert.isUndefined(yield* client.publish(Room, lobby, { text: "b" }))
      assert.isUndefined(yield* client.rpc("a", 1))
      assert.deepStrictEqual(yield* client.members(Feed as never, lobby as never), [])
    }))

  it.effect("ignores what arrives for a subscription that has ended", () =>
    Effect.gen(function*() {
      const { client, push, server } = yield* setUp({})
      const { events, fiber } = yield* follow(client.subscribe(Feed, lobby))
      yield* Fiber.interrupt(fiber)
      yield* server.servers[0].send(JSON.stringify({ id: 2, subscribe: position }))
      yield* push({ channel, unsubscribe: { code: 2000, reason: "" } })
      yield* server.servers[0].send(JSON.stringify({ id: 99, rpc: {} }))
      yield* settle
      assert.deepStrictEqual(events, [])
    }))

  it.effect("closes the connection with the code of a disconnect push, and reconnects if that allows it", () =>
    Effect.gen(function*() {
      const { push, server } = yield* setUp({})
      yield* push({ disconnect: { code: 3001, reason: "shutdown" } })
      const { code, reason } = yield* server.servers[0].closed
      assert.deepStrictEqual([code, reason], [3001, "shutdown"])
      yield* second
      yield* push({ disconnect: {} })
      assert.strictEqual((yield* server.servers[1].closed).code, 3000)
      yield* second
      assert.lengthOf(server.servers, 3)
    }))

  it.effect("ignores data from the server if the program does not handle it", () =>
    Effect.gen(function*() {
      const { client, push } = yield* setUp({ rpc: () => ({ rpc: { data: 1 } }) })
      yield* push({ message: { data: 1 } })
      assert.strictEqual(yield* client.rpc("a"), 1)
    }))

  it.effect("closes the connection for a message that is not of the protocol", () =>
    Effect.gen(function*() {
      const { server } = yield* setUp({})
      yield* Effect.andThen(server.servers[0].send("garbage"), settle)
      assert.strictEqual((yield* server.servers[0].closed).code, 3501)
    }))
})

describe("a connection token at another server", () => {
  const expiring = (answers: Answers, ttl = 10) =>
    Effect.gen(function*() {
      let made = 0
      const seen: Array<Readonly<Record<string, unknown>>> = []
      const server = yield* played((command) => {
        const kind = Object.keys(command).find((key) => key !== "id")
        if (kind === "connect") return { connect: { client: "c", expires: true, ...ttl === 0 ? {} : { ttl } } }
        return answers[kind ?? ""]?.(command)
      }, seen)
      yield* TopicClient.make(server.connect, { schedule: everySecond, token: Effect.sync(() => `t${++made}`) })
      yield* settle
      const refreshes = () => seen.flatMap((command) => "refresh" in command ? [command["refresh"]] : [])
      return { refreshes, seen, server }
    })

  it.effect("gets a successor after a second if the server does not say when it expires", () =>
    Effect.gen(function*() {
      const { refreshes } = yield* expiring({ refresh: () => ({ refresh: { expires: true } }) }, 0)
      for (const count of [1, 2, 3]) {
        yield* second
        assert.lengthOf(refreshes(), count)
      }
    }))

  it.effect("gets a successor again and again", () =>
    Effect.gen(function*() {
      const { refreshes } = yield* expiring({ refresh: () => ({ refresh: { expires: true, ttl: 20 } }) })
      yield* Effect.andThen(TestClock.adjust("10 seconds"), settle)
      yield* Effect.andThen(TestClock.adjust("20 seconds"), settle)
      assert.deepStrictEqual(refreshes(), [{ token: "t2" }, { token: "t3" }])
    }))

  it.effect("gets no successor if the server does not say that the last one expires", () =>
    Effect.gen(function*() {
      for (const reply of [{}, { refresh: {} }]) {
        const { refreshes, server } = yield* expiring({ refresh: () => reply })
        yield* Effect.andThen(TestClock.adjust("10 seconds"), settle)
        yield* Effect.andThen(TestClock.adjust("1 hour"), settle)
        assert.deepStrictEqual(refreshes(), [{ token: "t2" }])
        assert.lengthOf(server.servers, 1)
      }
    }))

  it.effect("gets another successor after a temporary error", () =>
    Effect.gen(function*() {
      const { refreshes } = yield* expiring({ refresh: () => ({ error: { code: 100, temporary: true } }) })
      yield* Effect.andThen(TestClock.adjust("10 seconds"), settle)
      yield* Effect.andThen(TestClock.adjust("5 seconds"), settle)
      assert.deepStrictEqual(refreshes(), [{ token: "t2" }, { token: "t3" }])
    }))

  it.effect("ends the connection if it is rejected, and the next one has another token", () =>
    Effect.gen(function*() {
      const { seen, server } = yield* expiring({ refresh: () => ({ error: { code: 103, message: "no" } }) })
      yield* Effect.andThen(TestClock.adjust("10 seconds"), settle)
      yield* second
      assert.lengthOf(server.servers, 2)
      assert.deepInclude(seen.at(-1)?.["connect"] as object, { token: "t3" })
    }))
})
