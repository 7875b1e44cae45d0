import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Scope } from "effect"
import { type Connection, Topic, Topics } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { type BroadcastTarget, broadcastTarget } from "../../src/internal/connection/hooks.ts"
import { memoryInUse } from "../support/resources.ts"
import { makeProcess } from "../support/topics.ts"

const Feed = Topic.make("feed/:name", { message: Schema.String })

const params = { name: "a" }

/** A connection that has room for so many messages, and keeps none. */
class Reader {
  room: number
  received = 0
  private listener: (() => void) | undefined

  constructor(room: number) {
    this.room = room
  }

  get connection(): Connection.Connection {
    const target: Partial<BroadcastTarget> = {
      writeShared: () => {
        if (this.room === 0) return false
        this.room--
        this.received++
        return true
      },
      onWritable: (listener) => {
        this.listener = listener
      }
    }
    Object.defineProperty(target, "isWritable", { get: () => this.room > 0 })
    return { send: () => Effect.void, [broadcastTarget]: target } as never
  }

  resume(): void {
    this.room = Number.POSITIVE_INFINITY
    this.listener?.()
  }
}

describe("memory", () => {
  it.effect(
    "law 5: a stalled reader costs at most 1 KiB, whatever is published, and the others get all",
    () =>
      Effect.gen(function*() {
        const { hub, run } = yield* makeProcess()
        const readers = Array.from({ length: 2000 }, (_, i) => new Reader(i % 2 === 0 ? 0 : Number.POSITIVE_INFINITY))
        for (const reader of readers) yield* run(Topics.deliver(reader.connection, Feed, params))
        const publish = Effect.forEach(
          Array.from({ length: 1000 }, (_, i) => i),
          () => run(Topics.publish(Feed, params, "x".repeat(1000))),
          { discard: true }
        )
        yield* publish
        yield* Testing.settle
        assert.strictEqual(hub.counters.behind, 1000)
        const first = yield* memoryInUse
        yield* publish
        yield* Testing.settle
        const growth = (yield* memoryInUse) - first
        // The second thousand of messages is in memory once, and not once more per reader.
        const perReader = (growth - hub.budget.used / 2) / 1000
        assert.isBelow(perReader, 1024)
        assert.isTrue(readers.every(({ received }, i) => received === (i % 2 === 0 ? 0 : 2000)))
        for (const reader of readers) reader.resume()
        yield* Effect.replicateEffect(Testing.settle, 20)
        assert.isTrue(readers.every(({ received }) => received === 2000))
        assert.strictEqual(hub.budget.used, 0)
      }).pipe(Effect.scoped),
    60_000
  )

  it.effect("a stalled reader costs at most 1 KiB more than one that keeps up", () =>
    Effect.gen(function*() {
      const { hub, run } = yield* makeProcess()
      const readers = Array.from({ length: 1000 }, () => new Reader(Number.POSITIVE_INFINITY))
      for (const reader of readers) yield* run(Topics.deliver(reader.connection, Feed, params))
      yield* run(Topics.publish(Feed, params, "a"))
      const before = yield* memoryInUse
      for (const reader of readers) reader.room = 0
      yield* run(Topics.publish(Feed, params, "b"))
      const perReader = ((yield* memoryInUse) - before) / 1000
      assert.strictEqual(hub.counters.behind, 1000)
      assert.isBelow(perReader, 1024)
    }).pipe(Effect.scoped))

  it.effect("the memory of all channels is what is counted, also of many channels with few events each", () =>
    Effect.gen(function*() {
      const limit = 1024 * 1024
      const { hub, run } = yield* makeProcess({ memory: limit })
      for (let channel = 0; channel < 100; channel++) {
        yield* run(Topics.deliver(new Reader(0).connection, Feed, { name: `${channel}` }))
      }
      const publishAll = Effect.forEach(
        Array.from({ length: 1000 }, (_, i) => `${i % 100}`),
        (name) => run(Topics.publish(Feed, { name }, "x".repeat(20_000))),
        { discard: true }
      )
      const before = yield* memoryInUse
      yield* publishAll
      assert.isAbove(hub.budget.used, limit / 2)
      assert.isBelow((yield* memoryInUse) - before, 2 * limit)
    }).pipe(Effect.scoped))

  for (const [connections, channels, limit] of [[100, 100, 1024], [10_000, 1, 1536]] as const) {
    it.effect(
      `each of ${connections * channels} subscriptions of ${connections} connections takes at most ${limit} bytes`,
      () =>
        Effect.gen(function*() {
          const { hub, run } = yield* makeProcess()
          const readers = Array.from({ length: connections }, () => new Reader(Infinity).connection)
          const scopes: Array<Scope.Scope> = []
          const subscribe = (reader: Connection.Connection, channel: number) =>
            Effect.gen(function*() {
              const scope = yield* Scope.fork(yield* Effect.scope)
              scopes.push(scope)
              yield* Scope.provide(run(Topics.deliver(reader, Feed, { name: `${channel}` })), scope)
            })
          for (let channel = 0; channel < channels; channel++) yield* subscribe(readers[0], channel)
          const before = yield* memoryInUse
          for (const reader of readers) {
            for (let channel = 0; channel < channels; channel++) yield* subscribe(reader, channel)
          }
          const each = ((yield* memoryInUse) - before) / (connections * channels)
          assert.strictEqual(hub.subscribers, (connections + 1) * channels)
          assert.isBelow(each, limit)
          assert.lengthOf(scopes, hub.subscribers)
        }).pipe(Effect.scoped)
    )
  }

  it.effect("memory of all channels has one bound", () =>
    Effect.gen(function*() {
      const { hub, run } = yield* makeProcess({ memory: 100_000 })
      for (let channel = 0; channel < 20; channel++) {
        yield* run(Topics.deliver(new Reader(0).connection, Feed, { name: `${channel}` }))
      }
      for (let i = 0; i < 1000; i++) {
        yield* run(Topics.publish(Feed, { name: `${i % 20}` }, "x".repeat(1000)))
        assert.isAtMost(hub.budget.used, 100_000)
      }
      assert.isAbove(hub.budget.used, 90_000)
    }).pipe(Effect.scoped))
})
