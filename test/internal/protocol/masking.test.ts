import { assert, describe, it } from "@effect/vitest"
import { vi } from "vitest"
import { maskInPlace, maskInto } from "../../../src/internal/protocol/masking.ts"
import { anyBytes, anyCuts, anyMaskKey, anyPayload, cutAt, integer, patterned } from "../../support/properties.ts"

const rfcKey = 0x3d21fa37

/** RFC 6455 §5.3 to the letter: octet i is XORed with octet i MOD 4 of the key. */
const naive = (bytes: Uint8Array, key: number, phase = 0): Uint8Array => {
  const octets = new Uint8Array(4)
  new DataView(octets.buffer).setInt32(0, key, true)
  return bytes.map((byte, i) => byte ^ octets[(i + phase) % 4])
}

const same = (actual: Uint8Array, expected: Uint8Array, what: string) =>
  assert.strictEqual(Buffer.from(actual).toString("hex"), Buffer.from(expected).toString("hex"), what)

/** `inner` with three other bytes on either side of it, `shift` bytes off a word's beginning. */
const surrounded = (inner: Uint8Array, shift: number) => {
  const outer = new Uint8Array(new ArrayBuffer(inner.length + 6 + shift), shift)
  outer.fill(0xee)
  outer.set(inner, 3)
  return outer
}

const lengths = [...Array.from({ length: 72 }, (_, i) => i), 100, 127, 1023, 65536, 65539]

describe("maskInPlace (RFC 6455 §5.3)", () => {
  it("masks the RFC's own example", () => {
    const hello = Uint8Array.from(Buffer.from("Hello"))
    maskInPlace(hello, 0, 5, rfcKey, 0)
    assert.deepStrictEqual(Array.from(hello), [0x7f, 0x9f, 0x4d, 0x51, 0x58])
    maskInPlace(hello, 0, 5, rfcKey, 0)
    assert.strictEqual(Buffer.from(hello).toString(), "Hello")
  })

  it("takes the low byte of the key as its first octet", () => {
    for (const length of [4, 64]) {
      const zeros = new Uint8Array(length)
      maskInPlace(zeros, 0, length, 0x04030201, 0)
      assert.deepStrictEqual(Array.from(zeros.subarray(0, 4)), [1, 2, 3, 4])
      assert.deepStrictEqual(Array.from(zeros.subarray(-4)), [1, 2, 3, 4])
    }
  })

  for (const length of lengths) {
    it(`masks ${length} bytes as a plain loop does, at each alignment and phase, and nothing around them`, () => {
      const inner = patterned(length)
      for (let shift = 0; shift < 4; shift++) {
        for (let phase = 0; phase < 5; phase++) {
          const masked = surrounded(inner, shift)
          maskInPlace(masked, 3, 3 + length, rfcKey, phase)
          same(masked, surrounded(naive(inner, rfcKey, phase), shift), `shift ${shift}, phase ${phase}`)
        }
      }
    })
  }

  for (const key of [0, -1, 1, 0xff, 0xff00, 0xff_0000, -(2 ** 24), -(2 ** 31), 2 ** 31 - 1]) {
    it(`masks with the key ${key}`, () => {
      for (const length of [13, 61]) {
        const masked = patterned(length)
        maskInPlace(masked, 0, length, key, 0)
        same(masked, naive(patterned(length), key), `${length} bytes`)
      }
    })
  }

  it("goes by the phase far into a payload", () => {
    for (const phase of [2 ** 31 + 1, 2 ** 32 + 2, 2 ** 40 + 3]) {
      for (const length of [9, 99]) {
        const masked = patterned(length)
        maskInPlace(masked, 0, length, rfcKey, phase)
        same(masked, naive(patterned(length), rfcKey, phase % 4), `${length} bytes at ${phase}`)
      }
    }
  })

  it.prop(
    "inverts itself",
    { payload: anyPayload, key: anyMaskKey, phase: integer(0, 2 ** 40) },
    ({ key, payload, phase }) => {
      const twice = payload.slice()
      maskInPlace(twice, 0, twice.length, key, phase)
      same(twice, naive(payload, key, phase), "once")
      maskInPlace(twice, 0, twice.length, key, phase)
      same(twice, payload, "twice")
    }
  )

  it.prop(
    "masks piece by piece what it masks at once",
    { payload: anyPayload, key: anyMaskKey, cuts: anyCuts },
    ({ cuts, key, payload }) => {
      let phase = 0
      const pieces = cutAt(payload, cuts)
      for (const piece of pieces) {
        maskInPlace(piece, 0, piece.length, key, phase)
        phase += piece.length
      }
      same(Buffer.concat(pieces), naive(payload, key), "all pieces")
    }
  )
})

