import { assert, describe, it } from "@effect/vitest"
import { Entry } from "../../../src/internal/topics/entry.ts"
import { Budget, Segment } from "../../../src/internal/topics/segment.ts"

const entry = (seq: number, bytes = 100): Entry =>
  new Entry("c", { _tag: "Publication", epoch: "e", offset: seq, data: new Uint8Array(bytes) }, seq)

const seqs = (segment: Segment): Array<number | undefined> =>
  Array.from({ length: segment.size }, (_, i) => segment.at(i)?.seq)

describe("Segment", () => {
  it("keeps its order while entries come and go", () => {
    const segment = new Segment(new Budget(Number.POSITIVE_INFINITY))
    for (let seq = 1; seq <= 500; seq++) {
      segment.push(entry(seq))
      if (seq > 10) segment.shift()
    }
    assert.deepStrictEqual(seqs(segment), Array.from({ length: 10 }, (_, i) => 491 + i))
    assert.deepStrictEqual([segment.first?.seq, segment.last?.seq, segment.at(10)], [491, 500, undefined])
    segment.clear()
    assert.deepStrictEqual([segment.size, segment.first, segment.last], [0, undefined, undefined])
  })
})

describe("Budget", () => {
  it("drops the oldest entries, whatever their segment", () => {
    const budget = new Budget(1500)
    const [left, right] = [new Segment(budget), new Segment(budget)]
    for (let seq = 1; seq <= 6; seq++) (seq % 2 === 0 ? left : right).push(entry(seq))
    assert.deepStrictEqual([seqs(left), seqs(right)], [[4, 6], [3, 5]])
    assert.isAtMost(budget.used, 1500)
  })

  it("keeps the newest entry, whatever its size", () => {
    const budget = new Budget(0)
    const segment = new Segment(budget)
    segment.push(entry(1))
    segment.push(entry(2, 10_000))
    assert.deepStrictEqual(seqs(segment), [2])
    segment.clear()
    assert.strictEqual(budget.used, 0)
  })

  it("counts encodings, once for each format", () => {
    const budget = new Budget(Number.POSITIVE_INFINITY)
    const segment = new Segment(budget)
    const added = entry(1)
    segment.push(added)
    const before = budget.used
    const [one, other, silent] = [{ encode: () => "x".repeat(1000) }, { encode: () => "y" }, {
      encode: () => undefined
    }]
    const first = added.encodedFor(one)
    assert.strictEqual(added.encodedFor(one), first)
    const afterOne = budget.used
    assert.isAbove(afterOne - before, 1000)
    assert.strictEqual(added.encodedFor(other), added.encodedFor(other))
    assert.isAbove(budget.used, afterOne)
    assert.isUndefined(added.encodedFor(silent))
    segment.clear()
    assert.strictEqual(budget.used, 0)
  })
})
