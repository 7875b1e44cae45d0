import { assert, describe, it } from "@effect/vitest"
import { Frame, Message } from "effect-ws"
import { bytes, factsOf, hex } from "../../support/frames.ts"
import {
  badText,
  fine,
  fragmentsOf,
  judge,
  open,
  partial,
  tooLarge,
  tooMany,
  unexpected,
  unfinished,
  utf8
} from "../../support/messages.ts"
import { anyCuts, anyNearlyUtf8, cutAt, firstImpossible, patterned } from "../../support/properties.ts"

describe("fragments in sequence (RFC 6455 §5.4)", () => {
  for (
    const [name, frames, expected] of [
      ["whole messages", [Frame.text("a"), Frame.binary(bytes(1)), Frame.text("")], fine(3)],
      ["a message in two", [Frame.text("a", open), Frame.continuation("b")], fine(2)],
      [
        "messages in several, one after the other",
        [
          Frame.text("a", open),
          Frame.continuation("b", open),
          Frame.continuation("c"),
          Frame.binary(bytes(255), open),
          Frame.continuation(bytes(255)),
          Frame.text("d")
        ],
        fine(6)
      ],
      ["a continuation at first", [Frame.continuation("a")], [unexpected]],
      ["a continuation that others follow at first", [Frame.continuation("a", open)], [unexpected]],
      ["a continuation after a whole message", [Frame.text("a"), Frame.continuation("b")], [undefined, unexpected]],
      [
        "a continuation after the last fragment",
        [Frame.binary(bytes(), open), Frame.continuation("b"), Frame.continuation("c")],
        [undefined, undefined, unexpected]
      ],
      ["text in text", [Frame.text("a", open), Frame.text("b")], [undefined, unfinished(1)]],
      ["binary in text", [Frame.text("a", open), Frame.binary(bytes())], [undefined, unfinished(2)]],
      ["text in binary", [Frame.binary(bytes(), open), Frame.text("b", open)], [undefined, unfinished(1)]],
      [
        "binary in binary, after a continuation",
        [Frame.binary(bytes(), open), Frame.continuation("b", open), Frame.binary(bytes(), open)],
        [undefined, undefined, unfinished(2)]
      ]
    ] as const
  ) {
    it(`${name}`, () => {
      assert.deepStrictEqual(judge(undefined, frames), [...expected])
    })
  }

  it("apply to a header, before any payload", () => {
    const validator = new Message.Validator()
    assert.deepStrictEqual(factsOf(validator.checkPartial(partial(Frame.continuation("abc"), 0, 0))), unexpected)
    const another = new Message.Validator()
    assert.isUndefined(another.check(Frame.text("a", open)))
    assert.deepStrictEqual(factsOf(another.checkPartial(partial(Frame.text("abc"), 0, 0))), unfinished(1))
  })
})

