import { assert, describe, it } from "@effect/vitest"
import { LinkedList, type Node } from "../../../src/internal/runtime/linkedList.ts"

class Someone implements Node<Someone> {
  readonly name: string
  previous: Someone | undefined = undefined
  next: Someone | undefined = undefined

  constructor(name: string) {
    this.name = name
  }
}

const make = (names: string) => {
  const members = new LinkedList<Someone>()
  const all = Object.fromEntries(Array.from(names, (name) => [name, new Someone(name)]))
  for (const someone of Object.values(all)) members.add(someone)
  return { members, all, names: () => Array.from(members, ({ name }) => name).join("") }
}

describe("Members", () => {
  it("are there in the order in which they came, whoever goes", () => {
    for (const leaving of ["a", "b", "d", "ab", "bc", "cd", "da", "dcba"]) {
      const { all, members, names } = make("abcd")
      for (const name of leaving) assert.isTrue(members.delete(all[name]))
      const left = Array.from("abcd").filter((name) => !leaving.includes(name)).join("")
      assert.deepStrictEqual([names(), members.size], [left, left.length])
      members.add(all[leaving[0]])
      assert.deepStrictEqual([names(), members.size], [left + leaving[0], left.length + 1])
    }
  })

  it("go once, and only from where they are", () => {
    const { all, members } = make("ab")
    assert.deepStrictEqual([members.delete(all["a"]), members.delete(all["a"])], [true, false])
    assert.isFalse(members.delete(new Someone("c")))
    assert.isTrue(members.delete(all["b"]))
    assert.deepStrictEqual([members.delete(all["b"]), members.size], [false, 0])
  })

  it("are told one after the other, whoever goes meanwhile", () => {
    const { all, members, names } = make("abcd")
    const told: Array<string> = []
    for (const { name } of members) {
      told.push(name)
      members.delete(all["b"])
      members.delete(all[name])
    }
    assert.deepStrictEqual([told.join(""), names()], ["abcd", ""])
  })

  it("do not lead to those who are still there once they are gone", () => {
    const { all, members } = make("abc")
    members.delete(all["b"])
    assert.deepStrictEqual([all["b"].previous, all["b"].next], [undefined, undefined])
  })
})
