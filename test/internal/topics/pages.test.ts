import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Broker } from "effect-ws"
import { jsonFormat } from "../../../src/internal/topics/codec.ts"
import { Cursor, type Outlet, unlocated } from "../../../src/internal/topics/cursor.ts"
import { Entry } from "../../../src/internal/topics/entry.ts"
import { Pages, pageSize } from "../../../src/internal/topics/pages.ts"
import { Budget, Segment } from "../../../src/internal/topics/segment.ts"

const publication = (offset: number, epoch = "e", size = 1): Broker.Publication => ({
  epoch,
  offset,
  data: new Uint8Array(size)
})

/** A page with the messages `from` to `to`, the newest of the channel. */
const pageOf = (from: number, to: number, epoch = "e"): Broker.HistoryPage => ({
  position: { epoch, offset: to },
  publications: Array.from({ length: to - from + 1 }, (_, i) => publication(from + i, epoch)),
  complete: true
})

const unavailable = new Broker.BrokerUnavailable({ operation: "history", channel: "c", cause: "down" })

/** Pages of a channel whose history is answered by the test. */
const makePages = ({ historySize = 10, limit = Number.POSITIVE_INFINITY } = {}) => {
  const state = { epoch: "e" }
  const reads: Array<Broker.HistoryOptions> = []
  const delays: Array<number> = []
  const ready: Array<number> = []
  let resume: (page: Effect.Effect<Broker.HistoryPage, Broker.BrokerUnavailable>) => void
  const budget = new Budget(limit)
  const pages = new Pages({
    name: "c",
    historySize,
    get epoch() {
      return state.epoch
    },
    readHistory: (options) =>
      Effect.callback((done) => {
        reads.push(options)
        resume = done
      }),
    delay: (failures) => Effect.sync(() => void delays.push(failures)),
    fork: (effect) => void Effect.runFork(effect)
  }, budget)
  const cursorAt = (offset: number, { epoch = "e", failed }: { epoch?: string; failed?: Outlet["failed"] } = {}) =>
    new Cursor(
      { name: "c", feed: () => "done" },
      { write: () => true, ready: (cursor) => void ready.push(cursor.offset), failed },
      jsonFormat,
      undefined,
      { epoch, offset },
      unlocated
    )
  const settle = (effect: Effect.Effect<Broker.HistoryPage, Broker.BrokerUnavailable>) =>
    Effect.andThen(Effect.sync(() => resume(effect)), Effect.yieldNow)
  return {
    answer: (page: Broker.HistoryPage) => settle(Effect.succeed(page)),
    budget,
    cursorAt,
    delays,
    fail: settle(Effect.fail(unavailable)),
    pages,
    reads,
    ready,
    state
  }
}

const offsetOf = (next: ReturnType<Pages["after"]>) =>
  next instanceof Entry ? (next.event as Broker.Publication).offset : next

