/** Clients that read too slowly, or whose messages are lost on the way to this process. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Broker, Connection, Topic, Topics } from "effect-ws"
import { TestClock } from "effect/testing"
import { makePair, settle } from "../support/memory.ts"
import { layer, lobby, open, type Reply } from "../support/topicSession.ts"

const Skip = Topic.make("skip::name", {
  message: Schema.Struct({ text: Schema.String }),
  history: { size: 100, ttl: "1 minute" },
  slowConsumer: "skip"
})
const SkipRoom = Topic.make("skiproom::name", {
  message: Schema.Struct({ text: Schema.String }),
  member: Schema.Struct({ name: Schema.String }),
  slowConsumer: "skip"
})
const Catch = Topic.make("catch::name", {
  message: Schema.Struct({ text: Schema.String }),
  history: { size: 100, ttl: "1 minute" }
})

/** A client that reads when it is told to. */
const stalledClient = (channels: ReadonlyArray<string> = [], ...more: ReadonlyArray<typeof SkipRoom>) =>
  Effect.gen(function*() {
    const { client, server } = yield* makePair()
    const handler = open({
      topics: [Skip, Catch, ...more],
      subscribe: ({ topic }) => topic.member === undefined ? Effect.void : Effect.succeed({ member: { name: "ada" } }),
      connect: () => Effect.succeed({ channels })
    })
    yield* Effect.forkScoped(Effect.provideService(handler, Connection.Connection, server))
    const received: Array<Reply> = []
    return {
      received,
      send: (command: object) => Effect.andThen(client.send(JSON.stringify(command)), settle),
      /** Returns the code with which the connection has ended, if it has. */
      read: Effect.gen(function*() {
        let end: number | undefined
        const fiber = yield* Effect.forkScoped(
          Effect.forever(Effect.map(client.receive, (message) => {
            for (const line of Buffer.from(message.bytes).toString().split("\n")) {
              received.push(JSON.parse(line) as Reply)
            }
          })).pipe(Effect.catchTag("ConnectionClosed", ({ code }) =>
            Effect.sync(() => {
              end = code
            })))
        )
        for (let i = 0; i < 20; i++) yield* settle
        fiber.interruptUnsafe()
        yield* settle
        return end
      })
    }
  })

/** More than the connection has room for. */
const publishMuch = (topic: typeof Skip | typeof SkipRoom, count = 40) =>
  Effect.forEach(
    Array.from({ length: count }, (_, i) => i),
    () => Effect.andThen(Topics.publish(topic, lobby, { text: "x".repeat(32 * 1024) }), settle),
    { discard: true }
  )

const offsets = (received: ReadonlyArray<Reply>) =>
  received.flatMap(({ push }) => {
    const pub = (push as { readonly pub?: { readonly offset: number } } | undefined)?.pub
    return pub === undefined ? [] : [pub.offset]
  })

