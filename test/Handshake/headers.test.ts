/** Sec-WebSocket-Accept, and headers by name. */
import { assert, describe, it } from "@effect/vitest"
import { Handshake } from "effect-ws"
import { sampleAccept, sampleKey } from "../support/handshakes.ts"

describe("Sec-WebSocket-Accept (RFC 6455 §1.3, §4.2.2)", () => {
  for (
    const [key, accept] of [
      [sampleKey, sampleAccept],
      ["x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="],
      ["AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="]
    ] as const
  ) {
    it(`acceptKey returns ${accept} for ${key}`, () => {
      assert.strictEqual(Handshake.acceptKey(key), accept)
    })
  }
})

describe("foldHeaders", () => {
  it("foldHeaders returns headers by lower-case name, and joins the values of repeated ones", () => {
    const headers = Handshake.foldHeaders([["A", "1"], ["b", "2"], ["a", "3"], ["Cookie", "x"], ["cookie", "y"]])
    assert.deepStrictEqual(Object.entries(headers), [["a", "1, 3"], ["b", "2"], ["cookie", "x; y"]])
  })
})
