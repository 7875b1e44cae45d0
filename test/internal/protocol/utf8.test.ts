import { assert, describe, it } from "@effect/vitest"
import { isUtf8 } from "node:buffer"
import { findInvalid, isWellFormed, TextValidator, Utf8Validator } from "../../../src/internal/protocol/utf8.ts"
import {
  anyBytes,
  anyCuts,
  anyNearlyUtf8,
  beginsText,
  cutAt,
  either,
  firstImpossible
} from "../../support/properties.ts"

const encode = (text: string) => new TextEncoder().encode(text)
const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"))

/** What a validator says of pieces: the index of the first impossible byte in all of them, and whether text may end. */
const judge = (pieces: ReadonlyArray<Uint8Array>) => {
  const validator = new Utf8Validator()
  let before = 0
  for (const piece of pieces) {
    const at = validator.push(piece)
    if (at >= 0) return { at: before + at, complete: false }
    before += piece.length
  }
  return { at: -1, complete: validator.complete }
}

const oracle = (bytes: Uint8Array) => ({ at: firstImpossible(bytes), complete: isUtf8(bytes) })

const decodes = (bytes: Uint8Array): boolean => {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes)
    return true
  } catch {
    return false
  }
}

/** Each scalar value once, encoded by hand (RFC 3629 §3). */
const allScalars = (): Uint8Array => {
  const bytes = new Uint8Array(4_500_000)
  let at = 0
  for (let code = 0; code <= 0x10ffff; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue
    if (code < 0x80) bytes[at++] = code
    else if (code < 0x800) {
      bytes[at++] = 0xc0 | code >> 6
      bytes[at++] = 0x80 | code & 0x3f
    } else if (code < 0x10000) {
      bytes[at++] = 0xe0 | code >> 12
      bytes[at++] = 0x80 | code >> 6 & 0x3f
      bytes[at++] = 0x80 | code & 0x3f
    } else {
      bytes[at++] = 0xf0 | code >> 18
      bytes[at++] = 0x80 | code >> 12 & 0x3f
      bytes[at++] = 0x80 | code >> 6 & 0x3f
      bytes[at++] = 0x80 | code & 0x3f
    }
  }
  return bytes.subarray(0, at)
}

describe("well-formed text (RFC 3629 §3)", () => {
  it("contains every scalar value, whole and in parts of any size", () => {
    const all = allScalars()
    assert.strictEqual(all.length, 128 + 2 * 1920 + 3 * (63_488 - 2048) + 4 * 1_048_576)
    assert.isTrue(isUtf8(all))
    for (const size of [all.length, 65_536, 67, 65, 64, 63, 5, 1]) {
      const validator = new Utf8Validator()
      for (let at = 0; at < all.length; at += size) {
        if (validator.push(all.subarray(at, at + size)) !== -1) assert.fail(`refused at ${at} in pieces of ${size}`)
      }
      assert.isTrue(validator.complete, `pieces of ${size}`)
    }
  })

  it("may be empty", () => {
    assert.deepStrictEqual(judge([]), { at: -1, complete: true })
    assert.deepStrictEqual(judge([new Uint8Array(0), new Uint8Array(0)]), { at: -1, complete: true })
  })

  for (
    const [text, complete] of [
      ["a", [true]],
      ["é", [false, true]],
      ["€", [false, false, true]],
      ["😀", [false, false, false, true]]
    ] as const
  ) {
    it(`is complete between code points only: ${text}`, () => {
      const validator = new Utf8Validator()
      assert.isTrue(validator.complete)
      const seen = Array.from(encode(text), (byte) => {
        assert.strictEqual(validator.push(Uint8Array.of(byte)), -1)
        return validator.complete
      })
      assert.deepStrictEqual(seen, [...complete])
    })
  }
})

