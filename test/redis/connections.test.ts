import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Redacted, Stream } from "effect"
import type { Broker } from "effect-ws"
import * as RedisBroker from "effect-ws/RedisBroker"
import { startFaultProxy } from "../support/faultProxy.ts"
import {
  awaitStatus,
  bytes,
  collect,
  connectBroker,
  describeEvent,
  eventually,
  textOf,
  until
} from "../support/redisBrokers.ts"
import { makeDirectory, startRedis, startRedisAt, unusedPort } from "../support/redisServer.ts"

const history = { size: 1000, ttl: Duration.minutes(1) }

const say = (broker: Broker.Broker, text: string, options?: Broker.PublishOptions) =>
  broker.publish("room", { data: bytes(text) }, { history, ...options })

/** Repeats a message until it is published, with the same key. */
const sayUntilPublished = (broker: Broker.Broker, text: string) =>
  eventually(say(broker, text, { idempotencyKey: text }), () => true)

/** What a subscriber ends up with that reads from the history what it has missed. */
const healedLog = (broker: Broker.Broker, events: ReadonlyArray<Broker.Event>) =>
  Effect.gen(function*() {
    const seen = new Map<number, string>()
    for (const event of events) if (event._tag === "Publication") seen.set(event.offset, textOf(event.data))
    const { publications } = yield* eventually(broker.history("room"), () => true)
    for (const { data, offset } of publications) {
      assert.strictEqual(seen.get(offset) ?? textOf(data), textOf(data))
      seen.set(offset, textOf(data))
    }
    return Array.from(seen).toSorted(([a], [b]) => a - b).map(([, text]) => text)
  })

const numbers = (count: number) => Array.from({ length: count }, (_, i) => String(i))