describe("maxMessageSize", () => {
  for (
    const [name, maxMessageSize, frames, expected] of [
      ["no bytes where none are allowed", 0, [Frame.text(""), Frame.binary(bytes())], fine(2)],
      ["a byte where none are allowed", 0, [Frame.text("a")], [tooLarge(1, 0)]],
      ["as many bytes as are allowed", 10, [Frame.binary(patterned(10)), Frame.text("0123456789")], fine(2)],
      ["one byte more in binary", 10, [Frame.binary(patterned(11))], [tooLarge(11, 10)]],
      ["one byte more in text", 10, [Frame.text("01234567890")], [tooLarge(11, 10)]],
      [
        "as many bytes as are allowed over fragments, twice",
        10,
        [
          Frame.binary(patterned(4), open),
          Frame.continuation(patterned(5), open),
          Frame.continuation(patterned(1)),
          Frame.binary(patterned(0), open),
          Frame.continuation(patterned(10))
        ],
        fine(5)
      ],
      ["one byte more in the first fragment", 10, [Frame.binary(patterned(11), open)], [tooLarge(11, 10)]],
      [
        "one byte more in the second fragment",
        10,
        [Frame.text("01234", open), Frame.continuation("012345", open)],
        [undefined, tooLarge(11, 10)]
      ],
      [
        "one byte more in the last fragment",
        10,
        [Frame.text("01234", open), Frame.continuation("01234", open), Frame.continuation("0")],
        [undefined, undefined, tooLarge(11, 10)]
      ],
      [
        "many bytes more",
        10,
        [Frame.text("01234", open), Frame.continuation("x".repeat(1000))],
        [undefined, tooLarge(1005, 10)]
      ],
      ["as many bytes as may be where all are allowed", Infinity, [Frame.binary(patterned(100_000))], fine(1)],
      ["no bytes of text where the limit is NaN", NaN, [Frame.text("")], [tooLarge(0, NaN)]],
      ["a byte of binary where the limit is NaN", NaN, [Frame.binary(bytes(1))], [tooLarge(1, NaN)]],
      ["no bytes in a first fragment where the limit is NaN", NaN, [Frame.text("", open)], [tooLarge(0, NaN)]],
      ["a byte in a first fragment where the limit is NaN", NaN, [Frame.binary(bytes(1), open)], [tooLarge(1, NaN)]]
    ] as const
  ) {
    it(`${name}`, () => {
      assert.deepStrictEqual(judge({ maxMessageSize }, frames), [...expected])
    })
  }

  it("applies to the length in the header, before the payload arrives", () => {
    for (const fin of [true, false]) {
      const frame = Frame.binary(bytes(), { fin })
      const validator = new Message.Validator({ maxMessageSize: 10 })
      assert.deepStrictEqual(factsOf(validator.checkPartial(partial(frame, 0, 0, 11))), tooLarge(11, 10))
      assert.isUndefined(new Message.Validator({ maxMessageSize: 10 }).checkPartial(partial(frame, 0, 0, 10)))
      const never = new Message.Validator({ maxMessageSize: NaN })
      assert.deepStrictEqual(factsOf(never.checkPartial(partial(frame, 0, 0, 1))), tooLarge(1, NaN))
    }
  })

  it("applies to the sum of the lengths in the headers", () => {
    for (const [length, expected] of [[6, undefined], [7, tooLarge(11, 10)]] as const) {
      const validator = new Message.Validator({ maxMessageSize: 10 })
      assert.isUndefined(validator.check(Frame.text("0123", open)))
      const last = Frame.continuation("")
      assert.deepStrictEqual(factsOf(validator.checkPartial(partial(last, 0, 0, length))), expected)
    }
  })

  it("counts a frame once, in any number of parts", () => {
    const validator = new Message.Validator({ maxMessageSize: 10 })
    for (const frame of fragmentsOf("Binary", [patterned(4), patterned(6)])) {
      for (let i = 0; i < frame.payload.length; i++) {
        assert.isUndefined(validator.checkPartial(partial(frame, Math.max(0, i - 1), i)))
      }
      assert.isUndefined(validator.check(frame))
    }
    assert.isUndefined(validator.check(Frame.binary(patterned(10))))
  })

  it("allows twice the size and 1 KiB on the wire for a message that an extension has encoded", () => {
    const make = (maxMessageSize: number) => new Message.Validator({ maxMessageSize }, (reserved) => reserved !== 0)
    for (const [limit, most] of [[0, 1024], [1000, 3024], [100_000, 201_024]] as const) {
      const encoded = (size: number, fin = true) =>
        new Frame.Frame(Frame.Opcode.Binary, new Uint8Array(size), fin, Frame.Reserved.Rsv1)
      const rest = Frame.continuation(new Uint8Array(10))
      assert.isUndefined(make(limit).check(encoded(most)))
      assert.deepStrictEqual(factsOf(make(limit).check(encoded(most + 1))), tooLarge(most + 1, most))
      for (const size of [most - 10, most - 9]) {
        const validator = make(limit)
        assert.isUndefined(validator.check(encoded(size, false)))
        assert.deepStrictEqual(
          factsOf(validator.check(rest)),
          size === most - 9 ? tooLarge(most + 1, most) : undefined
        )
      }
      const declared = { ...partial(encoded(0), 0, 0, most + 1), reserved: Frame.Reserved.Rsv1 }
      assert.deepStrictEqual(factsOf(make(limit).checkPartial(declared)), tooLarge(most + 1, most))
      // The next is not encoded.
      const validator = make(limit)
      assert.isUndefined(validator.check(encoded(0, false)))
      assert.isUndefined(validator.check(rest))
      const plain = Frame.binary(new Uint8Array(limit + 1), open)
      assert.deepStrictEqual(factsOf(validator.check(plain)), tooLarge(limit + 1, limit))
    }
  })

  it("defaults to 16 MiB", () => {
    assert.strictEqual(Message.defaultMaxMessageSize, 16_777_216)
    for (const limits of [undefined, {}, { maxMessageSize: undefined }]) {
      const frame = Frame.binary(bytes())
      assert.isUndefined(new Message.Validator(limits).checkPartial(partial(frame, 0, 0, 16_777_216)))
      assert.deepStrictEqual(
        factsOf(new Message.Validator(limits).checkPartial(partial(frame, 0, 0, 16_777_217))),
        tooLarge(16_777_217, 16_777_216)
      )
    }
  })
})

