import { assert, describe, it } from "@effect/vitest"
import { rejectionOf } from "../../../src/internal/centrifuge/clientLink.ts"

describe("rejectionOf", () => {
  it("fills in what the server leaves out of an error", () => {
    const parts = (error: object) => {
      const { code, reason, temporary } = rejectionOf({ error })!
      return [code, reason, temporary]
    }
    assert.deepStrictEqual(parts({}), [0, "", false])
    assert.deepStrictEqual(parts({ code: 103 }), [103, "permission denied", false])
    assert.deepStrictEqual(parts({ code: 100, message: "later", temporary: true }), [100, "later", true])
  })

  it("returns undefined for a reply without an error", () => {
    assert.isUndefined(rejectionOf({ rpc: {} }))
  })
})
