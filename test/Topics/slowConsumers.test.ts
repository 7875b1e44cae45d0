import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Connection, Topic, Topics, TypedConnection } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { collect, makeProcess, type Process, pulling, shown } from "../support/topics.ts"

const { settle } = Testing

const params = { name: "a" }

const topicWith = (slowConsumer: Topic.SlowConsumer, size = 0) =>
  Topic.make("slow/:name", {
    message: Schema.String,
    member: Schema.String,
    slowConsumer,
    history: size === 0 ? undefined : { size, ttl: "5 minutes" }
  })

type SlowTopic = ReturnType<typeof topicWith>

/** Texts of 8 KiB: a connection has room for a few. */
const large = (text: string): string => text.padEnd(8192, ".")

const publish = (topic: SlowTopic, { run }: Process, from: number, to: number, pad = large) =>
  Effect.gen(function*() {
    for (let i = from; i <= to; i++) {
      yield* run(Topics.publish(topic, params, pad(`${i}`)))
      // What has no room then has none now.
      if (i % 10 === 0) yield* settle
    }
  })

/** A stalled client that the topic is delivered to, and what it received once it reads again. */
const stalled = (topic: SlowTopic, { run }: Process) =>
  Effect.gen(function*() {
    const { client, link, server } = yield* Testing.makePair()
    yield* run(Topics.deliver(server, topic, params))
    const typed = TypedConnection.make(client, { receives: Topic.event(topic), sends: Schema.Never })
    const log: Array<string> = []
    // The client does not answer a close frame while it is stalled.
    yield* Effect.addFinalizer(() => Effect.sync(() => link.client.destroy()))
    const read = Effect.forkScoped(
      Stream.runForEach(typed.messages, (event) => Effect.sync(() => void log.push(shown(event).replace(/\.+$/, "")))),
      { startImmediately: true }
    )
    return { server, log, read: Effect.andThen(read, Effect.replicateEffect(settle, 40)) }
  })

const offsets = (log: ReadonlyArray<string>) => log.flatMap((line) => /^\d/.test(line) ? [Number.parseInt(line)] : [])

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

