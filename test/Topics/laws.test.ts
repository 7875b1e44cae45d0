import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Metric, Schema, Scope, Stream, SubscriptionRef } from "effect"
import { TestClock } from "effect/testing"
import { type Broker, type Connection, Telemetry, Topic, Topics } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { outletOf } from "../../src/internal/topics/connectionOutlet.ts"
import { interruptAtEachStep } from "../support/interruptAtEachStep.ts"
import { collect, makeBroker, makeProcess, shown } from "../support/topics.ts"

const Room = Topic.make("room/:name", {
  message: Schema.String,
  member: Schema.String,
  history: { size: 100, ttl: "5 minutes" }
})
const Feed = Topic.make("feed/:name", { message: Schema.String })

const lobby = { name: "lobby" }

const { settle } = Testing

const say = (...texts: ReadonlyArray<string>) =>
  Effect.forEach(texts, (text) => Topics.publish(Room, lobby, text), { discard: true })

describe("law 1, a position", () => {
  it.effect("a subscriber that joins while messages are published misses none and gets none twice", () =>
    Effect.gen(function*() {
      const { run } = yield* makeProcess()
      let next = 0
      const publishing = Effect.forever(Effect.andThen(
        Effect.suspend(() => Topics.publish(Room, lobby, `${++next}`)),
        Effect.yieldNow
      ))
      yield* Effect.forkScoped(run(publishing))
      for (let count = 0; count < 20; count++) {
        const events = yield* run(Stream.runCollect(Stream.take(Topics.subscribe(Room, lobby), 12)))
        const [{ position }] = events as ReadonlyArray<Topic.Subscribed<string>>
        const expected = Array.from({ length: 11 }, (_, i) => `${position.offset + 1 + i}`)
        assert.deepStrictEqual(events.slice(1).map(shown), expected.map((offset) => `${offset} ${offset}`))
      }
    }).pipe(Effect.scoped))

  it.effect("a subscription that begins at the position of the history leaves no hole", () =>
    Effect.gen(function*() {
      const { run } = yield* makeProcess()
      yield* run(say("a", "b", "c"))
      const read = yield* run(Topics.history(Room, lobby, { limit: 2, reverse: true }))
      yield* run(say("d"))
      const log = yield* run(collect(Topics.subscribe(Room, lobby, { since: read.position })))
      yield* run(say("e"))
      yield* settle
      assert.deepStrictEqual(read.messages.map(shown), ["3 c", "2 b"])
      assert.deepStrictEqual(log, ["subscribed at 3", "4 d", "5 e"])
    }).pipe(Effect.scoped))
})

describe("law 2, one order", () => {
  it.effect("subscribers in all processes see one order, and a publisher's own process waits for the broker", () =>
    Effect.gen(function*() {
      const shared = yield* makeBroker
      const [one, two] = [
        yield* makeProcess({}, Effect.succeed(shared)),
        yield* makeProcess({}, Effect.succeed(shared))
      ]
      const logs = [
        yield* one.run(collect(Topics.subscribe(Room, lobby))),
        yield* two.run(collect(Topics.subscribe(Room, lobby)))
      ]
      one.broker.delays = true
      yield* one.run(say("a"))
      yield* two.run(say("b"))
      yield* settle
      assert.deepStrictEqual(logs, [["subscribed at 0"], ["subscribed at 0", "1 a", "2 b"]])
      for (const inflight of one.broker.subscriptions) inflight.deliver()
      yield* settle
      assert.deepStrictEqual(logs[0], logs[1])
    }).pipe(Effect.scoped))
})

