import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import type { Broker, Topic } from "effect-ws"
import { awaitStatus, bytes, collect, eventually, makeBroker, textOf, until } from "../support/redisBrokers.ts"
import { startReplicated } from "../support/redisTopologies.ts"

const history = { size: 100, ttl: Duration.minutes(1) }

const say = (broker: Broker.Broker, text: string) =>
  broker.publish("room", { data: bytes(text) }, { history, idempotencyKey: text })

const textsAfter = (broker: Broker.Broker, since: Topic.Position) =>
  Effect.map(broker.history("room", { since }), ({ complete, publications }) => ({
    complete,
    texts: publications.map(({ data }) => textOf(data))
  }))

describe("RedisBroker: Sentinel", () => {
  it.live("follows the master after a failover, without loss when the replica had everything", () =>
    Effect.gen(function*() {
      const { master, name, replica, sentinels } = yield* startReplicated
      const broker = yield* makeBroker({ sentinel: { name, nodes: sentinels } })
      const events = yield* collect(broker, "room")
      const first = yield* say(broker, "a")
      yield* say(broker, "b")
      yield* eventually(replica.command("XLEN", yield* historyKey(master.command)), (length) => length === 2)
      yield* master.stop
      const next = yield* eventually(say(broker, "c"), () => true)
      yield* awaitStatus(broker, "Up")
      assert.deepStrictEqual([next.offset, next.epoch === first.epoch], [3, false])
      assert.deepStrictEqual(yield* textsAfter(broker, first), { complete: true, texts: ["b", "c"] })
      yield* until(() =>
        events.some((event) => event._tag === "Lost" || event._tag === "Publication" && event.offset === 3)
      )
    }))

  it.live("does not continue the epoch of messages that the new master has not got", () =>
    Effect.gen(function*() {
      const { master, name, replica, replication, sentinels } = yield* startReplicated
      const broker = yield* makeBroker({ sentinel: { name, nodes: sentinels } })
      const kept = yield* say(broker, "kept")
      yield* eventually(replica.command("XLEN", yield* historyKey(master.command)), (length) => length === 1)
      replication.set("swallow")
      const lost = yield* Effect.forEach(["lost 1", "lost 2"], (text) => say(broker, text))
      yield* master.stop
      const next = yield* eventually(say(broker, "next"), () => true)
      assert.deepStrictEqual([...lost, next].map(({ offset }) => offset), [2, 3, 2])
      assert.deepStrictEqual(yield* textsAfter(broker, kept), { complete: true, texts: ["next"] })
      for (const since of lost) {
        assert.deepStrictEqual(yield* textsAfter(broker, since), { complete: false, texts: ["kept", "next"] })
      }
    }))
})

const historyKey = (command: (...args: ReadonlyArray<string>) => Effect.Effect<unknown>) =>
  Effect.map(command("KEYS", "ws:*:h:room"), (keys) => String((keys as ReadonlyArray<string>)[0]))
