import { assert, describe, it } from "@effect/vitest"
import * as Zlib from "node:zlib"
import {
  copyOutput,
  isSupported,
  makeDeflate,
  makeInflate,
  noFlush,
  selfTest,
  sliceSize,
  syncFlush,
  type ZlibStream
} from "../../../src/internal/deflate/zlibStream.ts"
import { among, anyPayload, integer, patterned } from "../../support/properties.ts"

const step = (stream: ZlibStream, data: Uint8Array, flush = syncFlush): Uint8Array =>
  copyOutput(stream.step(flush, data, 0, data.length))

const hex = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString("hex")

/** Inflates one byte at a time, so that each reference needs the window. */
const inflateByBytes = (stream: ZlibStream, data: Uint8Array): Uint8Array => {
  const parts: Array<Uint8Array> = []
  for (let at = 0;;) {
    const size = stream.step(syncFlush, data, at, data.length - at, 1)
    if (stream.problem !== undefined) throw new Error(stream.problem)
    at = data.length - stream.inputRemaining
    if (size === 0) return Buffer.concat(parts)
    parts.push(copyOutput(size))
  }
}

describe("ZlibStream", () => {
  it("compresses and decompresses with reference to earlier data", () => {
    const deflate = makeDeflate(15, 3, 5)
    const inflate = makeInflate(15)
    const sizes = Array.from({ length: 3 }, () => {
      const compressed = step(deflate, patterned(5000))
      assert.strictEqual(hex(step(inflate, compressed)), hex(patterned(5000)))
      return compressed.length
    })
    assert.isBelow(sizes[1], sizes[0] / 2)
    for (const stream of [deflate, inflate]) stream.close()
  })

  it("produces no more than the space for output, and reports the remaining input", () => {
    const deflate = makeDeflate(15, 3, 5)
    const data = new Uint8Array(sliceSize)
    const compressed = Buffer.concat([step(deflate, data, noFlush), step(deflate, data)])
    const inflate = makeInflate(15)
    assert.strictEqual(inflate.step(syncFlush, compressed, 0, compressed.length, 1000), 1000)
    let size = 1000
    let at = compressed.length - inflate.inputRemaining
    for (let made = 1; made > 0;) {
      made = inflate.step(syncFlush, compressed, at, compressed.length - at)
      at = compressed.length - inflate.inputRemaining
      size += made
    }
    assert.strictEqual(size, 2 * sliceSize)
    assert.strictEqual(at, compressed.length)
    for (const stream of [deflate, inflate]) stream.close()
  })

  it("keeps zlib's message for invalid data, and emits no error", () => {
    const inflate = makeInflate(15)
    assert.strictEqual(inflate.step(syncFlush, Uint8Array.of(7), 0, 1), 0)
    assert.strictEqual(inflate.problem, "invalid block type")
    inflate.close()
  })

  it("leaves the input behind a final block, and decompresses it after a reset", () => {
    const inflate = makeInflate(15)
    const data = Zlib.deflateRawSync(Buffer.from("Hello"))
    assert.strictEqual(Buffer.from(step(inflate, Buffer.concat([data, data]))).toString(), "Hello")
    assert.strictEqual(inflate.inputRemaining, data.length)
    inflate.reset()
    assert.strictEqual(Buffer.from(step(inflate, data)).toString(), "Hello")
    inflate.close()
  })

  it("throws when it is used after close, which may be called twice", () => {
    for (const stream of [makeDeflate(15, 3, 5), makeInflate(15)]) {
      stream.close()
      stream.close()
      assert.throws(() => step(stream, patterned(5)), "expected an open zlib stream")
    }
  })

  it("copies its output before the next step overwrites it", () => {
    const deflate = makeDeflate(15, 3, 5)
    const first = step(deflate, patterned(100))
    const kept = hex(first)
    step(deflate, patterned(3000, 7))
    assert.strictEqual(hex(first), kept)
    deflate.close()
  })
})

describe("takeWindow", () => {
  const sizes = [
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    16,
    17,
    256,
    257,
    258,
    259,
    511,
    512,
    513,
    4999,
    5000,
    5001,
    32_767,
    32_768
  ]

  for (const size of [...sizes, 32_769, 65_536]) {
    it(`returns the last bytes of ${size}, with which another stream continues`, () => {
      const deflate = makeDeflate(15, 6, 8)
      const inflate = makeInflate(15)
      const data = patterned(size)
      if (size > 0) {
        const compressed = step(deflate, data)
        assert.strictEqual(inflate.step(syncFlush, compressed, 0, compressed.length, 65_536), size)
        if (size === sliceSize) assert.strictEqual(inflate.step(syncFlush, compressed, 0, 0), 0)
      }
      const window = inflate.takeWindow()
      assert.strictEqual(hex(window), hex(data.subarray(-32_768)))
      const next = makeInflate(15, window)
      assert.strictEqual(hex(step(next, step(deflate, patterned(3000)))), hex(patterned(3000)))
      assert.strictEqual(hex(next.takeWindow()), hex(Buffer.concat([data, patterned(3000)]).subarray(-32_768)))
      for (const stream of [deflate, inflate, next]) stream.close()
    })
  }

  it("returns no more than the negotiated window", () => {
    for (const windowBits of [9, 10, 12, 14]) {
      const inflate = makeInflate(windowBits)
      step(inflate, step(makeDeflate(windowBits, 3, 5), patterned(40_000)))
      assert.strictEqual(hex(inflate.takeWindow()), hex(patterned(40_000).subarray(-(2 ** windowBits))))
      inflate.close()
    }
  })

  it("returns nothing after a reset", () => {
    const inflate = makeInflate(15)
    step(inflate, step(makeDeflate(15, 3, 5), patterned(4000)))
    inflate.reset()
    assert.strictEqual(inflate.takeWindow()?.length, 0)
    inflate.close()
  })
})

