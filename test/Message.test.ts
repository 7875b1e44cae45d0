import { constants } from "node:buffer"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { Frame, Message, type ProtocolError } from "effect-ws"
import {
  anyBoolean,
  anyCuts,
  anyNearlyUtf8,
  anyPayload,
  anyText,
  cutAt,
  either,
  firstImpossible,
  patterned
} from "./support/properties.ts"

const bytes = (...values: Array<number>) => Uint8Array.from(values)
const utf8 = (text: string) => new TextEncoder().encode(text)
const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"))
const toHex = (data: Uint8Array) => Buffer.from(data).toString("hex")

type Facts = Readonly<Record<string, unknown>>

const factsOf = (error: ProtocolError.ProtocolError | undefined): Facts | undefined =>
  error === undefined ? undefined : { ...error }

const messageOf = (message: Message.Message | ProtocolError.MessageError | undefined) =>
  message?._tag === "Text"
    ? ["Text", message.text, toHex(message.bytes)]
    : message?._tag === "Binary"
    ? ["Binary", toHex(message.bytes)]
    : message

const open = { fin: false }

/** Data frames that carry `pieces` as one message. */
const fragmentsOf = (kind: "Text" | "Binary", pieces: ReadonlyArray<Uint8Array>): Array<Frame.Frame> =>
  pieces.map((piece, i) => {
    const fin = i === pieces.length - 1
    if (i > 0) return Frame.continuation(piece, { fin })
    return kind === "Text" ? Frame.text(piece, { fin }) : Frame.binary(piece, { fin })
  })

/** A frame of which `from` to `to` have come, the last of these bytes with the latest chunk. */
const partial = (frame: Frame.Frame, from: number, to: number, length = frame.payload.length): Frame.PartialFrame => ({
  opcode: frame.opcode,
  fin: frame.fin,
  reserved: 0,
  length,
  received: to,
  latest: frame.payload.subarray(from, to)
})

/** What a validator says of frames: undefined for each that is fine, up to the first that is not. */
const judge = (limits: Message.Limits | undefined, frames: ReadonlyArray<Frame.Frame>): Array<Facts | undefined> => {
  const validator = new Message.Validator(limits)
  const verdicts: Array<Facts | undefined> = []
  for (const frame of frames) {
    verdicts.push(factsOf(validator.check(frame)))
    if (verdicts.at(-1) !== undefined) break
  }
  return verdicts
}

const fine = (count: number): Array<undefined> => Array.from({ length: count }, () => undefined)
const unexpected: Facts = { _tag: "UnexpectedContinuation" }
const unfinished = (opcode: number): Facts => ({ _tag: "UnfinishedMessage", opcode })
const tooLarge = (size: number, limit: number): Facts => ({ _tag: "MessageTooLarge", size, limit })
const tooMany = (limit: number): Facts => ({ _tag: "TooManyFragments", limit })
const badText = (offset: number): Facts => ({ _tag: "InvalidUtf8", where: "text message", offset })

describe("a text message", () => {
  it("of a string has its text, its bytes, and costs nothing until bytes are asked for", () => {
    const message = Message.text("hé€😀")
    assert.strictEqual(message._tag, "Text")
    assert.strictEqual(message.text, "hé€😀")
    assert.strictEqual(message.data, "hé€😀")
    assert.strictEqual(toHex(message.bytes), "68c3a9e282acf09f9880")
    assert.strictEqual(message.bytes, message.bytes)
    assert.strictEqual(message.data, message.bytes)
    assert.strictEqual(message.text, "hé€😀")
  })

  it("of bytes has its text, its bytes, and is no string until one is asked for", () => {
    const given = utf8("hé")
    const message = Message.text(given)
    assert.strictEqual(message._tag, "Text")
    assert.strictEqual(message.data, given)
    assert.strictEqual(message.bytes, given)
    given[0] = 0x48
    assert.strictEqual(message.text, "Hé")
    given[0] = 0x68
    assert.strictEqual(message.text, "Hé")
    assert.strictEqual(message.data, given)
  })

  it("may be empty", () => {
    assert.strictEqual(Message.text("").text, "")
    assert.strictEqual(Message.text("").data, "")
    assert.strictEqual(Message.text("").bytes.length, 0)
    assert.strictEqual(Message.text(bytes()).text, "")
  })

  it("keeps a byte order mark", () => {
    assert.strictEqual(Message.text(hex("efbbbf 61")).text, "\ufeffa")
    assert.strictEqual(toHex(Message.text("\ufeffa").bytes), "efbbbf61")
  })

  it("has its text in JSON", () => {
    assert.strictEqual(JSON.stringify(Message.text(utf8("é"))), "{\"_tag\":\"Text\",\"text\":\"é\"}")
  })
})

