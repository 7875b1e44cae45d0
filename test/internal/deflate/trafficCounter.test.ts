import { assert, describe, it } from "@effect/vitest"
import { TrafficCounter } from "../../../src/internal/deflate/trafficCounter.ts"

describe("TrafficCounter", () => {
  it("adds up the bytes with and without compression, and gives copies of the sums", () => {
    const counter = new TrafficCounter()
    const before = counter.snapshot
    counter.add(100, 30)
    counter.add(5, 7)
    assert.deepStrictEqual(before, { uncompressed: 0, compressed: 0 })
    assert.deepStrictEqual(counter.snapshot, { uncompressed: 105, compressed: 37 })
  })
})