describe("endMessage (RFC 7692 §7.2.2)", () => {
  const ends: ReadonlyArray<readonly [string, string, ReturnType<ZlibStream["endMessage"]>]> = [
    ["an empty message", "00", "between"],
    ["an empty block whose padding is not zero", "f8", "between"],
    ["Huffman codes and an empty block", "f248cdc9c90700", "between"],
    ["a stored block and an empty block", "000500faff48656c6c6f00", "between"],
    ["an empty block in fixed codes and an empty block", "0200", "between"],
    ["several flushes", "f248cdc9c907000000ffff02000000ffff00", "between"],
    ["a final block", "f348cdc9c90700", "final"],
    ["a final block that the marker completes", "f248cdc9c907000000ffff01", "final"],
    ["no bytes", "", "within"],
    ["whole blocks without the beginning of an empty one", "f248cdc9c907000000ffff", "within"],
    ["a stored block that lacks its last bytes", "000600f9ff48", "within"],
    ["a stored block that lacks as many bytes as the marker has", "000500faff48", "within"],
    ["a stored block whose length is cut", "000500", "within"],
    ["fixed codes without their end", "f248cdc9", "within"],
    ["the header of a block in dynamic codes", "0480", "within"],
    ["the first byte of a final block", "03", "within"],
    // 253 codes of length 0, of which the marker completes 16, then 4 and 4 of length 2, the end of the block, and 6 bits too many.
    ["a block in dynamic codes that the marker ends within a byte", `02100c06100000000001${"00".repeat(29)}`, "within"]
  ]
  for (const [name, data, end] of ends) {
    it(`returns "${end}" for ${name}`, () => {
      const inflate = makeInflate(15)
      step(inflate, Buffer.from(data, "hex"))
      assert.strictEqual(inflate.endMessage(), end)
      inflate.close()
    })
  }
})

describe("a compressor (RFC 7692 §7.1.2)", () => {
  it.prop(
    "refers to nothing outside the negotiated window, also of 2^8 bytes",
    {
      windowBits: integer(8, 11),
      level: among(1, 2, 3, 4, 5, 6, 7, 8, 9),
      memLevel: among(1, 5, 9),
      payload: anyPayload,
      times: integer(1, 4),
      gap: integer(0, 600)
    },
    ({ gap, level, memLevel, payload, times, windowBits }) => {
      const deflate = makeDeflate(windowBits, level, memLevel)
      // zlib can inflate with a window of 2^8 bytes, although it cannot deflate with one.
      const inflate = exactInflate(windowBits)
      for (let i = 0; i < times; i++) {
        const data = Buffer.concat([payload, patterned(gap, i), payload.subarray(0, 300)]).subarray(0, 3000)
        if (data.length === 0) continue
        assert.strictEqual(hex(inflateByBytes(inflate, step(deflate, data))), hex(data))
      }
      for (const stream of [deflate, inflate]) stream.close()
    }
  )

  it("fails the check above if it refers outside the window", () => {
    const deflate = makeDeflate(10, 6, 8)
    const inflate = exactInflate(8)
    const noise = patterned(700).map((byte, i) => byte ^ i * i >> 3)
    const data = Buffer.concat([noise.subarray(0, 400), noise.subarray(0, 400)])
    assert.throws(() => inflateByBytes(inflate, step(deflate, data)), "too far back")
  })
})

/** A decompressor that keeps nothing beyond the window, not even earlier output. */
const exactInflate = (windowBits: number): ZlibStream =>
  makeInflate(windowBits, undefined, {
    deflate: () => undefined,
    inflate: () => Zlib.createInflateRaw({ windowBits, chunkSize: 64 })
  })

describe("selfTest", () => {
  it("passes on this version of Node", () => {
    assert.isTrue(selfTest())
    assert.isTrue(isSupported())
  })

  const real = {
    deflate: (windowBits: number, level: number, memLevel: number) =>
      Zlib.createDeflateRaw({ windowBits, level, memLevel }),
    inflate: (windowBits: number) => Zlib.createInflateRaw({ windowBits })
  }
  /** A stream without some of its properties. */
  const without = (stream: object, ...names: ReadonlyArray<string>) => {
    for (const name of names) Object.assign(stream, { [name]: undefined })
    return stream
  }
  const broken: ReadonlyArray<readonly [string, (stream: object) => unknown]> = [
    ["no handle", (stream) => without(stream, "_handle")],
    ["no state", (stream) => without(stream, "_writeState")],
    ["a state that is not written", (stream) => Object.assign(stream, { _writeState: new Uint32Array(2) })],
    ["no writeSync", (stream) => without(Reflect.get(stream, "_handle") as object, "writeSync")],
    ["a writeSync that does nothing", (stream) => {
      Object.assign(Reflect.get(stream, "_handle") as object, { writeSync: () => {} })
      return stream
    }],
    ["no stream", () => undefined]
  ]
  for (const [name, change] of broken) {
    it(`fails with ${name} in either direction`, () => {
      assert.isFalse(selfTest({ ...real, deflate: (...options) => change(real.deflate(...options)) }))
      assert.isFalse(selfTest({ ...real, inflate: (windowBits) => change(real.inflate(windowBits)) }))
    })
  }

  it("fails with a compressor that does not refer to earlier messages", () => {
    assert.isFalse(
      selfTest({ ...real, deflate: (windowBits, _level, memLevel) => real.deflate(windowBits, 0, memLevel) })
    )
  })

  it("passes with the streams that the tests above change", () => {
    assert.isTrue(selfTest(real))
  })
})
