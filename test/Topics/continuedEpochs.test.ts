import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Schema, Scope, Stream } from "effect"
import { Broker, Topic, Topics } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { makeRenamingBroker, type Renaming } from "../support/renamingBroker.ts"

const options = { message: Schema.String, history: { size: 100, ttl: "5 minutes" } } as const
const Room = Topic.make("room/:name", options)
const Skipping = Topic.make("skipping/:name", { ...options, slowConsumer: "skip" })
const Latest = Topic.make("latest/:name", { ...options, slowConsumer: "latest" })
const params = { name: "a" }

type Event = Topic.Event<string>

const shown = (event: Event): string =>
  event._tag === "Message"
    ? `${event.position.epoch.split(".")[1]}:${event.position.offset} ${event.message}`
    : event._tag

/** Runs with a broker whose epochs get other names, with little memory for subscribers that are behind. */
const withRenaming = <A, E>(
  use: (renaming: Renaming) => Effect.Effect<A, E, Topics.Topics | Scope.Scope>,
  memory = 32 * 1024
) =>
  Effect.scoped(Effect.gen(function*() {
    const renaming = yield* makeRenamingBroker
    const topics = Topics.layer({ memory }).pipe(Layer.provide(Layer.succeed(Broker.Broker)(renaming.broker)))
    return yield* Effect.provide(use(renaming), topics)
  }))

type AnyRoom = Topic.Topic<{ readonly name: string }, string>

/** A subscriber that collects, after it was told to go on. */
const follow = (topic: AnyRoom, since?: Topic.Position) =>
  Effect.gen(function*() {
    const events: Array<Event> = []
    const pull = yield* Stream.toPull(Topics.subscribe(topic, params, since === undefined ? {} : { since }))
    const next = Effect.map(pull, (chunk) => void events.push(...chunk))
    yield* next
    return { events, next, goOn: Effect.forkScoped(Effect.forever(next)) }
  })

const say = (topic: AnyRoom, ...texts: ReadonlyArray<string>) =>
  Effect.forEach(texts, (text) => Topics.publish(topic, params, text))

describe("a channel with an epoch that continues another one", () => {
  it.effect("tells subscribers of no gap, whether they keep up or read later", () =>
    withRenaming(({ rename }) =>
      Effect.gen(function*() {
        const [live, late] = [yield* follow(Room), yield* follow(Room)]
        yield* live.goOn
        yield* say(Room, "a", "b")
        yield* Testing.settle
        yield* rename("room/a")
        yield* say(Room, "c")
        yield* Testing.settle
        yield* late.goOn
        yield* Testing.settle
        const expected = ["Subscribed", "0:1 a", "0:2 b", "1:3 c"]
        assert.deepStrictEqual([live.events.map(shown), late.events.map(shown)], [expected, expected])
      })
    ))

  it.effect("resumes subscribers from positions of the earlier epoch, in this process and in one that begins", () =>
    withRenaming(({ rename }) =>
      Effect.gen(function*() {
        const [first, second] = yield* say(Room, "a", "b")
        const ended = yield* Scope.make()
        yield* Scope.provide(follow(Room), ended)
        yield* rename("room/a")
        yield* rename("room/a")
        yield* say(Room, "c")
        const resumed = yield* Effect.forEach([first, second], (since) => follow(Room, since))
        yield* Scope.close(ended, Exit.void)
        for (const { goOn } of resumed) yield* goOn
        yield* Testing.settle
        assert.deepStrictEqual(resumed.map(({ events }) => events.map(shown)), [
          ["Subscribed", "2:2 b", "2:3 c"],
          ["Subscribed", "2:3 c"]
        ])
      })
    ))

  it.effect("feeds subscribers from the history whose events are no longer in memory", () =>
    withRenaming(({ rename }) =>
      Effect.gen(function*() {
        const { events, goOn } = yield* follow(Room)
        const texts = Array.from({ length: 50 }, (_, i) => `${i} ${"x".repeat(400)}`)
        yield* say(Room, ...texts.slice(0, 25))
        yield* rename("room/a")
        yield* say(Room, ...texts.slice(25))
        yield* Testing.settle
        yield* goOn
        yield* Effect.repeat(Testing.settle, { until: () => events.length > texts.length })
        assert.deepStrictEqual(events.slice(1).map((event) => event._tag === "Message" && event.message), texts)
      }), 4 * 1024))

  it.effect("tells of a gap from a position that the epoch does not continue", () =>
    withRenaming(({ rename }) =>
      Effect.gen(function*() {
        yield* say(Room, "a")
        yield* rename("room/a")
        const [lost] = yield* say(Room, "b")
        const { events, goOn } = yield* follow(Room, { epoch: lost.epoch.replace(".1", ".0"), offset: 2 })
        yield* goOn
        yield* Testing.settle
        assert.deepStrictEqual(events.map(shown).slice(0, 2), ["Subscribed", "Gap"])
      })
    ))

  it.effect("skips for slow consumers as within one epoch", () =>
    withRenaming(({ rename }) =>
      Effect.gen(function*() {
        const [skipping, latest, idle] = [yield* follow(Skipping), yield* follow(Latest), yield* follow(Skipping)]
        // A stream keeps the first 16.
        for (const topic of [Skipping, Latest]) {
          yield* say(topic, ...Array.from({ length: 18 }, (_, i) => `${i}`))
          yield* rename(Topic.channel(topic, params))
          yield* say(topic, "c")
        }
        yield* Testing.settle
        for (const { goOn } of [skipping, latest, idle]) yield* goOn
        yield* Testing.settle
        assert.deepStrictEqual(skipping.events.map(({ _tag }) => _tag).slice(17), ["Gap"])
        assert.deepStrictEqual([...new Set(latest.events.map(({ _tag }) => _tag))], ["Subscribed", "Message"])
        assert.match(shown(latest.events.at(-1)!), / c$/)
      })
    ))
})
