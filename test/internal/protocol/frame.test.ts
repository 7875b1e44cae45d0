import { assert, describe, it } from "@effect/vitest"
import { Frame } from "effect-ws"
import { isControl, Piece, withPayload } from "../../../src/internal/protocol/frame.ts"

const bytes = (...values: Array<number>) => Uint8Array.from(values)

describe("Piece", () => {
  it("tells how many bytes of its frame stand before and after it", () => {
    const piece = new Piece(Frame.Opcode.Binary, bytes(1, 2), true, 4, { offset: 5, remaining: 7 })
    assert.instanceOf(piece, Frame.Frame)
    const { fin, offset, opcode, payload, remaining, reserved } = piece
    assert.deepStrictEqual([opcode, payload, fin, reserved, offset, remaining], [2, bytes(1, 2), true, 4, 5, 7])
  })
})

describe("withPayload", () => {
  it("replaces the payload, and keeps the rest of a frame or a piece", () => {
    const frame = withPayload(new Frame.Frame(Frame.Opcode.Text, bytes(1), false, 4), bytes(2))
    assert.deepStrictEqual(frame, new Frame.Frame(Frame.Opcode.Text, bytes(2), false, 4))
    const position = { offset: 3, remaining: 9 }
    const piece = withPayload(new Piece(Frame.Opcode.Continuation, bytes(1), true, 0, position), bytes(2))
    assert.deepStrictEqual(piece, new Piece(Frame.Opcode.Continuation, bytes(2), true, 0, position))
  })
})

describe("isControl (RFC 6455 §5.5)", () => {
  it("returns true for close, ping and pong only", () => {
    const { Binary, Close, Continuation, Ping, Pong, Text } = Frame.Opcode
    const control = [Continuation, Text, Binary, Close, Ping, Pong].filter((opcode) =>
      isControl(new Frame.Frame(opcode, bytes()))
    )
    assert.deepStrictEqual(control, [Close, Ping, Pong])
  })
})
