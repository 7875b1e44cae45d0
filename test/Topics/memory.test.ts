import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
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
