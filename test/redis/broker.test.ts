import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import type { Broker } from "effect-ws"
import { startRedis } from "../support/redisServer.ts"
import { bytes, collect, connectBroker, describeEvent, textOf, until } from "../support/redisBrokers.ts"

const history = { size: 3, ttl: Duration.minutes(1) }

const say = (broker: Broker.Broker, text: string, options?: Broker.PublishOptions) =>
  broker.publish("room", { data: bytes(text) }, options)

const textsOf = ({ publications }: Broker.HistoryPage) =>
  publications.map(({ data, offset }) => `${offset} ${textOf(data)}`)

describe("RedisBroker", () => {
  it.live("delivers publications to all processes in order, with offsets from 1", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const brokers = [yield* connectBroker(port), yield* connectBroker(port)]
      const logs = yield* Effect.forEach(brokers, (broker) => collect(broker, "room"))
      const texts = Array.from({ length: 200 }, (_, i) => String(i))
      const positions = yield* Effect.forEach(texts, (text, i) => say(brokers[i % 2], text), {
        concurrency: "unbounded"
      })
      yield* until(() => logs.every(({ length }) => length === 200))
      assert.deepStrictEqual(
        positions.map(({ offset }) => offset).toSorted((a, b) => a - b),
        texts.map((_, i) => i + 1)
      )
      assert.deepStrictEqual(logs[0].map(describeEvent), logs[1].map(describeEvent))
      assert.deepStrictEqual(
        logs[0].map((event) => event._tag === "Publication" && event.offset),
        texts.map((_, i) => i + 1)
      )
    }))

  it.live("transports any bytes, with info and without", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const broker = yield* connectBroker(port)
      const channel = "größe {x}:\n 😀"
      const events = yield* collect(broker, channel)
      const all = Uint8Array.from({ length: 256 }, (_, i) => i)
      const payloads: ReadonlyArray<Broker.Payload> = [
        { data: all, info: all.toReversed() },
        { data: new Uint8Array(), info: new Uint8Array() },
        { data: bytes("\n") }
      ]
      for (const payload of payloads) yield* broker.publish(channel, payload, { history })
      yield* until(() => events.length === payloads.length)
      const { publications } = yield* broker.history(channel)
      for (const received of [events as ReadonlyArray<Broker.Publication>, publications]) {
        assert.deepStrictEqual(
          received.map(({ data, info }) => [Array.from(data), info && Array.from(info)]),
          payloads.map(({ data, info }) => [Array.from(data), info && Array.from(info)])
        )
      }
    }))

  it.live("rounds up durations of fractions of a millisecond", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const broker = yield* connectBroker(port, { lease: 1000.5, positionTtl: 60_000.5 })
      yield* broker.join("room", { id: "1", info: bytes("Ada") })
      yield* say(broker, "a", { history: { size: 1, ttl: Duration.millis(60_000.5) } })
      assert.deepStrictEqual(textsOf(yield* broker.history("room")), ["1 a"])
    }))

  it.live("keeps as much history as asked for, and reads it from any position", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const broker = yield* connectBroker(port)
      const empty = yield* broker.history("room")
      assert.deepInclude(empty, { publications: [], complete: true })
      const { epoch } = empty.position
      for (const text of ["a", "b", "c", "d"]) yield* say(broker, text, { history })
      const read = (options: Broker.HistoryOptions) =>
        Effect.map(broker.history("room", options), (page) => [textsOf(page), page.complete, page.position.offset])
      assert.deepStrictEqual(yield* read({}), [["2 b", "3 c", "4 d"], false, 4])
      assert.deepStrictEqual(yield* read({ since: { epoch, offset: 1 } }), [["2 b", "3 c", "4 d"], true, 4])
      assert.deepStrictEqual(yield* read({ since: { epoch, offset: 0 } }), [["2 b", "3 c", "4 d"], false, 4])
      assert.deepStrictEqual(yield* read({ since: { epoch, offset: 3 }, limit: 1 }), [["4 d"], true, 4])
      assert.deepStrictEqual(yield* read({ since: { epoch, offset: 4 } }), [[], true, 4])
      assert.deepStrictEqual(yield* read({ since: { epoch, offset: 9 } }), [["2 b", "3 c", "4 d"], false, 4])
      assert.deepStrictEqual(yield* read({ since: { epoch: "other", offset: 4 } }), [["2 b", "3 c", "4 d"], false, 4])
      assert.deepStrictEqual(yield* read({ reverse: true, limit: 2 }), [["4 d", "3 c"], true, 4])
      assert.deepStrictEqual(yield* read({ reverse: true, since: { epoch, offset: 4 } }), [["3 c", "2 b"], true, 4])
      assert.deepStrictEqual((yield* read({ limit: 0 }))[0], [])
    }))

  it.live("forgets the history after its ttl, and when a message is published without one, but not the offset", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const broker = yield* connectBroker(port)
      yield* say(broker, "a", { history: { size: 3, ttl: Duration.millis(1) } })
      yield* Effect.sleep("5 millis")
      const expired = yield* broker.history("room")
      assert.deepStrictEqual([textsOf(expired), expired.position.offset], [[], 1])
      yield* say(broker, "b", { history })
      yield* say(broker, "c")
      const without = yield* broker.history("room", { since: { ...expired.position, offset: 2 } })
      assert.deepStrictEqual([textsOf(without), without.complete, without.position.offset], [[], false, 3])
    }))

  it.live("publishes once with the same idempotency key, in the same channel", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const broker = yield* connectBroker(port)
      const events = yield* collect(broker, "room")
      const first = yield* say(broker, "a", { idempotencyKey: "k" })
      assert.deepStrictEqual(yield* say(broker, "a", { idempotencyKey: "k" }), first)
      const other = yield* broker.publish("room2", { data: bytes("a") }, { idempotencyKey: "k" })
      assert.strictEqual(other.offset, 1)
      yield* say(broker, "b", { idempotencyKey: "l" })
      yield* until(() => events.length === 2)
      assert.deepStrictEqual(events.map(describeEvent), ["1 a", "2 b"])
    }))

  it.live("ends a subscription with its Scope, and the subscription of the server with the last one", () =>
    Effect.gen(function*() {
      const { command, port } = yield* startRedis()
      const broker = yield* connectBroker(port)
      const channels = Effect.map(
        command("PUBSUB", "CHANNELS"),
        (names) => (names as ReadonlyArray<string>).filter((name) => name.includes(":c:")).length
      )
      const outer = yield* collect(broker, "room")
      yield* Effect.scoped(Effect.gen(function*() {
        const inner = yield* collect(broker, "room")
        yield* say(broker, "a")
        yield* until(() => inner.length === 1 && outer.length === 1)
      }))
      assert.strictEqual(yield* channels, 1)
      yield* Effect.scoped(collect(broker, "other"))
      yield* say(broker, "b")
      yield* until(() => outer.length === 2)
      yield* Effect.repeat(Effect.delay(channels, "5 millis"), { until: (count) => count === 1 })
    }))

  it.live("subscribes and unsubscribes many channels again and again, without losing one", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const broker = yield* connectBroker(port)
      const churn = (i: number) =>
        Effect.scoped(Effect.gen(function*() {
          const events = yield* collect(broker, `room${i % 7}`)
          yield* broker.publish(`room${i % 7}`, { data: bytes(`${i}`) })
          yield* until(() => events.some((event) => describeEvent(event).endsWith(` ${i}`)))
        }))
      yield* Effect.forEach(Array.from({ length: 300 }, (_, i) => i), churn, { concurrency: 20, discard: true })
      yield* Effect.scoped(
        Effect.forEach(Array.from({ length: 1500 }, (_, i) => i), (i) => collect(broker, `many${i}`), {
          concurrency: "unbounded",
          discard: true
        })
      )
    }))
})
