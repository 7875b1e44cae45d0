import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { jsonFormat } from "../../../src/internal/topics/codec.ts"
import { Cursor } from "../../../src/internal/topics/cursor.ts"
import { Entry } from "../../../src/internal/topics/entry.ts"
import { StreamOutlet } from "../../../src/internal/topics/streamOutlet.ts"

/** An outlet, and a cursor that `feed` feeds: it returns how many events it has had, and the limits it was given. */
const make = (feed: (write: (count: number) => void) => void = () => {}) => {
  const outlet = new StreamOutlet()
  const limits: Array<number> = []
  let offset = 0
  const write = (count: number) =>
    Array.from({ length: count }, () => {
      offset++
      return outlet.write(
        cursor,
        new Entry("c", { _tag: "Publication", epoch: "e", offset, data: new Uint8Array() }, offset)
      )
    })
  const cursor: Cursor = new Cursor(
    {
      name: "c",
      feed: (_, limit) => {
        limits.push(limit)
        feed(write)
        return "done"
      }
    },
    outlet,
    jsonFormat,
    undefined,
    { epoch: "e", offset: 0 },
    0
  )
  const pull = Effect.map(
    outlet.pull(cursor),
    (events) => events.map((event) => event._tag === "Publication" ? event.offset : event._tag)
  )
  return { limits, outlet, pull, write }
}

const from1To = (end: number) => Array.from({ length: end }, (_, i) => i + 1)

describe("StreamOutlet", () => {
  it.effect("keeps 16 events until they are pulled", () =>
    Effect.gen(function*() {
      const { limits, pull, write } = make()
      assert.deepStrictEqual(write(18), from1To(18).map((i) => i <= 16))
      assert.deepStrictEqual(yield* pull, from1To(16))
      assert.deepStrictEqual([write(1), limits], [[true], []])
      assert.deepStrictEqual(yield* pull, [19])
    }))

  it.effect("feeds the cursor when nothing is kept", () =>
    Effect.gen(function*() {
      const { limits, pull } = make((write) => write(3))
      assert.deepStrictEqual(yield* pull, [1, 2, 3])
      assert.deepStrictEqual(limits, [16])
    }))

  it.effect("waits for an event, and wakes once", () =>
    Effect.gen(function*() {
      const { limits, pull, write } = make()
      const fiber = yield* Effect.forkChild(pull, { startImmediately: true })
      yield* Effect.yieldNow
      assert.deepStrictEqual([fiber.pollUnsafe(), limits.length], [undefined, 1])
      write(1)
      assert.deepStrictEqual(yield* Fiber.join(fiber), [1])
      write(1)
      assert.deepStrictEqual(yield* pull, [2])
    }))

  it.effect("feeds again when the cursor has something to feed", () =>
    Effect.gen(function*() {
      let available = 0
      const { limits, outlet, pull } = make((write) => write(available))
      const fiber = yield* Effect.forkChild(pull, { startImmediately: true })
      yield* Effect.yieldNow
      outlet.ready()
      yield* Effect.yieldNow
      assert.deepStrictEqual([fiber.pollUnsafe(), limits.length], [undefined, 2])
      available = 2
      outlet.ready()
      assert.deepStrictEqual(yield* Fiber.join(fiber), [1, 2])
      assert.lengthOf(limits, 3)
    }))

  it.effect("leaves events to the next pull after a pull is interrupted", () =>
    Effect.gen(function*() {
      const { pull, write } = make()
      yield* Fiber.interrupt(yield* Effect.forkChild(pull, { startImmediately: true }))
      write(1)
      assert.deepStrictEqual(yield* pull, [1])
    }))
})
