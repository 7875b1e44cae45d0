import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Broker, type Topic } from "effect-ws"
import { Channel, type ChannelOptions } from "../../../src/internal/topics/channel.ts"
import { jsonFormat } from "../../../src/internal/topics/codec.ts"
import type { Cursor, Outlet } from "../../../src/internal/topics/cursor.ts"
import { type ChannelEvent, Entry } from "../../../src/internal/topics/entry.ts"
import { Budget } from "../../../src/internal/topics/segment.ts"

const message = (offset: number, { epoch = "e", key = "a", size = 1 } = {}): Broker.Event & { data: Uint8Array } => ({
  _tag: "Publication",
  epoch,
  offset,
  data: new Uint8Array(size).fill(key.charCodeAt(0))
})

const joined = (offset: number, version: number): Broker.Event => ({
  _tag: "Joined",
  epoch: "e",
  offset,
  version,
  id: `${version}`,
  info: new Uint8Array()
})

const shown = (event: ChannelEvent): string => {
  if (event._tag === "Publication") return String(event.offset)
  if (event._tag === "Subscribed") return `members ${event.members.map(({ id }) => id).join()}`
  if (event._tag !== "Gap") return `${event._tag} ${event.id}`
  return `${event.isLossless === true ? "renamed" : "gap"} ${event.from.offset} to ${event.to.epoch}${event.to.offset}`
}

/** An outlet that has room for a number of events. */
class TestOutlet implements Outlet {
  room = Number.POSITIVE_INFINITY
  readonly log: Array<string> = []
  onWrite: (cursor: Cursor) => void = () => {}

  readonly write = (cursor: Cursor, { event }: { readonly event: ChannelEvent }): boolean => {
    if (this.room === 0) return false
    this.room--
    this.log.push(shown(event))
    this.onWrite(cursor)
    return true
  }

  readonly ready = (): void => {}
}

/** A channel at the position 0, over a broker whose history is answered by the test, or that has it at once. */
const makeChannel = (
  options: Partial<ChannelOptions> = {},
  memory = Number.POSITIVE_INFINITY,
  history?: Broker.HistoryPage
) => {
  const counters = { published: 0, received: 0, delivered: 0, missed: 0, gaps: 0, behind: 0, historyReads: 0 }
  const answers: Array<(page: Broker.HistoryPage) => void> = []
  const begin: Topic.Position = { epoch: "e", offset: 0 }
  const channel = new Channel("c", {
    historySize: 0,
    hasPresence: false,
    slowConsumer: "catchUp",
    key: (data) => String.fromCharCode(data[0]),
    ...options
  }, {
    budget: new Budget(memory),
    counters,
    maxBacklog: Number.POSITIVE_INFINITY,
    readHistory: () =>
      history === undefined
        ? Effect.callback((resume) => void answers.push((page) => resume(Effect.succeed(page))))
        : Effect.succeed(history),
    readMembers: () => Effect.succeed({ position: begin, version: 0, members: [] }),
    delay: () => Effect.never,
    fork: (_, effect) => void Effect.runFork(effect),
    onHealing: () => {}
  })
  const answer = (position: Topic.Position, publications: ReadonlyArray<Broker.Publication>, complete: boolean) =>
    Effect.andThen(Effect.sync(() => answers.shift()!({ position, publications, complete })), Effect.yieldNow)
  const subscribe = (outlet = new TestOutlet()) => {
    const cursor = channel.hold(outlet, jsonFormat, undefined)
    channel.start(cursor)
    return { cursor, outlet }
  }
  return Effect.gen(function*() {
    Effect.runFork(channel.inbox.start)
    if (history === undefined) yield* answer(begin, [], true)
    return { answer, channel, counters, receive: channel.inbox.receive, subscribe }
  })
}

