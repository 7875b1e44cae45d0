import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { HandshakeError, PerMessageDeflate } from "effect-ws"
import { checkDeflate } from "../../../src/internal/deflate/options.ts"

/** Each option with values that it excludes and values that it allows. */
const options: ReadonlyArray<
  readonly [option: string, excluded: ReadonlyArray<unknown>, allowed: ReadonlyArray<unknown>]
> = [
  ["serverMaxWindowBits", [7, 16, 12.5, NaN], [8, 15]],
  ["clientMaxWindowBits", [7, 16, 12.5, NaN], [8, 15]],
  ["level", [-1, 10], [0, 9]],
  ["memoryLevel", [0, 10], [1, 9]],
  ["threshold", [-1, NaN], [0, Infinity]],
  ["memoryLimit", [-1, NaN], [0, Infinity]],
  ["releaseAfter", [0, -1], ["1 second", Infinity]]
]

describe("the options of permessage-deflate", () => {
  for (const [option, excluded, allowed] of options) {
    it(`PerMessageDeflate.make throws InvalidOption for an invalid ${option}`, () => {
      const makeWith = (value: unknown) => Result.try(() => PerMessageDeflate.make({ [option]: value }))
      for (const value of excluded) {
        const thrown = Result.getOrThrow(Result.flip(makeWith(value)))
        assert.instanceOf(thrown, HandshakeError.InvalidOption)
        assert.strictEqual(thrown.option, option)
      }
      for (const value of allowed) assert.isTrue(Result.isSuccess(makeWith(value)), String(value))
    })
  }

  it("checkDeflate returns the first invalid option, and undefined for valid ones", () => {
    assert.isUndefined(checkDeflate({}))
    assert.deepInclude(checkDeflate({ level: 10 as 9, threshold: -1 }), { _tag: "InvalidOption", option: "level" })
  })
})
