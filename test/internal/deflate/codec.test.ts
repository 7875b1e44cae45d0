import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Deflater, Inflater } from "../../../src/internal/deflate/codec.ts"
import type { Direction } from "../../../src/internal/deflate/negotiation.ts"
import { ZlibPool } from "../../../src/internal/deflate/streamPool.ts"
import { flushMarker, sliceSize } from "../../../src/internal/deflate/zlibStream.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { assertSameBytes, fromHex, hello, helloAgain, noLimit, tick, zeros } from "../../support/deflate.ts"
import { patterned } from "../../support/properties.ts"

const takeover: Direction = { takeover: true, windowBits: 15 }
const noTakeover: Direction = { takeover: false, windowBits: 15 }

const makePool = (memoryLimit = Infinity) =>
  Effect.map(Effect.context<never>(), (context) => {
    const pool = new ZlibPool({ level: 2, memoryLevel: 5, releaseAfter: 1000, memoryLimit })
    pool.addUser(Timers.of(context))
    return pool
  })

/** A result that was there at once. */
const immediate = <A>(result: A): Exclude<A, Effect.Effect<any, any>> => {
  assert.isFalse(Effect.isEffect(result))
  return result as Exclude<A, Effect.Effect<any, any>>
}

const inflated = (inflater: Inflater, payload: Uint8Array, isFinal = true) =>
  Buffer.from(immediate(inflater.inflate(payload, isFinal, noLimit))).toString()

describe("Deflater", () => {
  it.effect("removes the flush marker from a message only (RFC 7692 §7.2.1)", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const deflater = new Deflater(pool, takeover)
      const endsWithMarker = (data: Uint8Array) => Buffer.from(data.subarray(-4)).equals(flushMarker)
      assert.isTrue(endsWithMarker(immediate(deflater.deflate(tick(1), false))))
      assert.isFalse(endsWithMarker(immediate(deflater.deflate(tick(2), true))))
    }))

  it.effect("compresses up to a slice at once, and more in later turns", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const deflater = new Deflater(pool, takeover)
      immediate(deflater.deflate(new Uint8Array(sliceSize), true))
      assert.isTrue(Effect.isEffect(deflater.deflate(new Uint8Array(sliceSize + 1), true)))
    }))

  it.effect("copies a large payload, which the caller may change before the later turns", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const payload = patterned(3 * sliceSize)
      const expected = payload.slice()
      const deflating = new Deflater(pool, takeover).deflate(payload, true)
      payload.fill(0)
      assert.isTrue(Effect.isEffect(deflating))
      const data = yield* deflating as Effect.Effect<Uint8Array>
      const inflating = new Inflater(pool, takeover).inflate(data, true, noLimit)
      assertSameBytes(yield* inflating as Effect.Effect<Uint8Array>, expected)
    }))

  it.effect("keeps its stream between messages with context takeover only", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      for (const [direction, other] of [[takeover, 2], [noTakeover, 1]] as const) {
        const [one, two] = [new Deflater(pool, direction), new Deflater(pool, direction)]
        for (const deflater of [one, two]) immediate(deflater.deflate(tick(1), true))
        assert.strictEqual(pool.usage.deflaters, other)
        for (const deflater of [one, two]) deflater.close()
        for (const lease of [pool.leaseDeflater(15), pool.leaseDeflater(15)]) pool.discard(lease)
      }
    }))

  it.effect("refers to nothing before an eviction", () =>
    Effect.gen(function*() {
      const pool = yield* makePool(0)
      const [one, two] = [new Deflater(pool, takeover), new Deflater(pool, takeover)]
      const first = immediate(one.deflate(tick(1), true))
      immediate(two.deflate(tick(1), true))
      assertSameBytes(immediate(one.deflate(tick(1), true)), first)
    }))

  it.effect("returns payloads as they are after its end", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const deflater = new Deflater(pool, takeover)
      deflater.close()
      const payload = tick(1)
      assert.strictEqual(deflater.deflate(payload, true), payload)
      assert.strictEqual(pool.usage.deflaters, 0)
    }))
})

