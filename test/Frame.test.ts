import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect } from "effect"
import { CloseCode, Frame, type ProtocolError } from "effect-ws"
import {
  anyBytes,
  anyCuts,
  anyFrame,
  anyMaskKey,
  anyText,
  cutAt,
  either,
  integer,
  patterned
} from "./support/properties.ts"

const { Opcode } = Frame

const bytes = (...values: Array<number>) => Uint8Array.from(values)
const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"))
const toHex = (data: Uint8Array) => Buffer.from(data).toString("hex")
const concat = (...parts: ReadonlyArray<Uint8Array>) => Uint8Array.from(Buffer.concat(parts))

/** The RFC's own mask key, 37 fa 21 3d on the wire. */
const rfcKey = 0x3d21fa37

const roles = ["client", "server"] as const

/** The key that an end of this role needs to see on the frames that it reads. */
const keyFor = (role: Frame.Role) => role === "server" ? rfcKey : undefined

const facts = (frame: Frame.Frame) => ({
  opcode: frame.opcode,
  fin: frame.fin,
  reserved: frame.reserved,
  payload: toHex(frame.payload)
})

type Facts = Readonly<Record<string, unknown>>

const factsOf = (error: ProtocolError.ProtocolError | undefined): Facts | undefined =>
  error === undefined ? undefined : { ...error }

interface Outcome {
  readonly frames: Array<ReturnType<typeof facts>>
  readonly error: Facts | undefined
}

/** What a decoder makes of chunks, all in all. */
const decodeAll = (options: Frame.DecoderOptions, chunks: ReadonlyArray<Uint8Array>): Outcome => {
  const decoder = Frame.makeDecoder(options)
  const frames: Outcome["frames"] = []
  let error: Outcome["error"]
  for (const chunk of chunks) {
    const decoded = decoder.decode(chunk)
    frames.push(...decoded.frames.map(facts))
    error = factsOf(decoded.error)
  }
  return { frames, error }
}

const one = (options: Frame.DecoderOptions, wire: Uint8Array): Frame.Frame => {
  const { error, frames } = Frame.makeDecoder(options).decode(wire)
  assert.isUndefined(error)
  assert.strictEqual(frames.length, 1)
  return frames[0]
}

const singly = (wire: Uint8Array) => Array.from(wire, (byte) => Uint8Array.of(byte))

describe("constructors", () => {
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
    it(`make ${name}`, () => {
      assert.deepStrictEqual(facts(frame), expected)
    })
  }

  it("keep the bytes that they are given", () => {
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
    it(`encode: ${name}`, () => {
      const encoded = frames.map((frame) => Frame.encode(frame, keyFor(role)))
      assert.strictEqual(toHex(concat(...encoded)), toHex(wire))
    })

    it(`decode: ${name}`, () => {
      assert.deepStrictEqual(decodeAll({ role }, [wire.slice()]), { frames: frames.map(facts), error: undefined })
    })

    it(`decode a byte at a time: ${name}`, () => {
      assert.deepStrictEqual(decodeAll({ role }, singly(wire)), { frames: frames.map(facts), error: undefined })
    })
  }
})

/** Payload lengths and how RFC 6455 §5.2 writes them, without the mask bit. */
const lengths = [
  [0, "00"],
  [1, "01"],
  [124, "7c"],
  [125, "7d"],
  [126, "7e 00 7e"],
  [127, "7e 00 7f"],
  [128, "7e 00 80"],
  [255, "7e 00 ff"],
  [256, "7e 01 00"],
  [65534, "7e ff fe"],
  [65535, "7e ff ff"],
  [65536, "7f 00 00 00 00 00 01 00 00"],
  [65537, "7f 00 00 00 00 00 01 00 01"],
  [100_000, "7f 00 00 00 00 00 01 86 a0"],
  [16_777_216, "7f 00 00 00 00 01 00 00 00"],
  [2_147_483_648, "7f 00 00 00 00 80 00 00 00"],
  [4_294_967_295, "7f 00 00 00 00 ff ff ff ff"],
  [4_294_967_296, "7f 00 00 00 01 00 00 00 00"],
  [1_103_823_438_081, "7f 00 00 01 01 01 01 01 01"],
  [Number.MAX_SAFE_INTEGER, "7f 00 1f ff ff ff ff ff ff"]
] as const

/** A header by hand: the first byte, the length, the mask. */
const headerOf = (first: number, length: string, masked: boolean): Uint8Array => {
  const [size, ...extended] = hex(length)
  return bytes(first, masked ? size | 0x80 : size, ...extended, ...masked ? [0x37, 0xfa, 0x21, 0x3d] : [])
}

