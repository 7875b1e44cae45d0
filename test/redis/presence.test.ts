import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Broker } from "effect-ws"
import { startFaultProxy } from "../support/faultProxy.ts"
import {
  bytes,
  closable,
  collect,
  connectBroker,
  describeEvent,
  eventually,
  textOf,
  until
} from "../support/redisBrokers.ts"
import { startRedis } from "../support/redisServer.ts"

const join = (broker: Broker.Broker, id: string, info = "") => broker.join("room", { id, info: bytes(info) })

const membersOf = (broker: Broker.Broker) =>
  Effect.map(broker.members("room"), ({ members, version }) => ({
    version,
    members: members.map(({ id, info }) => `${id} ${textOf(info)}`).toSorted()
  }))

describe("RedisBroker: presence", () => {
  it.live("tells joins and leaves in the order of messages, and counts them", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const [one, two] = [yield* connectBroker(port), yield* connectBroker(port)]
      const events = yield* collect(two, "room")
      yield* join(one, "a", "Ada")
      yield* one.publish("room", { data: bytes("hi") })
      yield* join(two, "b c", "Bob\n")
      yield* join(one, "a", "Ada L.")
      assert.deepStrictEqual(yield* membersOf(one), { version: 3, members: ["a Ada L.", "b c Bob\n"] })
      yield* one.leave("room", "a")
      yield* one.leave("room", "a")
      yield* two.leave("room", "unknown")
      yield* until(() => events.length === 5)
      assert.deepStrictEqual(events.map(describeEvent), [
        "1 joined a Ada",
        "1 hi",
        "2 joined b c Bob\n",
        "3 joined a Ada L.",
        "4 left a Ada L."
      ])
      assert.deepStrictEqual(yield* membersOf(two), { version: 4, members: ["b c Bob\n"] })
    }))

  it.live("does not let a process remove a member that another one has taken over", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const [one, two] = [yield* connectBroker(port), yield* connectBroker(port)]
      yield* join(one, "a", "1")
      yield* join(two, "a", "2")
      yield* one.leave("room", "a")
      assert.deepStrictEqual(yield* membersOf(one), { version: 2, members: ["a 2"] })
    }))

  it.live("removes the members of a broker that closes", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const one = yield* connectBroker(port)
      const { broker, close } = yield* closable(connectBroker(port))
      for (const id of ["a", "b"]) yield* join(broker, id)
      yield* close
      assert.deepStrictEqual(yield* membersOf(one), { version: 4, members: [] })
    }))

  it.live("removes the members of a process that has died, each once, within its lease", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const proxy = yield* startFaultProxy(port)
      const observer = yield* connectBroker(port)
      // It has no members, and removes those of others.
      yield* connectBroker(port, { lease: "1 second" })
      const events = yield* collect(observer, "room")
      const dying = yield* connectBroker(proxy.port, { lease: "3 seconds" })
      yield* join(observer, "stays")
      for (const id of ["a", "b"]) yield* join(dying, id)
      proxy.set("refuse")
      yield* until(() => events.length === 5)
      yield* Effect.sleep("700 millis")
      assert.deepStrictEqual(events.map(describeEvent).slice(3).toSorted(), ["4 left a ", "5 left b "])
      assert.deepStrictEqual(yield* membersOf(observer), { version: 5, members: ["stays "] })
      // It was only cut off: its members join again.
      proxy.set("pass")
      assert.strictEqual((yield* eventually(membersOf(observer), ({ members }) => members.length === 3)).version, 7)
    }))

  it.live("joins its members again after Redis has lost them", () =>
    Effect.gen(function*() {
      const { command, port } = yield* startRedis()
      const broker = yield* connectBroker(port, { lease: "1 second" })
      yield* join(broker, "a", "Ada")
      yield* command("FLUSHALL")
      assert.deepStrictEqual(
        (yield* eventually(membersOf(broker), ({ members }) => members.length === 1)).members,
        ["a Ada"]
      )
    }))

  it.live("lets a member leave later whose joining or leaving got no reply", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const proxy = yield* startFaultProxy(port)
      const observer = yield* connectBroker(port)
      const broker = yield* connectBroker(proxy.port, { lease: "3 seconds", commandTimeout: "1 second" })
      yield* join(broker, "stays")
      yield* join(broker, "a")
      proxy.set("swallowReplies")
      const failures = [yield* Effect.flip(join(broker, "b")), yield* Effect.flip(broker.leave("room", "a"))]
      assert.deepStrictEqual(failures.map(({ operation }) => operation), ["join", "leave"])
      proxy.cut()
      proxy.set("pass")
      yield* eventually(membersOf(observer), ({ members }) => members.join() === "stays ")
      yield* Effect.sleep("1200 millis")
      assert.deepStrictEqual((yield* membersOf(observer)).members, ["stays "])
    }))

  it.live("leaves no member behind when joining is interrupted at any time", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const broker = yield* connectBroker(port, { lease: "3 seconds" })
      yield* join(broker, "stays")
      yield* Effect.forEach(Array.from({ length: 100 }, (_, i) => i), (i) =>
        Effect.timeoutOption(join(broker, `m${i}`), i % 5).pipe(
          Effect.flatMap((joined) =>
            joined._tag === "Some" ? broker.leave("room", `m${i}`) : Effect.void
          )
        ), { concurrency: 10, discard: true })
      yield* eventually(membersOf(broker), ({ members }) =>
        members.join() === "stays ")
    }))
})
