import { assert, describe, it } from "@effect/vitest"
import { Frame } from "effect-ws"
import { bytes, concat, decodeAll, facts, hex, keyFor, singly, toHex } from "../support/frames.ts"
import { patterned } from "../support/properties.ts"

const { Opcode } = Frame

describe("frame constructors", () => {
  for (
    const [name, frame, expected] of [
      ["text of a string", Frame.text("hé"), { opcode: 1, fin: true, reserved: 0, payload: "68c3a9" }],
      ["text of bytes", Frame.text(bytes(0x68, 0x69)), { opcode: 1, fin: true, reserved: 0, payload: "6869" }],
      ["a first fragment of text", Frame.text("h", { fin: false }), {
        opcode: 1,
        fin: false,
        reserved: 0,
        payload: "68"
      }],
      ["binary", Frame.binary(bytes(1, 2)), { opcode: 2, fin: true, reserved: 0, payload: "0102" }],
      ["a first fragment of binary", Frame.binary(bytes(1), { fin: false }), {
        opcode: 2,
        fin: false,
        reserved: 0,
        payload: "01"
      }],
      ["a last fragment of text", Frame.continuation("é"), { opcode: 0, fin: true, reserved: 0, payload: "c3a9" }],
      ["a last fragment of bytes", Frame.continuation(bytes(7)), { opcode: 0, fin: true, reserved: 0, payload: "07" }],
      ["a fragment in between", Frame.continuation("", { fin: false }), {
        opcode: 0,
        fin: false,
        reserved: 0,
        payload: ""
      }],
      ["an empty ping", Frame.ping(), { opcode: 9, fin: true, reserved: 0, payload: "" }],
      ["a ping", Frame.ping(bytes(9)), { opcode: 9, fin: true, reserved: 0, payload: "09" }],
      ["an empty pong", Frame.pong(), { opcode: 10, fin: true, reserved: 0, payload: "" }],
      ["a pong", Frame.pong(bytes(9)), { opcode: 10, fin: true, reserved: 0, payload: "09" }],
      ["an empty close", Frame.close(), { opcode: 8, fin: true, reserved: 0, payload: "" }],
      ["a frame of any kind", new Frame.Frame(2, bytes(1)), { opcode: 2, fin: true, reserved: 0, payload: "01" }],
      ["a frame with reserved bits", new Frame.Frame(2, bytes(1), false, 5), {
        opcode: 2,
        fin: false,
        reserved: 5,
        payload: "01"
      }]
    ] as const
  ) {
    it(`${name} is made by its constructor`, () => {
      assert.deepStrictEqual(facts(frame), expected)
    })
  }

  it("a constructor keeps the bytes that it is given", () => {
    const payload = bytes(1, 2, 3)
    for (const make of [Frame.text, Frame.binary, Frame.continuation, Frame.ping, Frame.pong]) {
      assert.strictEqual(make(payload).payload, payload)
    }
  })

  it("isControl holds for close, ping and pong (RFC 6455 §5.5)", () => {
    const control = Object.values(Opcode).filter((opcode) => Frame.isControl(new Frame.Frame(opcode, bytes())))
    assert.deepStrictEqual(control, [8, 9, 10])
  })
})

describe("the examples of RFC 6455 §5.7", () => {
  const kibi = patterned(256)
  const large = patterned(65536)
  for (
    const [name, role, wire, frames] of [
      ["a single-frame unmasked text message", "client", hex("81 05 48 65 6c 6c 6f"), [Frame.text("Hello")]],
      [
        "a single-frame masked text message",
        "server",
        hex("81 85 37 fa 21 3d 7f 9f 4d 51 58"),
        [Frame.text("Hello")]
      ],
      [
        "a fragmented unmasked text message",
        "client",
        hex("01 03 48 65 6c 80 02 6c 6f"),
        [Frame.text("Hel", { fin: false }), Frame.continuation("lo")]
      ],
      ["an unmasked ping request", "client", hex("89 05 48 65 6c 6c 6f"), [Frame.ping(hex("48 65 6c 6c 6f"))]],
      [
        "a masked ping response",
        "server",
        hex("8a 85 37 fa 21 3d 7f 9f 4d 51 58"),
        [Frame.pong(hex("48 65 6c 6c 6f"))]
      ],
      [
        "256 bytes of binary in a single unmasked frame",
        "client",
        concat(hex("82 7e 01 00"), kibi),
        [Frame.binary(kibi)]
      ],
      [
        "64 KiB of binary in a single unmasked frame",
        "client",
        concat(hex("82 7f 00 00 00 00 00 01 00 00"), large),
        [Frame.binary(large)]
      ]
    ] as const
  ) {
    it(`encodes ${name}`, () => {
      const encoded = frames.map((frame) => Frame.encode(frame, keyFor(role)))
      assert.strictEqual(toHex(concat(...encoded)), toHex(wire))
    })

    it(`decodes ${name}`, () => {
      assert.deepStrictEqual(decodeAll({ role }, [wire.slice()]), { frames: frames.map(facts), error: undefined })
    })

    it(`decodes ${name} one byte at a time`, () => {
      assert.deepStrictEqual(decodeAll({ role }, singly(wire)), { frames: frames.map(facts), error: undefined })
    })
  }
})