describe("the payload length (RFC 6455 §5.2)", () => {
  for (const [length, written] of lengths) {
    for (const masked of [false, true]) {
      const header = headerOf(0x82, written, masked)
      const role = masked ? "server" : "client"

      it(`${length} bytes, ${masked ? "masked" : "unmasked"}: header written`, () => {
        assert.strictEqual(Frame.headerSize(length, masked), header.length)
        const target = new Uint8Array(20).fill(0xee)
        const end = Frame.encodeHeader(target, 3, Frame.binary(bytes()), length, keyFor(role))
        assert.strictEqual(end, 3 + header.length)
        assert.strictEqual(toHex(target.subarray(0, 3)), "eeeeee")
        assert.strictEqual(toHex(target.subarray(3, end)), toHex(header))
        assert.strictEqual(toHex(target.subarray(end)), "ee".repeat(20 - end))
      })

      it(`${length} bytes, ${masked ? "masked" : "unmasked"}: header read`, () => {
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
        it(`${length} bytes, ${masked ? "masked" : "unmasked"}: frame written and read`, () => {
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

const firstByte = (fin: boolean, reserved: number, opcode: number) =>
  Number.parseInt(
    `${fin ? "1" : "0"}${reserved.toString(2).padStart(3, "0")}${opcode.toString(2).padStart(4, "0")}`,
    2
  )

describe("the first byte (RFC 6455 §5.2)", () => {
  for (const [name, opcode] of Object.entries(Opcode)) {
    it(`of ${name}: FIN, the reserved bits, the opcode`, () => {
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

  it("of a frame with reserved bits is refused where one of them is not in use", () => {
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

/** RFC 6455 §5.2 and §5.5, a rule at a time. */
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
    it(`are judged as the RFC says, all 65,536 of them, by a ${role}`, () => {
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
const tooLarge = (length: number, limit: number): Facts => ({ _tag: "FrameTooLarge", length, limit })

/** For each rule, bytes of which the last one breaks it. */
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

describe("a header that is refused (RFC 6455 §5.1, §5.2, §5.5)", () => {
  for (const [name, options, wire, error] of broken) {
    const before = [Frame.text("a"), Frame.ping(bytes(1)), Frame.binary(patterned(7), { fin: false })]
    const valid = concat(...before.map((frame) => Frame.encode(frame, keyFor(options.role))))
    const limit = options.maxFrameSize ?? Frame.defaultMaxFrameSize

    it(`${name}: ${error._tag}, and nothing after it`, () => {
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

    it(`${name}: ${error._tag} at the last of its bytes, however they are cut`, () => {
      const all = hex(wire)
      assert.isUndefined(decodeAll(options, [all.slice(0, -1)]).error)
      assert.deepStrictEqual(decodeAll(options, singly(all)), { frames: [], error })
      for (let cut = 0; cut <= all.length; cut++) {
        assert.deepStrictEqual(decodeAll(options, cutAt(all, [cut])), { frames: [], error })
      }
    })

    if (limit >= 7) {
      it(`${name}: ${error._tag} after the frames before it`, () => {
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

describe("the limit on frames", () => {
  it("is 16 MiB by default", () => {
    assert.strictEqual(Frame.defaultMaxFrameSize, 16_777_216)
    const { error, partial } = Frame.makeDecoder({ role: "client" }).decode(hex("82 7f 00 00 00 00 01 00 00 00"))
    assert.isUndefined(error)
    assert.strictEqual(partial?.length, 16_777_216)
  })

  for (const limit of [0, 1, 100, 125, 126, 1000, 65535, 65536, 70_000]) {
    for (const role of roles) {
      it(`lets a ${role} read ${limit} bytes where that is the limit, and not one more`, () => {
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

describe("the limit on frames, and control frames (RFC 6455 §5.5)", () => {
  for (const maxFrameSize of [0, 1, 100, 124, NaN, -1]) {
    for (const role of roles) {
      it(`lets a ${role} read control frames of up to 125 bytes where the limit is ${maxFrameSize}`, () => {
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

      it(`lets a ${role} read no data frames of 125 bytes where the limit is ${maxFrameSize}`, () => {
        for (const opcode of [Opcode.Continuation, Opcode.Text, Opcode.Binary]) {
          const wire = Frame.encode(new Frame.Frame(opcode, patterned(125)), keyFor(role))
          const expected = { frames: [], error: tooLarge(125, maxFrameSize) }
          assert.deepStrictEqual(decodeAll({ role, maxFrameSize }, [wire]), expected)
        }
      })
    }
  }
})

const neededAfterEach = (role: Frame.Role, wire: string) => {
  const decoder = Frame.makeDecoder({ role, maxFrameSize: 2 ** 40 })
  return Array.from(hex(wire), (byte) => decoder.decode(bytes(byte)).needed)
}

describe("what a decoder still needs", () => {
  for (const [length, written] of lengths) {
    for (const masked of [false, true]) {
      if (length > 1000) continue
      it(`is known after each byte of a frame of ${length} bytes, ${masked ? "masked" : "unmasked"}`, () => {
        const role = masked ? "server" : "client"
        const header = headerOf(0x82, written, masked).length
        const wire = Frame.encode(Frame.binary(patterned(length)), keyFor(role))
        const decoder = Frame.makeDecoder({ role })
        assert.strictEqual(decoder.decode(bytes()).needed, 2)
        const needed = Array.from(wire, (byte) => decoder.decode(bytes(byte)).needed)
        const expected = Array.from(wire, (_, i) => {
          const have = i + 1
          return have === wire.length ? 2 : have < 2 ? 1 : have < header ? header - have : wire.length - have
        })
        assert.deepStrictEqual(needed, expected)
      })
    }
  }

  it("is known of 64-bit lengths", () => {
    assert.deepStrictEqual(
      neededAfterEach("client", "82 7f 00 00 00 01 00 00 00 00"),
      [1, 8, 7, 6, 5, 4, 3, 2, 1, 4_294_967_296]
    )
    assert.deepStrictEqual(
      neededAfterEach("server", "82 ff 00 00 00 00 00 01 00 00 37 fa 21 3d 00 00"),
      [1, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 65536, 65535, 65534]
    )
  })

  it("is that of the frame after the last whole one", () => {
    const decoder = Frame.makeDecoder({ role: "client" })
    assert.strictEqual(decoder.decode(hex("81 00 81 01 61")).needed, 2)
    assert.strictEqual(decoder.decode(hex("81 00 81")).needed, 1)
    assert.strictEqual(decoder.decode(hex("7e")).needed, 2)
    assert.strictEqual(decoder.decode(hex("")).needed, 2)
    assert.strictEqual(decoder.decode(hex("00 7e 61")).needed, 125)
    assert.strictEqual(decoder.decode(hex("")).needed, 125)
    assert.strictEqual(decoder.decode(new Uint8Array(125)).needed, 2)
  })

  it.prop(
    "is never too much: a reader that asks for just that many bytes gets every frame",
    { frames: Arbitrary.array(anyFrame), key: anyMaskKey },
    ({ frames, key }) => {
      const wire = concat(...frames.map((frame) => Frame.encode(frame, key)))
      const decoder = Frame.makeDecoder({ role: "server", reservedBits: 7 })
      const got: Array<Frame.Frame> = []
      for (let at = 0, needed = 2; at < wire.length;) {
        const decoded = decoder.decode(wire.slice(at, at + needed))
        got.push(...decoded.frames)
        at += needed
        needed = decoded.needed
        assert.isAbove(needed, 0)
      }
      assert.deepStrictEqual(got.map(facts), frames.map(facts))
    }
  )
})

describe("a frame that has come in part", () => {
  for (const role of roles) {
    it(`is shown to a ${role} with the bytes that are new, unmasked`, () => {
      const payload = patterned(200)
      const header = Frame.headerSize(200, role === "server")
      const wire = Frame.encode(new Frame.Frame(Opcode.Text, payload, false, 4), keyFor(role))
      const decoder = Frame.makeDecoder({ role, reservedBits: 4 })
      const state = (from: number, to: number) => {
        const { error, frames, partial } = decoder.decode(wire.slice(from, to))
        assert.isUndefined(error)
        assert.strictEqual(frames.length, to === wire.length ? 1 : 0)
        return partial && { ...partial, latest: toHex(partial.latest) }
      }
      const common = { opcode: Opcode.Text, fin: false, reserved: 4, length: 200 }
      assert.isUndefined(state(0, 1))
      assert.isUndefined(state(1, header - 1))
      assert.deepStrictEqual(state(header - 1, header), { ...common, received: 0, latest: "" })
      assert.deepStrictEqual(state(header, header + 1), { ...common, received: 1, latest: toHex(payload.slice(0, 1)) })
      assert.deepStrictEqual(state(header + 1, header + 1), { ...common, received: 1, latest: "" })
      assert.deepStrictEqual(state(header + 1, header + 100), {
        ...common,
        received: 100,
        latest: toHex(payload.slice(1, 100))
      })
      assert.deepStrictEqual(state(header + 100, header + 199), {
        ...common,
        received: 199,
        latest: toHex(payload.slice(100, 199))
      })
      assert.isUndefined(state(header + 199, header + 200))
    })

    it(`is shown to a ${role} after the frames that came whole`, () => {
      const whole = [Frame.ping(bytes(1)), Frame.continuation("x")]
      const wire = concat(
        ...[...whole, Frame.binary(bytes(5, 6, 7, 8), { fin: false })].map((frame) => Frame.encode(frame, keyFor(role)))
      )
      const { frames, needed, partial } = Frame.makeDecoder({ role }).decode(wire.slice(0, -2))
      assert.deepStrictEqual(frames.map(facts), whole.map(facts))
      assert.deepStrictEqual(partial && { ...partial, latest: Array.from(partial.latest) }, {
        opcode: Opcode.Binary,
        fin: false,
        reserved: 0,
        length: 4,
        received: 2,
        latest: [5, 6]
      })
      assert.strictEqual(needed, 2)
    })
  }

  it("is shown anew when one ends and the next begins in one chunk", () => {
    const decoder = Frame.makeDecoder({ role: "client" })
    assert.strictEqual(decoder.decode(hex("82 03 01 02")).partial?.received, 2)
    const { frames, partial } = decoder.decode(hex("03 02 04"))
    assert.deepStrictEqual(frames.map(facts), [{ opcode: 2, fin: true, reserved: 0, payload: "010203" }])
    assert.deepStrictEqual(partial, {
      opcode: Opcode.Binary,
      fin: false,
      reserved: 0,
      length: 4,
      received: 0,
      latest: bytes()
    })
  })
})

describe("bytes in pieces", () => {
  const samples = [0, 1, 125, 126, 127, 300, 65535, 65536].flatMap((length) => [
    { length, role: "client" as const },
    { length, role: "server" as const }
  ])

  for (const { length, role } of samples) {
    it(`a header of ${length} bytes of payload may be cut in three anywhere, for a ${role}`, () => {
      const frame = Frame.binary(patterned(length))
      const wire = Frame.encode(frame, keyFor(role))
      const header = Frame.headerSize(length, role === "server")
      const expected = toHex(frame.payload)
      for (let first = 0; first <= header + 1; first++) {
        for (let second = first; second <= header + 1; second++) {
          const { error, frames } = decodeAll(
            { role },
            cutAt(wire, [first, second].map((at) => Math.min(at, wire.length)))
          )
          if (error !== undefined || frames.length !== 1 || frames[0].payload !== expected) {
            assert.fail(`cut at ${first} and ${second}`)
          }
        }
      }
    })

    it(`a header of ${length} bytes of payload may be cut behind another frame, for a ${role}`, () => {
      const frames = [Frame.ping(bytes(7)), Frame.binary(patterned(length)), Frame.pong()]
      const wire = concat(...frames.map((frame) => Frame.encode(frame, keyFor(role))))
      const start = Frame.headerSize(1, role === "server") + 1
      for (let cut = start; cut <= start + Frame.headerSize(length, role === "server"); cut++) {
        assert.deepStrictEqual(decodeAll({ role }, cutAt(wire, [cut])), {
          frames: frames.map(facts),
          error: undefined
        })
      }
    })
  }

  it("control frames come between fragments, and inside none (RFC 6455 §5.4)", () => {
    const frames = [
      Frame.text("Hel", { fin: false }),
      Frame.ping(bytes(1)),
      Frame.continuation("", { fin: false }),
      Frame.pong(),
      Frame.continuation("lo"),
      Frame.close(1000, "bye")
    ]
    for (const role of roles) {
      const wire = concat(...frames.map((frame) => Frame.encode(frame, keyFor(role))))
      const expected = { frames: frames.map(facts), error: undefined }
      assert.deepStrictEqual(decodeAll({ role }, [wire.slice()]), expected)
      assert.deepStrictEqual(decodeAll({ role }, singly(wire)), expected)
    }
  })

  it("an empty chunk changes nothing", () => {
    const decoder = Frame.makeDecoder({ role: "client" })
    const steps = ["", "82", "", "03", "", "01", "", "02 03", ""].map((chunk) => {
      const { error, frames, needed, partial } = decoder.decode(hex(chunk))
      return [frames.length, partial?.received, needed, error]
    })
    assert.deepStrictEqual(steps, [
      [0, undefined, 2, undefined],
      [0, undefined, 1, undefined],
      [0, undefined, 1, undefined],
      [0, 0, 3, undefined],
      [0, 0, 3, undefined],
      [0, 1, 2, undefined],
      [0, 1, 2, undefined],
      [1, undefined, 2, undefined],
      [0, undefined, 2, undefined]
    ])
  })

  it("each frame is masked with its own key", () => {
    const wire = concat(
      Frame.encode(Frame.text("one"), 0x01020304),
      Frame.encode(Frame.text("two"), -1),
      Frame.encode(Frame.text("three"), 0)
    )
    const expected = ["one", "two", "three"].map((text) => facts(Frame.text(text)))
    assert.deepStrictEqual(decodeAll({ role: "server" }, [wire.slice()]).frames, expected)
    assert.deepStrictEqual(decodeAll({ role: "server" }, singly(wire)).frames, expected)
  })

  it("two decoders know nothing of each other", () => {
    const [left, right] = [0, 1].map(() => Frame.makeDecoder({ role: "client" }))
    assert.strictEqual(left.decode(hex("82")).needed, 1)
    assert.strictEqual(right.decode(hex("81 02 68")).needed, 1)
    assert.deepStrictEqual(left.decode(hex("01 07")).frames.map(facts), [facts(Frame.binary(bytes(7)))])
    assert.deepStrictEqual(right.decode(hex("69")).frames.map(facts), [facts(Frame.text("hi"))])
  })

  it.prop(
    "any frames, cut anywhere, come out as they were",
    {
      frames: Arbitrary.array(anyFrame),
      key: either<number | undefined>(anyMaskKey, Arbitrary.Constant(undefined)),
      cuts: anyCuts
    },
    ({ cuts, frames, key }) => {
      const role = key === undefined ? "client" : "server"
      const wire = concat(...frames.map((frame) => Frame.encode(frame, key)))
      const outcome = decodeAll({ role, reservedBits: 7 }, cutAt(wire, cuts))
      assert.deepStrictEqual(outcome, { frames: frames.map(facts), error: undefined })
    },
    { arbitrary: { runs: 200 } }
  )

  it.prop(
    "decoding undoes encoding",
    { frame: anyFrame, key: anyMaskKey },
    ({ frame, key }) => {
      const options = { reservedBits: 7 }
      const masked = Frame.encode(frame, key)
      assert.strictEqual(masked.length, Frame.headerSize(frame.payload.length, true) + frame.payload.length)
      assert.deepStrictEqual(facts(one({ role: "server", ...options }, masked.slice())), facts(frame))
      const unmasked = Frame.encode(frame)
      assert.strictEqual(unmasked.length, Frame.headerSize(frame.payload.length, false) + frame.payload.length)
      assert.deepStrictEqual(facts(one({ role: "client", ...options }, unmasked.slice())), facts(frame))
      assert.strictEqual(toHex(Frame.encode(one({ role: "client", ...options }, unmasked.slice()), key)), toHex(masked))
    }
  )

  const anyWire = Arbitrary.map(
    Arbitrary.array(either(
      anyBytes({ maxLength: 6 }),
      Arbitrary.map(Arbitrary.all([anyFrame, anyMaskKey]), ([frame, key]) => Frame.encode(frame, key)),
      Arbitrary.map(anyFrame, (frame) => Frame.encode(frame))
    )),
    (parts) => concat(...parts)
  )

  it.prop(
    "any bytes at all are decoded to the same frames and the same error, however they are cut",
    { wire: anyWire, cuts: anyCuts, reservedBits: integer(0, 7), maxFrameSize: integer(0, 80_000) },
    ({ cuts, maxFrameSize, reservedBits, wire }) => {
      for (const role of roles) {
        const options = { role, reservedBits, maxFrameSize }
        const whole = decodeAll(options, [wire.slice()])
        assert.deepStrictEqual(decodeAll(options, cutAt(wire, cuts)), whole)
        if (wire.length < 1000) assert.deepStrictEqual(decodeAll(options, singly(wire)), whole)
      }
    },
    { arbitrary: { runs: 300 } }
  )
})

describe("what a payload holds on to", () => {
  for (const size of [0, 3, 5000]) {
    it(`is handed to another thread without what others have: ${size} bytes`, () => {
      const decoder = Frame.makeDecoder({ role: "client" })
      const wire = Frame.encode(Frame.binary(patterned(size)))
      const { frames: [mine, theirs] } = decoder.decode(Buffer.concat([wire, wire]))
      const transfer = mine.payload.buffer as ArrayBuffer
      try {
        assert.deepStrictEqual(structuredClone(mine.payload, { transfer: [transfer] }), patterned(size))
      } catch (error) {
        // Node 22 refuses to transfer what is shared; before that, it was copied.
        assert.strictEqual((error as Error).name, "DataCloneError")
        assert.isBelow(size, 5000)
      }
      assert.deepStrictEqual(theirs.payload, patterned(size))
      // In pieces too, of which the first is none of the payload.
      const pieces = [Frame.binary(patterned(10)), Frame.binary(patterned(size))].map((frame) => Frame.encode(frame))
      for (const piece of pieces) {
        const frames = [piece.subarray(0, 2), piece.subarray(2)].flatMap((part) => decoder.decode(part).frames)
        assert.strictEqual(frames.length, 1)
      }
    })
  }

  const chunkSize = 64 * 1024

  /** A chunk of 64 KiB with these frames at its beginning, and a ping after them. */
  const chunkWith = (role: Frame.Role, ...frames: ReadonlyArray<Frame.Frame>) => {
    const chunk = new Uint8Array(chunkSize)
    chunk.set(concat(...[...frames, Frame.ping()].map((frame) => Frame.encode(frame, keyFor(role)))))
    return chunk
  }

  for (const role of roles) {
    for (const length of [1, 100, 5000, 32_767, 65_000]) {
      it(`${length} of a ${role}'s 64 KiB are a copy, and the chunk is left as it was`, () => {
        const payload = patterned(length)
        const chunk = chunkWith(role, Frame.binary(payload))
        const before = chunk.slice()
        const [frame] = Frame.makeDecoder({ role }).decode(chunk).frames
        assert.strictEqual(toHex(frame.payload), toHex(payload))
        assert.notStrictEqual(frame.payload.buffer, chunk.buffer)
        assert.isAtMost(frame.payload.buffer.byteLength, Math.max(Buffer.poolSize, length))
        assert.isTrue(Buffer.from(chunk.buffer).equals(before))
      })
    }

    it(`a payload in a chunk that does not begin its buffer is of the right bytes, for a ${role}`, () => {
      for (let shift = 0; shift < 5; shift++) {
        const payload = patterned(50_000)
        const chunk = new Uint8Array(new ArrayBuffer(chunkSize), shift, chunkSize - shift - 3)
        chunk.set(
          concat(Frame.encode(Frame.ping(bytes(1)), keyFor(role)), Frame.encode(Frame.binary(payload), keyFor(role)))
        )
        const [, frame] = Frame.makeDecoder({ role }).decode(chunk).frames
        assert.strictEqual(toHex(frame.payload), toHex(payload))
      }
    })

    it(`the small frames of many chunks of a ${role}'s hold on to none of them`, () => {
      const decoder = Frame.makeDecoder({ role })
      const wire = concat(
        ...Array.from({ length: 3 }, (_, i) => Frame.encode(Frame.binary(patterned(100, i)), keyFor(role)))
      )
      const cut = wire.length - 50
      const first = new Uint8Array(chunkSize)
      first.set(wire.subarray(0, cut), chunkSize - cut)
      const second = new Uint8Array(chunkSize)
      second.set(wire.subarray(cut))
      const frames = [
        ...decoder.decode(first.subarray(chunkSize - cut)).frames,
        ...decoder.decode(second.subarray(0, 50)).frames
      ]
      assert.deepStrictEqual(
        frames.map((frame) => toHex(frame.payload)),
        [0, 1, 2].map((i) => toHex(patterned(100, i)))
      )
      for (const frame of frames) assert.isAtMost(frame.payload.buffer.byteLength, Buffer.poolSize)
    })

    it(`a payload that comes in parts takes no more than twice what has come, for a ${role}`, () => {
      const payload = patterned(1_000_000)
      const wire = Frame.encode(Frame.binary(payload), keyFor(role))
      const decoder = Frame.makeDecoder({ role })
      let held = 0
      for (let at = 0, size = 1; at < wire.length; at += size, size = 1 + (size * 7) % 5000) {
        const { frames, partial } = decoder.decode(wire.subarray(at, at + size))
        held = partial?.latest.buffer.byteLength ?? held
        if (partial !== undefined) assert.isAtMost(held, Math.max(256, 2 * partial.received))
        for (const frame of frames) {
          assert.strictEqual(frame.payload.buffer.byteLength, payload.length)
          assert.isTrue(Buffer.from(frame.payload).equals(payload))
        }
      }
      // It was made once more than half of it was there, and not anew at the end.
      assert.strictEqual(held, payload.length)
    })
  }

  it("an empty payload holds on to nothing", () => {
    const chunk = chunkWith("client", Frame.text(""))
    const [text, ping] = Frame.makeDecoder({ role: "client" }).decode(chunk).frames
    for (const frame of [text, ping]) {
      assert.strictEqual(frame.payload.length, 0)
      assert.strictEqual(frame.payload.buffer.byteLength, 0)
    }
  })

  for (const role of roles) {
    const header = (length: number) => Frame.headerSize(length, role === "server")
    for (
      const [name, length, total, cuts] of [
        ["none", 0, 0, []],
        ["a chunk of its own", 100, 0, []],
        ["a little of a chunk", 100, chunkSize, []],
        ["some of a chunk", 20_000, chunkSize, []],
        ["most of a chunk", 50_000, chunkSize, []],
        ["two parts", 100, 0, [50]],
        ["a small part and a large one", 70_000, 0, [100]],
        ["two large parts", 70_000, 0, [35_000]],
        ["alone in a small chunk", 100, 0, [header(100)]],
        ["alone in a large chunk", 70_000, 0, [header(70_000)]]
      ] as const
    ) {
      it(`a ${role}'s payload is a plain Uint8Array, whatever the chunks are: ${name}`, () => {
        const frame = Frame.binary(patterned(length))
        const encoded = Frame.encode(frame, keyFor(role))
        const wire = new Uint8Array(Math.max(total, encoded.length))
        wire.set(encoded)
        const plain = cutAt(wire, cuts)
        for (const chunks of [plain.map((chunk) => Buffer.from(chunk)), plain]) {
          const decoder = Frame.makeDecoder({ role })
          const [got] = chunks.flatMap((chunk) => decoder.decode(chunk).frames)
          assert.strictEqual(toHex(got.payload), toHex(frame.payload))
          assert.strictEqual(got.payload.constructor, Uint8Array)
        }
      })
    }
  }

  it("a part is kept though its chunk is used again", () => {
    const wire = Frame.encode(Frame.binary(patterned(100)))
    const decoder = Frame.makeDecoder({ role: "client" })
    const chunk = new Uint8Array(34)
    const frames: Array<Frame.Frame> = []
    for (let at = 0; at < wire.length; at += 34) {
      chunk.set(wire.subarray(at, at + 34))
      frames.push(...decoder.decode(chunk).frames)
    }
    assert.deepStrictEqual(frames.map(facts), [facts(Frame.binary(patterned(100)))])
  })
})

describe("encoding", () => {
  it("leaves the frame's own bytes alone", () => {
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

  it("masks with a key of zero too", () => {
    assert.strictEqual(toHex(Frame.encode(Frame.text("a"), 0)), "81810000000061")
  })

  it("writes the low byte of the key first, whatever its sign", () => {
    assert.strictEqual(toHex(Frame.encode(Frame.text("\0\0\0\0\0"), 0x04030201)), "8185010203040102030401")
    assert.strictEqual(toHex(Frame.encode(Frame.text("\0"), -2)), "8181fefffffffe")
    assert.strictEqual(toHex(Frame.encode(Frame.text("\0"), -(2 ** 31))), "81810000008000")
  })

  for (const key of [undefined, rfcKey]) {
    it(`writes to the middle of other bytes, and nowhere else, ${key === undefined ? "unmasked" : "masked"}`, () => {
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
    it(`are written ${name}`, () => {
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
    it(`of the reason, ${name}`, () => {
      const { payload } = Frame.close(1000, reason)
      assert.strictEqual(payload.length, 2 + kept)
      assert.strictEqual(payload.buffer.byteLength, 2 + kept)
      assert.strictEqual(toHex(payload), toHex(concat(hex("03e8"), Buffer.from(reason).subarray(0, kept))))
    })
  }

  it.prop("are read as they were written", { code: integer(3000, 4999), reason: anyText }, ({ code, reason }) => {
    const { payload } = Frame.close(code, reason)
    const read = Frame.readClose(payload)
    if ("_tag" in read) return assert.fail(read._tag)
    assert.strictEqual(read.code, code)
    assert.isTrue(reason.startsWith(read.reason))
    const next = String.fromCodePoint(reason.codePointAt(read.reason.length) ?? 0)
    if (read.reason !== reason) assert.isAbove(Buffer.byteLength(read.reason + next), 123)
  })

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
    it(`are read: ${name}`, () => {
      assert.deepStrictEqual<object>({ ...Frame.readClose(hex(payload)) }, expected)
    })
  }

  it("are read with each of the 65,536 codes, of which some are refused (RFC 6455 §7.4)", () => {
    const onWire = [[1000, 1003], [1007, 1014], [3000, 4999]]
    for (let code = 0; code < 0x10000; code++) {
      const read = Frame.readClose(bytes(code >> 8, code))
      const expected = onWire.some(([from, to]) => code >= from && code <= to) ? `${code} ""` : "InvalidCloseCode"
      const actual = "_tag" in read ? read._tag : `${read.code} ${JSON.stringify(read.reason)}`
      if (actual !== expected) assert.fail(`${code}: ${actual}`)
    }
  })

  it.prop("of any payload are read, or refused, and never throw", { payload: anyBytes() }, ({ payload }) => {
    const read = Frame.readClose(payload)
    if ("_tag" in read) assert.include(["CloseFrameTooShort", "InvalidCloseCode", "InvalidUtf8"], read._tag)
    else if (payload.length > 0) assert.strictEqual(toHex(Frame.close(read.code, read.reason).payload), toHex(payload))
  })
})

describe("the codec in use", () => {
  it.effect("is one with random keys and no limit of its own", () =>
    Effect.gen(function*() {
      const codec = yield* Frame.FrameCodec
      assert.strictEqual(codec.maxFrameSize, Infinity)
      const { error } = codec.decoder({ role: "client" }).decode(hex("82 7f 00 00 00 00 01 00 00 01"))
      assert.deepStrictEqual(factsOf(error), tooLarge(16_777_217, 16_777_216))
      const larger = codec.decoder({ role: "client", maxFrameSize: 2 ** 31 }).decode(
        hex("82 7f 00 00 00 00 80 00 00 00")
      )
      assert.strictEqual(larger.partial?.length, 2 ** 31)
    }))

  it.effect("draws mask keys that are all over the place (RFC 6455 §5.3, §10.3)", () =>
    Effect.gen(function*() {
      const { maskKey } = yield* Frame.FrameCodec
      const keys = Array.from({ length: 5000 }, maskKey)
      for (const key of keys) assert.strictEqual(key, key | 0)
      assert.isAbove(new Set(keys).size, 4990)
      for (let shift = 0; shift < 32; shift += 8) {
        assert.strictEqual(new Set(keys.map((key) => key >>> shift & 0xff)).size, 256)
      }
    }))

  it.effect("masks what a client sends with a key of its own, and nothing that a server sends", () =>
    Effect.gen(function*() {
      const codec = yield* Frame.FrameCodec
      const zeros = Frame.binary(new Uint8Array(4))
      const seen = new Set<string>()
      for (let i = 0; i < 100; i++) {
        const wire = toHex(codec.encode(zeros, "client"))
        assert.strictEqual(wire.slice(0, 4), "8284")
        assert.strictEqual(wire.slice(4, 12), wire.slice(12))
        seen.add(wire)
      }
      assert.isAbove(seen.size, 95)
      assert.strictEqual(toHex(codec.encode(zeros, "server")), "820400000000")
    }))

  it.effect("is another where a Layer says so: its keys", () => {
    let key = 0
    return Effect.gen(function*() {
      const codec = yield* Frame.FrameCodec
      const wires = [
        codec.encode(Frame.text("a"), "client"),
        codec.encode(Frame.text("a"), "server"),
        codec.encode(Frame.ping(), "client")
      ]
      assert.deepStrictEqual(wires.map(toHex), ["81810100000060", "810161", "898002000000"])
      assert.strictEqual(codec.maskKey(), 3)
      assert.strictEqual(codec.maxFrameSize, Infinity)
    }).pipe(Effect.provide(Frame.layerCodec({ maskKey: () => ++key })))
  })

  it.effect("is another where a Layer says so: its limit, which no decoder gets past", () =>
    Effect.gen(function*() {
      const codec = yield* Frame.FrameCodec
      assert.strictEqual(codec.maxFrameSize, 100)
      const read = (maxFrameSize: number | undefined, wire: string) =>
        factsOf(codec.decoder({ role: "client", maxFrameSize }).decode(hex(wire)).error)
      assert.isUndefined(read(undefined, "82 64"))
      assert.deepStrictEqual(read(undefined, "82 65"), tooLarge(101, 100))
      assert.deepStrictEqual(read(1000, "82 65"), tooLarge(101, 100))
      assert.isUndefined(read(50, "82 32"))
      assert.deepStrictEqual(read(50, "82 33"), tooLarge(51, 50))
      assert.deepStrictEqual(read(NaN, "82 01"), tooLarge(1, NaN))
      assert.isUndefined(read(50, `89 7d ${"00".repeat(125)}`))
      assert.notStrictEqual(codec.maskKey(), codec.maskKey())
    }).pipe(Effect.provide(Frame.layerCodec({ maxFrameSize: 100 }))))

  it.effect("is the default again where a Layer says nothing", () =>
    Effect.gen(function*() {
      const codec = yield* Frame.FrameCodec
      assert.strictEqual(codec.maxFrameSize, Infinity)
      assert.notStrictEqual(codec.maskKey(), codec.maskKey())
    }).pipe(Effect.provide(Frame.layerCodec())))

  it("lets no data frame pass where its limit is NaN", () => {
    const codec = Frame.makeCodec({ maxFrameSize: NaN })
    for (const maxFrameSize of [undefined, 0, 1000, Infinity]) {
      const { error, frames } = codec.decoder({ role: "client", maxFrameSize }).decode(hex("89 00 82 01"))
      assert.deepStrictEqual(frames.map(facts), [facts(Frame.ping())])
      assert.deepStrictEqual(factsOf(error), tooLarge(1, NaN))
    }
  })

  it("passes the role and the reserved bits on to its decoders", () => {
    const codec = Frame.makeCodec({ maxFrameSize: 10 })
    const decode = (options: Frame.DecoderOptions, wire: string) => codec.decoder(options).decode(hex(wire))
    assert.strictEqual(decode({ role: "server" }, "81 00").error?._tag, "UnmaskedFrame")
    assert.strictEqual(decode({ role: "client" }, "81 80").error?._tag, "MaskedFrame")
    assert.strictEqual(decode({ role: "client" }, "c1 00").error?._tag, "ReservedBits")
    assert.strictEqual(decode({ role: "client", reservedBits: 4 }, "c1 00").frames[0].reserved, 4)
  })
})
