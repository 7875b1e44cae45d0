import { assert, describe, it } from "@effect/vitest"
import { Log } from "../../../src/internal/topics/log.ts"
import { Budget } from "../../../src/internal/topics/segment.ts"
import type { ChannelEvent, Entry } from "../../../src/internal/topics/entry.ts"

const message = (offset: number, epoch = "e"): ChannelEvent => ({
  _tag: "Publication",
  epoch,
  offset,
  data: new Uint8Array(100)
})

const joined = (offset: number): ChannelEvent => ({
  _tag: "Joined",
  epoch: "e",
  offset,
  version: 1,
  id: "1",
  info: new Uint8Array()
})

const makeLog = (limit = Number.POSITIVE_INFINITY) => {
  const dropped: Array<number> = []
  const budget = new Budget(limit)
  const log = new Log("c", budget, (entry: Entry) => void dropped.push(entry.seq))
  log.reset({ epoch: "e", offset: 0 })
  return { budget, dropped, log }
}

const offsetsAfter = (log: Log, seq: number): Array<number> => {
  const offsets: Array<number> = []
  for (let entry = log.after(seq); entry !== undefined; entry = log.after(seq)) {
    if (entry.event._tag === "Publication") offsets.push(entry.event.offset)
    seq = entry.seq
  }
  return offsets
}

describe("Log", () => {
  it("locates each position between two messages, behind changes of presence", () => {
    const { log } = makeLog()
    log.append(message(1), true)
    log.append(joined(1), true)
    log.append(message(2), true)
    log.append(message(3), true)
    for (const offset of [0, 1, 2, 3]) {
      const seq = log.locate({ epoch: "e", offset })!
      assert.deepStrictEqual(offsetsAfter(log, seq), [1, 2, 3].slice(offset))
    }
    assert.strictEqual(log.locate({ epoch: "e", offset: 1 }), 2)
  })

  it("does not locate positions of other epochs, beyond the newest message, or before those in memory", () => {
    const { log } = makeLog()
    for (const offset of [1, 2, 3, 4]) log.append(message(offset), true)
    log.trim(2)
    assert.isUndefined(log.locate({ epoch: "f", offset: 3 }))
    assert.isUndefined(log.locate({ epoch: "e", offset: 5 }))
    assert.isUndefined(log.locate({ epoch: "e", offset: 1 }))
    assert.deepStrictEqual(offsetsAfter(log, log.locate({ epoch: "e", offset: 2 })!), [3, 4])
    assert.deepStrictEqual(log.base, { epoch: "e", offset: 2 })
  })

  it("locates only positions of the current epoch once the epoch has changed", () => {
    const { log } = makeLog()
    log.append(message(1), true)
    log.append({ _tag: "Gap", from: log.position, to: { epoch: "f", offset: 7 } }, true)
    log.append(message(8, "f"), true)
    assert.isUndefined(log.locate({ epoch: "e", offset: 1 }))
    assert.isUndefined(log.locate({ epoch: "f", offset: 6 }))
    assert.deepStrictEqual(offsetsAfter(log, log.locate({ epoch: "f", offset: 7 })!), [8])
  })

  it("keeps the newest event later, if none before it is in memory", () => {
    const { log } = makeLog()
    log.append(message(1), false)
    const second = log.append(message(2), false)
    assert.isFalse(log.has(1))
    log.keep(second)
    assert.deepStrictEqual(log.base, { epoch: "e", offset: 1 })
    assert.deepStrictEqual(offsetsAfter(log, 1), [2])
    const gap = makeLog().log
    gap.keep(gap.append({ _tag: "Gap", from: gap.position, to: { epoch: "e", offset: 4 } }, false))
    assert.deepStrictEqual(gap.base, { epoch: "e", offset: 0 })
  })

  it("keeps a change of presence later, and locates positions in gaps within an epoch", () => {
    const { log } = makeLog()
    log.keep(log.append(joined(0), false))
    assert.deepStrictEqual(log.base, { epoch: "e", offset: 0 })
    log.append({ _tag: "Gap", from: log.position, to: { epoch: "e", offset: 4 } }, true)
    log.append(message(5), true)
    assert.deepStrictEqual([0, 3, 4, 5].map((offset) => log.locate({ epoch: "e", offset })), [1, 1, 2, 3])
    assert.deepStrictEqual(offsetsAfter(log, 2), [5])
  })

  it("moves its beginning when the budget drops events", () => {
    const { budget, dropped, log } = makeLog(1000)
    for (let offset = 1; offset <= 5; offset++) log.append(message(offset), true)
    assert.deepStrictEqual(dropped, [1, 2, 3])
    assert.isAtMost(budget.used, 1000)
    assert.isFalse(log.has(2))
    assert.isTrue(log.has(3))
    assert.deepStrictEqual(log.base, { epoch: "e", offset: 3 })
    log.clear()
    assert.strictEqual(budget.used, 0)
  })
})
