import { assert, describe, it } from "@effect/vitest"
import { Frame } from "effect-ws"
import {
  bytes,
  concat,
  decodeAll,
  type Facts,
  facts,
  factsOf,
  firstByte,
  headerOf,
  hex,
  keyFor,
  lengths,
  one,
  roles,
  singly,
  toHex,
  tooLarge
} from "../../support/frames.ts"
import { cutAt, patterned } from "../../support/properties.ts"

const { Opcode } = Frame

describe("the payload length (RFC 6455 §5.2)", () => {
  for (const [length, written] of lengths) {
    for (const masked of [false, true]) {
      const header = headerOf(0x82, written, masked)
      const role = masked ? "server" : "client"

      it(`writes the header of ${length} bytes, ${masked ? "masked" : "unmasked"}`, () => {
        assert.strictEqual(Frame.headerSize(length, masked), header.length)
        const target = new Uint8Array(20).fill(0xee)
        const end = Frame.encodeHeader(target, 3, Frame.binary(bytes()), length, keyFor(role))
        assert.strictEqual(end, 3 + header.length)
        assert.strictEqual(toHex(target.subarray(0, 3)), "eeeeee")
        assert.strictEqual(toHex(target.subarray(3, end)), toHex(header))
        assert.strictEqual(toHex(target.subarray(end)), "ee".repeat(20 - end))
      })

      it(`reads the header of ${length} bytes, ${masked ? "masked" : "unmasked"}`, () => {
        const { error, frames, needed, partial } = Frame.makeDecoder({ role, maxFrameSize: Infinity }).decode(header)
        if (length > 2 ** 32) return assert.deepStrictEqual(factsOf(error), tooLarge(length, 2 ** 32))
        assert.isUndefined(error)
        if (length === 0) {
          assert.deepStrictEqual(frames.map(facts), [{ opcode: 2, fin: true, reserved: 0, payload: "" }])
          assert.isUndefined(partial)
          assert.strictEqual(needed, 2)
        } else {
          assert.deepStrictEqual(frames, [])
          assert.deepStrictEqual(partial, { opcode: 2, fin: true, reserved: 0, length, received: 0, latest: bytes() })
          assert.strictEqual(needed, length)
        }
      })

      if (length <= 100_000) {
        it(`writes and reads a frame of ${length} bytes, ${masked ? "masked" : "unmasked"}`, () => {
          const payload = patterned(length)
          const wire = Frame.encode(Frame.binary(payload), keyFor(role))
          assert.strictEqual(wire.length, header.length + length)
          assert.strictEqual(toHex(wire.subarray(0, header.length)), toHex(header))
          const sent = wire.subarray(header.length)
          assert.isTrue(
            sent.every((byte, i) => byte === (payload[i] ^ (masked ? header[header.length - 4 + i % 4] : 0)))
          )
          assert.strictEqual(toHex(one({ role }, wire).payload), toHex(payload))
        })
      }
    }
  }
})

describe("the first byte (RFC 6455 §5.2)", () => {
  for (const [name, opcode] of Object.entries(Opcode)) {
    it(`has FIN, the reserved bits and the opcode of ${name}`, () => {
      for (let reserved = 0; reserved < 8; reserved++) {
        for (const fin of opcode >= 8 ? [true] : [true, false]) {
          const frame = new Frame.Frame(opcode, bytes(1), fin, reserved)
          const wire = Frame.encode(frame)
          assert.deepStrictEqual(Array.from(wire), [firstByte(fin, reserved, opcode), 1, 1])
          assert.deepStrictEqual(facts(one({ role: "client", reservedBits: 7 }, wire)), facts(frame))
        }
      }
    })
  }

  it("fails with ReservedBits if one of them is not in use", () => {
    for (let allowed = 0; allowed < 8; allowed++) {
      for (let reserved = 0; reserved < 8; reserved++) {
        const outcome = decodeAll({ role: "client", reservedBits: allowed }, [bytes(firstByte(true, reserved, 2), 0)])
        const subset = [4, 2, 1].every((bit) => (reserved & bit) === 0 || (allowed & bit) !== 0)
        assert.deepStrictEqual(
          outcome,
          subset
            ? { frames: [{ opcode: 2, fin: true, reserved, payload: "" }], error: undefined }
            : { frames: [], error: { _tag: "ReservedBits", reserved, allowed } }
        )
      }
    }
  })
})