describe("a binary message", () => {
  it("has the bytes that it was given", () => {
    const given = bytes(1, 2, 255)
    const message = Message.binary(given)
    assert.strictEqual(message._tag, "Binary")
    assert.strictEqual(message.bytes, given)
  })

  it("has its bytes in JSON", () => {
    assert.strictEqual(JSON.stringify(Message.binary(bytes(1, 2, 255))), "{\"_tag\":\"Binary\",\"bytes\":[1,2,255]}")
  })
})

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

  it("is checked on a header, before anything else has come", () => {
    const validator = new Message.Validator()
    assert.deepStrictEqual(factsOf(validator.checkPartial(partial(Frame.continuation("abc"), 0, 0))), unexpected)
    const another = new Message.Validator()
    assert.isUndefined(another.check(Frame.text("a", open)))
    assert.deepStrictEqual(factsOf(another.checkPartial(partial(Frame.text("abc"), 0, 0))), unfinished(1))
  })
})

describe("the limit on the size of a message", () => {
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

  it("is checked on the declared length, before the payload has come", () => {
    for (const fin of [true, false]) {
      const frame = Frame.binary(bytes(), { fin })
      const validator = new Message.Validator({ maxMessageSize: 10 })
      assert.deepStrictEqual(factsOf(validator.checkPartial(partial(frame, 0, 0, 11))), tooLarge(11, 10))
      assert.isUndefined(new Message.Validator({ maxMessageSize: 10 }).checkPartial(partial(frame, 0, 0, 10)))
      const never = new Message.Validator({ maxMessageSize: NaN })
      assert.deepStrictEqual(factsOf(never.checkPartial(partial(frame, 0, 0, 1))), tooLarge(1, NaN))
    }
  })

  it("is checked on the sum of the declared lengths", () => {
    for (const [length, expected] of [[6, undefined], [7, tooLarge(11, 10)]] as const) {
      const validator = new Message.Validator({ maxMessageSize: 10 })
      assert.isUndefined(validator.check(Frame.text("0123", open)))
      const last = Frame.continuation("")
      assert.deepStrictEqual(factsOf(validator.checkPartial(partial(last, 0, 0, length))), expected)
    }
  })

  it("counts a frame once, in however many parts it comes", () => {
    const validator = new Message.Validator({ maxMessageSize: 10 })
    for (const frame of fragmentsOf("Binary", [patterned(4), patterned(6)])) {
      for (let i = 0; i < frame.payload.length; i++) {
        assert.isUndefined(validator.checkPartial(partial(frame, Math.max(0, i - 1), i)))
      }
      assert.isUndefined(validator.check(frame))
    }
    assert.isUndefined(validator.check(Frame.binary(patterned(10))))
  })

  it("is twice that and 1 KiB on the wire for a message that an extension has encoded", () => {
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

  it("is 16 MiB by default", () => {
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

describe("the limit on the number of fragments", () => {
  for (const limit of [1, 2, 3, 10]) {
    it(`lets ${limit} pass, and not one more`, () => {
      const atMost = fragmentsOf("Text", Array.from({ length: limit }, () => utf8("a")))
      assert.deepStrictEqual(judge({ maxFragments: limit }, [...atMost, ...atMost]), fine(2 * limit))
      const tooFar = fragmentsOf("Text", Array.from({ length: limit + 1 }, () => utf8("")))
      assert.deepStrictEqual(judge({ maxFragments: limit }, tooFar), [...fine(limit), tooMany(limit)])
    })
  }

  it("is checked on a header, and counts a frame once", () => {
    const validator = new Message.Validator({ maxFragments: 2 })
    const [first, second, third] = fragmentsOf("Binary", [patterned(3), patterned(3), patterned(3)])
    for (const frame of [first, second]) {
      for (let i = 0; i < 3; i++) assert.isUndefined(validator.checkPartial(partial(frame, Math.max(0, i - 1), i)))
      assert.isUndefined(validator.check(frame))
    }
    assert.deepStrictEqual(factsOf(validator.checkPartial(partial(third, 0, 0))), tooMany(2))
  })

  it("lets a first fragment pass, and no other, where it is NaN", () => {
    for (const kind of ["Text", "Binary"] as const) {
      const [first, second] = fragmentsOf(kind, [utf8("a"), utf8("b")])
      assert.deepStrictEqual(judge({ maxFragments: NaN }, [first, second]), [undefined, tooMany(NaN)])
      const validator = new Message.Validator({ maxFragments: NaN })
      assert.isUndefined(validator.check(first))
      assert.deepStrictEqual(factsOf(validator.checkPartial(partial(second, 0, 0))), tooMany(NaN))
    }
    assert.deepStrictEqual(judge({ maxFragments: NaN }, [Frame.text("a"), Frame.binary(bytes(1))]), fine(2))
  })

  it("comes before the limit on the size", () => {
    const frames = fragmentsOf("Binary", [patterned(1), patterned(100)])
    assert.deepStrictEqual(judge({ maxFragments: 1, maxMessageSize: 50 }, frames), [undefined, tooMany(1)])
  })

  it("is 131,072 by default", () => {
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

  it("is checked before the whole frame has come", () => {
    const frame = Frame.text(hex("61 e2 82 ac 62 ff 63 64"))
    const validator = new Message.Validator()
    assert.isUndefined(validator.checkPartial(partial(frame, 0, 0)))
    assert.isUndefined(validator.checkPartial(partial(frame, 0, 2)))
    assert.isUndefined(validator.checkPartial(partial(frame, 2, 3)))
    assert.isUndefined(validator.checkPartial(partial(frame, 3, 3)))
    assert.isUndefined(validator.checkPartial(partial(frame, 3, 5)))
    assert.deepStrictEqual(factsOf(validator.checkPartial(partial(frame, 5, 6))), badText(5))
  })

  it("is checked in the part of a later fragment, and counted from the beginning of the message", () => {
    const validator = new Message.Validator()
    assert.isUndefined(validator.check(Frame.text("abc", open)))
    const frame = Frame.continuation(hex("64 65 ff 66"), open)
    assert.isUndefined(validator.checkPartial(partial(frame, 0, 1)))
    assert.deepStrictEqual(factsOf(validator.checkPartial(partial(frame, 1, 3))), badText(5))
  })

  it("goes on in the whole frame where the part ended", () => {
    const frame = Frame.text(hex("61 e2 82 ac 62"))
    for (let to = 0; to < frame.payload.length; to++) {
      const validator = new Message.Validator()
      assert.isUndefined(validator.checkPartial(partial(frame, 0, to)))
      assert.isUndefined(validator.check(frame))
      assert.isUndefined(validator.check(Frame.text("é")))
    }
  })

  it("fails in the rest of a frame whose part was fine", () => {
    for (const [payload, offset] of [["61 e2 82 62", 3], ["61 62 ff 63", 2], ["61 62 e2 82", 4]] as const) {
      for (const length of [0, 1, 2]) {
        const frame = Frame.text(hex(payload))
        const validator = new Message.Validator()
        assert.isUndefined(validator.checkPartial(partial(frame, 0, length)))
        assert.deepStrictEqual(factsOf(validator.check(frame)), badText(offset))
      }
    }
  })

  it("is not asked of the parts of binary messages", () => {
    const validator = new Message.Validator()
    for (const frame of fragmentsOf("Binary", [hex("ff fe"), hex("c0 c0")])) {
      assert.isUndefined(validator.checkPartial(partial(frame, 0, 1)))
      assert.isUndefined(validator.check(frame))
    }
    assert.deepStrictEqual(factsOf(validator.check(Frame.text(hex("ff")))), badText(0))
  })

  it.prop(
    "fails at the first impossible byte, in whatever fragments and parts it comes",
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

describe("frames joined to messages", () => {
  it("gives a whole message its payload as it is", () => {
    const assembler = new Message.Assembler()
    const payload = utf8("abc")
    const text = assembler.push(Frame.text(payload))
    assert.strictEqual(text instanceof Message.Text && text.bytes, payload)
    const binary = assembler.push(Frame.binary(payload))
    assert.strictEqual(binary instanceof Message.Binary && binary.bytes, payload)
    assert.isFalse(assembler.unfinished)
  })

  it("joins fragments under the opcode of the first", () => {
    const assembler = new Message.Assembler()
    for (
      const [frames, expected] of [
        [[Frame.text("a", open), Frame.continuation("b", open), Frame.continuation("c")], ["Text", "abc", "616263"]],
        [[Frame.binary(bytes(1), open), Frame.continuation(bytes(2))], ["Binary", "0102"]],
        [[Frame.text("", open), Frame.continuation("")], ["Text", "", ""]]
      ] as const
    ) {
      assert.isFalse(assembler.unfinished)
      for (const frame of frames.slice(0, -1)) {
        assert.isUndefined(assembler.push(frame))
        assert.isTrue(assembler.unfinished)
      }
      assert.deepStrictEqual<unknown>(messageOf(assembler.push(frames[frames.length - 1])), expected)
    }
    assert.isFalse(assembler.unfinished)
  })

  it("passes over the rest of a message whose beginning it has not seen", () => {
    const assembler = new Message.Assembler()
    assert.isUndefined(assembler.push(Frame.continuation("b", open)))
    assert.isFalse(assembler.unfinished)
    assert.isUndefined(assembler.push(Frame.continuation("c")))
    assert.isFalse(assembler.unfinished)
    assert.deepStrictEqual(messageOf(assembler.push(Frame.text("d"))), ["Text", "d", "64"])
  })

  it("gives the beginning of a message back as one frame, and passes over its rest", () => {
    const assembler = new Message.Assembler()
    assert.isUndefined(assembler.giveBack())
    assembler.push(Frame.text("ab", open))
    assembler.push(Frame.continuation("c", open))
    const beginning = assembler.giveBack()
    assert.strictEqual(beginning?.opcode, Frame.Opcode.Text)
    assert.strictEqual(beginning?.fin, false)
    assert.strictEqual(toHex(beginning?.payload ?? bytes()), "616263")
    assert.isFalse(assembler.unfinished)
    assert.isUndefined(assembler.giveBack())
    assert.isUndefined(assembler.push(Frame.continuation("d")))
    assert.deepStrictEqual(messageOf(assembler.push(Frame.binary(bytes(1)))), ["Binary", "01"])
    assert.isUndefined(assembler.giveBack())
  })

  it("fails where a message is larger than one string, or one array, can be, as soon as that is known", () => {
    // These bytes are not touched, and so take no memory.
    const half = new Uint8Array(2 ** 28)
    const whole = new Uint8Array(constants.MAX_STRING_LENGTH + 1)
    const expected = { _tag: "MessageTooLarge", limit: constants.MAX_STRING_LENGTH }
    assert.deepInclude({ ...new Message.Assembler().push(Frame.text(whole)) }, expected)
    const assembler = new Message.Assembler()
    assert.isUndefined(assembler.push(Frame.text(half, open)))
    assert.deepInclude({ ...assembler.push(Frame.continuation(half, open)) }, expected)
    assert.strictEqual((new Message.Assembler().push(Frame.binary(whole)) as Message.Message)._tag, "Binary")
    const collector = Message.makeCollector({ maxMessageSize: Infinity })
    assert.isUndefined(collector.push(Frame.binary(half, open)))
    for (let size = 2 ** 28; size < 2 ** 32; size += 2 ** 28) {
      assert.isUndefined(collector.push(Frame.continuation(half, open)))
    }
    for (const frame of [Frame.continuation("x"), Frame.text("x")]) {
      assert.deepInclude({ ...collector.push(frame) }, {
        _tag: "MessageTooLarge",
        size: 2 ** 32 + 1,
        limit: 2 ** 32
      })
    }
  })

  it("goes on with a beginning that another gave back", () => {
    for (
      const [first, expected] of [
        [Frame.text("ab", open), ["Text", "abcd", "61626364"]],
        [Frame.binary(utf8("ab"), open), ["Binary", "61626364"]]
      ] as const
    ) {
      const [left, right] = [new Message.Assembler(), new Message.Assembler()]
      left.push(first)
      left.push(Frame.continuation("c", open))
      assert.isUndefined(right.push(left.giveBack()!))
      assert.isTrue(right.unfinished)
      assert.deepStrictEqual<unknown>(messageOf(right.push(Frame.continuation("d"))), expected)
    }
  })
})

describe("a collector", () => {
  it("gives each message as it is completed, and passes over control frames", () => {
    const collector = Message.makeCollector()
    const got = [
      Frame.ping(bytes(1)),
      Frame.text("a"),
      Frame.text("Hel", open),
      Frame.pong(),
      Frame.continuation("lo", open),
      Frame.close(1000),
      Frame.continuation("!"),
      Frame.binary(bytes(1, 2))
    ].map((frame) => messageOf(collector.push(frame)))
    assert.deepStrictEqual(got, [
      undefined,
      ["Text", "a", "61"],
      undefined,
      undefined,
      undefined,
      undefined,
      ["Text", "Hello!", "48656c6c6f21"],
      ["Binary", "0102"]
    ])
  })

  it("takes nothing more after an error, which it goes on to answer", () => {
    const collector = Message.makeCollector()
    assert.isUndefined(collector.push(Frame.text("a", open)))
    const error = collector.push(Frame.text("b"))
    assert.strictEqual(error?._tag, "UnfinishedMessage")
    for (const frame of [Frame.continuation("c"), Frame.text("d"), Frame.ping(), Frame.continuation("e")]) {
      assert.strictEqual(collector.push(frame), error)
    }
  })

  for (
    const [name, limits, frames, expected] of [
      ["the size", { maxMessageSize: 3 }, [Frame.text("abc"), Frame.text("abcd")], {
        _tag: "MessageTooLarge",
        size: 4,
        limit: 3
      }],
      ["the fragments", { maxFragments: 1 }, [Frame.text("abc", open), Frame.continuation("d")], {
        _tag: "TooManyFragments",
        limit: 1
      }],
      ["the fragments, of which NaN allows one", { maxFragments: NaN }, [
        Frame.text("abc", open),
        Frame.continuation("d")
      ], {
        _tag: "TooManyFragments",
        limit: NaN
      }],
      ["the text", undefined, [Frame.text("abc"), Frame.text(hex("ff"))], badText(0)],
      ["the sequence", undefined, [Frame.text("abc"), Frame.continuation("d")], { _tag: "UnexpectedContinuation" }]
    ] as const
  ) {
    it(`checks ${name}`, () => {
      const collector = Message.makeCollector(limits)
      const [first, second] = frames.map((frame) => collector.push(frame))
      assert.notInstanceOf(first, Error)
      assert.instanceOf(second, Error)
      assert.deepStrictEqual({ ...second }, expected)
    })
  }

  it.prop(
    "gives any message back, in whatever fragments it comes, with control frames in between",
    {
      messages: Arbitrary.array(Arbitrary.all([
        either<{ readonly kind: "Text" | "Binary"; readonly payload: Uint8Array }>(
          Arbitrary.map(anyText, (text) => ({ kind: "Text" as const, payload: utf8(text) })),
          Arbitrary.map(anyPayload, (payload) => ({ kind: "Binary" as const, payload }))
        ),
        anyCuts,
        anyBoolean
      ]))
    },
    ({ messages }) => {
      const collector = Message.makeCollector()
      const got: Array<unknown> = []
      for (const [{ kind, payload }, cuts, controls] of messages) {
        const fragments = fragmentsOf(kind, cutAt(payload, cuts))
        for (const [i, fragment] of fragments.entries()) {
          if (controls) {
            for (const control of [Frame.ping(bytes(i)), Frame.pong()]) assert.isUndefined(collector.push(control))
          }
          const message = collector.push(fragment)
          if (i < fragments.length - 1) assert.isUndefined(message)
          else got.push(message !== undefined && "bytes" in message && [message._tag, toHex(message.bytes)])
        }
      }
      assert.deepStrictEqual(got, messages.map(([{ kind, payload }]) => [kind, toHex(payload)]))
    }
  )

  it.prop("gives text back as the string that it was", { text: anyText, cuts: anyCuts }, ({ cuts, text }) => {
    const collector = Message.makeCollector()
    const [message] = fragmentsOf("Text", cutAt(utf8(text), cuts)).map((frame) => collector.push(frame)).slice(-1)
    if (message?._tag !== "Text") return assert.fail(`${message?._tag}`)
    assert.strictEqual(message.text, text)
  })
})
