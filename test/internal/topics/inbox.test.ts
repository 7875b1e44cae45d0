import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Broker, type Topic } from "effect-ws"
import type { ChannelEvent } from "../../../src/internal/topics/entry.ts"
import { Inbox } from "../../../src/internal/topics/inbox.ts"

const message = (offset: number, size = 1): Broker.Event => ({
  _tag: "Publication",
  epoch: "e",
  offset,
  data: new Uint8Array(size)
})

const describeEvent = (event: ChannelEvent): string =>
  event._tag === "Gap" ? `gap ${event.from.offset} to ${event.to.offset}` : String((event as Topic.Position).offset)

/** An inbox whose history is answered by the test. */
const make = (hasPresence = false) => {
  let position: Topic.Position = { epoch: "e", offset: 0 }
  const log: Array<string> = []
  const reads: Array<(page: Broker.HistoryPage | Broker.BrokerUnavailable) => void> = []
  const healing: Array<boolean> = []
  let delays = 0
  const inbox = new Inbox({
    get position() {
      return position
    },
    begin: (at) => {
      position = at
    },
    append: (event) => {
      log.push(describeEvent(event))
      if (event._tag === "Publication") position = event
      if (event._tag === "Gap") position = event.to
    },
    readHistory: () =>
      Effect.callback((resume) => {
        reads.push((page) =>
          resume(page instanceof Broker.BrokerUnavailable ? Effect.fail(page) : Effect.succeed(page))
        )
      }),
    readMembers: Effect.succeed({ position, version: 0, members: [] }),
    delay: () =>
      Effect.sync(() => {
        delays++
      }),
    fork: (effect) => void Effect.runFork(effect),
    onHealing: (isHealing) => void healing.push(isHealing)
  }, hasPresence)
  const answer = (offset: number, from = offset + 1, complete = true) =>
    reads.shift()!({
      position: { epoch: "e", offset },
      publications: Array.from({ length: offset - from + 1 }, (_, i) => ({
        epoch: "e",
        offset: from + i,
        data: new Uint8Array(1)
      })),
      complete
    })
  return { inbox, log, reads, healing, answer, delays: () => delays, position: () => position }
}

const started = (offset = 0) =>
  Effect.gen(function*() {
    const made = make()
    Effect.runFork(made.inbox.start)
    made.answer(offset)
    yield* Effect.yieldNow
    return made
  })

