/** What every broker must do, whatever it is made of: the tests of each run these. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, type Scope, Stream } from "effect"
import { Scope as Scopes } from "effect"
import type { Broker, Topic } from "effect-ws"
import { bytes, collect, textOf, until } from "./brokerEvents.ts"

/** Two processes with one broker, each with a Broker of its own or the same one. */
export type Processes = readonly [Broker.Broker, Broker.Broker]

const describeEvent = (event: Broker.Event): string => {
  switch (event._tag) {
    case "Publication":
      return `${event.offset} ${textOf(event.data)}`
    case "Joined":
    case "Left":
      return `${event._tag} ${event.id} at ${event.offset}`
    case "Lost":
      return "Lost"
  }
}

const history = { size: 3, ttl: Duration.minutes(1) }

let channels = 0

/** Tests that a broker obeys its laws. `name` stands at the beginning of each title. */
export const brokerLaws = (name: string, make: Effect.Effect<Processes, unknown, Scope.Scope>): void => {
  const law = (
    title: string,
    test: (first: Broker.Broker, second: Broker.Broker, channel: string) => Effect.Effect<void, unknown, Scope.Scope>
  ) =>
    it.live(`${name}: ${title}`, () =>
      Effect.scoped(Effect.flatMap(make, ([first, second]) => test(first, second, `laws/${++channels}`))))

  const publish = (broker: Broker.Broker, channel: string, text: string, options?: Broker.PublishOptions) =>
    broker.publish(channel, { data: bytes(text) }, options)

  describe("law 1, positions", () => {
    law(
      "counts messages from 1 without holes, with and without history",
      (first, second, channel) =>
        Effect.gen(function*() {
          const positions = [
            yield* publish(first, channel, "a"),
            yield* publish(second, channel, "b", { history }),
            yield* publish(first, channel, "c")
          ]
          assert.deepStrictEqual(positions.map(({ offset }) => offset), [1, 2, 3])
          assert.lengthOf([...new Set(positions.map(({ epoch }) => epoch))], 1)
        })
    )

    law(
      "keeps the newest messages, and tells what is missing before them",
      (first, second, channel) =>
        Effect.gen(function*() {
          const [, second2] = yield* Effect.forEach(
            ["a", "b", "c", "d", "e"],
            (text) => publish(first, channel, text, { history })
          )
          const all = yield* second.history(channel)
          assert.deepStrictEqual(all.publications.map(({ data, offset }) => `${offset} ${textOf(data)}`), [
            "3 c",
            "4 d",
            "5 e"
          ])
          assert.strictEqual(all.position.offset, 5)
          assert.isFalse(all.complete)
          assert.isTrue((yield* second.history(channel, { since: second2 })).complete)
          assert.isFalse((yield* second.history(channel, { since: { ...second2, offset: 1 } })).complete)
        })
    )

    law(
      "reads after a position, before it in reverse, and up to a limit",
      (first, _, channel) =>
        Effect.gen(function*() {
          const positions = yield* Effect.forEach(["a", "b", "c"], (text) => publish(first, channel, text, { history }))
          const read = (options: Broker.HistoryOptions) =>
            Effect.map(first.history(channel, options), ({ publications }) => publications.map(({ offset }) => offset))
          assert.deepStrictEqual(yield* read({ since: positions[0] }), [2, 3])
          assert.deepStrictEqual(yield* read({ since: positions[2], reverse: true }), [2, 1])
          assert.deepStrictEqual(yield* read({ limit: 2 }), [1, 2])
          assert.deepStrictEqual(yield* read({ limit: 2, reverse: true }), [3, 2])
          assert.deepStrictEqual(yield* read({ limit: 0 }), [])
          assert.deepStrictEqual(yield* read({ since: { epoch: "another", offset: 2 } }), [1, 2, 3])
          assert.isFalse((yield* first.history(channel, { since: { epoch: "another", offset: 2 } })).complete)
        })
    )

    law("has the position 0 and an epoch before the first message", (first, second, channel) =>
      Effect.gen(function*() {
        const before = yield* first.history(channel)
        assert.strictEqual(before.position.offset, 0)
        assert.isTrue((yield* second.history(channel, { since: before.position })).complete)
        const { epoch } = yield* publish(second, channel, "a")
        assert.strictEqual(epoch, before.position.epoch)
      }))

    law("publishes once with an idempotency key", (first, second, channel) =>
      Effect.gen(function*() {
        const events = yield* collect(first, channel)
        const one = yield* publish(first, channel, "a", { history, idempotencyKey: "k" })
        assert.deepStrictEqual(yield* publish(second, channel, "a", { history, idempotencyKey: "k" }), one)
        yield* publish(second, `${channel}/other`, "a", { idempotencyKey: "k" })
        yield* publish(first, channel, "b")
        yield* until(() => events.length === 2)
        assert.deepStrictEqual(events.map(describeEvent), ["1 a", "2 b"])
      }))
  })

  describe("law 2, one order", () => {
    law("delivers to all subscriptions in the order of offsets", (first, second, channel) =>
      Effect.gen(function*() {
        const logs = [yield* collect(first, channel), yield* collect(second, channel), yield* collect(first, channel)]
        yield* Effect.forEach(
          Array.from({ length: 100 }, (_, i) => i),
          (i) => publish(i % 2 === 0 ? first : second, channel, `${i}`, i % 3 === 0 ? { history } : {}),
          { concurrency: "unbounded" }
        )
        yield* until(() => logs.every(({ length }) => length === 100))
        const texts = logs.map((log) => log.map(describeEvent))
        assert.deepStrictEqual(texts[1], texts[0])
        assert.deepStrictEqual(texts[2], texts[0])
        assert.deepStrictEqual(
          logs[0].map((event) => (event as Topic.Position).offset),
          Array.from({ length: 100 }, (_, i) => i + 1)
        )
      }))

    law("carries bytes as they are, with their info", (first, second, channel) =>
      Effect.gen(function*() {
        const events = yield* collect(second, channel)
        const data = Uint8Array.from({ length: 256 }, (_, i) => i)
        const info = Uint8Array.of(0, 255, 10)
        yield* first.publish(channel, { data, info }, { history })
        yield* until(() => events.length === 1)
        const event = events[0] as Broker.Publication
        assert.deepStrictEqual([...event.data], [...data])
        assert.deepStrictEqual([...event.info!], [...info])
        const { publications } = yield* second.history(channel)
        assert.deepStrictEqual([...publications[0].info!], [...info])
      }))
  })

  describe("law 8, subscriptions", () => {
    law(
      "delivers each message that is published after the subscription is confirmed",
      (first, second, channel) =>
        Effect.gen(function*() {
          const events = yield* collect(second, channel)
          yield* publish(first, channel, "a")
          yield* until(() => events.length === 1)
          assert.deepStrictEqual(events.map(describeEvent), ["1 a"])
        })
    )

    law("ends a subscription with its Scope, and no other", (first, second, channel) =>
      Effect.gen(function*() {
        const scope = yield* Scopes.make()
        const ended = yield* Scopes.provide(collect(first, channel), scope)
        const open = yield* collect(first, channel)
        yield* Scopes.close(scope, Exit.void)
        yield* publish(second, channel, "a")
        yield* until(() => open.length === 1)
        assert.deepStrictEqual(ended, [])
      }))
  })

  describe("law 7, presence", () => {
    law(
      "tells of members in one order with messages, and counts the changes",
      (first, second, channel) =>
        Effect.gen(function*() {
          const events = yield* collect(second, channel)
          yield* first.join(channel, { id: "1", info: bytes("Ada") })
          yield* publish(first, channel, "a")
          yield* first.join(channel, { id: "2", info: bytes("Bob") })
          yield* first.leave(channel, "1")
          yield* until(() => events.length === 4)
          assert.deepStrictEqual(events.map(describeEvent), ["Joined 1 at 0", "1 a", "Joined 2 at 1", "Left 1 at 1"])
          const versions = events.flatMap((event) => "version" in event ? [event.version] : [])
          assert.deepStrictEqual(versions, [1, 2, 3])
          const { members, position, version } = yield* second.members(channel)
          assert.deepStrictEqual(members.map(({ id, info }) => `${id} ${textOf(info)}`), ["2 Bob"])
          assert.deepStrictEqual([position.offset, version], [1, 3])
        })
    )

    law(
      "changes the info of a member that joins again, and ignores one that is not there",
      (first, second, channel) =>
        Effect.gen(function*() {
          const events = yield* collect(second, channel)
          yield* first.join(channel, { id: "1", info: bytes("Ada") })
          yield* first.leave(channel, "nobody")
          yield* first.join(channel, { id: "1", info: bytes("Ada L.") })
          yield* until(() => events.length === 2)
          const { members } = yield* second.members(channel)
          assert.deepStrictEqual(members.map(({ id, info }) => `${id} ${textOf(info)}`), ["1 Ada L."])
        })
    )
  })

  describe("law 9, status", () => {
    law("says that it is up", (first) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(first.status, 1)), [{ _tag: "Up" }])
      }))
  })
}
