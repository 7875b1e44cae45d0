import { assert, describe, it } from "@effect/vitest"
import { LinkedList, type Node } from "../../../src/internal/runtime/linkedList.ts"

class Member implements Node<Member> {
  readonly name: string
  previous: Member | undefined = undefined
  next: Member | undefined = undefined

  constructor(name: string) {
    this.name = name
  }
}

const make = (names: string) => {
  const members = new LinkedList<Member>()
  const all = Object.fromEntries(Array.from(names, (name) => [name, new Member(name)]))
  for (const member of Object.values(all)) members.add(member)
  return { members, all, names: () => Array.from(members, ({ name }) => name).join("") }
}

describe("LinkedList", () => {
  it("iterates in insertion order after removals", () => {
    for (const leaving of ["a", "b", "d", "ab", "bc", "cd", "da", "dcba"]) {
      const { all, members, names } = make("abcd")
      for (const name of leaving) assert.isTrue(members.delete(all[name]))
      const left = Array.from("abcd").filter((name) => !leaving.includes(name)).join("")
      assert.deepStrictEqual([names(), members.size], [left, left.length])
      members.add(all[leaving[0]])
      assert.deepStrictEqual([names(), members.size], [left + leaving[0], left.length + 1])
    }
  })

  it("deletes a member once, and no other value", () => {
    const { all, members } = make("ab")
    assert.deepStrictEqual([members.delete(all["a"]), members.delete(all["a"])], [true, false])
    assert.isFalse(members.delete(new Member("c")))
    assert.isTrue(members.delete(all["b"]))
    assert.deepStrictEqual([members.delete(all["b"]), members.size], [false, 0])
  })

  it("iterates over all members, even if some are deleted meanwhile", () => {
    const { all, members, names } = make("abcd")
    const visited: Array<string> = []
    for (const { name } of members) {
      visited.push(name)
      members.delete(all["b"])
      members.delete(all[name])
    }
    assert.deepStrictEqual([visited.join(""), names()], ["abcd", ""])
  })

  it("a deleted member does not refer to the others", () => {
    const { all, members } = make("abc")
    members.delete(all["b"])
    assert.deepStrictEqual([all["b"].previous, all["b"].next], [undefined, undefined])
  })
})
