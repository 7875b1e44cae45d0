import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import { slotOf, tagOf } from "../../src/internal/redis/partitions.ts"
import { bytes, collect, describeEvent, eventually, makeBroker, textOf, until } from "../support/redisBrokers.ts"
import { nodeIdOf, startCluster } from "../support/redisTopologies.ts"

const history = { size: 1000, ttl: Duration.minutes(1) }
const channels = Array.from({ length: 20 }, (_, i) => `room${i}`)

describe("RedisBroker: Cluster", () => {
  it.live("spreads channels over the masters, and delivers through each", () =>
    Effect.gen(function*() {
      const servers = yield* startCluster
      const cluster = [`127.0.0.1:${servers[0].port}`]
      const [one, two] = [yield* makeBroker({ cluster }), yield* makeBroker({ cluster })]
      const logs = yield* Effect.forEach(channels, (channel) => collect(two, channel))
      for (const text of ["a", "b"]) {
        yield* Effect.forEach(channels, (channel) => one.publish(channel, { data: bytes(text) }, { history }), {
          concurrency: "unbounded"
        })
      }
      yield* until(() => logs.every(({ length }) => length === 2))
      for (const log of logs) assert.deepStrictEqual(log.map(describeEvent), ["1 a", "2 b"])
      yield* one.join("room1", { id: "ada", info: bytes("Ada") })
      assert.deepStrictEqual((yield* two.members("room1")).members.map(({ id }) => id), ["ada"])
      for (const server of servers) {
        const names = (yield* server.command("PUBSUB", "SHARDCHANNELS")) as ReadonlyArray<string>
        assert.isAbove(names.filter((name) => name.includes(":c:")).length, 0)
      }
    }))

  it.live("loses nothing while the slot of a channel moves to another master under load", () =>
    Effect.gen(function*() {
      const servers = yield* startCluster
      const cluster = servers.map(({ port }) => `127.0.0.1:${port}`)
      const [publisher, subscriber] = [yield* makeBroker({ cluster }), yield* makeBroker({ cluster })]
      const events = yield* collect(subscriber, "room")
      const slot = String(slotOf(tagOf("room")))
      const ids = yield* Effect.forEach(servers, nodeIdOf)
      const owner = yield* ownerOf(Number(slot), servers)
      const target = (owner + 1) % 3
      const texts: Array<string> = []
      const publishing = yield* Effect.forkChild(Effect.forever(Effect.gen(function*() {
        const text = String(texts.length)
        yield* eventually(
          publisher.publish("room", { data: bytes(text) }, { history, idempotencyKey: text }),
          () => true
        )
        texts.push(text)
      })))
      yield* until(() => texts.length > 5)
      yield* servers[target].command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[owner])
      yield* servers[owner].command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
      for (;;) {
        const keys = (yield* servers[owner].command("CLUSTER", "GETKEYSINSLOT", slot, "100")) as ReadonlyArray<string>
        if (keys.length === 0) break
        yield* servers[owner].command(
          "MIGRATE",
          "127.0.0.1",
          String(servers[target].port),
          "",
          "0",
          "60000",
          "KEYS",
          ...keys
        )
      }
      // A server ends the subscriptions of a slot each time that it is told of its new master.
      for (const server of [servers[target], servers[owner], ...servers]) {
        yield* server.command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
      }
      const moved = texts.length
      yield* until(() => texts.length > moved + 20)
      // Events go on after the move, behind a sign that some may be missing.
      yield* until(() => events.some((event) => event._tag === "Publication" && event.offset > moved + 10))
      yield* Fiber.interrupt(publishing)
      const read = Effect.map(subscriber.history("room"), ({ publications }) => publications)
      const publications = yield* eventually(read, ({ length }) => length >= texts.length)
      assert.deepStrictEqual(publications.slice(0, texts.length).map(({ data }) => textOf(data)), texts)
      assert.deepStrictEqual(publications.map(({ offset }) => offset), publications.map((_, i) => i + 1))
      assert.include(events.map(describeEvent), "lost")
      const offsets = events.flatMap((event) => event._tag === "Publication" ? [event.offset] : [])
      assert.deepStrictEqual(offsets, offsets.toSorted((a, b) => a - b))
    }))
})

/** Which of three servers has a slot. */
const ownerOf = (
  slot: number,
  servers: ReadonlyArray<
    { readonly port: number; readonly command: (...args: ReadonlyArray<string>) => Effect.Effect<unknown> }
  >
) =>
  Effect.map(servers[0].command("CLUSTER", "SLOTS"), (reply) => {
    const ranges = reply as ReadonlyArray<readonly [number, number, readonly [string, number]]>
    const [, , [, port]] = ranges.find(([from, to]) => from <= slot && slot <= to)!
    return servers.findIndex((server) => server.port === port)
  })
