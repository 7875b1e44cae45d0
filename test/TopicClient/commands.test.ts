/** Commands of a client, and what it does when replies and connections are missing. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Schema } from "effect"
import { Connection, Topic, TopicClient, TopicError, Topics } from "effect-ws"
import * as TopicProtobuf from "effect-ws/TopicProtobuf"
import { TestClock } from "effect/testing"
import { everySecond } from "../support/reconnecting.ts"
import { cut, memoryServer, played } from "../support/topicClient.ts"
import { layer, lobby, open, Room, settle } from "../support/topicSession.ts"

const second = Effect.andThen(TestClock.adjust("1 second"), settle)

type Command = Readonly<Record<string, unknown>>

const accept = (command: Command) =>
  "connect" in command ? { connect: { client: "c", ping: 25, pong: true } } : undefined

describe("a client of topics", () => {
  it.effect("publishes with a key, and again with the same key when the connection is lost", () =>
    Effect.gen(function*() {
      let isSilent = false
      const server = yield* memoryServer(
        Effect.updateService(open(), Connection.Connection, (connection) =>
          Connection.decorate(connection, {
            send: (message) => isSilent ? Effect.void : connection.send(message)
          }))
      )
      const client = yield* TopicClient.make(server.connect, { schedule: everySecond })
      assert.deepInclude(yield* client.publish(Room, lobby, { text: "a" }), { offset: 1 })
      yield* settle
      // The server publishes, and the reply is lost with the connection.
      isSilent = true
      const fiber = yield* Effect.forkScoped(client.publish(Room, lobby, { text: "b" }))
      yield* settle
      isSilent = false
      yield* cut(server)
      yield* second
      assert.deepInclude(yield* Fiber.join(fiber), { offset: 2 })
      assert.deepStrictEqual((yield* Topics.history(Room, lobby)).messages.map(({ message }) => message.text), [
        "a",
        "b"
      ])
    }).pipe(Effect.provide(layer)))

  it.effect("does not repeat a publication at a server of another implementation", () =>
    Effect.gen(function*() {
      const server = yield* played(accept)
      const client = yield* TopicClient.make(server.connect, { schedule: everySecond })
      yield* settle
      const fiber = yield* Effect.forkScoped(Effect.flip(client.publish(Room, lobby, { text: "a" })))
      yield* settle
      yield* cut(server)
      assert.deepInclude(yield* Fiber.join(fiber), { _tag: "Unanswered", command: "publish", reason: "ConnectionLost" })
    }))

  it.effect("fails with InvalidValue for a value that is not of the topic, and sends nothing", () =>
    Effect.gen(function*() {
      const seen: Array<Command> = []
      const server = yield* played(accept, seen)
      const client = yield* TopicClient.make(server.connect)
      const error = yield* Effect.flip(client.publish(Room, lobby, { text: 1 } as never))
      assert.strictEqual(error._tag, "InvalidValue")
      yield* settle
      assert.lengthOf(seen, 1)
    }))

  it.effect("fails with Unanswered when a reply takes longer than timeout", () =>
    Effect.gen(function*() {
      const server = yield* played(accept)
      const client = yield* TopicClient.make(server.connect, { timeout: "3 seconds" })
      const fiber = yield* Effect.forkScoped(Effect.flip(client.rpc("a")))
      yield* settle
      yield* TestClock.adjust("3 seconds")
      assert.deepInclude(yield* Fiber.join(fiber), { _tag: "Unanswered", command: "rpc", reason: "Timeout" })
    }))

  it.effect("reads history and members, without what the schema cannot decode", () =>
    Effect.gen(function*() {
      const server = yield* memoryServer(open({ read: () => Effect.void }))
      const client = yield* TopicClient.make(server.connect)
      yield* Topics.publish(Room, lobby, { text: "a" })
      yield* Topics.join(Room, lobby, { id: "1", member: { name: "bot" } })
      const { complete, messages, position } = yield* client.history(Room, lobby)
      assert.deepStrictEqual([complete, messages.map(({ message }) => message.text), position.offset], [true, ["a"], 1])
      assert.deepStrictEqual(yield* client.members(Room, lobby), [{ id: "1", member: { name: "bot" } }])
      const Other = Topic.make("room::name", {
        message: Schema.String,
        member: Schema.String,
        history: { size: 1, ttl: 1 }
      })
      assert.deepInclude(yield* client.history(Other, lobby), { complete: false, messages: [] })
      assert.deepStrictEqual(yield* client.members(Other, lobby), [])
      assert.deepInclude(yield* client.history(Room, lobby, { limit: 0 }), { messages: [] })
      yield* Topics.publish(Room, lobby, { text: "b" })
      const texts = (options?: TopicClient.HistoryOptions) =>
        Effect.map(client.history(Room, lobby, options), (page) => page.messages.map(({ message }) => message.text))
      assert.deepStrictEqual(yield* texts(), ["a", "b"])
      assert.deepStrictEqual(yield* texts({ limit: 1 }), ["a"])
      assert.deepStrictEqual(yield* texts({ limit: 1, reverse: true }), ["b"])
      assert.deepStrictEqual(yield* texts({ since: { ...position, offset: 1 } }), ["b"])
    }).pipe(Effect.provide(layer)))

  it.effect("leaves out a token that it does not have", () =>
    Effect.gen(function*() {
      const seen: Array<Command> = []
      const server = yield* played(accept, seen)
      yield* TopicClient.make(server.connect, { schedule: everySecond })
      yield* settle
      assert.notProperty(seen[0]["connect"], "token")
      yield* TopicClient.make(server.connect, { schedule: everySecond, token: "t" })
      yield* settle
      assert.deepInclude(seen[1]["connect"], { token: "t" })
    }))

  it.effect("answers pings, and takes a connection without pings for lost", () =>
    Effect.gen(function*() {
      const seen: Array<Command> = []
      const server = yield* played(accept, seen)
      yield* TopicClient.make(server.connect, { schedule: everySecond, pingDelay: "5 seconds" })
      yield* settle
      yield* Effect.andThen(TestClock.adjust("20 seconds"), settle)
      yield* Effect.andThen(server.servers[0].send("{}"), settle)
      assert.deepStrictEqual(seen.at(-1), {})
      yield* Effect.andThen(TestClock.adjust("29 seconds"), settle)
      assert.lengthOf(server.servers, 1)
      yield* Effect.andThen(TestClock.adjust("15 seconds"), settle)
      yield* second
      assert.lengthOf(server.servers, 2)
    }))

  it.effect("gives up when the server says so: by a code, a push, or a rejection", () =>
    Effect.gen(function*() {
      const byCode = yield* played(accept)
      const first = yield* TopicClient.make(byCode.connect)
      yield* settle
      yield* Effect.forkScoped(byCode.servers[0].close(3507, "permission denied"))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(first.connection.closed)))
      const error = yield* Effect.flip(first.rpc("a"))
      assert.deepInclude(error, { _tag: "NotConnected", final: true })
      const byPush = yield* played(accept)
      const other = yield* TopicClient.make(byPush.connect)
      yield* settle
      yield* byPush.servers[0].send(JSON.stringify({ push: { disconnect: { code: 3501, reason: "bad" } } }))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(other.connection.closed)))
      const rejecting = yield* played(() => ({ error: { code: 101, message: "unauthorized" } }))
      const third = yield* TopicClient.make(rejecting.connect)
      assert.deepInclude(yield* Effect.flip(third.connection.closed), { _tag: "Rejected", code: 101 })
    }))

  it.effect("connects again after a temporary rejection, a silent server and a malformed reply", () =>
    Effect.gen(function*() {
      const answers: Array<object | undefined> = [
        { error: { code: 100, message: "internal server error", temporary: true } },
        undefined,
        { connect: { client: 1 } },
        { connect: { client: "c" } }
      ]
      const server = yield* played((command) => "connect" in command ? answers.shift() : { rpc: { data: 1 } })
      const client = yield* TopicClient.make(server.connect, { schedule: everySecond, timeout: "2 seconds" })
      for (let i = 0; i < 10; i++) yield* second
      assert.strictEqual(yield* client.rpc("a"), 1)
      assert.lengthOf(server.servers, 4)
    }))

  it.effect("asks for a new token after 109, and gives up if it has no other token", () =>
    Effect.gen(function*() {
      const handler = open({
        connect: ({ token }) =>
          token === "new" ? Effect.succeed({ user: "u" }) : Effect.fail(new TopicError.Rejected({ code: 109 })),
        rpc: ({ client }) => Effect.succeed(client.user)
      })
      const server = yield* memoryServer(handler)
      const tokens = ["old", "new"]
      const client = yield* TopicClient.make(server.connect, {
        schedule: everySecond,
        token: Effect.sync(() => tokens.shift()!)
      })
      yield* settle
      yield* second
      assert.strictEqual(yield* client.rpc("a"), "u")
      const fixed = yield* TopicClient.make(server.connect, { token: "old" })
      assert.deepInclude(yield* Effect.flip(fixed.connection.closed), { _tag: "Rejected", code: 109 })
    }).pipe(Effect.provide(layer)))

  it.effect("hands data from the server to onMessage, and sends data", () =>
    Effect.gen(function*() {
      const server = yield* memoryServer(
        open({ message: ({ client, data }) => Effect.ignore(client.send([data as null])) })
      )
      const got: Array<unknown> = []
      const client = yield* TopicClient.make(server.connect, { onMessage: (data) => void got.push(data) })
      yield* client.send({ a: 1 })
      yield* settle
      assert.deepStrictEqual(got, [[{ a: 1 }]])
    }).pipe(Effect.provide(layer)))

  it.effect("connects with data for the server", () =>
    Effect.gen(function*() {
      const seen: Array<Readonly<Record<string, unknown>>> = []
      const server = yield* played(() => ({ connect: {} }), seen)
      yield* TopicClient.make(server.connect, { data: { room: 1 } })
      yield* settle
      assert.deepInclude(seen[0]["connect"] as object, { data: { room: 1 } })
    }))

  it.effect("fails with Unanswered if the connection is lost while it sends data", () =>
    Effect.gen(function*() {
      const server = yield* played(accept)
      const connect = () =>
        Effect.map(server.connect(), (connection) =>
          Connection.decorate(connection, {
            send: (message) =>
              String(message).includes("send")
                ? Effect.flatMap(connection.terminate, Effect.fail)
                : connection.send(message)
          }))
      const client = yield* TopicClient.make(connect)
      assert.deepInclude(yield* Effect.flip(client.send(1)), { _tag: "Unanswered", command: "send" })
    }))

  it.effect("connects again after a push that disconnects it without a code", () =>
    Effect.gen(function*() {
      const server = yield* played(accept)
      yield* TopicClient.make(server.connect, { schedule: everySecond })
      yield* settle
      yield* Effect.andThen(server.servers[0].send(JSON.stringify({ push: { disconnect: {} } })), settle)
      assert.strictEqual((yield* server.servers[0].closed).code, 3000)
      yield* Effect.andThen(server.servers[0].closed, second)
      assert.lengthOf(server.servers, 2)
    }))

  it.effect("speaks Protobuf", () =>
    Effect.gen(function*() {
      const handler = open({ formats: [TopicProtobuf.format] })
      const server = yield* memoryServer(Effect.updateService(handler, Connection.Connection, (connection) =>
        Connection.decorate(connection, { subprotocol: TopicProtobuf.format.protocol })))
      const client = yield* TopicClient.make(server.connect, { format: TopicProtobuf.format })
      assert.deepInclude(yield* client.publish(Room, lobby, { text: "€" }), { offset: 1 })
      assert.deepStrictEqual(
        (yield* Topics.history(Room, lobby)).messages.map(({ message }) =>
          message.text
        ),
        ["€"]
      )
    }).pipe(Effect.provide(layer)))

  it.effect("rejects invalid options", () =>
    Effect.gen(function*() {
      const server = yield* played(accept)
      for (const options of [{ timeout: 0 }, { pingDelay: 0 }, { queueSize: 15 }]) {
        const exit = yield* Effect.exit(TopicClient.make(server.connect, options))
        assert.isTrue(Exit.hasDies(exit), JSON.stringify(options))
      }
    }))
})