describe("the table of RFC 3629 §4", () => {
  const rows: ReadonlyArray<
    readonly [first: readonly [number, number], second: readonly [number, number], more: number]
  > = [
    [[0xc2, 0xdf], [0x80, 0xbf], 0],
    [[0xe0, 0xe0], [0xa0, 0xbf], 1],
    [[0xe1, 0xec], [0x80, 0xbf], 1],
    [[0xed, 0xed], [0x80, 0x9f], 1],
    [[0xee, 0xef], [0x80, 0xbf], 1],
    [[0xf0, 0xf0], [0x90, 0xbf], 2],
    [[0xf1, 0xf3], [0x80, 0xbf], 2],
    [[0xf4, 0xf4], [0x80, 0x8f], 2]
  ]

  it("says which bytes may come first", () => {
    for (let first = 0; first < 256; first++) {
      const allowed = first < 0x80 || rows.some(([[from, to]]) => first >= from && first <= to)
      assert.strictEqual(new Utf8Validator().push(Uint8Array.of(first)), allowed ? -1 : 0, first.toString(16))
    }
  })

  it("says which bytes may come second", () => {
    for (const [[from, to], [lower, upper]] of rows) {
      for (let first = from; first <= to; first++) {
        for (let second = 0; second < 256; second++) {
          const at = new Utf8Validator().push(Uint8Array.of(first, second))
          if ((at === -1) !== (second >= lower && second <= upper) || at === 0) {
            assert.fail(`${first}, ${second}: ${at}`)
          }
        }
      }
    }
  })

  it("lets any continuation byte come third and fourth, and nothing else", () => {
    for (const [[from, to], [lower, upper], more] of rows) {
      for (const first of [from, to]) {
        for (const second of [lower, upper]) {
          for (let place = 2; place < 2 + more; place++) {
            for (let byte = 0; byte < 256; byte++) {
              const bytes = [first, second, ...place === 3 ? [0x80] : [], byte]
              const at = new Utf8Validator().push(Uint8Array.from(bytes))
              assert.strictEqual(at, byte >= 0x80 && byte <= 0xbf ? -1 : place, bytes.join(" "))
            }
          }
        }
      }
    }
  })

  it("starts anew after each code point", () => {
    for (const first of ["e0 a0 80", "ed 9f bf", "f0 90 80 80", "f4 8f bf bf"]) {
      for (const second of ["c2 80", "df bf", "e1 80 80", "e1 bf bf", "f1 80 80 80", "f1 bf bf bf"]) {
        assert.deepStrictEqual(judge([hex(first + second)]), { at: -1, complete: true }, `${first} ${second}`)
      }
    }
  })

  it("agrees with a slow search for all strings of two bytes, alone and at the end of a long piece", () => {
    const long = new Uint8Array(64).fill(0x61)
    for (let i = 0; i < 0x10000; i++) {
      const bytes = Uint8Array.of(i >> 8, i)
      const expected = oracle(bytes)
      const alone = judge([bytes])
      if (alone.at !== expected.at || alone.complete !== expected.complete) assert.fail(i.toString(16))
      long.set(bytes, 62)
      const atEnd = judge([long])
      const at = expected.at < 0 ? -1 : 62 + expected.at
      if (atEnd.at !== at || atEnd.complete !== expected.complete) assert.fail(`${i.toString(16)} at the end`)
    }
  })
})

