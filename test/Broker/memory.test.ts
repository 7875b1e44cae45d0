import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Layer, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Broker } from "effect-ws"
import { memoryInUse } from "../support/resources.ts"
import { brokerLaws } from "../support/brokerLaws.ts"

const make = (options: Broker.MemoryOptions = {}) =>
  Effect.map(
    Layer.build(Broker.layerMemory(options)),
    (context) => Effect.runSync(Effect.provide(Broker.Broker, context))
  )

brokerLaws("memory", Effect.map(make(), (broker) => [broker, broker] as const))

const text = (value: string) => ({ data: new TextEncoder().encode(value) })

const history = { size: 2, ttl: Duration.seconds(60) }

describe("layerMemory", () => {
  it.effect("forgets a history when its ttl has passed since the newest message, but not the position", () =>
    Effect.gen(function*() {
      const broker = yield* make()
      yield* broker.publish("c", text("a"), { history })
      yield* TestClock.adjust("40 seconds")
      yield* broker.publish("c", text("b"), { history })
      yield* TestClock.adjust("59 seconds")
      const kept = yield* broker.history("c")
      assert.lengthOf(kept.publications, 2)
      yield* TestClock.adjust("1 second")
      const { complete, position, publications } = yield* broker.history("c")
      assert.deepStrictEqual([publications, position, complete], [[], kept.position, false])
      assert.strictEqual((yield* broker.publish("c", text("c"))).offset, 3)
    }).pipe(Effect.scoped))

  it.effect("releases an expired history within 30 seconds, even if no operation uses the channel", () =>
    Effect.gen(function*() {
      const broker = yield* make()
      const published: Array<WeakRef<Uint8Array>> = []
      const publish = (channel: string, ttl: number) =>
        Effect.suspend(() => {
          const data = new Uint8Array(1000)
          published.push(new WeakRef(data))
          return broker.publish(channel, { data }, { history: { size: 2, ttl: Duration.seconds(ttl) } })
        })
      yield* publish("short", 1)
      yield* publish("long", 70)
      const isThere = (index: number) => published[index].deref() !== undefined
      for (
        const [delay, expected] of [[29, [true, true]], [1, [false, true]], [59, [false, true]], [1, [
          false,
          false
        ]]] as const
      ) {
        yield* TestClock.adjust(Duration.seconds(delay))
        for (let i = 0; i < 50 && (isThere(0) !== expected[0] || isThere(1) !== expected[1]); i++) yield* memoryInUse
        assert.deepStrictEqual<unknown>([isThere(0), isThere(1)], expected)
      }
    }).pipe(Effect.scoped))

  it.live("releases messages that are no longer in the history", () =>
    Effect.gen(function*() {
      const broker = yield* make()
      const published: Array<WeakRef<Uint8Array>> = []
      for (let i = 0; i < 60; i++) {
        yield* Effect.suspend(() => {
          const data = new Uint8Array(1000)
          published.push(new WeakRef(data))
          return broker.publish("c", { data }, { history })
        })
      }
      for (let i = 0; i < 50 && published[0].deref() !== undefined; i++) yield* memoryInUse
      assert.isAtMost(published.filter((ref) => ref.deref() !== undefined).length, 2 * history.size + 16)
      assert.lengthOf((yield* broker.history("c")).publications, history.size)
    }).pipe(Effect.scoped))

  it.effect("remembers an idempotency key for five minutes", () =>
    Effect.gen(function*() {
      const broker = yield* make()
      const options = { idempotencyKey: "k" }
      yield* broker.publish("c", text("a"), options)
      yield* TestClock.adjust("299 seconds")
      assert.strictEqual((yield* broker.publish("c", text("a"), options)).offset, 1)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* broker.publish("c", text("a"), options)).offset, 2)
    }).pipe(Effect.scoped))

  it.effect("forgets the oldest idempotency keys above the limit", () =>
    Effect.gen(function*() {
      const broker = yield* make({ maxIdempotencyKeys: 2 })
      for (const idempotencyKey of ["1", "2", "3"]) yield* broker.publish("c", text("a"), { idempotencyKey })
      assert.strictEqual((yield* broker.publish("c", text("a"), { idempotencyKey: "3" })).offset, 3)
      assert.strictEqual((yield* broker.publish("c", text("a"), { idempotencyKey: "1" })).offset, 4)
    }).pipe(Effect.scoped))

  it.effect("forgets the idle channels that were used least recently, which then have another epoch", () =>
    Effect.gen(function*() {
      const broker = yield* make({ maxIdleChannels: 2 })
      const subscribed = yield* Scope.make()
      yield* Scope.provide(broker.subscribe("subscribed", () => {}), subscribed)
      yield* broker.join("joined", { id: "1", info: new Uint8Array() })
      const publish = (channel: string) => broker.publish(channel, text("a"))
      const before = yield* Effect.forEach(["subscribed", "joined", "a", "b"], publish)
      yield* publish("a")
      yield* publish("c")
      const after = yield* Effect.forEach(["subscribed", "joined", "a"], publish)
      assert.deepStrictEqual(after.map(({ epoch }) => epoch), before.slice(0, 3).map(({ epoch }) => epoch))
      assert.notStrictEqual((yield* publish("b")).epoch, before[3].epoch)
      yield* Scope.close(subscribed, Exit.void)
      yield* broker.leave("joined", "1")
      yield* Effect.forEach(["x", "y"], publish)
      assert.notStrictEqual((yield* publish("subscribed")).epoch, before[0].epoch)
    }).pipe(Effect.scoped))

  it.effect("delivers what a listener publishes after the current message, in the same order to all", () =>
    Effect.gen(function*() {
      const broker = yield* make()
      const logs: ReadonlyArray<Array<number>> = [[], []]
      for (const log of logs) {
        yield* broker.subscribe("c", (event) => {
          if (event._tag !== "Publication") return
          log.push(event.offset)
          if (event.offset < 3) Effect.runSync(broker.publish("c", text("again")))
        })
      }
      yield* broker.publish("c", text("a"))
      assert.deepStrictEqual(logs, [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]])
    }).pipe(Effect.scoped))

  it.effect("does not deliver to a subscription that ended during the delivery", () =>
    Effect.gen(function*() {
      const broker = yield* make()
      const scope = yield* Scope.make()
      const log: Array<string> = []
      yield* broker.subscribe("c", () => {
        log.push("first")
        Effect.runSync(Scope.close(scope, Exit.void))
      })
      yield* Scope.provide(broker.subscribe("c", () => void log.push("ended")), scope)
      yield* broker.subscribe("c", () => void log.push("last"))
      yield* broker.publish("c", text("a"))
      assert.deepStrictEqual(log, ["first", "last"])
    }).pipe(Effect.scoped))

  it.effect("rejects invalid options", () =>
    Effect.gen(function*() {
      const tooMany = 2 ** 31
      for (
        const options of [
          { maxIdleChannels: 0 },
          { maxIdleChannels: tooMany },
          { maxIdempotencyKeys: 0.5 },
          { maxIdempotencyKeys: tooMany }
        ]
      ) {
        const error = yield* Effect.flip(make(options))
        assert.strictEqual(error._tag, "InvalidOption")
      }
    }).pipe(Effect.scoped))
})

describe("errors", () => {
  it("BrokerUnavailable says that nothing was sent", () => {
    const error = new Broker.BrokerUnavailable({ operation: "publish", channel: "c", cause: new Error("refused") })
    assert.strictEqual(
      error.message,
      "publish \"c\": expected an available broker, got: refused; nothing was sent, repeat it when the broker is up"
    )
  })

  it("PublishUnknown says how to repeat safely", () => {
    const unknown = { channel: "c", cause: "timeout" }
    assert.strictEqual(
      new Broker.PublishUnknown({ ...unknown, idempotencyKey: "k" }).message,
      "publish \"c\": expected a reply of the broker, got: timeout; " +
        "the message may be published, publish it again with the same idempotencyKey, \"k\""
    )
    assert.include(
      new Broker.PublishUnknown({ ...unknown, idempotencyKey: undefined }).message,
      "with an idempotencyKey"
    )
  })
})