/** The rules of RFC 6455 §5.2 and §5.5, one at a time. */
const judge = (role: Frame.Role, first: number, second: number): string | undefined => {
  const opcode = first % 16
  const length = second % 128
  if (Math.floor(first / 16) % 8 !== 0) return "ReservedBits"
  if (![0, 1, 2, 8, 9, 10].includes(opcode)) return "ReservedOpcode"
  if (role === "server" && second < 128) return "UnmaskedFrame"
  if (role === "client" && second >= 128) return "MaskedFrame"
  if (opcode >= 8 && first < 128) return "FragmentedControlFrame"
  if (opcode >= 8 && length > 125) return "ControlFrameTooLong"
  return undefined
}

describe("the first two bytes", () => {
  for (const role of roles) {
    it(`a ${role} accepts or rejects all 65,536 of them by the rules`, () => {
      for (let i = 0; i < 0x10000; i++) {
        const { error } = Frame.makeDecoder({ role }).decode(bytes(i >> 8, i))
        if (error?._tag !== judge(role, i >> 8, i & 0xff)) assert.fail(`${i.toString(16)}: ${error?._tag}`)
      }
    })
  }
})

const notInUse = (reserved: number, allowed: number): Facts => ({ _tag: "ReservedBits", reserved, allowed })
const notMinimal = (length: number, bits: 16 | 64): Facts => ({ _tag: "NonMinimalLength", length, bits })
const outOfRange = (length: bigint): Facts => ({ _tag: "LengthOutOfRange", length })

/** For each rule, bytes whose last one breaks it. */
const broken: ReadonlyArray<
  readonly [name: string, options: Frame.DecoderOptions, wire: string, error: Facts]
