import { assert, describe, it } from "@effect/vitest"
import { checkClose, fitReason } from "../../../src/internal/connection/closeRules.ts"

describe("checkClose (RFC 6455 §7.4)", () => {
  const cases: ReadonlyArray<readonly [number, string, string | undefined]> = [
    [1000, "", undefined],
    [1000, "é".repeat(61), undefined],
    [1000, `${"é".repeat(61)}ab`, "CloseReasonTooLong"],
    [4999, "x".repeat(123), undefined],
    [4999, "x".repeat(124), "CloseReasonTooLong"],
    [1005, "", "InvalidCloseCode"],
    [5000, "x".repeat(124), "InvalidCloseCode"],
    ["1000" as unknown as number, "", "InvalidInput"],
    [1000, 1 as unknown as string, "InvalidInput"]
  ]
  for (const [code, reason, tag] of cases) {
    it(`returns ${tag ?? "no error"} for ${typeof code} ${code}, ${Buffer.byteLength(String(reason))} bytes`, () => {
      assert.strictEqual(checkClose(code, reason)?._tag, tag)
    })
  }
})

describe("fitReason (RFC 6455 §5.5.1)", () => {
  it("keeps a text of 123 bytes", () => {
    const text = "x".repeat(123)
    assert.strictEqual(fitReason(text), text)
  })

  for (const [character, size] of [["x", 1], ["é", 2], ["世", 3], ["😀", 4]] as const) {
    it(`cuts a longer text between characters of ${size} bytes`, () => {
      for (const start of ["", "a", "ab", "abc"]) {
        const count = Math.floor((123 - start.length) / size)
        assert.strictEqual(fitReason(start + character.repeat(200)), start + character.repeat(count))
      }
    })
  }
})
