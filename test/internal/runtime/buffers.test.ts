import { assert, describe, it, vi } from "@effect/vitest"
import { Arbitrary } from "effect"
import {
  allocate,
  ByteBuilder,
  canRetainView,
  detach,
  encodeText,
  ensureCapacity
} from "../../../src/internal/runtime/buffers.ts"
import { among, anyBoolean, either, integer, patterned } from "../../support/properties.ts"

const KiB = 1024

/** A view of `length` bytes into the middle of a buffer of `size`. */
const viewOf = (length: number, size: number, seed = 0): Uint8Array => {
  const view = new Uint8Array(new ArrayBuffer(size), (size - length) >> 1, length)
  view.set(patterned(length, seed))
  return view
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")

describe("worthKeeping", () => {
  for (
    const [size, buffer, kept] of [
      [0, 0, true],
      [0, 8 * KiB, true],
      [1, 8 * KiB, true],
      [8 * KiB, 8 * KiB, true],
      [1, 8 * KiB + 1, false],
      [4096, 8 * KiB + 1, false],
      [4097, 8 * KiB + 1, true],
      [0, 64 * KiB, false],
      [32 * KiB - 1, 64 * KiB, false],
      [32 * KiB, 64 * KiB, true],
      [64 * KiB, 64 * KiB, true]
    ] as const
  ) {
    it(`${size} of ${buffer} bytes: ${kept ? "a view" : "a copy"}`, () => {
      assert.strictEqual(canRetainView(size, new ArrayBuffer(buffer)), kept)
    })
  }
})

describe("encodeText", () => {
  for (const text of ["", "a", "aé😀\ud800", "é".repeat(3000)]) {
    it(`encodes ${text.length} code units as TextEncoder does`, () => {
      assert.deepStrictEqual(encodeText(text), new TextEncoder().encode(text))
    })
  }

  it("shares blocks of 8 KiB among short texts", () => {
    const texts = Array.from({ length: 20 }, () => encodeText("x".repeat(100)))
    assert.isAtMost(new Set(texts.map(({ buffer }) => buffer)).size, 2)
    assert.isTrue(texts.every(({ buffer }) => buffer.byteLength === 8 * KiB))
  })
})

describe("Pieces", () => {
  it("begins empty", () => {
    const pieces = new ByteBuilder()
    assert.strictEqual(pieces.length, 0)
    assert.strictEqual(pieces.concat().length, 0)
  })

  it("counts bytes", () => {
    const pieces = new ByteBuilder()
    const lengths = [3, 0, 5000, 1, 20_000].map((length) => {
      pieces.push(patterned(length))
      return pieces.length
    })
    assert.deepStrictEqual(lengths, [3, 3, 5003, 5004, 25_004])
  })

  it("copies small pieces: they may be overwritten afterwards", () => {
    const pieces = new ByteBuilder()
    const reused = new Uint8Array(4095)
    for (let i = 1; i <= 3; i++) {
      reused.fill(i)
      pieces.push(reused)
    }
    reused.fill(9)
    const whole = pieces.concat()
    assert.strictEqual(whole.length, 3 * 4095)
    assert.deepStrictEqual([0, 4094, 4095, 8189, 8190, 12_284].map((i) => whole[i]), [1, 1, 2, 2, 3, 3])
  })

  it("keeps a large piece as it is", () => {
    const pieces = new ByteBuilder()
    const piece = viewOf(40 * KiB, 64 * KiB)
    pieces.push(piece)
    assert.strictEqual(pieces.concat(), piece)
  })

  it("keeps a piece from 4 KiB on, and copies below that", () => {
    for (const [length, kept] of [[4095, false], [4096, true], [4097, true]] as const) {
      const pieces = new ByteBuilder()
      const piece = patterned(length)
      pieces.push(piece)
      const whole = pieces.concat()
      assert.strictEqual(whole.buffer === piece.buffer, kept, `${length} bytes`)
      assert.strictEqual(hex(whole), hex(piece), `${length} bytes`)
    }
  })

  it("copies a piece that is less than half of its buffer", () => {
    const pieces = new ByteBuilder()
    const piece = viewOf(30 * KiB, 64 * KiB)
    pieces.push(piece)
    const whole = pieces.concat()
    assert.notStrictEqual(whole.buffer, piece.buffer)
    assert.strictEqual(hex(whole), hex(piece))
  })

  it("holds no more than about what it was given", () => {
    for (const [length, most] of [[1, 256], [256, 256], [300, 300], [3000, 3000]]) {
      const pieces = new ByteBuilder()
      pieces.push(viewOf(length, 64 * KiB))
      assert.isAtMost(pieces.concat().buffer.byteLength, most, `${length} bytes`)
    }
  })

  for (const length of [1, 255, 256, 257, 511, 512, 513, 16 * KiB - 1, 16 * KiB, 16 * KiB + 1, 50_000]) {
    it(`puts ${length} single bytes together`, () => {
      const pieces = new ByteBuilder()
      const bytes = patterned(length)
      for (let i = 0; i < length; i++) pieces.push(bytes.subarray(i, i + 1))
      assert.strictEqual(pieces.length, length)
      assert.strictEqual(hex(pieces.concat()), hex(bytes))
    })
  }

  it("keeps the order of large pieces and small ones", () => {
    const pieces = new ByteBuilder()
    const parts = [
      patterned(10, 1),
      viewOf(40 * KiB, 64 * KiB, 2),
      patterned(20, 3),
      patterned(0),
      patterned(30, 4),
      viewOf(20 * KiB, 64 * KiB, 5),
      patterned(40, 6),
      viewOf(5000, 5000, 7)
    ]
    for (const part of parts) pieces.push(part)
    assert.strictEqual(hex(pieces.concat()), hex(Buffer.concat(parts)))
  })

  const anySize = either(
    integer(0, 10),
    integer(0, 600),
    among(4095, 4096, 16 * KiB - 1, 16 * KiB, 16 * KiB + 1, 40_000)
  )

  it.prop(
    "gives what Buffer.concat gives",
    [Arbitrary.array(Arbitrary.all([anySize, anyBoolean, integer(0, 255)]))],
    ([sizes]) => {
      const parts = sizes.map(([size, small, seed]) => viewOf(size, small ? size : 64 * KiB, seed))
      const pieces = new ByteBuilder()
      for (const part of parts) pieces.push(part)
      assert.strictEqual(pieces.length, parts.reduce((sum, part) => sum + part.length, 0))
      assert.strictEqual(hex(pieces.concat()), hex(Buffer.concat(parts)))
    },
    { arbitrary: { size: 30, runs: 200 } }
  )
})

describe("allocate", () => {
  it("returns arrays of the given size that begin at a word and do not overlap", () => {
    const rooms = Array.from({ length: 3000 }, (_, i) => allocate((i * 7) % 5000))
    rooms.forEach((room, i) => room.fill(i % 251))
    for (const [i, room] of rooms.entries()) {
      assert.strictEqual(room.length, (i * 7) % 5000)
      assert.isTrue(room.every((byte) => byte === i % 251))
      assert.strictEqual(room.byteOffset % 8, 0)
    }
  })

  it("works in runtimes that have transfers, and cannot be told to leave them", async () => {
    vi.resetModules()
    vi.doMock("node:worker_threads", () => ({
      markAsUntransferable: () => {
        throw new Error("not implemented")
      }
    }))
    const bytes = await import("../../../src/internal/runtime/buffers.ts")
    vi.doUnmock("node:worker_threads")
    // The next test file in this process must not get these modules.
    vi.resetModules()
    assert.strictEqual(bytes.emptyBytes.length, 0)
    assert.strictEqual(bytes.allocate(5).length, 5)
  })

  it("holds on to no more than 8 KiB, whatever the pool of this Node is", () => {
    for (const size of [0, 1, 64, 4096, 4097, 8192]) assert.isAtMost(allocate(size).buffer.byteLength, 8192)
  })

  it("shares blocks of 8 KiB from 1 byte to 4 KiB, and nothing else", () => {
    const bufferSizes = [0, 1, 4096, 4097].map((size) => allocate(size).buffer.byteLength)
    assert.deepStrictEqual(bufferSizes, [0, 8192, 8192, 4097])
    const blocks = new Set(Array.from({ length: 256 }, () => allocate(64).buffer))
    assert.isAtMost(blocks.size, 3)
  })
})

describe("detach", () => {
  it("returns the same bytes, and retains no others", () => {
    for (const size of [0, 1, 64, 100, 4096, 4097, 70_000]) {
      const room = allocate(size)
      room.set(patterned(size))
      const own = detach(room)
      assert.strictEqual(own.buffer.byteLength, size)
      assert.deepStrictEqual(own, patterned(size))
    }
  })
})

describe("ensureCapacity", () => {
  it("returns the given array if it is large enough", () => {
    const room = new Uint8Array(10)
    assert.strictEqual(ensureCapacity(room, 4, 10, 100), room)
  })

  for (
    const [size, limit, length] of [
      [1, 10_000_000, 256],
      [1, 100, 100],
      [128, 10_000_000, 256],
      [129, 10_000_000, 258],
      [60_000, 10_000_000, 120_000],
      [60_000, 120_000, 120_000],
      [60_000, 119_999, 119_999],
      [60_000, 60_000, 60_000]
    ] as const
  ) {
    it(`is ${length} bytes where ${size} are needed, and ${limit} will be`, () => {
      const room = ensureCapacity(new Uint8Array(0), 0, size, limit)
      assert.deepStrictEqual([room.length, room.buffer.byteLength], [length, length])
    })
  }

  it("keeps what is used", () => {
    const grown = ensureCapacity(patterned(100), 70, 101, 300)
    assert.strictEqual(grown.length, 256)
    assert.deepStrictEqual(grown.slice(0, 70), patterned(100).slice(0, 70))
  })
})