describe("law 3, each offset once or a gap", () => {
  const cases: ReadonlyArray<readonly [string, (inflight: import("../support/faultyBroker.ts").Inflight) => void]> = [
    ["an event is lost", (inflight) => inflight.drop()],
    ["an event comes twice", (inflight) => inflight.repeat()],
    ["all events are lost and the broker says so", (inflight) => {
      inflight.drop(3)
      inflight.tellLost()
    }]
  ]
  for (const [fault, disturb] of cases) {
    it.effect(`with history, ${fault}: subscribers notice nothing`, () =>
      Effect.gen(function*() {
        const { broker, run } = yield* makeProcess()
        const log = yield* run(collect(Topics.subscribe(Room, lobby)))
        broker.delays = true
        yield* run(say("a", "b", "c"))
        for (const inflight of broker.subscriptions) {
          disturb(inflight)
          inflight.deliver()
        }
        yield* settle
        assert.deepStrictEqual(log, ["subscribed at 0", "1 a", "2 b", "3 c"])
      }).pipe(Effect.scoped))
  }

  it.effect("without history, lost messages are one gap", () =>
    Effect.gen(function*() {
      const { broker, run } = yield* makeProcess()
      const log = yield* run(collect(Topics.subscribe(Feed, lobby)))
      broker.delays = true
      for (const text of ["a", "b", "c", "d"]) yield* run(Topics.publish(Feed, lobby, text))
      for (const inflight of broker.subscriptions) {
        inflight.deliver(1)
        inflight.drop(2)
        inflight.deliver()
      }
      yield* settle
      assert.deepStrictEqual(log, ["subscribed at 0", "1 a", "gap 1 to 3", "4 d"])
    }).pipe(Effect.scoped))

  it.effect("a new epoch is a gap, and what its history has follows", () =>
    Effect.gen(function*() {
      const before = yield* makeBroker
      const after = yield* makeBroker
      let current = before
      const { broker, run } = yield* makeProcess({}, Effect.succeed(before))
      Object.assign(broker, { history: (...args: Parameters<Broker.Broker["history"]>) => current.history(...args) })
      const log = yield* run(collect(Topics.subscribe(Room, lobby)))
      yield* run(say("a", "b"))
      current = after
      yield* after.publish("room/lobby", { data: new TextEncoder().encode("\"c\"") }, { history: Room.history })
      for (const inflight of broker.subscriptions) inflight.tellLost()
      yield* settle
      assert.deepStrictEqual(log, ["subscribed at 0", "1 a", "2 b", "gap 2 to 0", "1 c"])
    }).pipe(Effect.scoped))

  it.effect("a message that the schema cannot decode is a gap", () =>
    Effect.gen(function*() {
      const { broker, run } = yield* makeProcess()
      const log = yield* run(collect(Topics.subscribe(Room, lobby)))
      yield* broker.publish("room/lobby", { data: new TextEncoder().encode("{") }, { history: Room.history })
      yield* run(say("b"))
      yield* settle
      assert.deepStrictEqual(log, ["subscribed at 0", "gap 0 to 1", "2 b"])
      const { complete, messages } = yield* run(Topics.history(Room, lobby))
      assert.deepStrictEqual([messages.map(shown), complete], [["2 b"], false])
    }).pipe(Effect.scoped))
})

describe("law 4, publishing", () => {
  it.effect("fails at once while the broker is down, and publishes once with a key", () =>
    Effect.gen(function*() {
      const { broker, run } = yield* makeProcess()
      const publish = run(Topics.publish(Room, lobby, "a", { idempotencyKey: "k" }))
      broker.isDown = true
      assert.strictEqual((yield* Effect.flip(publish))._tag, "BrokerUnavailable")
      broker.isDown = false
      assert.deepStrictEqual(yield* publish, yield* publish)
    }).pipe(Effect.scoped))

  it.effect("fails with InvalidValue for a value that the schema cannot encode", () =>
    Effect.gen(function*() {
      const { run } = yield* makeProcess()
      const error = yield* Effect.flip(run(Topics.publish(Room, lobby, 7 as never)))
      assert.strictEqual(error._tag, "InvalidValue")
    }).pipe(Effect.scoped))
})

