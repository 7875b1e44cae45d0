import { assert, describe, it } from "@effect/vitest"
import { CloseCode, Frame } from "effect-ws"
import { bytes, concat, facts, hex, toHex } from "../support/frames.ts"
import { anyBytes, anyText, integer } from "../support/properties.ts"

describe("close frames (RFC 6455 §5.5.1)", () => {
  for (
    const [name, frame, payload] of [
      ["without anything", Frame.close(), ""],
      ["with 1005, which is not on the wire", Frame.close(CloseCode.NoStatusReceived, "not sent"), ""],
      ["with a code", Frame.close(1000), "03e8"],
      ["with another code", Frame.close(4999), "1387"],
      ["with a reason", Frame.close(1001, "bye"), "03e9627965"],
      ["with a reason beyond ASCII", Frame.close(1001, "é€😀"), "03e9c3a9e282acf09f9880"],
      ["with half of a surrogate pair", Frame.close(1001, "a\ud83d"), "03e961efbfbd"]
    ] as const
  ) {
    it(`close writes a close frame ${name}`, () => {
      assert.deepStrictEqual(facts(frame), { opcode: 8, fin: true, reserved: 0, payload })
    })
  }

  for (
    const [name, reason, kept] of [
      ["123 bytes are kept", "a".repeat(123), 123],
      ["124 bytes are cut to 123", "a".repeat(124), 123],
      ["a code point of two bytes is not cut", "é".repeat(62), 122],
      ["a code point of three bytes just fits", "€".repeat(42), 123],
      ["a code point of four bytes is not cut", "😀".repeat(31), 120],
      ["a code point of four bytes is not cut after one byte", "abc" + "😀".repeat(31), 123],
      ["a megabyte is cut", "a".repeat(1_000_000), 123]
    ] as const
  ) {
    it(`close shortens a reason, ${name}`, () => {
      const { payload } = Frame.close(1000, reason)
      assert.strictEqual(payload.length, 2 + kept)
      assert.strictEqual(payload.buffer.byteLength, 2 + kept)
      assert.strictEqual(toHex(payload), toHex(concat(hex("03e8"), Buffer.from(reason).subarray(0, kept))))
    })
  }

  it.prop(
    "readClose returns the code and reason that were written",
    { code: integer(3000, 4999), reason: anyText },
    ({ code, reason }) => {
      const { payload } = Frame.close(code, reason)
      const read = Frame.readClose(payload)
      if ("_tag" in read) return assert.fail(read._tag)
      assert.strictEqual(read.code, code)
      assert.isTrue(reason.startsWith(read.reason))
      const next = String.fromCodePoint(reason.codePointAt(read.reason.length) ?? 0)
      if (read.reason !== reason) assert.isAbove(Buffer.byteLength(read.reason + next), 123)
    }
  )

  for (
    const [name, payload, expected] of [
      ["an empty one", "", { code: 1005, reason: "" }],
      ["a code alone", "03e8", { code: 1000, reason: "" }],
      ["a code and a reason", "0fa0 68c3a9", { code: 4000, reason: "hé" }],
      ["a reason that begins with a byte order mark", "03e8 efbbbf 61", { code: 1000, reason: "\ufeffa" }],
      ["a reason with a NUL", "03e8 00", { code: 1000, reason: "\0" }],
      ["one byte", "03", { _tag: "CloseFrameTooShort" }],
      ["1005", "03ed", { _tag: "InvalidCloseCode", code: 1005 }],
      ["1006 with a reason", "03ee 61", { _tag: "InvalidCloseCode", code: 1006 }],
      ["an invalid code and an invalid reason", "03ee ff", { _tag: "InvalidCloseCode", code: 1006 }],
      ["0", "0000", { _tag: "InvalidCloseCode", code: 0 }],
      ["65535", "ffff", { _tag: "InvalidCloseCode", code: 65535 }],
      ["a reason that is not UTF-8", "03e8 ff", { _tag: "InvalidUtf8", where: "close reason", offset: 0 }],
      ["a reason with a surrogate", "03e8 61 eda080", { _tag: "InvalidUtf8", where: "close reason", offset: 2 }],
      ["a reason cut inside a code point", "03e8 61 e282", { _tag: "InvalidUtf8", where: "close reason", offset: 3 }],
      [`a long reason that is not UTF-8 at the end`, `03e8 ${"61".repeat(122)} c0`, {
        _tag: "InvalidUtf8",
        where: "close reason",
        offset: 122
      }],
      [`a long reason cut inside a code point`, `03e8 ${"61".repeat(120)} f09f98`, {
        _tag: "InvalidUtf8",
        where: "close reason",
        offset: 123
      }]
    ] as const
  ) {
    it(`readClose reads ${name}`, () => {
      assert.deepStrictEqual<object>({ ...Frame.readClose(hex(payload)) }, expected)
    })
  }

  it("readClose accepts or rejects each of the 65,536 codes (RFC 6455 §7.4)", () => {
    const onWire = [[1000, 1003], [1007, 1014], [3000, 4999]]
    for (let code = 0; code < 0x10000; code++) {
      const read = Frame.readClose(bytes(code >> 8, code))
      const expected = onWire.some(([from, to]) => code >= from && code <= to) ? `${code} ""` : "InvalidCloseCode"
      const actual = "_tag" in read ? read._tag : `${read.code} ${JSON.stringify(read.reason)}`
      if (actual !== expected) assert.fail(`${code}: ${actual}`)
    }
  })

  it.prop("readClose never throws, for any payload", { payload: anyBytes() }, ({ payload }) => {
    const read = Frame.readClose(payload)
    if ("_tag" in read) assert.include(["CloseFrameTooShort", "InvalidCloseCode", "InvalidUtf8"], read._tag)
    else if (payload.length > 0) assert.strictEqual(toHex(Frame.close(read.code, read.reason).payload), toHex(payload))
  })
})
