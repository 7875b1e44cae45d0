import { assert, describe, it } from "@effect/vitest"
import { Frame } from "effect-ws"
import { bytes, rfcKey, toHex } from "../support/frames.ts"
import { patterned } from "../support/properties.ts"

describe("Frame.encode", () => {
  it("does not change the payload of the frame", () => {
    for (const length of [5, 500]) {
      const payload = patterned(length)
      Frame.encode(Frame.binary(payload), rfcKey)
      assert.strictEqual(toHex(payload), toHex(patterned(length)))
    }
  })

  it("copies the payload", () => {
    const payload = bytes(1, 2, 3)
    const wire = Frame.encode(Frame.binary(payload))
    payload.fill(9)
    assert.strictEqual(toHex(wire), "8203010203")
  })

  it("sets the mask bit with a key of zero", () => {
    assert.strictEqual(toHex(Frame.encode(Frame.text("a"), 0)), "81810000000061")
  })

  it("writes the low byte of a key first, also of a negative one", () => {
    assert.strictEqual(toHex(Frame.encode(Frame.text("\0\0\0\0\0"), 0x04030201)), "8185010203040102030401")
    assert.strictEqual(toHex(Frame.encode(Frame.text("\0"), -2)), "8181fefffffffe")
    assert.strictEqual(toHex(Frame.encode(Frame.text("\0"), -(2 ** 31))), "81810000008000")
  })

  for (const key of [undefined, rfcKey]) {
    it(`encodeInto writes at an offset, and changes no other bytes, ${key === undefined ? "unmasked" : "masked"}`, () => {
      for (const length of [0, 3, 126, 300]) {
        const frame = Frame.binary(patterned(length))
        const expected = Frame.encode(frame, key)
        const target = new Uint8Array(expected.length + 12).fill(0xee)
        const end = Frame.encodeInto(target, 5, frame, key)
        assert.strictEqual(end, 5 + expected.length)
        assert.strictEqual(toHex(target), "ee".repeat(5) + toHex(expected) + "ee".repeat(7))
      }
    })
  }
})
