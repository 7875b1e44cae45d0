import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Topic, Topics } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import type { Channel } from "../../../src/internal/topics/channel.ts"
import { unlocated } from "../../../src/internal/topics/cursor.ts"
import { codecOf, jsonFormat } from "../../../src/internal/topics/codec.ts"
import type { GapEvent } from "../../../src/internal/topics/entry.ts"
import { hubOf } from "../../../src/internal/topics/hub.ts"
import { StreamOutlet } from "../../../src/internal/topics/streamOutlet.ts"
import { collect, makeProcess, type Process } from "../../support/topics.ts"

const topicOf = (size: number) =>
  Topic.make("hub/:name", {
    message: Schema.String,
    member: Schema.String,
    history: size === 0 ? undefined : { size, ttl: "1 minute" }
  })

const params = { name: "a" }

const publish = (topic: ReturnType<typeof topicOf>, { run }: Process, from: number, to: number) =>
  Effect.forEach(
    Array.from({ length: to - from + 1 }, (_, i) => from + i),
    (i) => run(Topics.publish(topic, params, `${i}`)),
    { discard: true }
  )

const attach = (
  topic: ReturnType<typeof topicOf>,
  { hub }: Process,
  since: Topic.Position,
  limit: number,
  onGap?: (gap: GapEvent) => void
) =>
  hub.attach("hub/a", {
    outlet: new StreamOutlet(),
    format: jsonFormat,
    channel: codecOf(topic).channel,
    since,
    recover: limit,
    onGap
  })

describe("attach with a number to recover", () => {
  it.effect("returns the messages behind the position, and the members", () =>
    Effect.gen(function*() {
      const [process, topic] = [yield* makeProcess(), topicOf(1000)]
      yield* publish(topic, process, 1, 700)
      yield* process.run(Topics.join(topic, params, { id: "1", member: "Ada" }))
      const { position: { epoch } } = yield* process.run(Topics.history(topic, params, { limit: 0 }))
      const attached = yield* attach(topic, process, { epoch, offset: 10 }, 1000)
      assert.isTrue(attached.isRecovered)
      assert.deepStrictEqual(
        attached.publications.map(({ offset }) => offset),
        Array.from({ length: 690 }, (_, i) => i + 11)
      )
      assert.deepStrictEqual([attached.position.offset, attached.members?.map(({ id }) => id)], [700, ["1"]])
    }).pipe(Effect.scoped))

  it.effect("returns none if there are more, and those behind the gap if some are lost", () =>
    Effect.gen(function*() {
      const [process, topic] = [yield* makeProcess(), topicOf(5)]
      yield* publish(topic, process, 1, 20)
      const { position: { epoch } } = yield* process.run(Topics.history(topic, params, { limit: 0 }))
      const more = yield* attach(topic, process, { epoch, offset: 16 }, 3)
      assert.deepStrictEqual([more.isRecovered, more.publications.length, more.position.offset], [false, 0, 20])
      const lost = yield* attach(topic, process, { epoch, offset: 10 }, 100)
      assert.deepStrictEqual(
        [lost.isRecovered, lost.publications.map(({ offset }) => offset)],
        [false, [16, 17, 18, 19, 20]]
      )
    }).pipe(Effect.scoped))

  it.effect("fails if the history cannot be read, while others wait until it can", () =>
    Effect.gen(function*() {
      const [process, topic] = [yield* makeProcess(), topicOf(100)]
      yield* publish(topic, process, 1, 3)
      const { position: { epoch } } = yield* process.run(Topics.history(topic, params, { limit: 0 }))
      yield* process.run(collect(Topics.subscribe(topic, params)))
      process.broker.isDown = true
      const log = yield* process.run(collect(Topics.subscribe(topic, params, { since: { epoch, offset: 1 } })))
      const failing = yield* Effect.forkChild(Effect.flip(attach(topic, process, { epoch, offset: 1 }, 100)), {
        startImmediately: true
      })
      // Both wait for one read, which is repeated.
      yield* TestClock.adjust("3 seconds")
      const error = yield* Fiber.join(failing)
      assert.strictEqual(error._tag, "BrokerUnavailable")
      process.broker.isDown = false
      yield* TestClock.adjust("5 seconds")
      yield* Testing.settle
      assert.deepStrictEqual(log, ["subscribed at 1", "2 2", "3 3"])
    }).pipe(Effect.scoped))

  it.effect("tells the caller of later gaps in place of the outlet", () =>
    Effect.gen(function*() {
      const [process, topic] = [yield* makeProcess(), topicOf(0)]
      const gaps: Array<GapEvent> = []
      const { position } = yield* process.run(Topics.history(topic, params))
      const { start } = yield* attach(topic, process, position, 10, (gap) => void gaps.push(gap))
      start()
      process.broker.delays = true
      yield* publish(topic, process, 1, 2)
      for (const inflight of process.broker.subscriptions) {
        inflight.drop()
        inflight.deliver()
      }
      yield* Testing.settle
      assert.deepStrictEqual(gaps.map(({ from, to }) => [from.offset, to.offset]), [[0, 1]])
    }).pipe(Effect.scoped))
})

