import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { Frame } from "effect-ws"
import { anyCuts, anyFrame, anyMaskKey, cutAt, integer, patterned } from "../support/properties.ts"

const { Opcode } = Frame

/** The frames, or pieces, that a decoder returns for chunks. */
const decodeAll = (options: Frame.DecoderOptions, chunks: ReadonlyArray<Uint8Array>): Array<Frame.Frame> => {
  const decoder = Frame.makeDecoder({ ...options, reservedBits: 7, maxFrameSize: 1e6 })
  return chunks.flatMap((chunk) => {
    const { error, frames } = decoder.decode(chunk)
    assert.isUndefined(error)
    return frames
  })
}

/** Joins pieces, and checks that each one says correctly which part of its frame it is. */
const joinPieces = (decoded: ReadonlyArray<Frame.Frame>, pieceSize: number): Array<Frame.Frame> => {
  const frames: Array<Frame.Frame> = []
  let pieces: Array<Frame.Piece> = []
  for (const frame of decoded) {
    if (!(frame instanceof Frame.Piece)) {
      assert.deepStrictEqual(pieces, [])
      frames.push(frame)
      continue
    }
    const { length } = frame.payload
    assert.isTrue(length === pieceSize || (length < pieceSize && frame.remaining === 0), "the size of a piece")
    assert.strictEqual(frame.offset, pieces.reduce((sum, { payload }) => sum + payload.length, 0))
    if (pieces.length > 0) assert.deepStrictEqual([frame.opcode, frame.reserved], [Opcode.Continuation, 0])
    pieces.push(frame)
    if (frame.remaining > 0) {
      assert.isFalse(frame.fin)
      continue
    }
    const payload = Uint8Array.from(Buffer.concat(pieces.map((piece) => piece.payload)))
    frames.push(new Frame.Frame(pieces[0].opcode, payload, frame.fin, pieces[0].reserved))
    pieces = []
  }
  assert.deepStrictEqual(pieces, [])
  return frames
}

describe("a decoder with a pieceSize", () => {
  it("does not divide control frames", () => {
    const bytes = Frame.encode(Frame.ping(patterned(100)))
    const decoded = decodeAll({ role: "client", pieceSize: 10 }, [bytes.subarray(0, 50), bytes.subarray(50)])
    assert.deepStrictEqual(decoded, [Frame.ping(patterned(100))])
  })

  it.prop(
    "returns pieces that joined are the frames, wherever the bytes are cut",
    {
      frames: Arbitrary.array(anyFrame, { minLength: 1, maxLength: 5 }),
      cuts: anyCuts,
      maskKey: anyMaskKey,
      most: integer(1, 30)
    },
    ({ cuts, frames, maskKey, most }) => {
      const pieceSize = Math.ceil(Math.max(1, ...frames.map(({ payload }) => payload.length)) / most)
      for (const role of ["server", "client"] as const) {
        const key = role === "server" ? maskKey : undefined
        const chunks = cutAt(Buffer.concat(frames.map((frame) => Frame.encode(frame, key))), cuts)
        const decoded = decodeAll({ role, pieceSize }, chunks)
        assert.deepStrictEqual(joinPieces(decoded, pieceSize), decodeAll({ role }, chunks))
      }
    }
  )

  it("returns each piece with the chunk that completes it", () => {
    const wire = Frame.encode(new Frame.Frame(Opcode.Text, patterned(10), false, Frame.Reserved.Rsv1))
    const decoder = Frame.makeDecoder({ role: "client", pieceSize: 4, reservedBits: Frame.Reserved.Rsv1 })
    const decode = (from: number, to: number) => {
      const { frames, partial } = decoder.decode(wire.slice(from, to))
      return {
        frames: frames.map(({ fin, opcode, payload, reserved }) => ({
          opcode,
          fin,
          reserved,
          bytes: Array.from(payload)
        })),
        partial: partial && { opcode: partial.opcode, received: partial.received, latest: Array.from(partial.latest) }
      }
    }
    const [a, b, c, d, e, f, g, h, i, j] = patterned(10)
    const text = Opcode.Text
    assert.deepStrictEqual(decode(0, 2), { frames: [], partial: { opcode: text, received: 0, latest: [] } })
    assert.deepStrictEqual(decode(2, 5), { frames: [], partial: { opcode: text, received: 3, latest: [a, b, c] } })
    assert.deepStrictEqual(decode(5, 7), {
      frames: [{ opcode: text, fin: false, reserved: 4, bytes: [a, b, c, d] }],
      partial: { opcode: text, received: 5, latest: [e] }
    })
    assert.deepStrictEqual(decode(7, 10), {
      frames: [{ opcode: 0, fin: false, reserved: 0, bytes: [e, f, g, h] }],
      partial: { opcode: text, received: 8, latest: [] }
    })
    assert.deepStrictEqual(decode(10, 12), {
      frames: [{ opcode: 0, fin: false, reserved: 0, bytes: [i, j] }],
      partial: undefined
    })
  })

  it("returns a frame whole if one chunk holds all of it", () => {
    const [frame] = decodeAll({ role: "client", pieceSize: 4 }, [Frame.encode(Frame.binary(patterned(10)))])
    assert.deepStrictEqual(frame, Frame.binary(patterned(10)))
  })

  it("returns a frame of pieceSize bytes, and a longer control frame, whole", () => {
    for (const frame of [Frame.binary(patterned(4)), Frame.ping(patterned(100))]) {
      const decoded = decodeAll({ role: "client", pieceSize: 4 }, cutAt(Frame.encode(frame), [3, 4, 5]))
      assert.deepStrictEqual(decoded, [frame])
    }
  })

  it("allocates no more than a piece before the piece is complete", () => {
    const wire = Frame.encode(Frame.binary(patterned(1_000_000)))
    const pieces = decodeAll(
      { role: "client", pieceSize: 65536 },
      cutAt(wire, [1, 2, 3, 4, 5, 6, 7].map((i) => i * 9_000))
    )
    assert.strictEqual(pieces.length, 16)
    for (const { payload } of pieces) assert.strictEqual(payload.buffer.byteLength, payload.length)
  })

  for (const pieceSize of [0, -1, Number.NaN]) {
    it(`is not made with a pieceSize of ${pieceSize}`, () => {
      assert.throws(() => Frame.makeDecoder({ role: "client", pieceSize }), /pieceSize/)
    })
  }
})
