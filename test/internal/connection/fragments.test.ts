import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { ConnectionError, Frame } from "effect-ws"
import { decodeFragments, FragmentEncoder } from "../../../src/internal/connection/fragments.ts"
import { ReceiveQueue } from "../../../src/internal/connection/receiveQueue.ts"
import { memoryInUse } from "../../support/resources.ts"

const text = ({ payload }: Frame.Frame) => Buffer.from(payload).toString()

describe("FragmentEncoder", () => {
  const encodeAll = (parts: ReadonlyArray<string | Uint8Array>) => {
    const encoder = new FragmentEncoder()
    assert.isFalse(encoder.begun)
    const frames = parts.map((part) => {
      const frame = encoder.next(part)
      assert.instanceOf(frame, Frame.Frame)
      return frame
    })
    assert.strictEqual(encoder.begun, parts.length > 0)
    return [...frames, encoder.end()]
  }

  it("makes a first frame, continuations, and an end (RFC 6455 §5.4)", () => {
    const frames = encodeAll([Uint8Array.of(1), Uint8Array.of(2)])
    assert.deepStrictEqual(frames.map(({ fin, opcode }) => [opcode, fin]), [[2, false], [0, false], [0, true]])
  })

  it("puts a surrogate pair that was cut in two into one frame, and a lone one at the end", () => {
    assert.deepStrictEqual(encodeAll(["a\ud83d", "\ude00b"]).map(text), ["a", "😀b", ""])
    assert.deepStrictEqual(encodeAll(["a\ud83d"]).map(text), ["a", "\ufffd"])
  })

  it("does not mix text and bytes", () => {
    const encoder = new FragmentEncoder()
    encoder.next("a")
    assert.instanceOf(encoder.next(Uint8Array.of(1)), ConnectionError.UnexpectedFragment)
  })
})

describe("decodeFragments", () => {
  const source = { resume: () => {}, onDecodeError: () => assert.fail("nothing is to be decoded") }

  const decode = (...frames: Array<Frame.Frame>) =>
    Effect.gen(function*() {
      const inbox = new ReceiveQueue(1000, source, undefined)
      inbox.push(frames)
      const { first, token } = yield* inbox.readFirstFragment(Effect.fail)
      return decodeFragments(inbox, first, token)
    })

  it.effect("gives text, whole characters at a time", () =>
    Effect.gen(function*() {
      const euro = Buffer.from("€")
      const message = yield* decode(
        Frame.text(euro.subarray(0, 2), { fin: false }),
        Frame.continuation(euro.subarray(2), { fin: false }),
        Frame.continuation("x")
      )
      assert.strictEqual(message._tag, "Text")
      assert.deepStrictEqual(yield* Stream.runCollect(message.fragments as Stream.Stream<string>), ["", "€", "x"])
    }))

  it.live("does not hold on to the first fragment", () =>
    Effect.gen(function*() {
      let first: WeakRef<Uint8Array> | undefined
      const message = yield* Effect.suspend(() => {
        const payload = new Uint8Array(10_000)
        first = new WeakRef(payload)
        return decode(Frame.binary(payload, { fin: false }), Frame.continuation("the end"))
      })
      const there: Array<boolean> = []
      yield* Stream.runForEach(message.fragments as Stream.Stream<Uint8Array>, () =>
        Effect.map(memoryInUse, () => {
          there.push(first?.deref() !== undefined)
        }))
      assert.isFalse(there[1])
    }))

  it.effect("gives bytes as they are, of a message in one frame too", () =>
    Effect.gen(function*() {
      const message = yield* decode(Frame.binary(Uint8Array.of(1, 2)))
      assert.strictEqual(message._tag, "Binary")
      assert.deepStrictEqual(
        (yield* Stream.runCollect(message.fragments as Stream.Stream<Uint8Array>)).map((bytes) => Array.from(bytes)),
        [[1, 2]]
      )
    }))
})