describe("Pages", () => {
  it.effect("serves all cursors from one read, and tells of what the history has lost", () =>
    Effect.gen(function*() {
      const { answer, cursorAt, pages, reads, ready } = makePages()
      const [behind, lost] = [cursorAt(5), cursorAt(2)]
      assert.isUndefined(pages.after(behind))
      for (const cursor of [behind, lost]) pages.request(cursor)
      yield* answer(pageOf(5, 8))
      assert.deepStrictEqual([reads, ready], [[{ since: undefined, limit: pageSize }], [5, 2]])
      assert.strictEqual(offsetOf(pages.after(behind)), 6)
      assert.deepStrictEqual(pages.after(lost), { epoch: "e", offset: 4 })
      assert.isTrue(pages.confirms({ epoch: "e", offset: 8 }))
      assert.isFalse(pages.confirms({ epoch: "e", offset: 9 }))
      pages.forgetTop()
      assert.isFalse(pages.confirms({ epoch: "e", offset: 8 }))
    }))

  it.effect("returns no message of the page to a cursor of another epoch", () =>
    Effect.gen(function*() {
      const { answer, cursorAt, pages } = makePages()
      pages.request(cursorAt(5))
      yield* answer(pageOf(5, 8))
      assert.isUndefined(pages.after(cursorAt(6, { epoch: "d" })))
    }))

  it.effect("reads again once the budget has dropped the beginning of the page", () =>
    Effect.gen(function*() {
      const { answer, budget, cursorAt, pages } = makePages({ limit: 4000 })
      const cursor = cursorAt(2)
      pages.request(cursor)
      yield* answer(pageOf(5, 7))
      assert.deepStrictEqual(pages.after(cursor), { epoch: "e", offset: 4 })
      const { data, ...rest } = publication(1, "e", 3200)
      new Segment(budget).push(new Entry("other", { _tag: "Publication", data, ...rest }, 1))
      assert.isUndefined(pages.after(cursor))
    }))

  it.effect("reads again if the channel has got another epoch, unless the page is of the new one", () =>
    Effect.gen(function*() {
      const { answer, cursorAt, pages, reads, ready, state } = makePages()
      pages.request(cursorAt(1))
      state.epoch = "f"
      yield* answer(pageOf(1, 3))
      assert.deepStrictEqual([reads.length, ready], [2, []])
      state.epoch = "g"
      yield* answer(pageOf(1, 3, "g"))
      assert.deepStrictEqual([reads.length, ready], [2, [1]])
    }))

  it.effect("reads a large history behind the oldest position, and as a whole for other epochs", () =>
    Effect.gen(function*() {
      const { cursorAt, delays, fail, pages, reads } = makePages({ historySize: pageSize + 1 })
      for (const offset of [7, 3, 5]) pages.request(cursorAt(offset))
      yield* fail
      const other = cursorAt(1, { epoch: "d" })
      pages.request(other)
      yield* fail
      pages.forget(other)
      yield* fail
      assert.deepStrictEqual(reads.map(({ since }) => since?.offset), [7, 3, undefined, 3])
      assert.deepStrictEqual(delays, [0, 1, 2])
    }))

  it.effect("tells a failure to the outlets that ask for it, and repeats the read for the others", () =>
    Effect.gen(function*() {
      const { answer, cursorAt, delays, fail, pages, reads, ready } = makePages()
      const failed: Array<number> = []
      const asking = { failed: (cursor: Cursor) => void failed.push(cursor.offset) }
      pages.request(cursorAt(1, asking))
      yield* fail
      assert.deepStrictEqual([failed, reads.length, delays], [[1], 1, []])
      for (const cursor of [cursorAt(2, asking), cursorAt(3)]) pages.request(cursor)
      yield* fail
      assert.deepStrictEqual([failed, reads.length, delays], [[1, 2], 3, [0]])
      yield* answer(pageOf(1, 4))
      assert.deepStrictEqual(ready, [3])
    }))

  it.effect("ignores the page of a channel that is closed", () =>
    Effect.gen(function*() {
      const { answer, budget, cursorAt, pages, ready } = makePages()
      pages.request(cursorAt(1))
      pages.close()
      yield* answer(pageOf(1, 4))
      assert.deepStrictEqual([ready, budget.used], [[], 0])
    }))

  it.effect("does not take a page for the answer to a cursor that came later and is ahead of it", () =>
    Effect.gen(function*() {
      const { answer, cursorAt, pages } = makePages()
      pages.request(cursorAt(4))
      const [ahead, within, other] = [cursorAt(9), cursorAt(6), cursorAt(9, { epoch: "d" })]
      for (const cursor of [ahead, within, other]) pages.request(cursor)
      yield* answer(pageOf(5, 7))
      assert.isUndefined(pages.after(ahead))
      assert.strictEqual(offsetOf(pages.after(within)), 7)
      assert.deepStrictEqual(pages.after(other), { epoch: "e", offset: 4 })
    }))
})