describe("law 6, encode once", () => {
  it.effect("an event is encoded once for all connections", () =>
    Effect.gen(function*() {
      const { hub, run } = yield* makeProcess()
      let encoded = 0
      const format = { encode: () => `${++encoded}` }
      const pairs = yield* Effect.replicateEffect(Testing.makePair(), 5)
      const channel = { historySize: 100, hasPresence: false, slowConsumer: "catchUp" as const, key: () => "" }
      for (const { server } of pairs) {
        const { start } = yield* hub.attach("room/lobby", { outlet: outletOf(server), format, channel })
        start()
      }
      yield* run(say("a", "b"))
      for (const { client } of pairs) {
        const received = yield* Stream.runCollect(Stream.take(client.messages, 2))
        assert.deepStrictEqual(received.map((message) => message._tag === "Text" && message.text), ["1", "2"])
      }
    }).pipe(Effect.scoped))
})

describe("law 7, presence", () => {
  it.effect("members come and go in the order of messages, and a snapshot begins at its position", () =>
    Effect.gen(function*() {
      const { run } = yield* makeProcess()
      const scope = yield* Scope.make()
      const join = (id: string) => run(Topics.join(Room, lobby, { id, member: `name of ${id}` }))
      yield* Scope.provide(join("1"), scope)
      const log = yield* run(collect(Topics.subscribe(Room, lobby)))
      yield* run(say("a"))
      yield* Effect.scoped(Effect.andThen(join("2"), run(say("b"))))
      yield* Scope.close(scope, Exit.void)
      yield* settle
      assert.deepStrictEqual(log, ["subscribed at 0 1", "1 a", "joined 2", "2 b", "left 2", "left 1"])
      assert.deepStrictEqual(yield* run(Topics.members(Room, lobby)), [])
    }).pipe(Effect.scoped))

  it.effect("the members of a process that ends leave, each once", () =>
    Effect.gen(function*() {
      const shared = Effect.succeed(yield* makeBroker)
      const [one, scope] = [yield* makeProcess({}, shared), yield* Scope.make()]
      const two = yield* Scope.provide(makeProcess({}, shared), scope)
      const log = yield* one.run(collect(Topics.subscribe(Room, lobby)))
      for (const id of ["1", "2"]) yield* Scope.provide(two.run(Topics.join(Room, lobby, { id, member: id })), scope)
      assert.lengthOf(yield* one.run(Topics.members(Room, lobby)), 2)
      yield* Scope.close(scope, Exit.void)
      yield* settle
      assert.sameMembers(log, ["subscribed at 0", "joined 1", "joined 2", "left 1", "left 2"])
    }).pipe(Effect.scoped))

  it.effect("a member that joins twice in a process leaves with the last", () =>
    Effect.gen(function*() {
      const { run } = yield* makeProcess()
      const join = (member: string) => run(Topics.join(Room, lobby, { id: "1", member }))
      yield* join("first")
      yield* Effect.scoped(join("second"))
      assert.deepStrictEqual(yield* run(Topics.members(Room, lobby)), [{ id: "1", member: "second" }])
    }).pipe(Effect.scoped))

  it.effect("changes that the subscription has lost are read again", () =>
    Effect.gen(function*() {
      const { broker, run } = yield* makeProcess()
      const join = (id: string) => run(Topics.join(Room, lobby, { id, member: id }))
      yield* join("1")
      const log = yield* run(collect(Topics.subscribe(Room, lobby)))
      broker.delays = true
      const scope = yield* Scope.make()
      yield* Scope.provide(join("2"), scope)
      yield* join("3")
      yield* Scope.close(scope, Exit.void)
      for (const inflight of broker.subscriptions) {
        inflight.drop(2)
        inflight.deliver()
      }
      yield* settle
      assert.deepStrictEqual(log, ["subscribed at 0 1", "joined 3"])
    }).pipe(Effect.scoped))
})