describe("Channel", () => {
  it.effect("delivers an event once to each subscriber, while writing removes others", () =>
    Effect.gen(function*() {
      for (const removed of [[0], [0, 1], [1]]) {
        const { channel, counters, receive, subscribe } = yield* makeChannel()
        const subscribers = Array.from({ length: 3 }, () => subscribe())
        subscribers[2].outlet.onWrite = () => {
          for (const index of removed) channel.remove(subscribers[index].cursor)
        }
        receive(message(1))
        receive(message(2))
        assert.deepStrictEqual(
          subscribers.map(({ outlet: { log } }) => log),
          [0, 1, 2].map((index) => removed.includes(index) ? [] : ["1", "2"])
        )
        assert.deepStrictEqual([channel.subscribers, counters.behind], [3 - removed.length, 0])
      }
    }))

  it.effect("takes history that it can read at once before other channels need its memory", () =>
    Effect.gen(function*() {
      const page = { position: { epoch: "e", offset: 9 }, publications: [8, 9].map((offset) => message(offset)) }
      const { channel } = yield* makeChannel({ historySize: 2 }, undefined, { ...page, complete: true } as never)
      const cursor = channel.hold(new TestOutlet(), jsonFormat, undefined, { epoch: "e", offset: 7 })
      const next = channel.next(cursor)
      assert.isTrue(next instanceof Entry && shown(next.event) === "8")
    }))

  it.effect("reads what it has missed if a subscriber knows a newer position that the broker confirms", () =>
    Effect.gen(function*() {
      const { answer, channel } = yield* makeChannel({ historySize: 5 })
      const cursor = channel.hold(new TestOutlet(), jsonFormat, undefined, { epoch: "e", offset: 3 })
      channel.start(cursor)
      const position = { epoch: "e", offset: 3 }
      const history = [1, 2, 3].map((offset) => ({ epoch: "e", offset, data: new Uint8Array(1) }))
      for (let i = 0; i < 2; i++) {
        assert.strictEqual(channel.feed(cursor, 16), "done")
        yield* answer(position, history, true)
      }
      channel.feed(cursor, 16)
      assert.deepStrictEqual([channel.position, cursor.state], [position, "live"])
    }))

  it.effect("starts a subscriber once", () =>
    Effect.gen(function*() {
      const { channel, receive, subscribe } = yield* makeChannel()
      const { cursor, outlet } = subscribe()
      channel.start(cursor)
      receive(message(1))
      assert.deepStrictEqual([channel.subscribers, outlet.log], [1, ["1"]])
    }))

  it.effect("delivers nothing that is read after its end", () =>
    Effect.gen(function*() {
      const { answer, channel, counters, receive, subscribe } = yield* makeChannel()
      const { outlet } = subscribe()
      receive(message(2))
      channel.close()
      const { _tag, ...first } = message(1) as Broker.Publication & { readonly _tag: string }
      yield* answer({ epoch: "e", offset: 1 }, [first], true)
      assert.deepStrictEqual([outlet.log, counters.received], [[], 0])
    }))

  it.effect("with skip tells the members again after a gap, once there is room for both", () =>
    Effect.gen(function*() {
      const { channel, receive, subscribe } = yield* makeChannel({ slowConsumer: "skip", hasPresence: true })
      const { cursor, outlet } = subscribe()
      outlet.room = 0
      receive(message(1))
      receive(joined(1, 1))
      outlet.room = 1
      assert.strictEqual(channel.feed(cursor, 16), "full")
      outlet.room = 5
      assert.strictEqual(channel.feed(cursor, 16), "done")
      assert.deepStrictEqual([outlet.log, cursor.state], [["gap 0 to e1", "members 1"], "live"])
    }))

  it.effect("with skip tells of no gap if only changes of presence were missed", () =>
    Effect.gen(function*() {
      const { channel, receive, subscribe } = yield* makeChannel({ slowConsumer: "skip", hasPresence: true })
      const { cursor, outlet } = subscribe()
      outlet.room = 0
      receive(joined(0, 1))
      outlet.room = 5
      outlet.onWrite = () => channel.remove(cursor)
      assert.strictEqual(channel.feed(cursor, 16), "done")
      assert.deepStrictEqual([outlet.log, cursor.state, channel.subscribers], [["members 1"], "ended", 0])
    }))

  it.effect("with skip tells that an epoch has another name", () =>
    Effect.gen(function*() {
      const { answer, channel, counters, receive, subscribe } = yield* makeChannel({ slowConsumer: "skip" })
      const { cursor, outlet } = subscribe()
      outlet.room = 0
      receive({ _tag: "Lost" })
      yield* answer({ epoch: "f", offset: 0 }, [], true)
      outlet.room = 5
      assert.strictEqual(channel.feed(cursor, 16), "done")
      assert.deepStrictEqual([outlet.log, counters.gaps], [["renamed 0 to f0"], 0])
    }))

  it.effect("with latest begins a gap before the messages that newer ones replace", () =>
    Effect.gen(function*() {
      const { answer, channel, receive, subscribe } = yield* makeChannel({ slowConsumer: "latest" })
      const { cursor, outlet } = subscribe()
      outlet.room = 0
      for (const offset of [1, 2, 5]) receive(message(offset))
      const { _tag, ...newest } = message(5) as Broker.Publication & { readonly _tag: string }
      yield* answer({ epoch: "e", offset: 5 }, [newest], false)
      outlet.room = 5
      assert.strictEqual(channel.feed(cursor, 16), "done")
      assert.deepStrictEqual(outlet.log, ["gap 0 to e4", "5"])
    }))

  it.effect("with latest delivers the newest of each key that memory has kept", () =>
    Effect.gen(function*() {
      const { channel, receive, subscribe } = yield* makeChannel({ slowConsumer: "latest", hasPresence: true }, 1200)
      const { cursor, outlet } = subscribe()
      outlet.room = 0
      receive(message(1, { key: "a" }))
      receive(joined(1, 1))
      for (let offset = 2; offset <= 9; offset++) receive(message(offset, { key: offset % 2 === 0 ? "b" : "c" }))
      outlet.room = 20
      assert.strictEqual(channel.feed(cursor, 16), "done")
      assert.deepStrictEqual(outlet.log.slice(-3), ["8", "9", "members 1"])
    }))
})