describe("maxFragments", () => {
  for (const limit of [1, 2, 3, 10]) {
    it(`accepts ${limit} fragments, and rejects the next`, () => {
      const atMost = fragmentsOf("Text", Array.from({ length: limit }, () => utf8("a")))
      assert.deepStrictEqual(judge({ maxFragments: limit }, [...atMost, ...atMost]), fine(2 * limit))
      const tooFar = fragmentsOf("Text", Array.from({ length: limit + 1 }, () => utf8("")))
      assert.deepStrictEqual(judge({ maxFragments: limit }, tooFar), [...fine(limit), tooMany(limit)])
    })
  }

  it("applies to a header, and counts a frame once", () => {
    const validator = new Message.Validator({ maxFragments: 2 })
    const [first, second, third] = fragmentsOf("Binary", [patterned(3), patterned(3), patterned(3)])
    for (const frame of [first, second]) {
      for (let i = 0; i < 3; i++) assert.isUndefined(validator.checkPartial(partial(frame, Math.max(0, i - 1), i)))
      assert.isUndefined(validator.check(frame))
    }
    assert.deepStrictEqual(factsOf(validator.checkPartial(partial(third, 0, 0))), tooMany(2))
  })

  it("accepts one fragment if it is NaN", () => {
    for (const kind of ["Text", "Binary"] as const) {
      const [first, second] = fragmentsOf(kind, [utf8("a"), utf8("b")])
      assert.deepStrictEqual(judge({ maxFragments: NaN }, [first, second]), [undefined, tooMany(NaN)])
      const validator = new Message.Validator({ maxFragments: NaN })
      assert.isUndefined(validator.check(first))
      assert.deepStrictEqual(factsOf(validator.checkPartial(partial(second, 0, 0))), tooMany(NaN))
    }
    assert.deepStrictEqual(judge({ maxFragments: NaN }, [Frame.text("a"), Frame.binary(bytes(1))]), fine(2))
  })

  it("takes precedence over the limit on the size", () => {
    const frames = fragmentsOf("Binary", [patterned(1), patterned(100)])
    assert.deepStrictEqual(judge({ maxFragments: 1, maxMessageSize: 50 }, frames), [undefined, tooMany(1)])
  })

  it("defaults to 131,072", () => {
    assert.strictEqual(Message.defaultMaxFragments, 131_072)
    for (const limits of [undefined, {}, { maxFragments: undefined }]) {
      const validator = new Message.Validator(limits)
      assert.isUndefined(validator.check(Frame.binary(bytes(), open)))
      const next = Frame.continuation(bytes(), open)
      for (let i = 2; i <= 131_072; i++) {
        if (validator.check(next) !== undefined) assert.fail(`refused at ${i}`)
      }
      assert.deepStrictEqual(factsOf(validator.check(next)), tooMany(131_072))
    }
  })
})

