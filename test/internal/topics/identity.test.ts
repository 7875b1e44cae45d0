import { assert, describe, it } from "@effect/vitest"
import { identityOf, valueOf, withIdentity } from "../../../src/internal/topics/identity.ts"

describe("identity", () => {
  it("splits what it has joined, whichever part is empty", () => {
    for (const [value, identity] of [[[1, 2], [3, 4]], [[1], []], [[], [3]], [[1], [0, 3]]]) {
      const info = withIdentity(Uint8Array.from(value), Uint8Array.from(identity))
      assert.deepStrictEqual([[...valueOf(info)], [...identityOf(info) ?? [-1]]], [value, identity])
    }
  })

  it("takes all bytes for the value if nothing separates them", () => {
    const info = Uint8Array.of(1, 2)
    assert.deepStrictEqual([valueOf(info), identityOf(info)], [info, undefined])
  })
})