describe("a client that reads slowly", () => {
  it.effect("gets all messages in order when it goes on, from the shared memory", () =>
    Effect.gen(function*() {
      const client = yield* stalledClient()
      yield* client.send({ id: 1, connect: {} })
      yield* client.send({ id: 2, subscribe: { channel: "catch:lobby" } })
      yield* publishMuch(Catch)
      yield* client.read
      assert.deepStrictEqual(offsets(client.received), Array.from({ length: 40 }, (_, i) => i + 1))
    }).pipe(Effect.provide(layer)))

  it.effect("learns by 2500 that it has missed messages, and recovers them by subscribing again", () =>
    Effect.gen(function*() {
      const client = yield* stalledClient()
      yield* client.send({ id: 1, connect: {} })
      yield* client.send({ id: 2, subscribe: { channel: "skip:lobby" } })
      yield* publishMuch(Skip)
      yield* client.read
      const seen = offsets(client.received)
      assert.isBelow(seen.length, 40)
      assert.deepStrictEqual(seen, Array.from(seen, (_, i) => i + 1))
      assert.deepStrictEqual(client.received.at(-1), {
        push: { channel: "skip:lobby", unsubscribe: { code: 2500, reason: "insufficient state" } }
      })
      const { position } = yield* Topics.history(Skip, lobby, { limit: 0 })
      yield* client.send({
        id: 3,
        subscribe: { channel: "skip:lobby", recover: true, epoch: position.epoch, offset: seen.length }
      })
      yield* client.read
      const { publications, recovered } = client.received.find(({ id }) => id === 3)!["subscribe"] as {
        readonly recovered: boolean
        readonly publications: ReadonlyArray<{ readonly offset: number }>
      }
      assert.isTrue(recovered)
      assert.deepStrictEqual(
        [...seen, ...publications.map(({ offset }) => offset)],
        Array.from({ length: 40 }, (_, i) => i + 1)
      )
    }).pipe(Effect.provide(layer)))

  it.effect("remains a member for ten seconds after 2500, so that it can subscribe again", () =>
    Effect.gen(function*() {
      const client = yield* stalledClient([], SkipRoom)
      yield* client.send({ id: 1, connect: {} })
      yield* client.send({ id: 2, subscribe: { channel: "skiproom:lobby" } })
      yield* publishMuch(SkipRoom)
      yield* client.read
      assert.deepNestedInclude(client.received.at(-1), { "push.unsubscribe.code": 2500 })
      const names = Effect.map(Topics.members(SkipRoom, lobby), (members) => members.map(({ member }) => member.name))
      yield* Effect.andThen(TestClock.adjust("9999 millis"), settle)
      assert.deepStrictEqual(yield* names, ["ada"])
      yield* Effect.andThen(TestClock.adjust("1 millis"), settle)
      assert.deepStrictEqual(yield* names, [])
    }).pipe(Effect.provide(layer)))

  it.effect("loses its connection with 3010 if it has missed messages of a channel that the server chose", () =>
    Effect.gen(function*() {
      const client = yield* stalledClient(["skip:lobby"])
      yield* client.send({ id: 1, connect: {} })
      yield* publishMuch(Skip)
      assert.strictEqual(yield* client.read, 3010)
    }).pipe(Effect.provide(layer)))
})

describe("a broker that is down", () => {
  it.effect("causes errors that clients can tell apart, and nothing stays behind", () =>
    Effect.gen(function*() {
      const down = { isDown: false }
      const broker = yield* Broker.Broker
      const failing = <A>(operation: "publish" | "subscribe" | "history", effect: Effect.Effect<A, never>) =>
        Effect.suspend(() =>
          down.isDown
            ? Effect.fail(new Broker.BrokerUnavailable({ operation, channel: "catch:lobby", cause: "down" }))
            : effect
        )
      const flaky: Broker.Broker = {
        ...broker,
        publish: (...args) =>
          down.isDown
            ? Effect.fail(new Broker.PublishUnknown({ channel: args[0], idempotencyKey: undefined, cause: "down" }))
            : broker.publish(...args),
        subscribe: (...args) => Effect.andThen(failing("subscribe", Effect.void), broker.subscribe(...args))
      }
      yield* Effect.gen(function*() {
        const client = yield* stalledClient()
        yield* client.send({ id: 1, connect: {} })
        down.isDown = true
        yield* client.send({ id: 2, subscribe: { channel: "catch:lobby" } })
        yield* client.send({ id: 3, publish: { channel: "catch:lobby", data: { text: "a" } } })
        down.isDown = false
        yield* client.send({ id: 4, subscribe: { channel: "catch:lobby" } })
        yield* client.read
        const errors = client.received.map(({ error }) => (error as { readonly code: number } | undefined)?.code)
        assert.deepStrictEqual(errors, [undefined, 100, 1100, undefined])
        assert.deepNestedInclude(client.received[1], { "error.temporary": true })
      }).pipe(Effect.provide(Topics.layer({ linger: 0 }).pipe(Layer.provide(Layer.succeed(Broker.Broker, flaky)))))
    }).pipe(Effect.provide(Broker.layerMemory())))
})