describe("text in UTF-8 (RFC 6455 §8.1)", () => {
  const long = "x".repeat(100)

  for (
    const [name, frames, expected] of [
      ["text of all kinds", [Frame.text("aé€😀\0\u{10ffff}"), Frame.text(long + "€")], fine(2)],
      [
        "a code point cut in four",
        fragmentsOf("Text", [hex("f0"), hex("9f"), hex("98"), hex("80")]),
        fine(4)
      ],
      [
        "a code point cut by empty fragments",
        fragmentsOf("Text", [hex("e2"), hex(""), hex("82"), hex(""), hex("ac"), hex("")]),
        fine(6)
      ],
      [
        "a long code point cut between long fragments",
        fragmentsOf("Text", [utf8(`${long}é`).subarray(0, 101), hex(`a9 ${"61".repeat(100)}`)]),
        fine(2)
      ],
      ["bytes that are no text, as binary", [Frame.binary(hex("ff fe c0")), Frame.text("a")], fine(2)],
      [
        "bytes that are no text, as fragments of binary",
        fragmentsOf("Binary", [hex("c3"), hex("28"), hex("ff")]),
        fine(3)
      ],
      ["an impossible byte", [Frame.text(hex("61 62 ff 63"))], [badText(2)]],
      ["an impossible byte far in", [Frame.text(hex(`${"61".repeat(200)} ff 63`))], [badText(200)]],
      ["a surrogate", [Frame.text(hex("61 ed a0 80"))], [badText(2)]],
      ["an end inside a code point", [Frame.text(hex("61 e2 82"))], [badText(3)]],
      ["an end inside a code point far in", [Frame.text(hex(`${"61".repeat(200)} f0 9f`))], [badText(202)]],
      ["an impossible byte in a first fragment", [Frame.text(hex("61 ff"), open)], [badText(1)]],
      [
        "an impossible byte in a later fragment",
        [Frame.text("abc", open), Frame.continuation("é", open), Frame.continuation(hex("64 80"), open)],
        [undefined, undefined, badText(6)]
      ],
      [
        "an impossible byte in a later long fragment",
        [Frame.text(long, open), Frame.continuation(hex(`${"61".repeat(100)} 80`))],
        [undefined, badText(200)]
      ],
      [
        "a code point that the next fragment does not go on with",
        [Frame.text(hex("61 f0 9f"), open), Frame.continuation("b", open)],
        [undefined, badText(3)]
      ],
      [
        "an end inside a code point after fragments",
        [Frame.text(hex("61 f0"), open), Frame.continuation(hex("9f"), open), Frame.continuation(hex("98"))],
        [undefined, undefined, badText(4)]
      ],
      [
        "an end inside a code point, with nothing in the last fragment",
        [Frame.text(hex("c3"), open), Frame.continuation(bytes())],
        [undefined, badText(1)]
      ],
      [
        "an impossible byte in the second message",
        [Frame.text("abc", open), Frame.continuation("def"), Frame.text("g", open), Frame.continuation(hex("ff"))],
        [undefined, undefined, undefined, badText(1)]
      ]
    ] as const
  ) {
    it(`${name}`, () => {
      assert.deepStrictEqual(judge(undefined, frames), [...expected])
    })
  }

  it("fails before the whole frame has arrived", () => {
    const frame = Frame.text(hex("61 e2 82 ac 62 ff 63 64"))
    const validator = new Message.Validator()
    assert.isUndefined(validator.checkPartial(partial(frame, 0, 0)))
    assert.isUndefined(validator.checkPartial(partial(frame, 0, 2)))
    assert.isUndefined(validator.checkPartial(partial(frame, 2, 3)))
    assert.isUndefined(validator.checkPartial(partial(frame, 3, 3)))
    assert.isUndefined(validator.checkPartial(partial(frame, 3, 5)))
    assert.deepStrictEqual(factsOf(validator.checkPartial(partial(frame, 5, 6))), badText(5))
  })

  it("fails in part of a later fragment, at an offset from the beginning of the message", () => {
    const validator = new Message.Validator()
    assert.isUndefined(validator.check(Frame.text("abc", open)))
    const frame = Frame.continuation(hex("64 65 ff 66"), open)
    assert.isUndefined(validator.checkPartial(partial(frame, 0, 1)))
    assert.deepStrictEqual(factsOf(validator.checkPartial(partial(frame, 1, 3))), badText(5))
  })

  it("continues in the whole frame where the part ended", () => {
    const frame = Frame.text(hex("61 e2 82 ac 62"))
    for (let to = 0; to < frame.payload.length; to++) {
      const validator = new Message.Validator()
      assert.isUndefined(validator.checkPartial(partial(frame, 0, to)))
      assert.isUndefined(validator.check(frame))
      assert.isUndefined(validator.check(Frame.text("é")))
    }
  })

  it("fails in the rest of a frame whose first part was valid", () => {
    for (const [payload, offset] of [["61 e2 82 62", 3], ["61 62 ff 63", 2], ["61 62 e2 82", 4]] as const) {
      for (const length of [0, 1, 2]) {
        const frame = Frame.text(hex(payload))
        const validator = new Message.Validator()
        assert.isUndefined(validator.checkPartial(partial(frame, 0, length)))
        assert.deepStrictEqual(factsOf(validator.check(frame)), badText(offset))
      }
    }
  })

  it("does not apply to parts of binary messages", () => {
    const validator = new Message.Validator()
    for (const frame of fragmentsOf("Binary", [hex("ff fe"), hex("c0 c0")])) {
      assert.isUndefined(validator.checkPartial(partial(frame, 0, 1)))
      assert.isUndefined(validator.check(frame))
    }
    assert.deepStrictEqual(factsOf(validator.check(Frame.text(hex("ff")))), badText(0))
  })

  it.prop(
    "fails at the first invalid byte, in any fragments and parts",
    { text: anyNearlyUtf8, cuts: anyCuts, parts: anyCuts },
    ({ cuts, parts, text }) => {
      const validator = new Message.Validator()
      const impossible = firstImpossible(text)
      const cutShort = impossible < 0 && !Buffer.from(Buffer.from(text).toString()).equals(text)
      const expected = impossible >= 0 ? badText(impossible) : cutShort ? badText(text.length) : undefined
      let seen = 0
      for (const frame of fragmentsOf("Text", cutAt(text, cuts))) {
        let from = 0
        for (const part of cutAt(frame.payload, parts).slice(0, -1)) {
          const to = from + part.length
          if (to < frame.payload.length) {
            const error = factsOf(validator.checkPartial(partial(frame, from, to)))
            if (error !== undefined) {
              assert.deepStrictEqual(error, expected)
              assert.isAtLeast(seen + to, impossible + 1)
              return
            }
          }
          from = to
        }
        const error = factsOf(validator.check(frame))
        seen += frame.payload.length
        if (error !== undefined) return assert.deepStrictEqual(error, expected)
        if (impossible >= 0) assert.isAtMost(seen, impossible)
      }
      assert.isUndefined(expected)
    },
    { arbitrary: { runs: 300 } }
  )
})