describe("the first impossible byte (RFC 6455 §8.1)", () => {
  for (
    const [name, text, at] of [
      ["a stray continuation byte", "80", 0],
      ["a continuation byte too many", "c3 a9 a9", 2],
      ["an overlong slash in two bytes", "c0 af", 0],
      ["an overlong slash in three bytes", "e0 80 af", 1],
      ["an overlong slash in four bytes", "f0 80 80 af", 1],
      ["the largest overlong form of two bytes", "c1 bf", 0],
      ["the largest overlong form of three bytes", "e0 9f bf", 1],
      ["the largest overlong form of four bytes", "f0 8f bf bf", 1],
      ["the first high surrogate", "ed a0 80", 1],
      ["the last low surrogate", "ed bf bf", 1],
      ["a surrogate pair", "ed a0 80 ed b0 80", 1],
      ["U+110000", "f4 90 80 80", 1],
      ["a form of five bytes", "f8 88 80 80 80", 0],
      ["a form of six bytes", "fc 84 80 80 80 80", 0],
      ["FE", "fe", 0],
      ["FF", "ff", 0],
      ["a code point of two bytes that breaks off", "c3 41", 1],
      ["a code point of three bytes that breaks off", "e2 82 41", 2],
      ["a code point of four bytes that breaks off", "f0 9f 98 41", 3],
      ["a code point that breaks off for another", "f0 9f c3 a9", 2],
      ["κόσμε and a surrogate", "ce ba e1 bd b9 cf 83 ce bc ce b5 ed a0 80 65 64 69 74 65 64", 12],
      ["κόσμε and U+110000", "ce ba e1 bd b9 cf 83 ce bc ce b5 f4 90 80 80 65 64 69 74 65 64", 12]
    ] as const
  ) {
    it(`is found in ${name}, whatever stands before and after, at every cut`, () => {
      for (const before of [0, 1, 62, 63, 64, 65, 100]) {
        for (const after of [0, 1, 63, 64, 100]) {
          const bytes = Uint8Array.from(
            Buffer.concat([Buffer.alloc(before, "a"), hex(text), Buffer.alloc(after, "z")])
          )
          for (let cut = before - 1; cut <= before + at + 1; cut++) {
            assert.deepStrictEqual(judge(cutAt(bytes, [Math.max(0, cut)])), { at: before + at, complete: false })
          }
        }
      }
    })
  }

  it("returns the right index anywhere in a long part", () => {
    for (const filler of ["a", "é", "€", "😀"]) {
      const valid = encode(filler.repeat(40))
      for (let i = 0; i < valid.length; i++) {
        for (const wrong of [0xff, 0x80, 0x41, 0xc3, 0xed, 0xf4]) {
          const bytes = valid.slice()
          bytes[i] = wrong
          const { at } = judge([bytes])
          if (at !== firstImpossible(bytes)) assert.fail(`${filler}: ${wrong} at ${i} gives ${at}`)
        }
      }
    }
  })

  for (
    const [tail, at] of [
      ["c3 ff", 1],
      ["c3 c3", 1],
      ["c3 e2 82", 1],
      ["c3 f0 9f 98", 1],
      ["c3 c0", 1],
      ["c3 f5", 1],
      ["e2 c3", 1],
      ["e2 82 c3", 2],
      ["e2 82 e2 82", 2],
      ["f0 c3", 1],
      ["f0 9f e2", 2],
      ["f0 9f 98 c3", 3],
      ["f0 9f 98 f0 9f 98", 3],
      ["e0 9f c3", 1],
      ["ed a0 f0 9f", 1],
      ["f4 90 e2 82", 1],
      ["80 c3", 0],
      ["ff f0 9f 98", 0],
      ["c3 41 e2", 1],
      ["e2 82 41 42 f0", 2]
    ] as const
  ) {
    it(`is found in a long piece that seems to end inside a code point: ${tail}`, () => {
      for (const size of [64, 65, 66, 67, 100, 1000]) {
        const end = hex(tail)
        const piece = Uint8Array.from(Buffer.concat([Buffer.alloc(size - end.length, "a"), end]))
        const found = size - end.length + at
        assert.deepStrictEqual(judge([piece]), { at: found, complete: false })
        assert.deepStrictEqual(judge([piece, encode("a")]), { at: found, complete: false })
        assert.deepStrictEqual(judge([encode("a".repeat(70)), piece]), { at: 70 + found, complete: false })
        // A code point that straddles the beginning of the piece.
        piece.set(hex("82 ac"))
        assert.deepStrictEqual(judge([hex("e2"), piece]), { at: 1 + found, complete: false })
      }
    })
  }

  it("does not exist if a long part ends inside a code point", () => {
    for (const text of ["é", "€", "😀", "\u0800", "\ud7ff", "\u{10000}", "\u{10ffff}"]) {
      const point = encode(text)
      for (let size = 1; size < point.length; size++) {
        for (const filler of [64, 65, 66, 67]) {
          const validator = new Utf8Validator()
          const head = Buffer.concat([Buffer.alloc(filler, "a"), point.subarray(0, size)])
          assert.strictEqual(validator.push(head), -1)
          assert.isFalse(validator.complete)
          const tail = Buffer.concat([point.subarray(size), Buffer.alloc(filler, "z")])
          assert.strictEqual(validator.push(tail), -1)
          assert.isTrue(validator.complete)
        }
      }
    }
  })

  it("returns the right index if a long part breaks a code point that began in the previous one", () => {
    for (const begun of ["c3", "e2", "e2 82", "f0", "f0 9f", "f0 9f 98"]) {
      const validator = new Utf8Validator()
      assert.strictEqual(validator.push(hex(begun)), -1)
      assert.strictEqual(validator.push(new Uint8Array(64).fill(0x41)), 0, begun)
    }
    const validator = new Utf8Validator()
    assert.strictEqual(validator.push(hex("f0")), -1)
    assert.strictEqual(validator.push(Buffer.concat([hex("9f"), Buffer.alloc(64, "a")])), 1)
  })

  it.prop(
    "agrees with a slow search, for any bytes at any cuts",
    { bytes: either(anyBytes(), anyNearlyUtf8), cuts: anyCuts },
    ({ bytes, cuts }) => {
      const expected = oracle(bytes)
      assert.deepStrictEqual(judge([bytes]), expected)
      assert.deepStrictEqual(judge(cutAt(bytes, cuts)), expected)
      assert.deepStrictEqual(judge(Array.from(bytes, (byte) => Uint8Array.of(byte))), expected)
      assert.strictEqual(expected.complete, decodes(bytes))
    },
    { arbitrary: { runs: 400 } }
  )

  it.prop("does not depend on where bytes are cut in two", { bytes: anyNearlyUtf8 }, ({ bytes }) => {
    const expected = oracle(bytes)
    for (let cut = 0; cut <= bytes.length; cut++) {
      const judged = judge([bytes.subarray(0, cut), bytes.subarray(cut)])
      if (judged.at !== expected.at || judged.complete !== expected.complete) {
        assert.deepStrictEqual(judged, expected, `cut at ${cut}`)
      }
    }
  })
})