> = [
  ["RSV1", { role: "client" }, "c1 00", notInUse(4, 0)],
  ["RSV2", { role: "client" }, "a1 00", notInUse(2, 0)],
  ["RSV3", { role: "client" }, "91 00", notInUse(1, 0)],
  ["all reserved bits", { role: "server" }, "f1 80", notInUse(7, 0)],
  ["RSV2 where RSV1 is in use", { role: "client", reservedBits: 4 }, "e1 00", notInUse(6, 4)],
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) =>
    [`opcode ${opcode}`, { role: "client" }, `8${opcode.toString(16)} 00`, { _tag: "ReservedOpcode", opcode }] as const
  ),
  ["no mask from a client", { role: "server" }, "81 00", { _tag: "UnmaskedFrame" }],
  ["no mask on a long frame", { role: "server" }, "82 7f", { _tag: "UnmaskedFrame" }],
  ["no mask on a control frame", { role: "server" }, "89 00", { _tag: "UnmaskedFrame" }],
  ["a mask from a server", { role: "client" }, "81 80", { _tag: "MaskedFrame" }],
  ["a mask on a long frame", { role: "client" }, "82 ff", { _tag: "MaskedFrame" }],
  ["a mask on a control frame", { role: "client" }, "8a 80", { _tag: "MaskedFrame" }],
  ["a close frame without FIN", { role: "client" }, "08 00", { _tag: "FragmentedControlFrame", opcode: 8 }],
  ["a ping without FIN", { role: "client" }, "09 01", { _tag: "FragmentedControlFrame", opcode: 9 }],
  ["a pong without FIN", { role: "server" }, "0a fe", { _tag: "FragmentedControlFrame", opcode: 10 }],
  ["a close frame of 126 bytes", { role: "client" }, "88 7e", { _tag: "ControlFrameTooLong", opcode: 8 }],
  ["a ping of 126 bytes", { role: "server" }, "89 fe", { _tag: "ControlFrameTooLong", opcode: 9 }],
  ["a pong with a 64-bit length", { role: "client" }, "8a 7f", { _tag: "ControlFrameTooLong", opcode: 10 }],
  ["0 in 16 bits", { role: "client" }, "82 7e 00 00", notMinimal(0, 16)],
  ["125 in 16 bits", { role: "client" }, "82 7e 00 7d", notMinimal(125, 16)],
  ["125 in 16 bits, masked", { role: "server" }, "82 fe 00 7d", notMinimal(125, 16)],
  ["0 in 64 bits", { role: "client" }, "82 7f 00 00 00 00 00 00 00 00", notMinimal(0, 64)],
  ["126 in 64 bits", { role: "server" }, "82 ff 00 00 00 00 00 00 00 7e", notMinimal(126, 64)],
  ["65,535 in 64 bits", { role: "client" }, "82 7f 00 00 00 00 00 00 ff ff", notMinimal(65535, 64)],
  [
    "4 GiB and a byte",
    { role: "client", maxFrameSize: Infinity },
    "82 7f 00 00 00 01 00 00 00 01",
    tooLarge(2 ** 32 + 1, 2 ** 32)
  ],
  ["2^53", { role: "client", maxFrameSize: Infinity }, "82 7f 00 20 00 00 00 00 00 00", outOfRange(2n ** 53n)],
  ["2^53 with the default limit", { role: "server" }, "82 ff 00 20 00 00 00 00 00 00", outOfRange(2n ** 53n)],
  ["a length of 63 bits", { role: "client" }, "82 7f 7f ff ff ff ff ff ff ff", outOfRange(2n ** 63n - 1n)],
  ["a length with the top bit set", { role: "client" }, "82 7f 80 00 00 00 00 00 00 00", outOfRange(2n ** 63n)],
  ["a length of 64 bits", { role: "client" }, "82 7f ff ff ff ff ff ff ff ff", outOfRange(2n ** 64n - 1n)],
  ["a byte over a limit of none", { role: "client", maxFrameSize: 0 }, "82 01", tooLarge(1, 0)],
  ["101 bytes over a limit of 100", { role: "client", maxFrameSize: 100 }, "82 65", tooLarge(101, 100)],
  ["101 masked bytes over a limit of 100", { role: "server", maxFrameSize: 100 }, "82 e5", tooLarge(101, 100)],
  ["1,001 bytes over a limit of 1,000", { role: "client", maxFrameSize: 1000 }, "80 7e 03 e9", tooLarge(1001, 1000)],
  [
    "1,001 masked bytes over a limit of 1,000",
    { role: "server", maxFrameSize: 1000 },
    "01 fe 03 e9",
    tooLarge(1001, 1000)
  ],
  [
    "70,001 bytes over a limit of 70,000",
    { role: "client", maxFrameSize: 70_000 },
    "82 7f 00 00 00 00 00 01 11 71",
    tooLarge(70_001, 70_000)
  ],
  [
    "a byte over the default of 16 MiB",
    { role: "server" },
    "82 ff 00 00 00 00 01 00 00 01",
    tooLarge(16_777_217, 16_777_216)
  ],
  [
    "2^53 - 1 over the default of 16 MiB",
    { role: "client" },
    "82 7f 00 1f ff ff ff ff ff ff",
    tooLarge(Number.MAX_SAFE_INTEGER, 16_777_216)
  ],
  ["no bytes where the limit is NaN", { role: "client", maxFrameSize: NaN }, "81 00", tooLarge(0, NaN)],
  ["a byte where the limit is NaN", { role: "client", maxFrameSize: NaN }, "82 01", tooLarge(1, NaN)],
  ["a masked byte where the limit is NaN", { role: "server", maxFrameSize: NaN }, "00 81", tooLarge(1, NaN)],
  ["126 bytes where the limit is NaN", { role: "client", maxFrameSize: NaN }, "82 7e 00 7e", tooLarge(126, NaN)],
  [
    "64 KiB where the limit is NaN",
    { role: "server", maxFrameSize: NaN },
    "82 ff 00 00 00 00 00 01 00 00",
    tooLarge(65536, NaN)
  ],
  ["a ping of 126 bytes without a limit", { role: "client", maxFrameSize: Infinity }, "89 7e", {
    _tag: "ControlFrameTooLong",
    opcode: 9
  }],
  ["a ping of 126 bytes over a limit of none", { role: "client", maxFrameSize: 0 }, "89 7e", {
    _tag: "ControlFrameTooLong",
    opcode: 9
  }]
]

