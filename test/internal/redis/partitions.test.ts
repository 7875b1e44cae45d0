import { assert, describe, it } from "@effect/vitest"
import { slotCount, slotOf, tagOf, tags } from "../../../src/internal/redis/partitions.ts"

describe("slotOf, tags and tagOf", () => {
  it("computes slots as Redis Cluster does", () => {
    // CRC16 of "123456789" is 0x31C3 in the specification of Redis Cluster.
    assert.strictEqual(slotOf("123456789"), 0x31c3)
    assert.strictEqual(slotOf("foo"), 12182)
  })

  it("spreads the tags evenly over all slots", () => {
    assert.strictEqual(new Set(tags).size, 128)
    const width = slotCount / tags.length
    for (const [i, tag] of tags.entries()) assert.strictEqual(Math.floor(slotOf(tag) / width), i)
  })

  it("assigns channels evenly, and always the same way", () => {
    const counts = new Map<string, number>()
    for (let i = 0; i < 12_800; i++) {
      const tag = tagOf(`room/${i}`)
      assert.include(tags, tag)
      counts.set(tag, (counts.get(tag) ?? 0) + 1)
    }
    assert.strictEqual(counts.size, 128)
    assert.isBelow(Math.max(...counts.values()), 300)
    // Processes of different versions must agree.
    assert.deepStrictEqual(["", "room/lobby", "größe 😀"].map(tagOf), ["115", "7", "66"])
  })
})
