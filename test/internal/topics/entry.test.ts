import { assert, describe, it } from "@effect/vitest"
import { Entry } from "../../../src/internal/topics/entry.ts"

describe("the size of an entry", () => {
  const at = { epoch: "e", offset: 1 }
  const bytes = new Uint8Array(100)
  const sizeOf = (event: ConstructorParameters<typeof Entry>[1]) => new Entry("c", event, 1).size

  it("counts 256 bytes and those of a message, with its info", () => {
    assert.strictEqual(sizeOf({ _tag: "Publication", ...at, data: bytes }), 356)
    assert.strictEqual(sizeOf({ _tag: "Publication", ...at, data: bytes, info: new Uint8Array(10) }), 366)
  })

  it("counts the values of members that join and leave", () => {
    for (const _tag of ["Joined", "Left"] as const) {
      assert.strictEqual(sizeOf({ _tag, ...at, version: 1, id: "a", info: bytes }), 356)
    }
  })
})