describe("Inbox", () => {
  it.effect("passes on what came before it knew the position, without what the position includes", () =>
    Effect.gen(function*() {
      const { answer, inbox, log } = make()
      Effect.runFork(inbox.start)
      for (const offset of [1, 2, 3]) inbox.receive(message(offset))
      answer(2)
      yield* Effect.yieldNow
      assert.deepStrictEqual(log, ["3"])
    }))

  it.effect("reads again after an event was lost during the read", () =>
    Effect.gen(function*() {
      const { answer, healing, inbox, log } = yield* started()
      inbox.receive(message(2))
      inbox.receive({ _tag: "Lost" })
      answer(2, 1)
      yield* Effect.yieldNow
      answer(3, 3)
      yield* Effect.yieldNow
      assert.deepStrictEqual(log, ["1", "2", "3"])
      assert.deepStrictEqual(healing, [true, false])
    }))

  it.effect("ignores changes of presence without presence, and reads what is missing before one with it", () =>
    Effect.gen(function*() {
      const change: Broker.Event = {
        _tag: "Joined",
        epoch: "e",
        offset: 1,
        version: 1,
        id: "1",
        info: new Uint8Array()
      }
      for (const hasPresence of [false, true]) {
        const { answer, healing, inbox } = make(hasPresence)
        Effect.runFork(inbox.start)
        answer(0)
        yield* Effect.yieldNow
        inbox.receive(change)
        assert.deepStrictEqual(healing, hasPresence ? [true] : [])
        inbox.close()
      }
    }))

  it.effect("bounds what waits, by number and by bytes, and reads it from the history", () =>
    Effect.gen(function*() {
      for (const [count, size] of [[3000, 1], [5, 1024 * 1024]] as const) {
        const { answer, inbox, log } = yield* started()
        for (let offset = 2; offset <= count; offset++) inbox.receive(message(offset, size))
        for (let from = 1; from <= count; from += 512) {
          answer(Math.min(count, from + 511), from)
          yield* Effect.yieldNow
        }
        if (log.length < count) answer(count, log.length + 1)
        yield* Effect.yieldNow
        assert.deepStrictEqual(log, Array.from({ length: count }, (_, i) => `${i + 1}`))
      }
    }))

  it.effect("repeats a read that failed, after a delay", () =>
    Effect.gen(function*() {
      const { answer, delays, inbox, log, reads } = yield* started()
      inbox.receive(message(2))
      reads.shift()!(new Broker.BrokerUnavailable({ operation: "history", channel: "c", cause: "down" }))
      yield* Effect.yieldNow
      answer(2, 1)
      yield* Effect.yieldNow
      assert.deepStrictEqual([log, delays()], [["1", "2"], 1])
    }))

  it.effect("waits between reads if the history stays behind the subscription", () =>
    Effect.gen(function*() {
      const { answer, delays, inbox, log } = yield* started()
      inbox.receive(message(5))
      for (let i = 0; i < 5; i++) {
        answer(0)
        yield* Effect.yieldNow
      }
      assert.isAtLeast(delays(), 1)
      answer(5, 1)
      yield* Effect.yieldNow
      assert.deepStrictEqual(log, ["1", "2", "3", "4", "5"])
    }))

  it.effect("a gap ends before the first message of the new epoch that waits", () =>
    Effect.gen(function*() {
      const { inbox, log, reads } = yield* started()
      for (const event of [message(3), { ...message(7), epoch: "f" }, { ...message(8), epoch: "f" }]) {
        inbox.receive(event)
      }
      for (const complete of [false, true]) {
        reads.shift()!({ position: { epoch: "f", offset: 8 }, publications: [], complete })
        yield* Effect.yieldNow
      }
      assert.deepStrictEqual(log, ["gap 0 to 6", "7", "8"])
    }))

  it.effect("ignores messages of the history that are doubled, of another epoch, or not the next", () =>
    Effect.gen(function*() {
      const { inbox, log, reads } = yield* started()
      inbox.receive({ _tag: "Lost" })
      const publications = ([["e", 1], ["e", 1], ["f", 2], ["e", 3]] as const).map(([epoch, offset]) => ({
        epoch,
        offset,
        data: new Uint8Array(1)
      }))
      reads.shift()!({ position: { epoch: "e", offset: 3 }, publications, complete: true })
      yield* Effect.yieldNow
      assert.deepStrictEqual([log, reads.length], [["1"], 1])
    }))

  it.effect("tells a gap to the same offset of another epoch", () =>
    Effect.gen(function*() {
      const { inbox, log, position, reads } = yield* started(5)
      inbox.receive({ _tag: "Lost" })
      const publications = [{ epoch: "f", offset: 6, data: new Uint8Array(1) }]
      reads.shift()!({ position: { epoch: "f", offset: 6 }, publications, complete: false })
      yield* Effect.yieldNow
      assert.deepStrictEqual([log, position().epoch], [["gap 5 to 5", "6"], "f"])
    }))

  it.effect("a gap ends before the first waiting message that subscribers do not have", () =>
    Effect.gen(function*() {
      const { answer, inbox, log } = yield* started(5)
      inbox.receive({ _tag: "Lost" })
      for (const offset of [4, 8]) inbox.receive(message(offset))
      answer(9, 10, false)
      yield* Effect.yieldNow
      assert.deepStrictEqual(log, ["gap 5 to 7", "8"])
    }))

  it.effect("a broker that goes back within an epoch is a gap", () =>
    Effect.gen(function*() {
      const { answer, inbox, log } = yield* started(5)
      inbox.receive({ _tag: "Lost" })
      answer(3, 4, false)
      yield* Effect.yieldNow
      inbox.receive(message(4))
      assert.deepStrictEqual(log, ["gap 5 to 3", "4"])
    }))

  it.effect("ignores events after it was closed, and tells that it heals no more", () =>
    Effect.gen(function*() {
      const { healing, inbox, log } = yield* started()
      inbox.receive(message(2))
      inbox.close()
      inbox.receive(message(1))
      assert.deepStrictEqual([log, healing], [[], [true, false]])
    }))

  it.effect("tells of nothing that it reads after it was closed", () =>
    Effect.gen(function*() {
      const { answer, healing, inbox, log } = yield* started()
      inbox.receive(message(2))
      inbox.close()
      answer(2, 1)
      yield* Effect.yieldNow
      inbox.receive(message(3))
      assert.deepStrictEqual([log, healing], [[], [true, false]])
    }))

  it.effect("does not begin if it was closed before it knew the position", () =>
    Effect.gen(function*() {
      const { answer, healing, inbox, position } = make()
      const starting = Effect.runFork(inbox.start)
      inbox.receive({ _tag: "Lost" })
      inbox.close()
      answer(2)
      yield* Fiber.join(starting)
      assert.deepStrictEqual([position().offset, healing], [0, []])
    }))
})
