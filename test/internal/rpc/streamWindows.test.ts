import { Effect } from "effect"
import { assert, describe, it } from "vitest"
import { StreamWindows } from "../../../src/internal/rpc/streamWindows.ts"
import { memoryInUse } from "../../support/resources.ts"

/** A generator of numbers below `n` that repeats for a seed. */
const generator = (seed: number) => (n: number): number => {
  seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff
  return (seed >> 8) % n
}

describe("StreamWindows", () => {
  it("lets a stream send until its unacknowledged bytes reach the limit", () => {
    const windows = new StreamWindows(10)
    windows.send(1, 4)
    assert.isTrue(windows.hasRoom(1))
    windows.send(1, 5)
    assert.isTrue(windows.hasRoom(1))
    windows.send(1, 1)
    assert.isFalse(windows.hasRoom(1))
    assert.isTrue(windows.acknowledge(1))
    windows.send(1, 4)
    assert.isFalse(windows.hasRoom(1))
  })

  it("lets a stream send one chunk at a time with a limit of 0, or with chunks above the limit", () => {
    for (const limit of [0, 10]) {
      const windows = new StreamWindows(limit)
      for (let i = 0; i < 3; i++) {
        windows.send("a", 11)
        assert.isFalse(windows.hasRoom("a"))
        assert.isTrue(windows.acknowledge("a"))
      }
    }
  })

  it("does not let a stream go on whose unacknowledged bytes are still at the limit", () => {
    const windows = new StreamWindows(10)
    windows.send(1, 1)
    windows.send(1, 20)
    assert.isFalse(windows.hasRoom(1))
    assert.isFalse(windows.acknowledge(1))
    assert.isTrue(windows.acknowledge(1))
  })

  it("ignores acknowledgements of streams that do not wait, that have ended, and that do not exist", () => {
    const windows = new StreamWindows(10)
    windows.send(1, 1)
    assert.isTrue(windows.hasRoom(1))
    assert.isFalse(windows.acknowledge(1))
    assert.isFalse(windows.acknowledge(1))
    assert.isFalse(windows.acknowledge(2))
    for (const end of [() => windows.end(1), () => windows.clear()]) {
      windows.send(1, 10)
      assert.isFalse(windows.hasRoom(1))
      end()
      assert.isFalse(windows.acknowledge(1))
    }
  })

  it("lets a stream go on whose chunks were acknowledged before it asked", () => {
    const windows = new StreamWindows(10)
    windows.send(1, 20)
    assert.isFalse(windows.acknowledge(1))
    assert.isTrue(windows.hasRoom(1))
  })

  it("keeps nothing of a stream without a limit, whose client acknowledges nothing", async () => {
    const windows = new StreamWindows(Infinity)
    const before = await Effect.runPromise(memoryInUse)
    for (let i = 0; i < 2_000_000; i++) windows.send(1, 10)
    assert.isTrue(windows.hasRoom(1))
    assert.isBelow(await Effect.runPromise(memoryInUse) - before, 4_000_000)
    assert.isFalse(windows.acknowledge(1))
  })

  it("behaves as a list of unacknowledged sizes does, for random streams", () => {
    const next = generator(7)
    for (let round = 0; round < 200; round++) {
      const limit = next(50)
      const windows = new StreamWindows(limit)
      const model = [0, 1, 2].map(() => ({ sizes: new Array<number>(), waits: false }))
      for (let step = 0; step < 60; step++) {
        const id = next(3)
        const stream = model[id]
        const total = () => stream.sizes.reduce((sum, size) => sum + size, 0)
        if (next(2) === 0 && !stream.waits) {
          const size = next(20)
          windows.send(id, size)
          stream.sizes.push(size)
          stream.waits = total() >= limit
          assert.strictEqual(windows.hasRoom(id), !stream.waits)
        } else {
          const acknowledged = stream.sizes.shift() !== undefined
          const resumes = acknowledged && stream.waits && total() < limit
          // With a limit of 0, the last acknowledgement lets the stream go on.
          const isLast = acknowledged && stream.waits && stream.sizes.length === 0
          if (resumes || isLast) stream.waits = false
          assert.strictEqual(windows.acknowledge(id), resumes || isLast)
        }
      }
    }
  })
})
