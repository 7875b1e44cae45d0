import { assert, describe, it } from "@effect/vitest"
import { Frame } from "effect-ws"
import { checkClose, checkFrame, fitReason } from "../../../src/internal/connection/sendRules.ts"

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

describe("checkFrame", () => {
  const { Opcode } = Frame
  const cases: ReadonlyArray<readonly [string, Frame.Frame, string | undefined]> = [
    ["an unfinished text frame", Frame.text("a", { fin: false }), undefined],
    ["a ping of 125 bytes", Frame.ping(new Uint8Array(125)), undefined],
    ["a ping of 126 bytes (§5.5)", new Frame.Frame(Opcode.Ping, new Uint8Array(126)), "ControlPayloadTooLong"],
    ["a fragmented ping (§5.5)", new Frame.Frame(Opcode.Ping, new Uint8Array(0), false), "InvalidFrame"],
    ["reserved bits (§5.2)", new Frame.Frame(Opcode.Text, new Uint8Array(0), true, 4), "InvalidFrame"],
    ["an empty close frame", new Frame.Frame(Opcode.Close, new Uint8Array(0)), undefined],
    ["a close frame of one byte (§5.5.1)", new Frame.Frame(Opcode.Close, new Uint8Array(1)), "InvalidFrame"],
    ["a close frame with 1005 (§7.4.1)", new Frame.Frame(Opcode.Close, Uint8Array.of(3, 237)), "InvalidCloseCode"],
    [
      "a close reason of invalid UTF-8 (§5.5.1)",
      new Frame.Frame(Opcode.Close, Uint8Array.of(3, 232, 255)),
      "InvalidFrame"
    ]
  ]
  for (const [name, frame, tag] of cases) {
    it(`returns ${tag ?? "no error"} for ${name}`, () => assert.strictEqual(checkFrame(frame)?._tag, tag))
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