describe("a channel without users", () => {
  it.effect("reads no history after it has ended", () =>
    Effect.gen(function*() {
      const [process, topic] = [yield* makeProcess({ linger: "1 second" }), topicOf(10)]
      const scope = yield* Scope.make()
      const { cursor } = yield* Scope.provide(attach(topic, process, { epoch: "other", offset: 5 }, 10), scope)
      const channel = cursor.channel as Channel
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(process.hub.size, 1)
      yield* Effect.andThen(TestClock.adjust("1 second"), Testing.settle)
      const reads = process.hub.counters.historyReads
      cursor.seq = unlocated
      channel.next(cursor)
      yield* Testing.settle
      assert.deepStrictEqual([process.hub.size, process.hub.counters.historyReads], [0, reads])
    }).pipe(Effect.scoped))
})

describe("attach in a Scope that is closed", () => {
  const attachClosed = (process: Process) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* Scope.close(scope, Exit.void)
      const { position } = yield* process.run(Topics.history(topicOf(0), params))
      return yield* Effect.exit(Scope.provide(attach(topicOf(0), process, position, 10), scope))
    })

  it.effect("leaves no subscriber behind", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess({ linger: 10 })
      const { cursor, start } = yield* yield* attachClosed(process)
      start()
      assert.deepStrictEqual([cursor.state, process.hub.subscribers, process.hub.counters.behind], ["ended", 0, 0])
      yield* TestClock.adjust(10)
      assert.strictEqual(process.hub.size, 0)
    }).pipe(Effect.scoped))

  it.effect("interrupts the caller if the channel does not linger", () =>
    Effect.gen(function*() {
      const process = yield* makeProcess({ linger: 0 })
      assert.isTrue(Exit.hasInterrupts(yield* attachClosed(process)))
      assert.strictEqual(process.hub.size, 0)
    }).pipe(Effect.scoped))
})

describe("hubOf", () => {
  it("throws for an object that Topics.layer has not made", () => {
    assert.throws(() => hubOf({}), TypeError, "expected a service of Topics.layer")
  })
})

describe("codecs", () => {
  const decode = Schema.decodeUnknownSync(Schema.toCodecJson(Topic.event(topicOf(1))) as Schema.Codec<unknown, unknown>)
  const position = { epoch: "e", offset: 3 }
  const info = new TextEncoder().encode("\"Ada\"")
  for (
    const event of [
      { _tag: "Gap", from: position, to: { epoch: "e", offset: 5 } },
      { _tag: "Gap", from: position, to: { epoch: "f", offset: 0 } },
      { _tag: "Joined", ...position, version: 1, id: "\"1\"", info },
      { _tag: "Left", ...position, version: 2, id: "1", info },
      { _tag: "Subscribed", position, members: [{ id: "1", info }] }
    ] as const
  ) {
    it(`the JSON of ${event._tag}${"to" in event ? ` to ${event.to.epoch}` : ""} has the schema of events`, () => {
      const decoded = decode(JSON.parse(jsonFormat.encode("c", event) as string)) as { readonly _tag: string }
      assert.strictEqual(decoded._tag, event._tag)
      if (event._tag === "Gap") assert.strictEqual("missed" in decoded, event.to.epoch === "e")
    })
  }

  it("a member that the schema cannot decode is left out", () =>
    Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const [process, topic] = [yield* makeProcess(), topicOf(0)]
      yield* process.broker.join("hub/a", { id: "1", info: new TextEncoder().encode("7") })
      yield* process.run(Topics.join(topic, params, { id: "2", member: "Bob" }))
      assert.deepStrictEqual(yield* process.run(Topics.members(topic, params)), [{ id: "2", member: "Bob" }])
    }))))
})
