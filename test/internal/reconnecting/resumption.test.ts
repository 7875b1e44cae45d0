import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Latch, Option, Queue } from "effect"
import { NotConnected } from "../../../src/ConnectionError.ts"
import { Resumption } from "../../../src/internal/reconnecting/resumption.ts"
import { settle } from "../../support/memory.ts"

interface Item {
  readonly n?: number
  readonly text?: string
}

const positionOf = ({ n }: Item) => Option.fromUndefinedOr(n)
const ended = new NotConnected({ final: true, cause: undefined })

/** A feed that delivers these, and is closed after "end". */
const makeSource = (...items: ReadonlyArray<Item>) =>
  Effect.gen(function*() {
    const queue = yield* Queue.unbounded<Item>()
    yield* Queue.offerAll(queue, items)
    return {
      offer: (item: Item) => Queue.offer(queue, item),
      receive: Effect.flatMap(Queue.take(queue), (item) =>
        item.text === "end" ? Effect.fail(ended) : Effect.succeed(item)),
      closed: Effect.void
    }
  })

const end: Item = { text: "end" }

describe("Resumption", () => {
  it.effect("handles what is behind its position, and what has no position", () =>
    Effect.gen(function*() {
      const resumption = new Resumption({ position: positionOf, initial: 2 })
      const handled: Array<Item> = []
      const source = yield* makeSource({ n: 1 }, { n: 2 }, { n: 3 }, { text: "a" }, { n: 3 }, { n: 5 }, { n: 4 }, end)
      yield* resumption.runForEach(source, (item) => Effect.sync(() => handled.push(item)))
      assert.deepStrictEqual(handled, [{ n: 3 }, { text: "a" }, { n: 5 }])
      assert.deepStrictEqual(yield* resumption.position, Option.some(5))
    }))

  it.effect("compares with isAfter, so that a new epoch starts anew", () =>
    Effect.gen(function*() {
      const positions = [[1, 8], [1, 9], [1, 9], [2, 1], [2, 1], [2, 2]]
      const resumption = new Resumption<Item, ReadonlyArray<number>>({
        position: ({ n }) => Option.map(Option.fromUndefinedOr(n), (at) => positions[at]),
        isAfter: ([epoch, offset], [handledEpoch, handled]) => epoch !== handledEpoch || offset > handled
      })
      const handled: Array<unknown> = []
      const source = yield* makeSource(...positions.map((_, n) => ({ n })), end)
      yield* resumption.runForEach(source, ({ n }) => Effect.sync(() => handled.push(n)))
      assert.deepStrictEqual(handled, [0, 1, 3, 5])
    }))

  it.effect("begins a run with the message whose handler has failed", () =>
    Effect.gen(function*() {
      const resumption = new Resumption({ position: positionOf })
      const source = yield* makeSource({ n: 1 }, { text: "a" }, { n: 2 }, end)
      const handled: Array<Item> = []
      let failures = 0
      const run = resumption.runForEach(source, (item) =>
        Effect.suspend(() => ++failures % 2 === 1 ? Effect.fail("no") : Effect.sync(() => handled.push(item))))
      for (let i = 0; i < 3; i++) {
        assert.strictEqual(yield* Effect.flip(run), "no")
      }
      assert.deepStrictEqual(yield* resumption.position, Option.some(1))
      yield* run
      assert.deepStrictEqual(handled, [{ n: 1 }, { text: "a" }, { n: 2 }])
    }))

  it.effect("an interruption waits for the handler, which handles its message", () =>
    Effect.gen(function*() {
      const resumption = new Resumption({ position: positionOf })
      const source = yield* makeSource({ n: 1 }, { n: 2 })
      const slow = Latch.makeUnsafe(false)
      const running = yield* Effect.forkChild(resumption.runForEach(source, () => slow.await))
      yield* settle
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(running))
      yield* settle
      assert.isUndefined(interrupting.pollUnsafe())
      slow.openUnsafe()
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(yield* resumption.position, Option.some(1))
    }))

  it.effect("an interruptible part can be interrupted, and the next run begins with the message", () =>
    Effect.gen(function*() {
      const resumption = new Resumption({ position: positionOf })
      const source = yield* makeSource({ n: 1 }, { n: 2 }, end)
      const running = yield* Effect.forkChild(
        resumption.runForEach(source, () => Effect.interruptible(Effect.never))
      )
      yield* settle
      yield* Fiber.interrupt(running)
      const handled: Array<Item> = []
      yield* resumption.runForEach(source, (item) => Effect.sync(() => handled.push(item)))
      assert.deepStrictEqual(handled, [{ n: 1 }, { n: 2 }])
    }))

  it.effect("an interruption while no message is there loses none", () =>
    Effect.gen(function*() {
      const resumption = new Resumption({ position: positionOf })
      const source = yield* makeSource()
      const running = yield* Effect.forkChild(resumption.runForEach(source, () => Effect.void))
      yield* settle
      yield* Fiber.interrupt(running)
      yield* source.offer({ n: 1 })
      yield* source.offer(end)
      const handled: Array<Item> = []
      yield* resumption.runForEach(source, (item) => Effect.sync(() => handled.push(item)))
      assert.deepStrictEqual(handled, [{ n: 1 }])
    }))

  it.effect("several runs take turns", () =>
    Effect.gen(function*() {
      const resumption = new Resumption({ position: positionOf })
      const source = yield* makeSource(...Array.from({ length: 10 }, (_, n) => ({ n })), end, end)
      let running = 0
      const handled: Array<unknown> = []
      const run = resumption.runForEach(source, ({ n }) =>
        Effect.sync(() => assert.strictEqual(++running, 1)).pipe(
          Effect.andThen(Effect.yieldNow),
          Effect.andThen(Effect.sync(() => {
            running--
            handled.push(n)
          }))
        ))
      yield* Effect.all([run, run], { concurrency: "unbounded" })
      assert.deepStrictEqual(handled, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    }))

  it.effect("ends as closed of the source does, and passes on a NotConnected of the handler", () =>
    Effect.gen(function*() {
      const resumption = new Resumption({ position: positionOf })
      const source = yield* makeSource(end, { n: 1 })
      const failing = { ...source, closed: Effect.fail("lost for good") }
      assert.strictEqual(yield* Effect.flip(resumption.runForEach(failing, () => Effect.void)), "lost for good")
      assert.strictEqual(yield* Effect.flip(resumption.runForEach(source, () => Effect.fail(ended))), ended)
    }))

  it.effect("passes on other errors of receive", () =>
    Effect.gen(function*() {
      const resumption = new Resumption({ position: positionOf })
      const source = { receive: Effect.fail("invalid"), closed: Effect.void }
      assert.strictEqual(yield* Effect.flip(resumption.runForEach(source, () => Effect.void)), "invalid")
    }))

  it.effect("onOpen gives the position of the last message that was handled", () =>
    Effect.gen(function*() {
      const resumption = new Resumption({ position: positionOf })
      const seen: Array<unknown> = []
      const onOpen = resumption.onOpen((connection: string, position) =>
        Effect.sync(() => seen.push([connection, Option.getOrUndefined(position)]))
      )
      yield* onOpen("first")
      yield* resumption.runForEach(yield* makeSource({ n: 7 }, end), () => Effect.void)
      yield* onOpen("second")
      assert.deepStrictEqual(seen, [["first", undefined], ["second", 7]])
    }))
})