describe("isWellFormed", () => {
  for (
    const [name, unit, expected] of [
      ["ASCII", "41", true],
      ["code points of two bytes", "c3 a9", true],
      ["code points of four bytes", "f0 9f 98 80", true],
      ["an impossible byte at the end", "41 ff", false],
      ["a continuation byte alone", "80", false],
      ["a code point that does not end", "e2 82", false],
      ["a surrogate", "ed a0 80", false]
    ] as const
  ) {
    it(`says ${expected} of ${name}, in short and long pieces`, () => {
      for (const before of [0, 10, 61, 62, 63, 64, 65, 200]) {
        const bytes = Buffer.concat([Buffer.alloc(before, "a"), hex(unit)])
        assert.strictEqual(isWellFormed(bytes), expected, `after ${before} bytes`)
      }
    })
  }

  it("says true of nothing at all", () => {
    assert.isTrue(isWellFormed(new Uint8Array(0)))
  })

  it.prop("says what TextDecoder says", { bytes: either(anyBytes(), anyNearlyUtf8) }, ({ bytes }) => {
    assert.strictEqual(isWellFormed(bytes), decodes(bytes))
  }, { arbitrary: { runs: 300 } })
})

describe("TextValidator", () => {
  /** The offset of the first invalid byte: also of the end of a text that ends inside a code point. */
  const expectedOffset = (text: Uint8Array): number => {
    const { at, complete } = oracle(text)
    return at >= 0 || complete ? at : text.length
  }

  it.prop(
    "returns the offset of the first invalid byte in its text, at any cuts",
    { text: either(anyBytes(), anyNearlyUtf8), cuts: anyCuts },
    ({ cuts, text }) => {
      const expected = expectedOffset(text)
      assert.strictEqual(findInvalid(text), expected)
      const validator = new TextValidator()
      // A text before this one does not count.
      assert.strictEqual(validator.check(encode("é"), true), -1)
      const parts = cutAt(text, cuts)
      let offset = -1
      for (let i = 0; i < parts.length && offset < 0; i++) offset = validator.check(parts[i], i === parts.length - 1)
      assert.strictEqual(offset, expected)
    },
    { arbitrary: { runs: 300 } }
  )

  it("returns the size of a text that ends inside a code point", () => {
    const validator = new TextValidator()
    assert.strictEqual(validator.check(hex("61 e2"), false), -1)
    assert.strictEqual(validator.check(hex("82"), false), -1)
    assert.strictEqual(validator.check(hex(""), true), 3)
    assert.strictEqual(findInvalid(hex("61 e2 82")), 3)
  })
})

describe("the slow search", () => {
  it("finds what is plain to see", () => {
    assert.isTrue(beginsText(hex("")))
    assert.isTrue(beginsText(hex("f0 9f 98")))
    assert.isFalse(beginsText(hex("f0 8f")))
    assert.strictEqual(firstImpossible(hex("41 e0 9f")), 2)
    assert.strictEqual(firstImpossible(hex("41 ed 9f")), -1)
  })
})