describe("Inflater", () => {
  it.effect("keeps the window of an evicted stream, and counts it", () =>
    Effect.gen(function*() {
      const pool = yield* makePool(0)
      const [one, two] = [new Inflater(pool, takeover), new Inflater(pool, takeover)]
      assert.strictEqual(inflated(one, hello.payload), "Hello")
      assert.strictEqual(inflated(two, hello.payload), "Hello")
      assert.strictEqual(pool.usage.windows, 5)
      assert.strictEqual(inflated(one, helloAgain.payload), "Hello")
      // The other one's window is kept instead.
      assert.deepInclude(pool.usage, { inflaters: 1, windows: 5 })
      for (const inflater of [one, two]) inflater.close()
      assert.strictEqual(pool.usage.windows, 0)
    }))

  it.effect("holds its stream within a message, so that the pool does not evict it", () =>
    Effect.gen(function*() {
      const pool = yield* makePool(0)
      const [one, two] = [new Inflater(pool, takeover), new Inflater(pool, takeover)]
      assert.strictEqual(inflated(one, fromHex("f2 48 cd"), false), "He")
      assert.strictEqual(inflated(two, hello.payload), "Hello")
      assert.strictEqual(inflated(one, fromHex("c9 c9 07 00")), "llo")
    }))

  it.effect("inflates more than a slice in later turns", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const payload = Buffer.concat([zeros(1), fromHex("00")])
      const inflating = new Inflater(pool, takeover).inflate(payload, true, noLimit)
      assert.isTrue(Effect.isEffect(inflating))
      assertSameBytes(yield* inflating as Effect.Effect<Uint8Array>, new Uint8Array(2 ** 20))
    }))

  it.effect("stops one byte above the budget of the message", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const result = new Inflater(pool, takeover).inflate(hello.payload, true, { used: 10, limit: 12 })
      assert.deepInclude(result, { _tag: "MessageTooLarge", size: 13, limit: 12 })
      assert.strictEqual(pool.usage.inflaters, 0)
    }))

  it.effect("returns its first failure for each later frame, and discards its stream", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const inflater = new Inflater(pool, takeover)
      const failure = inflater.inflate(fromHex("07"), true, noLimit)
      assert.deepInclude(failure, { _tag: "InvalidExtensionData", problem: "invalid block type" })
      assert.strictEqual(inflater.inflate(hello.payload, true, noLimit), failure)
      assert.strictEqual(pool.usage.inflaters, 0)
    }))

  it.effect("leaves its stream to the next connection when it ends between messages", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const inflater = new Inflater(pool, takeover)
      assert.strictEqual(inflated(inflater, hello.payload), "Hello")
      inflater.close()
      assert.strictEqual(inflated(new Inflater(pool, takeover), hello.payload), "Hello")
      assert.strictEqual(pool.usage.inflaters, 1)
    }))

  it.effect("leaves its stream to the next compressor when it ends between messages", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const deflater = new Deflater(pool, takeover)
      const first = immediate(deflater.deflate(tick(1), true))
      deflater.close()
      assertSameBytes(immediate(new Deflater(pool, takeover).deflate(tick(1), true)), first)
      assert.strictEqual(pool.usage.deflaters, 1)
    }))

  it.effect("fails after its end, also in the middle of a large message", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const inflater = new Inflater(pool, takeover)
      const inflating = inflater.inflate(zeros(4), true, noLimit)
      assert.isTrue(Effect.isEffect(inflating))
      inflater.close()
      const error = yield* Effect.flip(inflating as Effect.Effect<Uint8Array, { readonly problem: string }>)
      assert.strictEqual(error.problem, "the connection has ended")
      assert.deepInclude(inflater.inflate(hello.payload, true, noLimit), { problem: "the connection has ended" })
      assert.strictEqual(pool.usage.inflaters, 0)
    }))
})