describe("a header that breaks a rule (RFC 6455 §5.1, §5.2, §5.5)", () => {
  for (const [name, options, wire, error] of broken) {
    const before = [Frame.text("a"), Frame.ping(bytes(1)), Frame.binary(patterned(7), { fin: false })]
    const valid = concat(...before.map((frame) => Frame.encode(frame, keyFor(options.role))))
    const limit = options.maxFrameSize ?? Frame.defaultMaxFrameSize

    it(`${name}: fails with ${error._tag}, and nothing is read after it`, () => {
      const decoder = Frame.makeDecoder(options)
      const decoded = decoder.decode(concat(hex(wire), valid))
      assert.deepStrictEqual(decoded.frames, [])
      assert.deepStrictEqual(factsOf(decoded.error), error)
      assert.isUndefined(decoded.partial)
      assert.strictEqual(decoded.needed, 0)
      for (const more of [new Uint8Array(0), valid.slice(), hex(wire)]) {
        const again = decoder.decode(more)
        assert.deepStrictEqual(again.frames, [])
        assert.strictEqual(again.error, decoded.error)
        assert.isUndefined(again.partial)
        assert.strictEqual(again.needed, 0)
      }
    })

    it(`${name}: fails with ${error._tag} at its last byte, wherever chunks divide it`, () => {
      const all = hex(wire)
      assert.isUndefined(decodeAll(options, [all.slice(0, -1)]).error)
      assert.deepStrictEqual(decodeAll(options, singly(all)), { frames: [], error })
      for (let cut = 0; cut <= all.length; cut++) {
        assert.deepStrictEqual(decodeAll(options, cutAt(all, [cut])), { frames: [], error })
      }
    })

    if (limit >= 7) {
      it(`${name}: fails with ${error._tag} after the frames before it`, () => {
        const all = concat(valid, hex(wire))
        assert.deepStrictEqual(decodeAll(options, [all.slice()]), { frames: before.map(facts), error })
        assert.deepStrictEqual(decodeAll(options, singly(all)), { frames: before.map(facts), error })
        const { frames, needed, partial } = Frame.makeDecoder(options).decode(all)
        assert.strictEqual(frames.length, 3)
        assert.isUndefined(partial)
        assert.strictEqual(needed, 0)
      })
    }
  }
})

describe("maxFrameSize", () => {
  it("defaults to 16 MiB", () => {
    assert.strictEqual(Frame.defaultMaxFrameSize, 16_777_216)
    const { error, partial } = Frame.makeDecoder({ role: "client" }).decode(hex("82 7f 00 00 00 00 01 00 00 00"))
    assert.isUndefined(error)
    assert.strictEqual(partial?.length, 16_777_216)
  })

  for (const limit of [0, 1, 100, 125, 126, 1000, 65535, 65536, 70_000]) {
    for (const role of roles) {
      it(`a ${role} with a limit of ${limit} bytes rejects one byte more`, () => {
        const options: Frame.DecoderOptions = { role, maxFrameSize: limit }
        const largest = Frame.binary(patterned(limit))
        const larger = Frame.encode(Frame.binary(patterned(limit + 1)), keyFor(role))
        assert.deepStrictEqual(facts(one(options, Frame.encode(largest, keyFor(role)))), facts(largest))
        const header = larger.slice(0, Frame.headerSize(limit + 1, false))
        assert.deepStrictEqual(decodeAll(options, [header]), {
          frames: [],
          error: tooLarge(limit + 1, limit)
        })
      })
    }
  }
})

describe("maxFrameSize and control frames (RFC 6455 §5.5)", () => {
  for (const maxFrameSize of [0, 1, 100, 124, NaN, -1]) {
    for (const role of roles) {
      it(`a ${role} with a limit of ${maxFrameSize} reads control frames of 125 bytes`, () => {
        for (const opcode of [Opcode.Close, Opcode.Ping, Opcode.Pong]) {
          for (const length of [0, 1, 2, 101, 124, 125]) {
            const frame = new Frame.Frame(opcode, patterned(length))
            const wire = Frame.encode(frame, keyFor(role))
            const expected = { frames: [facts(frame)], error: undefined }
            assert.deepStrictEqual(decodeAll({ role, maxFrameSize }, [wire.slice()]), expected)
            assert.deepStrictEqual(decodeAll({ role, maxFrameSize }, singly(wire)), expected)
          }
        }
      })

      it(`a ${role} with a limit of ${maxFrameSize} rejects data frames of 125 bytes`, () => {
        for (const opcode of [Opcode.Continuation, Opcode.Text, Opcode.Binary]) {
          const wire = Frame.encode(new Frame.Frame(opcode, patterned(125)), keyFor(role))
          const expected = { frames: [], error: tooLarge(125, maxFrameSize) }
          assert.deepStrictEqual(decodeAll({ role, maxFrameSize }, [wire]), expected)
        }
      })
    }
  }
})