describe("a connection that reads slowly", () => {
  it.effect("with catchUp receives all from memory, and then what is new", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess()
      const topic = topicWith("catchUp")
      const { log, read } = yield* stalled(topic, process)
      yield* publish(topic, process, 1, 100)
      assert.strictEqual(process.hub.counters.behind, 1)
      yield* read
      yield* publish(topic, process, 101, 102)
      yield* settle
      assert.deepStrictEqual(log, ["subscribed at 0", ...range(1, 102).map((i) => `${i} ${i}`)])
      assert.strictEqual(process.hub.counters.behind, 0)
      assert.strictEqual(process.hub.budget.used, 0)
    }).pipe(Effect.scoped))

  it.effect("with catchUp goes on in the history when memory is exceeded", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess({ memory: 64 * 1024 })
      const topic = topicWith("catchUp", 1000)
      const { log, read } = yield* stalled(topic, process)
      yield* publish(topic, process, 1, 100)
      yield* read
      assert.deepStrictEqual(log, ["subscribed at 0", ...range(1, 100).map((i) => `${i} ${i}`)])
    }).pipe(Effect.scoped))

  it.effect("with catchUp is told of a gap when neither memory nor history has the messages", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess({ memory: 64 * 1024 })
      const topic = topicWith("catchUp")
      const { log, read } = yield* stalled(topic, process)
      yield* publish(topic, process, 1, 100)
      yield* read
      const received = offsets(log)
      const gap = log.findIndex((line) => line.startsWith("gap"))
      const [, from, to] = /^gap (\d+) to (\d+)$/.exec(log[gap])!.map(Number)
      assert.deepStrictEqual(received, [...range(1, from), ...range(to + 1, 100)])
      assert.isAbove(to - from, 10)
      assert.deepStrictEqual([process.hub.counters.gaps, process.hub.counters.missed], [1, to - from])
    }).pipe(Effect.scoped))

  it.effect("with skip is told of what it missed, and goes on with new messages", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess()
      const topic = topicWith("skip", 1000)
      const { log, read } = yield* stalled(topic, process)
      yield* publish(topic, process, 1, 100)
      yield* read
      yield* publish(topic, process, 101, 102)
      yield* settle
      const last = log.findIndex((line) => line.endsWith(" to 100"))
      assert.deepStrictEqual(log.slice(last + 1), ["101 101", "102 102"])
      const told = log.flatMap((line) => /^gap (\d+) to (\d+)$/.exec(line)?.slice(1).map(Number) ?? [])
      const missed = told.flatMap((_, i) => i % 2 === 0 ? range(told[i] + 1, told[i + 1]) : [])
      assert.isAbove(missed.length, 50)
      assert.deepStrictEqual([...offsets(log), ...missed].toSorted((x, y) => x - y), range(1, 102))
    }).pipe(Effect.scoped))

  it.effect("with latest receives the newest message of each key", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess()
      const topic = Topic.make("slow/:name", {
        message: Schema.String,
        member: Schema.String,
        slowConsumer: "latest",
        key: (text) => `${Number.parseInt(text) % 3}`
      }) as SlowTopic
      const { log, read } = yield* stalled(topic, process)
      yield* publish(topic, process, 1, 100)
      yield* read
      const received = offsets(log)
      assert.deepStrictEqual(received.slice(-3), [98, 99, 100])
      const before = received.slice(0, -3)
      assert.deepStrictEqual(before, range(1, before.length))
      assert.isBelow(before.length, 50)
      assert.isFalse(log.some((line) => line.startsWith("gap")))
    }).pipe(Effect.scoped))

  it.effect("with close is closed with 1008 when it is too far behind, and no earlier", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess({ maxBacklog: 200 * 1024 })
      const topic = topicWith("close")
      const { server } = yield* stalled(topic, process)
      yield* publish(topic, process, 1, 20)
      assert.strictEqual(process.hub.counters.behind, 1)
      yield* publish(topic, process, 21, 60)
      yield* TestClock.adjust("1 minute")
      const { cause, code } = yield* server.closed
      assert.deepStrictEqual([code, cause?._tag], [1008, "SlowConsumer"])
      assert.strictEqual(process.hub.counters.behind, 0)
    }).pipe(Effect.scoped))

  it.effect("does not hold back others", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess()
      const topic = topicWith("catchUp")
      yield* stalled(topic, process)
      const other = yield* stalled(topic, process)
      yield* other.read
      for (let i = 1; i <= 100; i++) {
        yield* publish(topic, process, i, i)
        yield* settle
        assert.strictEqual(offsets(other.log).at(-1), i)
      }
    }).pipe(Effect.scoped))

  it.effect("receives the members again if changes were left out", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess()
      const topic = topicWith("skip")
      const { log, read } = yield* stalled(topic, process)
      yield* publish(topic, process, 1, 50)
      yield* process.run(Topics.join(topic, params, { id: "1", member: "Ada" }))
      yield* Effect.scoped(process.run(Topics.join(topic, params, { id: "2", member: "Bob" })))
      yield* read
      assert.deepStrictEqual(log.slice(-2).map((line) => line.replace(/gap \d+/, "gap")), [
        "gap to 50",
        "subscribed at 50 1"
      ])
    }).pipe(Effect.scoped))

  it.effect("takes turns between its channels", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess()
      const topic = topicWith("catchUp")
      const { client, server } = yield* Testing.makePair()
      const channels = ["a", "b", "c"]
      for (const name of channels) yield* process.run(Topics.deliver(server, topic, { name }))
      for (let i = 1; i <= 100; i++) {
        for (const name of channels) yield* process.run(Topics.publish(topic, { name }, large(`${name}${i}`)))
      }
      yield* settle
      assert.strictEqual(process.hub.counters.behind, 3)
      const typed = TypedConnection.make(client, { receives: Topic.event(topic), sends: Schema.Never })
      const messages = yield* typed.messages.pipe(
        Stream.filter((event) => event._tag === "Message"),
        Stream.map(({ message }) => message.replace(/\.+$/, "")),
        Stream.take(300),
        Stream.runCollect
      )
      for (const name of channels) {
        assert.deepStrictEqual(
          messages.filter((text) => text.startsWith(name)),
          range(1, 100).map((i) => `${name}${i}`)
        )
      }
      // None has to wait until another has caught up.
      const ends = channels.map((name) => messages.indexOf(`${name}60`))
      assert.isBelow(Math.max(...ends) - Math.min(...ends), 120)
    }).pipe(Effect.scoped))
})

describe("other connections", () => {
  const kinds: ReadonlyArray<readonly [string, (connection: Connection.Connection) => Connection.Connection]> = [
    ["a decorated connection", (connection) => Connection.decorate(connection, { sendAll: connection.sendAll })],
    ["a client", (connection) => connection]
  ]
  for (const [kind, decorate] of kinds) {
    it.effect(`${kind} receives all events in order, at its own pace`, () =>
      Effect.gen(function*() {
        const process = yield* makeProcess()
        const topic = topicWith("catchUp")
        const { client, server } = yield* Testing.makePair()
        const [from, to] = kind === "a client" ? [client, server] : [server, client]
        yield* process.run(Topics.deliver(decorate(from), topic, params))
        yield* publish(topic, process, 1, 50)
        const typed = TypedConnection.make(to, { receives: Topic.event(topic), sends: Schema.Never })
        const events = yield* Stream.runCollect(Stream.take(typed.messages, 51))
        assert.deepStrictEqual(offsets(events.map(shown)), range(1, 50))
        yield* publish(topic, process, 51, 52)
        const more = yield* Stream.runCollect(Stream.take(typed.messages, 2))
        assert.deepStrictEqual(offsets(more.map(shown)), [51, 52])
      }).pipe(Effect.scoped))
  }

  it.effect("a decorated connection is closed as a slow consumer", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess({ maxBacklog: 100_000 })
      const topic = topicWith("close")
      const { server } = yield* Testing.makePair()
      yield* process.run(Topics.deliver(Connection.decorate(server, { send: server.send }), topic, params))
      yield* publish(topic, process, 1, 100)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* server.closed).cause?._tag, "SlowConsumer")
    }).pipe(Effect.scoped))

  it.effect("a connection that ends receives nothing more, and costs nothing after its Scope", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess({ linger: 0 })
      const topic = topicWith("catchUp")
      yield* Effect.scoped(Effect.gen(function*() {
        const { link, server } = yield* Testing.makePair()
        yield* process.run(Topics.deliver(server, topic, params))
        yield* process.run(Topics.deliver(Connection.decorate(server, { send: server.send }), topic, params))
        link.client.destroy()
        yield* settle
        yield* publish(topic, process, 1, 20)
      }))
      assert.strictEqual(process.hub.budget.used, 0)
      assert.strictEqual(process.hub.subscribers, 0)
    }).pipe(Effect.scoped))
})

