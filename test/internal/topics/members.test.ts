import { assert, describe, it } from "@effect/vitest"
import { Members } from "../../../src/internal/topics/members.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

const change = (_tag: "Joined" | "Left", id: string, version: number, info = id) => ({
  _tag,
  epoch: "e",
  offset: 0,
  version,
  id,
  info: bytes(info)
})

describe("Members", () => {
  it("applies each change once, and notices missing ones", () => {
    const members = new Members()
    assert.strictEqual(members.apply(change("Joined", "1", 1)), "applied")
    assert.strictEqual(members.apply(change("Joined", "1", 1)), "old")
    assert.strictEqual(members.apply(change("Left", "1", 3)), "missing")
    assert.deepStrictEqual(members.all.map(({ id }) => id), ["1"])
    assert.strictEqual(members.apply(change("Left", "1", 2)), "applied")
    assert.deepStrictEqual(members.all, [])
  })

  it("takes over a snapshot, and returns the changes that lead to it", () => {
    const members = new Members()
    for (const [version, id] of ["1", "2", "3"].entries()) members.apply(change("Joined", id, version + 1))
    const position = { epoch: "e", offset: 4 }
    const snapshot = [{ id: "2", info: bytes("2") }, { id: "3", info: bytes("new") }, { id: "4", info: bytes("4") }]
    const changes = members.replace({ position, version: 9, members: snapshot }, position)
    assert.deepStrictEqual(changes.map(({ _tag, id }) => `${_tag} ${id}`), ["Left 1", "Joined 3", "Joined 4"])
    assert.deepStrictEqual(members.all.map(({ id }) => id), ["2", "3", "4"])
    assert.strictEqual(members.apply(change("Left", "2", 10)), "applied")
  })
})
