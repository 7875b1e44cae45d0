import { assert, describe, it } from "@effect/vitest"
import { CloseCode } from "effect-ws"
import { pageCode, pageCodes } from "../../../src/internal/browser/closeCodes.ts"

describe("pageCodes", () => {
  it("allows 1000 and 3000 to 4999, as WebSocket.close does", () => {
    const allowed = Array.from({ length: 65_536 }, (_, code) => code).filter(pageCodes.isSendable)
    assert.deepStrictEqual(allowed, [1000, ...Array.from({ length: 2000 }, (_, i) => 3000 + i)])
    assert.isFalse(pageCodes.isSendable(3000.5))
  })
})

describe("pageCode", () => {
  const cases: ReadonlyArray<readonly [number, number]> = [
    [CloseCode.NormalClosure, 1000],
    [CloseCode.GoingAway, 1000],
    [CloseCode.UnsupportedData, 4003],
    [CloseCode.InvalidPayloadData, 4007],
    [CloseCode.PolicyViolation, 4008],
    [CloseCode.MessageTooBig, 4009],
    [CloseCode.InternalError, 4011],
    [4321, 4321]
  ]
  for (const [code, sent] of cases) {
    it(`sends ${sent} for ${code}`, () => assert.strictEqual(pageCode(code), sent))
  }
})