describe("a stream that is pulled slowly", () => {
  const policies: ReadonlyArray<readonly [Topic.SlowConsumer, ReadonlyArray<string>]> = [
    ["catchUp", ["17 17", "18 18", "19 19"]],
    ["close", ["17 17", "18 18", "19 19"]],
    ["skip", ["gap 16 to 50", "51 51", "52 52"]],
    ["latest", ["50 50", "51 51", "52 52"]]
  ]
  for (const [policy, expected] of policies) {
    it.effect(`with ${policy} receives ${expected.join(", ")} behind the 16 events that it keeps`, () =>
      Effect.gen(function*() {
        const process = yield* makeProcess({ maxBacklog: 1000 })
        const topic = topicWith(policy)
        const next = yield* process.run(pulling(Topics.subscribe(topic, params)))
        assert.strictEqual(yield* next, "subscribed at 0")
        yield* publish(topic, process, 1, 50, (text) => text)
        for (let i = 1; i <= 16; i++) assert.strictEqual(yield* next, `${i} ${i}`)
        const first = yield* next
        yield* publish(topic, process, 51, 52, (text) => text)
        assert.deepStrictEqual([first, yield* next, yield* next], expected)
      }).pipe(Effect.scoped))
  }

  it.effect("loses nothing when a pull is interrupted", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess()
      const topic = topicWith("catchUp")
      const next = yield* process.run(pulling(Topics.subscribe(topic, params)))
      yield* next
      for (let i = 1; i <= 30; i++) {
        const fiber = yield* Effect.forkChild(next, { startImmediately: true })
        yield* publish(topic, process, i, i, (text) => text)
        if (i % 2 === 0) yield* settle
        fiber.interruptUnsafe()
        const exit = yield* Effect.exit(Effect.promise(() => new Promise((resolve) => fiber.addObserver(resolve))))
        assert.isTrue(exit._tag === "Success")
        if (fiber.pollUnsafe()?._tag === "Failure") assert.strictEqual(yield* next, `${i} ${i}`)
      }
    }).pipe(Effect.scoped))
})

describe("resuming", () => {
  it.effect("reads what it missed in pages, from a history of any size", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess()
      const topic = topicWith("catchUp", 5000)
      yield* publish(topic, process, 1, 3000, (text) => text)
      const { position: { epoch } } = yield* process.run(Topics.history(topic, params, { limit: 0 }))
      const log = yield* process.run(collect(Topics.subscribe(topic, params, { since: { epoch, offset: 10 } })))
      yield* Effect.replicateEffect(settle, 5)
      assert.deepStrictEqual(offsets(log), range(11, 3000))
      assert.isAtMost(process.broker.historyReads, 9)
    }).pipe(Effect.scoped))

  it.effect("a subscriber that resumes is told of what the history no longer has", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess()
      const topic = topicWith("skip", 5)
      yield* publish(topic, process, 1, 20, (text) => text)
      const { position: { epoch } } = yield* process.run(Topics.history(topic, params, { limit: 0 }))
      const log = yield* process.run(collect(Topics.subscribe(topic, params, { since: { epoch, offset: 10 } })))
      assert.deepStrictEqual(log, ["subscribed at 10", "gap 10 to 15", ...range(16, 20).map((i) => `${i} ${i}`)])
    }).pipe(Effect.scoped))

  it.effect("waits for its own process, if the subscriber knows more from another one", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess()
      const topic = topicWith("catchUp", 100)
      yield* process.run(collect(Topics.subscribe(topic, params)))
      process.broker.delays = true
      yield* publish(topic, process, 1, 3, (text) => text)
      const { position } = yield* process.run(Topics.history(topic, params, { limit: 0 }))
      const log = yield* process.run(collect(Topics.subscribe(topic, params, { since: position })))
      yield* settle
      process.broker.delays = false
      yield* publish(topic, process, 4, 5, (text) => text)
      yield* settle
      assert.deepStrictEqual(log, ["subscribed at 3", "4 4", "5 5"])
    }).pipe(Effect.scoped))
})
