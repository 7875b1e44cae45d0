import { assert, describe, it } from "@effect/vitest"
import { Frame, Message } from "effect-ws"
import { anyCuts, anyNearlyUtf8, cutAt, integer, patterned } from "../support/properties.ts"

/** The pieces of a frame, of the given size. */
const piecesOf = (frame: Frame.Frame, size: number): Array<Frame.Frame> => {
  const decoder = Frame.makeDecoder({ role: "client", pieceSize: size })
  const wire = Frame.encode(frame)
  return [wire.subarray(0, -1), wire.subarray(-1)].flatMap((chunk) => decoder.decode(chunk).frames)
}

/** The frames of a text message whose fragments are `parts`. */
const fragmentsOf = (parts: ReadonlyArray<Uint8Array>): Array<Frame.Frame> =>
  parts.map((part, i) => {
    const fin = i === parts.length - 1
    return i === 0 ? Frame.text(part, { fin }) : Frame.continuation(part, { fin })
  })

/** What a collector returns in the end. */
const collect = (frames: ReadonlyArray<Frame.Frame>, limits?: Message.Limits) => {
  const collector = Message.makeCollector(limits)
  let last: ReturnType<Message.Collector["push"]>
  for (const frame of frames) last ??= collector.push(frame)
  return last?._tag === "Text" ? Buffer.from(last.bytes).toString("hex") : JSON.stringify(last)
}

describe("a message in pieces of frames", () => {
  it.prop(
    "succeeds, or fails at the same byte, like a message in whole frames",
    { text: anyNearlyUtf8, cuts: anyCuts, size: integer(1, 20) },
    ({ cuts, size, text }) => {
      const frames = fragmentsOf(cutAt(text, cuts))
      assert.deepStrictEqual(collect(frames.flatMap((frame) => piecesOf(frame, size))), collect(frames))
    }
  )

  it("counts one fragment for each frame", () => {
    const frames = fragmentsOf([patterned(100).map((byte) => byte & 0x7f), patterned(100).map((byte) => byte & 0x7f)])
    const pieces = frames.flatMap((frame) => piecesOf(frame, 10))
    assert.strictEqual(pieces.length, 20)
    assert.strictEqual(collect(pieces, { maxFragments: 2 }), collect(frames))
    assert.deepStrictEqual(collect(pieces, { maxFragments: 1 }), collect(frames, { maxFragments: 1 }))
  })

  it("fails at its first piece if the frame is too large", () => {
    const [first] = piecesOf(Frame.binary(patterned(100)), 10)
    const error = Message.makeCollector({ maxMessageSize: 99 }).push(first)
    assert.deepStrictEqual({ ...error }, { _tag: "MessageTooLarge", size: 100, limit: 99 } as object)
  })

  it("fails on no byte twice: parts of a piece are checked when they arrive", () => {
    const euros = new TextEncoder().encode("€".repeat(10))
    const decoder = Frame.makeDecoder({ role: "client", pieceSize: 4 })
    const validator = new Message.Validator()
    for (const byte of Frame.encode(Frame.text(euros))) {
      const { frames, partial } = decoder.decode(Uint8Array.of(byte))
      for (const frame of frames) assert.isUndefined(validator.check(frame))
      if (partial !== undefined) assert.isUndefined(validator.checkPartial(partial))
    }
    assert.isUndefined(validator.check(Frame.text("next")))
  })
})

describe("pieces that an assembler joins", () => {
  const [first, second, third] = piecesOf(Frame.binary(patterned(10), { fin: false }), 4) as Array<Frame.Piece>

  it("become the frame that they are pieces of", () => {
    const assembler = new Message.Assembler()
    assert.deepStrictEqual([first, second].map((piece) => assembler.pushPiece(piece)), [undefined, undefined])
    assert.isTrue(assembler.isWithinFrame)
    assert.deepStrictEqual(assembler.pushPiece(third), Frame.binary(patterned(10), { fin: false }))
    assert.isFalse(assembler.unfinished)
  })

  it("become the message, if the frame ends it and a message is asked for instead", () => {
    const assembler = new Message.Assembler()
    const pieces = piecesOf(Frame.binary(patterned(10)), 4) as Array<Frame.Piece>
    assembler.pushPiece(pieces[0])
    assert.deepStrictEqual(pieces.slice(1).map((piece) => assembler.push(piece)), [
      undefined,
      Message.binary(patterned(10))
    ])
  })

  it("disappear if their message began earlier and a message is read", () => {
    const assembler = new Message.Assembler()
    const pieces = piecesOf(Frame.continuation(patterned(10)), 4) as Array<Frame.Piece>
    assembler.pushPiece(pieces[0])
    assert.deepStrictEqual(pieces.slice(1).map((piece) => assembler.push(piece)), [undefined, undefined])
    assert.deepStrictEqual(assembler.push(Frame.binary(patterned(1))), Message.binary(patterned(1)))
  })
})