describe("law 8, reference counts", () => {
  it.effect("a channel has one subscription for all subscribers, which lingers after the last", () =>
    Effect.gen(function*() {
      const { broker, hub, run } = yield* makeProcess({ linger: "10 seconds" })
      const scope = yield* Scope.make()
      for (let i = 0; i < 5; i++) yield* Scope.provide(run(collect(Topics.subscribe(Room, lobby))), scope)
      assert.strictEqual(broker.subscriptions.size, 1)
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("9 seconds")
      yield* Effect.scoped(run(collect(Topics.subscribe(Room, lobby))))
      yield* TestClock.adjust("9 seconds")
      assert.deepStrictEqual([broker.subscriptions.size, hub.size], [1, 1])
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.deepStrictEqual([broker.subscriptions.size, hub.size], [0, 0])
    }).pipe(Effect.scoped))

  it.effect("a thousand subscribers that resume at once cost one read of history", () =>
    Effect.gen(function*() {
      const { broker, hub, run } = yield* makeProcess()
      yield* run(say(...Array.from({ length: 50 }, (_, i) => `${i + 1}`)))
      const { position: { epoch } } = yield* run(Topics.history(Room, lobby))
      // Subscribing reads the position.
      const first = yield* run(collect(Topics.subscribe(Room, lobby)))
      const before = broker.historyReads
      broker.behind.closeUnsafe()
      const logs = yield* Effect.forEach(
        Array.from({ length: 1000 }, (_, i) => i % 50),
        (offset) => run(collect(Topics.subscribe(Room, lobby, { since: { epoch, offset } }))),
        { concurrency: "unbounded" }
      )
      broker.behind.openUnsafe()
      yield* settle
      assert.strictEqual(broker.historyReads - before, 1)
      assert.strictEqual(hub.counters.behind, 0)
      for (const [i, log] of logs.entries()) {
        const since = i % 50
        assert.lengthOf(log, 51 - since)
        assert.strictEqual(log[1], `${since + 1} ${since + 1}`)
      }
      assert.deepStrictEqual(first, ["subscribed at 50"])
    }).pipe(Effect.scoped))
})

describe("law 9, down is seen", () => {
  it.effect("status tells Down, Up, and Resynced when all channels have read what they missed", () =>
    Effect.gen(function*() {
      const status = yield* SubscriptionRef.make<Broker.Status>({ _tag: "Up" })
      const { broker, run } = yield* makeProcess({}, makeBroker, SubscriptionRef.changes(status))
      const seen: Array<string> = []
      yield* Effect.forkScoped(
        run(Stream.runForEach(Topics.status, ({ _tag }) => Effect.sync(() => void seen.push(_tag))))
      )
      const log = yield* run(collect(Topics.subscribe(Room, lobby)))
      broker.delays = true
      yield* run(say("a", "b"))
      broker.isDown = true
      yield* SubscriptionRef.set(status, { _tag: "Down", cause: "lost" })
      for (const inflight of broker.subscriptions) {
        inflight.drop(2)
        inflight.tellLost()
      }
      yield* settle
      assert.deepStrictEqual([seen, log], [["Up", "Down"], ["subscribed at 0"]])
      broker.isDown = false
      yield* SubscriptionRef.set(status, { _tag: "Up" })
      yield* settle
      assert.deepStrictEqual(seen, ["Up", "Down", "Up", "Resynced"])
      assert.deepStrictEqual(log, ["subscribed at 0", "1 a", "2 b"])
    }).pipe(Effect.scoped))

  it.effect("subscribing fails with BrokerUnavailable, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const { broker, hub, run } = yield* makeProcess()
      broker.isDown = true
      const error = yield* Effect.flip(run(Stream.runDrain(Topics.subscribe(Room, lobby))))
      assert.strictEqual(error._tag, "BrokerUnavailable")
      yield* settle
      assert.deepStrictEqual([hub.size, broker.subscriptions.size], [0, 0])
      broker.isDown = false
      assert.deepStrictEqual(yield* run(collect(Topics.subscribe(Room, lobby))), ["subscribed at 0"])
    }).pipe(Effect.scoped))
})

