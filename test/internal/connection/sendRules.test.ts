import { assert, describe, it } from "@effect/vitest"
import { Frame } from "effect-ws"
import { checkFrame } from "../../../src/internal/connection/sendRules.ts"

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