describe("maskInto (RFC 6455 §5.3)", () => {
  for (const length of lengths) {
    it(`copies ${length} bytes masked, from and to each alignment, and leaves all others alone`, () => {
      const inner = patterned(length)
      for (let from = 0; from < 4; from++) {
        for (let to = 0; to < 4; to++) {
          const source = surrounded(inner, from)
          const target = surrounded(new Uint8Array(length), to)
          maskInto(target, 3, source, 3, 3 + length, rfcKey, 0)
          same(target, surrounded(naive(inner, rfcKey), to), `target, from ${from} to ${to}`)
          same(source, surrounded(inner, from), `source, from ${from} to ${to}`)
        }
      }
    })
  }

  for (const length of [10, 100]) {
    it(`copies ${length} bytes from the beginning, the middle, the end or all of its source`, () => {
      for (const [before, after] of [[0, 0], [0, 5], [5, 0], [5, 5]]) {
        const source = patterned(before + length + after)
        const target = new Uint8Array(length + 20).fill(0xee)
        maskInto(target, 7, source, before, before + length, rfcKey, 0)
        const expected = new Uint8Array(length + 20).fill(0xee)
        expected.set(naive(source.subarray(before, before + length), rfcKey), 7)
        same(target, expected, `${before} before, ${after} after`)
      }
    })
  }

  it.prop(
    "equals a copy and a mask in place",
    {
      source: anyPayload,
      before: anyBytes({ maxLength: 9 }),
      after: anyBytes({ maxLength: 9 }),
      key: anyMaskKey,
      phase: integer(0, 2 ** 40)
    },
    ({ after, before, key, phase, source }) => {
      const whole = Uint8Array.from(Buffer.concat([before, source, after]))
      const end = before.length + source.length
      const copied = whole.slice()
      maskInto(copied, before.length, whole, before.length, end, key, phase)
      const inPlace = whole.slice()
      maskInPlace(inPlace, before.length, end, key, phase)
      same(copied, inPlace, "both")
      same(copied, Buffer.concat([before, naive(source, key, phase), after]), "naive")
    }
  )
})

describe("the WebAssembly kernel", () => {
  type XOR = (at: number, end: number, word: number) => void
  const { WebAssembly } = globalThis as unknown as {
    readonly WebAssembly: {
      Instance: new(module: object) => { readonly exports: { readonly m: object; readonly x: XOR } }
    }
  }

  /** The module, loaded anew, and the sizes that its kernel is called for. */
  const load = async () => {
    const sizes: Array<number> = []
    const { Instance } = WebAssembly
    vi.spyOn(WebAssembly, "Instance").mockImplementation(function(module) {
      const { m, x } = new Instance(module).exports
      const counted: XOR = (at, end, word) => {
        sizes.push(end - at)
        x(at, end, word)
      }
      return { exports: { m, x: counted } }
    })
    vi.resetModules()
    const masking = await import("../../../src/internal/protocol/masking.ts")
    vi.restoreAllMocks()
    // The next test file in this process must not get this module.
    vi.resetModules()
    return { masking, sizes }
  }

  it("compiles, and masks payloads of 768 bytes and more, 64 KiB at a time", async () => {
    const { masking, sizes } = await load()
    for (const length of [767, 768, 65_536, 65_537, 200_000]) {
      const masked = patterned(length)
      masking.maskInPlace(masked, 0, length, rfcKey, 0)
      same(masked, naive(patterned(length), rfcKey), `${length} bytes`)
    }
    assert.deepStrictEqual(sizes, [768, 65_536, 65_536, 1, 65_536, 65_536, 65_536, 3392])
    masking.maskInto(new Uint8Array(767), 0, patterned(767), 0, 767, rfcKey, 0)
    masking.maskInto(new Uint8Array(768), 0, patterned(768), 0, 768, rfcKey, 0)
    assert.deepStrictEqual(sizes.slice(8), [768])
  })
})