describe("RedisBroker: connections", () => {
  it.live("starts while Redis is down, fails at once, and joins when Redis comes", () =>
    Effect.gen(function*() {
      const port = yield* unusedPort
      const broker = yield* Effect.orDie(RedisBroker.make({ url: `redis://127.0.0.1:${port}` }))
      assert.strictEqual(
        (yield* Stream.runHead(broker.status)).pipe((head) => head._tag === "Some" && head.value._tag),
        "Down"
      )
      const failures = [
        yield* Effect.flip(broker.publish("room", { data: bytes("a") })),
        yield* Effect.flip(broker.history("room")),
        yield* Effect.flip(broker.members("room")),
        yield* Effect.flip(broker.join("room", { id: "a", info: bytes("") })),
        yield* Effect.flip(Effect.scoped(broker.subscribe("room", () => {})))
      ]
      assert.deepStrictEqual(failures.map((error) => error._tag === "BrokerUnavailable" && error.operation), [
        "publish",
        "history",
        "members",
        "join",
        "subscribe"
      ])
      yield* startRedisAt(Effect.succeed(port))
      yield* awaitStatus(broker, "Up")
      assert.strictEqual((yield* say(broker, "a")).offset, 1)
    }))

  for (const type of ["normal", "pubsub"]) {
    it.live(`misses nothing when Redis kills ${type} connections again and again`, () =>
      Effect.gen(function*() {
        const { command, port } = yield* startRedis()
        const [publisher, subscriber] = [yield* connectBroker(port), yield* connectBroker(port)]
        const events = yield* collect(subscriber, "room")
        const killing = yield* Effect.forkChild(
          Effect.forever(Effect.delay(command("CLIENT", "KILL", "TYPE", type), "100 millis"))
        )
        const texts = numbers(100)
        for (const text of texts) yield* sayUntilPublished(publisher, text)
        yield* Fiber.interrupt(killing)
        yield* awaitStatus(subscriber, "Up")
        yield* until(() => describeEvent(events.at(-1)!) === "100 99" || describeEvent(events.at(-1)!) === "lost")
        assert.deepStrictEqual(yield* healedLog(subscriber, events), texts)
        if (type === "pubsub") assert.include(events.map(describeEvent), "lost")
      }))
  }

  it.live("says that a publication is unknown when the reply is lost, and publishes it once when it is repeated", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const proxy = yield* startFaultProxy(port)
      const observer = yield* connectBroker(port)
      const events = yield* collect(observer, "room")
      const broker = yield* connectBroker(proxy.port, { commandTimeout: "200 millis" })
      proxy.set("swallowReplies")
      const error = yield* Effect.flip(say(broker, "a", { idempotencyKey: "a" }))
      assert.deepInclude({ ...error }, { _tag: "PublishUnknown", channel: "room", idempotencyKey: "a" })
      const cut = yield* Effect.forkChild(Effect.flip(say(broker, "b", { idempotencyKey: "b" })), {
        startImmediately: true
      })
      yield* Effect.sleep("50 millis")
      proxy.cut()
      assert.strictEqual((yield* Fiber.join(cut))._tag, "PublishUnknown")
      proxy.set("pass")
      for (const text of ["a", "b"]) yield* sayUntilPublished(broker, text)
      yield* sayUntilPublished(broker, "c")
      yield* until(() => events.length >= 3)
      assert.deepStrictEqual(events.map(describeEvent), ["1 a", "2 b", "3 c"])
    }))

  it.live("replaces a connection that is half open, within two beacons", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis()
      const proxy = yield* startFaultProxy(port)
      const publisher = yield* connectBroker(port)
      const broker = yield* connectBroker(proxy.port, { beaconInterval: "300 millis" })
      const events = yield* collect(broker, "room")
      proxy.set("swallow")
      yield* say(publisher, "a")
      yield* awaitStatus(broker, "Down")
      proxy.set("pass")
      yield* awaitStatus(broker, "Up")
      yield* until(() => events.length > 0)
      assert.deepStrictEqual(new Set(events.map(describeEvent)), new Set(["lost"]))
      assert.deepStrictEqual(yield* healedLog(broker, events), ["a"])
    }))

  it.live("times out while Redis is stopped, and goes on when it continues", () =>
    Effect.gen(function*() {
      const { port, signal } = yield* startRedis()
      const broker = yield* connectBroker(port, { beaconInterval: "1 second", commandTimeout: "200 millis" })
      const events = yield* collect(broker, "room")
      yield* sayUntilPublished(broker, "before")
      yield* signal("SIGSTOP")
      assert.strictEqual(
        (yield* Effect.flip(say(broker, "stopped", { idempotencyKey: "stopped" })))._tag,
        "PublishUnknown"
      )
      yield* awaitStatus(broker, "Down")
      assert.strictEqual((yield* Effect.flip(say(broker, "down")))._tag, "BrokerUnavailable")
      yield* signal("SIGCONT")
      yield* awaitStatus(broker, "Up")
      yield* sayUntilPublished(broker, "stopped")
      assert.deepStrictEqual(yield* healedLog(broker, events), ["before", "stopped"])
    }))

  it.live("runs scripts that Redis has forgotten", () =>
    Effect.gen(function*() {
      const { command, port } = yield* startRedis()
      const broker = yield* connectBroker(port)
      yield* say(broker, "a")
      yield* command("SCRIPT", "FLUSH")
      assert.strictEqual((yield* say(broker, "b")).offset, 2)
    }))

  it.live("tells what was lost when Redis cuts a subscriber that is too slow for its output buffer", () =>
    Effect.gen(function*() {
      const { port } = yield* startRedis("--client-output-buffer-limit", "pubsub 1mb 0 0")
      const proxy = yield* startFaultProxy(port)
      const publisher = yield* connectBroker(port)
      const broker = yield* connectBroker(proxy.port, { beaconInterval: "1 minute" })
      const events = yield* collect(broker, "room")
      proxy.set("stall")
      const large = "x".repeat(100_000)
      for (const text of numbers(100)) yield* say(publisher, text + large)
      proxy.set("pass")
      yield* until(() => events.some((event) => event._tag === "Lost"))
      const log = yield* healedLog(broker, events)
      assert.deepStrictEqual(log.map((text) => text.replaceAll("x", "")), numbers(100))
    }))

  it.live("begins another epoch when Redis has lost its data", () =>
    Effect.gen(function*() {
      const { command, port, restart } = yield* startRedis()
      const broker = yield* connectBroker(port)
      const events = yield* collect(broker, "room")
      const since = yield* say(broker, "a")
      yield* command("FLUSHALL")
      const second = yield* say(broker, "b")
      yield* restart
      yield* awaitStatus(broker, "Up")
      const third = yield* eventually(say(broker, "c"), () => true)
      assert.deepStrictEqual([second.offset, third.offset], [1, 1])
      assert.strictEqual(new Set([since, second, third].map(({ epoch }) => epoch)).size, 3)
      const page = yield* broker.history("room", { since })
      assert.deepInclude(page, { complete: false, position: third })
      yield* until(() => events.length >= 3)
    }))

  it.live("continues an epoch under another name when Redis restarts with all of its data", () =>
    Effect.gen(function*() {
      const { port, restart } = yield* startRedis("--appendonly", "yes", "--appendfsync", "always")
      const broker = yield* connectBroker(port)
      const positions = yield* Effect.forEach(["a", "b", "c"], (text) => say(broker, text))
      yield* restart
      const next = yield* eventually(say(broker, "d"), () => true)
      assert.notStrictEqual(next.epoch, positions[2].epoch)
      assert.strictEqual(next.offset, 4)
      for (const [i, since] of positions.entries()) {
        const { complete, publications } = yield* broker.history("room", { since })
        assert.deepStrictEqual(
          [complete, publications.map(({ data }) => textOf(data))],
          [true, ["b", "c", "d"].slice(i)]
        )
      }
    }))

  it.live("does not continue an epoch of which Redis has lost the newest messages", () =>
    Effect.gen(function*() {
      const { command, port, restart } = yield* startRedis()
      const broker = yield* connectBroker(port)
      const kept = yield* say(broker, "kept")
      yield* command("CONFIG", "SET", "save", "3600 1")
      yield* command("SAVE")
      const lost = yield* say(broker, "lost")
      yield* restart
      const next = yield* eventually(say(broker, "next"), () => true)
      // The same offset again, in another epoch.
      assert.deepStrictEqual([kept.offset, lost.offset, next.offset], [1, 2, 2])
      assert.isTrue((yield* broker.history("room", { since: kept })).complete)
      assert.isFalse((yield* broker.history("room", { since: lost })).complete)
    }))

  it.live("stays down while Redis reads its data, and sends each operation once after that", () =>
    Effect.gen(function*() {
      const { command, port, restart } = yield* startRedis(
        ...["--rdbcompression", "no", "--loading-process-events-interval-bytes", "1024", "--key-load-delay", "20000"]
      )
      const broker = yield* connectBroker(port)
      yield* command("DEBUG", "POPULATE", "50", "key", "2048")
      yield* command("SAVE")
      const down = yield* Effect.forkChild(awaitStatus(broker, "Down"), { startImmediately: true })
      yield* restart
      yield* Fiber.join(down)
      yield* awaitStatus(broker, "Up")
      yield* say(broker, "a")
      assert.notInclude(String(yield* command("INFO", "commandstats")), "cmdstat_eval:")
    }))

  it.live("finds a message that was lost without a sign", () =>
    Effect.gen(function*() {
      const { command, port } = yield* startRedis()
      const broker = yield* connectBroker(port, { checkInterval: "100 millis" })
      const events = yield* collect(broker, "room")
      yield* say(broker, "a")
      yield* until(() => events.length === 1)
      yield* Effect.sleep("300 millis")
      assert.deepStrictEqual(events.map(describeEvent), ["1 a"])
      const [meta] = (yield* command("KEYS", "ws:*:m:room")) as ReadonlyArray<string>
      yield* command("HINCRBY", meta, "o", "1")
      yield* until(() => events.length >= 2)
      assert.strictEqual(describeEvent(events[1]), "lost")
    }))

  it.live("tells events of another version of this library as lost", () =>
    Effect.gen(function*() {
      const { command, port } = yield* startRedis()
      const broker = yield* connectBroker(port)
      const events = yield* collect(broker, "room")
      const [channel] = (yield* command("PUBSUB", "CHANNELS", "*:c:room")) as ReadonlyArray<string>
      for (const message of ["2 P epoch 1\nbody", "", "1 P epoch 1", "1 X e 1\n", "1 P e x\n", "1 J e 1 0\n\0\0\0\0"]) {
        yield* command("PUBLISH", channel, message)
      }
      yield* until(() => events.length === 6)
      assert.deepStrictEqual(new Set(events.map(describeEvent)), new Set(["lost"]))
    }))

  it.live("fails with the error of Redis when it refuses a command", () =>
    Effect.gen(function*() {
      const { command, port } = yield* startRedis()
      const broker = yield* connectBroker(port)
      yield* say(broker, "a")
      yield* command("CONFIG", "SET", "maxmemory", "1")
      const error = yield* Effect.flip(say(broker, "b"))
      assert.strictEqual(error._tag, "BrokerUnavailable")
      assert.match(error.message, /OOM/)
      const { position, publications } = yield* broker.history("room")
      assert.deepStrictEqual([position.offset, publications.map(({ data }) => textOf(data))], [1, ["a"]])
    }))

  it.live("enters with a user, a password and a database, over TCP or a Unix socket", () =>
    Effect.gen(function*() {
      const path = `${yield* makeDirectory}/redis.sock`
      const { command, port } = yield* startRedis("--unixsocket", path)
      yield* command("ACL", "SETUSER", "ann", "on", ">secret", "~ws:*", "&ws:*", "+@all")
      const broker = yield* connectBroker(port, { url: `redis://ann:secret@127.0.0.1:${port}/3` })
      assert.strictEqual((yield* say(broker, "a")).offset, 1)
      const local = yield* connectBroker(port, {
        url: `unix://${path}`,
        username: "ann",
        password: Redacted.make("secret"),
        client: { database: 3 }
      })
      assert.strictEqual((yield* say(local, "b")).offset, 2)
      yield* command("ACL", "SETUSER", "eve", "on", ">secret", "~ws:*", "&ws:*", "+@all", "-script")
      const withoutScripts = yield* connectBroker(port, { url: `redis://eve:secret@127.0.0.1:${port}/3` })
      assert.strictEqual((yield* say(withoutScripts, "c")).offset, 3)
      const wrong = yield* Effect.orDie(RedisBroker.make({ url: `redis://ann:guess@127.0.0.1:${port}` }))
      const error = yield* eventually(Effect.flip(say(wrong, "a")), ({ message }) => message.includes("WRONGPASS"))
      assert.notInclude(error.message, "guess")
    }))
})
