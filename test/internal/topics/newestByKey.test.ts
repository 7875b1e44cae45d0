import { assert, describe, it } from "@effect/vitest"
import { Entry } from "../../../src/internal/topics/entry.ts"
import { NewestByKey } from "../../../src/internal/topics/newestByKey.ts"

const publication = (offset: number, key: string) =>
  new Entry("c", { _tag: "Publication", epoch: "e", offset, data: new TextEncoder().encode(key) }, offset)

const make = () => new NewestByKey((data) => new TextDecoder().decode(data))

describe("NewestByKey", () => {
  it("marks a message once a newer one has the same key", () => {
    const newest = make()
    const entries = ["a", "b", "a", "a"].map((key, i) => publication(i, key))
    for (const entry of entries) newest.add(entry)
    newest.add(entries[3])
    assert.deepStrictEqual(entries.map(({ isSuperseded }) => isSuperseded), [true, false, true, false])
  })

  it("forgets a removed message, unless a newer one has its key", () => {
    const newest = make()
    const [first, second, third, fourth] = ["a", "a", "a", "a"].map((key, i) => publication(i, key))
    newest.add(first)
    newest.add(second)
    newest.remove(first)
    newest.add(third)
    assert.strictEqual(second.isSuperseded, true)
    newest.remove(third)
    newest.add(fourth)
    assert.strictEqual(third.isSuperseded, false)
  })

  it("forgets all messages when it is cleared", () => {
    const newest = make()
    const entry = publication(1, "a")
    newest.add(entry)
    newest.clear()
    newest.add(publication(2, "a"))
    assert.strictEqual(entry.isSuperseded, false)
  })

  it("asks for the keys of messages only, and for none while it is empty", () => {
    let asked = 0
    const newest = new NewestByKey(() => {
      asked++
      return "a"
    })
    const gap = new Entry("c", { _tag: "Gap", from: { epoch: "e", offset: 0 }, to: { epoch: "e", offset: 2 } }, 1)
    newest.add(gap)
    newest.remove(publication(1, "a"))
    assert.strictEqual(asked, 0)
    newest.add(publication(2, "a"))
    newest.remove(gap)
    assert.strictEqual(asked, 1)
  })
})
