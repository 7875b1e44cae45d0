import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { Frame } from "effect-ws"
import {
  bytes,
  concat,
  decodeAll,
  facts,
  factsOf,
  headerOf,
  hex,
  keyFor,
  lengths,
  one,
  type Outcome,
  roles,
  singly,
  toHex
} from "../../support/frames.ts"
import {
  among,
  anyBytes,
  anyCuts,
  anyFrame,
  anyMaskKey,
  cutAt,
  either,
  integer,
  patterned
} from "../../support/properties.ts"

const { Opcode } = Frame

const neededAfterEach = (role: Frame.Role, wire: string) => {
  const decoder = Frame.makeDecoder({ role, maxFrameSize: 2 ** 40 })
  return Array.from(hex(wire), (byte) => decoder.decode(bytes(byte)).needed)
}

describe("Decoded.needed", () => {
  for (const [length, written] of lengths) {
    for (const masked of [false, true]) {
      if (length > 1000) continue
      it(`counts exactly after each byte of a frame of ${length} bytes, ${masked ? "masked" : "unmasked"}`, () => {
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

  it("counts all bytes of a 64-bit length", () => {
    assert.deepStrictEqual(
      neededAfterEach("client", "82 7f 00 00 00 01 00 00 00 00"),
      [1, 8, 7, 6, 5, 4, 3, 2, 1, 4_294_967_296]
    )
    assert.deepStrictEqual(
      neededAfterEach("server", "82 ff 00 00 00 00 00 01 00 00 37 fa 21 3d 00 00"),
      [1, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 65536, 65535, 65534]
    )
  })

  it("belongs to the frame after the last whole one", () => {
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
    "never counts too much: a reader of exactly that many bytes gets every frame",
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

describe("Decoded.partial", () => {
  for (const role of roles) {
    it(`returns the latest bytes of a frame, unmasked, for a ${role}`, () => {
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

    it(`returns the frame after the whole frames, for a ${role}`, () => {
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

  it("returns the next frame if a chunk ends one and begins another", () => {
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

describe("chunks", () => {
  const samples = [0, 1, 125, 126, 127, 300, 65535, 65536].flatMap((length) => [
    { length, role: "client" as const },
    { length, role: "server" as const }
  ])

  for (const { length, role } of samples) {
    it(`divide the header of ${length} bytes of payload in three anywhere, for a ${role}`, () => {
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

    it(`divide the header of ${length} bytes of payload behind another frame, for a ${role}`, () => {
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

  it("control frames are read between fragments, and never inside one (RFC 6455 §5.4)", () => {
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

  it("two decoders share no state", () => {
    const [left, right] = [0, 1].map(() => Frame.makeDecoder({ role: "client" }))
    assert.strictEqual(left.decode(hex("82")).needed, 1)
    assert.strictEqual(right.decode(hex("81 02 68")).needed, 1)
    assert.deepStrictEqual(left.decode(hex("01 07")).frames.map(facts), [facts(Frame.binary(bytes(7)))])
    assert.deepStrictEqual(right.decode(hex("69")).frames.map(facts), [facts(Frame.text("hi"))])
  })

  it.prop(
    "any frames, divided anywhere, are decoded as they were",
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
    "decoders whose chunks arrive in turn decode any bytes as each does alone",
    { wires: Arbitrary.array(anyWire, { minLength: 2, maxLength: 4 }), cuts: anyCuts, role: among(...roles) },
    ({ cuts, role, wires }) => {
      const options = { role, reservedBits: 7 }
      const chunks = wires.map((wire) => cutAt(wire, cuts))
      const decoders = wires.map(() => Frame.makeDecoder(options))
      const outcomes = wires.map((): Outcome => ({ frames: [], error: undefined }))
      for (const turn of chunks[0].keys()) {
        for (const [i, decoder] of decoders.entries()) {
          const { error, frames } = decoder.decode(chunks[i][turn])
          outcomes[i] = { frames: [...outcomes[i].frames, ...frames.map(facts)], error: factsOf(error) }
        }
      }
      assert.deepStrictEqual(outcomes, chunks.map((own) => decodeAll(options, own)))
    },
    { arbitrary: { runs: 200 } }
  )

  it.prop(
    "any bytes are decoded to the same frames and the same error, wherever they are divided",
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

describe("memory of payloads", () => {
  for (const size of [0, 3, 5000]) {
    it(`a payload of ${size} bytes is transferred to another thread without other payloads`, () => {
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
      // Also in chunks, the first of which has no payload.
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
      it(`a payload of ${length} bytes in a ${role}'s chunk of 64 KiB is a copy`, () => {
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

    it(`a payload has the bytes of a chunk that begins inside its buffer, for a ${role}`, () => {
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

    it(`small frames retain none of a ${role}'s chunks`, () => {
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

    it(`an incomplete payload takes at most twice the received bytes, for a ${role}`, () => {
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

  it("an empty payload retains nothing", () => {
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
      it(`a ${role}'s payload is a plain Uint8Array when chunks are ${name}`, () => {
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

  it("a part of a payload is kept when its chunk is overwritten", () => {
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
