/** Lifetimes of tokens, in the units of the protocol. */
import { assert, describe, it } from "@effect/vitest"
import { isExpired, ttlOf } from "../../../src/internal/centrifuge/expiry.ts"

describe("the lifetime of a token", () => {
  for (
    const [input, expected] of [
      [undefined, undefined],
      [Infinity, undefined],
      ["5000000000 seconds", undefined],
      ["1 millis", { millis: 1, seconds: 1 }],
      ["1500 millis", { millis: 1500, seconds: 2 }],
      ["1 hour", { millis: 3_600_000, seconds: 3600 }]
    ] as const
  ) {
    it(`is ${expected === undefined ? "without a limit" : `told as ${expected.seconds} seconds`} for ${String(input)}`, () => {
      assert.deepStrictEqual(ttlOf(input), expected)
    })
  }

  it("ends at 0", () => {
    assert.deepStrictEqual([undefined, 0, "1 millis", Infinity].map((value) => isExpired(value as 0)), [
      false,
      true,
      false,
      false
    ])
  })
})