describe("law 10, scoped and interruptible", () => {
  const operations = {
    subscribe: () =>
      Stream.runDrain(Stream.take(Topics.subscribe(Room, lobby, { since: { epoch: "other", offset: 0 } }), 3)),
    join: () => Topics.join(Room, lobby, { id: "1", member: "Ada" }),
    deliver: (connection: Connection.Connection) => Topics.deliver(connection, Room, lobby)
  }
  for (const [name, operation] of Object.entries(operations)) {
    it.effect(
      `interrupting ${name} at each step leaves no subscription, count or member behind`,
      () =>
        Effect.gen(function*() {
          const points = yield* interruptAtEachStep(Effect.gen(function*() {
            const { broker, hub, run } = yield* makeProcess({ linger: 0 })
            yield* run(say("a", "b"))
            const { server } = yield* Testing.makePair()
            broker.before.closeUnsafe()
            broker.behind.closeUnsafe()
            return {
              effect: Effect.scoped(
                run(operation(server) as Effect.Effect<unknown, unknown, Scope.Scope | Topics.Topics>)
              ),
              events: [() => broker.before.openUnsafe(), () => broker.behind.openUnsafe()],
              waits: true,
              verify: () =>
                Effect.gen(function*() {
                  yield* TestClock.adjust("1 second")
                  yield* settle
                  assert.deepStrictEqual([hub.size, broker.subscriptions.size, hub.subscribers], [0, 0, 0])
                  assert.strictEqual(hub.counters.behind, 0)
                  assert.strictEqual(hub.budget.used, 0)
                  assert.deepStrictEqual((yield* broker.members("room/lobby")).members, [])
                })
            }
          }))
          assert.isAbove(points, 20)
        }),
      60_000
    )
  }

  it.effect("metrics count what happens", () =>
    Effect.gen(function*() {
      const { run } = yield* makeProcess()
      yield* run(collect(Topics.subscribe(Room, lobby)))
      yield* run(collect(Topics.subscribe(Room, lobby)))
      yield* run(say("a", "b", "c"))
      yield* settle
      const value = (metric: Metric.Metric<number, { readonly value: number }>, attributes = {}) =>
        Effect.map(Metric.value(Metric.withAttributes(metric, attributes)), (state) => state.value)
      const count = (direction: string) =>
        Effect.map(
          Metric.value(Metric.withAttributes(Telemetry.topicMessages, { direction })),
          (state) => state.count
        )
      assert.strictEqual(yield* value(Telemetry.topicChannels), 1)
      assert.strictEqual(yield* value(Telemetry.topicSubscribers, { state: "live" }), 2)
      assert.isAbove(yield* value(Telemetry.topicMemory), 0)
      assert.deepStrictEqual(yield* Effect.forEach(["published", "received", "delivered", "missed"], count), [
        3,
        3,
        6,
        0
      ])
    }).pipe(Effect.scoped, Effect.provideService(Metric.MetricRegistry, new Map())))
})

describe("layer", () => {
  it.effect("rejects invalid options, and topics with common channels", () =>
    Effect.gen(function*() {
      const Other = Topic.make("room/:name/x", { message: Schema.String })
      for (const options of [{ memory: Number.NaN }, { linger: -1 }, { maxBacklog: -1 }, { topics: [Room, Other] }]) {
        const exit = yield* Effect.exit(makeProcess(options))
        assert.include(String(exit), "InvalidOption")
      }
      const overlapping = yield* Effect.flip(Effect.sandbox(makeProcess({ topics: [Room, Other] })))
      assert.include(String(overlapping), `invalid option "topics": expected topics without common channels, got`)
    }).pipe(Effect.scoped))
})
