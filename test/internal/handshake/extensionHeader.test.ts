import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { extensionHeader } from "../../../src/internal/handshake/extensionHeader.ts"

describe("extensionHeader (RFC 6455 §9.1)", () => {
  it("returns no header without extensions", () => {
    assert.deepStrictEqual(extensionHeader(), Result.succeed([]))
    assert.deepStrictEqual(extensionHeader([]), Result.succeed([]))
  })

  it("writes all extensions into one header, with parameters with and without values", () => {
    const extensions = [
      { name: "a", parameters: [{ name: "p", value: undefined }, { name: "q", value: "7" }] },
      { name: "b", parameters: [] }
    ]
    assert.deepStrictEqual(extensionHeader(extensions), Result.succeed([["Sec-WebSocket-Extensions", "a; p; q=7, b"]]))
  })

  it("fails with InvalidHeader if a name or a value is no token", () => {
    for (
      const invalid of [
        { name: "a b", parameters: [] },
        { name: "", parameters: [] },
        { name: "a", parameters: [{ name: "p,q", value: undefined }] },
        { name: "a", parameters: [{ name: "p", value: "1; q" }] },
        { name: "a", parameters: [{ name: "p", value: "1\r\nX: y" }] }
      ]
    ) {
      const result = extensionHeader([{ name: "valid", parameters: [] }, invalid])
      assert.isTrue(Result.isFailure(result) && result.failure._tag === "InvalidHeader", JSON.stringify(invalid))
    }
  })
})
