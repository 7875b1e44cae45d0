import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { type Lease, type LeaseHolder, ZlibPool } from "../../../src/internal/deflate/streamPool.ts"
import { syncFlush } from "../../../src/internal/deflate/zlibStream.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"

/** A pool with one user, on the timers of the test's Clock. */
const makePool = (options: { readonly memoryLimit?: number; readonly releaseAfter?: number } = {}) =>
  Effect.map(Effect.context<never>(), (context) => {
    const pool = new ZlibPool({ level: 2, memoryLevel: 5, releaseAfter: 1000, memoryLimit: Infinity, ...options })
    pool.addUser(Timers.of(context))
    return pool
  })

/** A holder that records its evicted leases, whether their streams were open then. */
const recorder = (evicted: Array<Lease> = []): LeaseHolder & { readonly evicted: Array<Lease> } => ({
  evicted,
  onEvict: (lease) => {
    assert.isFalse(lease.stream.isClosed)
    evicted.push(lease)
  }
})

describe("ZlibPool", () => {
  it.effect("leases an idle stream again, with an empty window", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const first = pool.leaseInflater(15, undefined)
      // "Hello", stored.
      first.stream.step(syncFlush, Buffer.from("000500faff48656c6c6f", "hex"), 0, 10)
      pool.release(first)
      const second = pool.leaseInflater(15, undefined)
      assert.strictEqual(second, first)
      assert.isTrue(second.isBusy)
      assert.strictEqual(second.stream.takeWindow().length, 0)
      assert.strictEqual(pool.usage.inflaters, 1)
    }))

  it.effect("leases a stream of the same direction and window size only", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const deflater = pool.leaseDeflater(15)
      const inflater = pool.leaseInflater(15, undefined)
      for (const lease of [deflater, inflater]) pool.release(lease)
      const others = [pool.leaseDeflater(14), pool.leaseInflater(14, undefined)]
      for (const lease of others) assert.notInclude([deflater, inflater], lease)
      assert.strictEqual(pool.leaseDeflater(15), deflater)
      assert.strictEqual(pool.leaseInflater(15, undefined), inflater)
    }))

  it.effect("closes a released stream that began with a window", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const lease = pool.leaseInflater(15, Uint8Array.of(1, 2, 3))
      pool.release(lease)
      assert.isTrue(lease.stream.isClosed)
      assert.deepStrictEqual(pool.usage, { deflaters: 0, inflaters: 0, memory: 0, windows: 0 })
    }))

  it.effect("keeps at most 8 idle streams of a kind", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const leases = Array.from({ length: 10 }, () => pool.leaseDeflater(15))
      for (const lease of leases) pool.release(lease)
      assert.strictEqual(pool.usage.deflaters, 8)
      assert.deepStrictEqual(leases.map(({ stream }) => stream.isClosed), [
        ...Array<boolean>(8).fill(false),
        true,
        true
      ])
    }))

  it.effect("counts the memory of its streams, and discards a stream once", () =>
    Effect.gen(function*() {
      const pool = yield* makePool()
      const one = pool.leaseDeflater(15)
      const two = pool.leaseInflater(9, undefined)
      assert.strictEqual(pool.usage.memory, one.stream.memory + two.stream.memory)
      pool.discard(one)
      pool.discard(one)
      assert.deepStrictEqual(pool.usage, { deflaters: 0, inflaters: 1, memory: two.stream.memory, windows: 0 })
    }))

  it.effect("evicts the least recently used streams above memoryLimit, and never a busy one", () =>
    Effect.gen(function*() {
      const holder = recorder()
      const size = (yield* makePool()).leaseDeflater(15).stream.memory
      const pool = yield* makePool({ memoryLimit: 3 * size })
      const [a, b, c] = Array.from({ length: 3 }, () => pool.leaseDeflater(15))
      for (const lease of [b, a]) pool.markIdle(lease, holder)
      pool.leaseDeflater(15)
      assert.deepStrictEqual(holder.evicted, [b])
      pool.leaseDeflater(15)
      assert.deepStrictEqual(holder.evicted, [b, a])
      pool.leaseDeflater(15)
      assert.isFalse(c.stream.isClosed)
      assert.strictEqual(pool.usage.deflaters, 4)
    }))

  it.effect("sweeps streams that were unused for releaseAfter, and at most twice as long", () =>
    Effect.gen(function*() {
      const holder = recorder()
      const pool = yield* makePool({ releaseAfter: 1000 })
      const [busy, early, late] = Array.from({ length: 3 }, () => pool.leaseDeflater(15))
      pool.markIdle(early, holder)
      yield* TestClock.adjust(500)
      pool.markIdle(late, holder)
      yield* TestClock.adjust(499)
      assert.deepStrictEqual(holder.evicted, [])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(holder.evicted, [])
      pool.markIdle(late, holder)
      yield* TestClock.adjust(1000)
      assert.deepStrictEqual(holder.evicted, [early])
      yield* TestClock.adjust(1000)
      assert.deepStrictEqual(holder.evicted, [early, late])
      assert.isFalse(busy.stream.isClosed)
    }))

  it.effect("stops its sweeps without streams, and starts them again with the next stream", () =>
    Effect.gen(function*() {
      const holder = recorder()
      const pool = yield* makePool({ releaseAfter: 1000 })
      pool.discard(pool.leaseDeflater(15))
      yield* TestClock.adjust(600)
      const lease = pool.leaseDeflater(15)
      pool.markIdle(lease, holder)
      // A sweep that had not stopped would be the second now.
      yield* TestClock.adjust(1500)
      assert.deepStrictEqual(holder.evicted, [])
      yield* TestClock.adjust(500)
      assert.deepStrictEqual(holder.evicted, [lease])
    }))

  it.effect("stops the sweep on the timers that it started on, after users with other timers", () =>
    Effect.gen(function*() {
      const pool = yield* makePool({ releaseAfter: 1000 })
      const lease = pool.leaseDeflater(15)
      const other = new Timers((yield* Effect.map(Effect.context<never>(), Timers.of)).clock)
      let fired = 0
      other.schedule(1500, () => fired++)
      pool.addUser(other)
      pool.discard(lease)
      yield* TestClock.adjust(2000)
      assert.strictEqual(fired, 1)
    }))

  it.effect("evicts all idle streams with its last user", () =>
    Effect.gen(function*() {
      const holder = recorder()
      const pool = yield* makePool()
      pool.addUser(Timers.of(yield* Effect.context<never>()))
      const lease = pool.leaseDeflater(15)
      pool.markIdle(lease, holder)
      pool.release(pool.leaseInflater(15, undefined))
      pool.removeUser()
      assert.strictEqual(pool.connections, 1)
      assert.deepStrictEqual(holder.evicted, [])
      pool.removeUser()
      assert.deepStrictEqual(holder.evicted, [lease])
      assert.deepStrictEqual(pool.usage, { deflaters: 0, inflaters: 0, memory: 0, windows: 0 })
    }))
})
