import { assert, describe, it } from "@effect/vitest"
import { type Extension, Frame } from "effect-ws"
import { SharedMessage } from "../../../src/internal/connection/sharedMessage.ts"

const encoderOf = (encode: Extension.SharedEncoder["encode"]) => {
  let calls = 0
  const encoder: Extension.SharedEncoder = {
    encode: (frame, options) => {
      calls++
      return encode(frame, options)
    }
  }
  return { encoder, calls: () => calls }
}

describe("SharedMessage", () => {
  it("encodes its messages once, one behind the other, as a server writes them", () => {
    const shared = new SharedMessage(["a", Frame.binary(Uint8Array.of(1, 2))], {})
    const { bytes, isEncoded } = shared.withoutExtensions
    assert.deepStrictEqual(Array.from(bytes), [0x81, 1, 0x61, 0x82, 2, 1, 2])
    assert.isFalse(isEncoded)
    assert.strictEqual(shared.withoutExtensions.bytes, bytes)
  })

  it("makes a message of a text, of its parts and of binary data", () => {
    const long = "é".repeat(40_000)
    const utf8 = new TextEncoder().encode(long)
    for (
      const [payload, whole, opcode] of [
        ["aé", new TextEncoder().encode("aé"), Frame.Opcode.Text],
        ["x".repeat(126), Uint8Array.from({ length: 126 }, () => 0x78), Frame.Opcode.Text],
        [
          ["[", utf8, long, "]"],
          Buffer.concat([Uint8Array.of(0x5b), utf8, utf8, Uint8Array.of(0x5d)]),
          Frame.Opcode.Text
        ],
        [[], new Uint8Array(), Frame.Opcode.Text],
        [Uint8Array.of(1, 2), Uint8Array.of(1, 2), Frame.Opcode.Binary]
      ] as const
    ) {
      const shared = SharedMessage.of(payload)
      const frame = new Frame.Frame(opcode, whole)
      assert.isTrue(Buffer.from(Frame.encode(frame)).equals(shared.withoutExtensions.bytes))
      const [message] = shared.messages
      assert.isTrue(message instanceof Frame.Frame && message.opcode === opcode)
      assert.isTrue(message instanceof Frame.Frame && Buffer.from(whole).equals(message.payload))
      assert.strictEqual(shared.messages.length, 1)
    }
  })

  it("copies the data that it is made of", () => {
    const data = Uint8Array.of(0x61)
    const shared = SharedMessage.of(["[", data, "]"])
    data[0] = 0
    assert.deepStrictEqual(Array.from(shared.withoutExtensions.bytes), [0x81, 3, 0x5b, 0x61, 0x5d])
  })

  it("does not change when the program changes its memory", () => {
    const payload = Uint8Array.of(1)
    const { bytes } = new SharedMessage([Frame.binary(payload)], {}).withoutExtensions
    payload[0] = 2
    assert.deepStrictEqual(Array.from(bytes), [0x82, 1, 1])
  })

  it("encodes once for each encoder, with the options of the broadcast", () => {
    const options = { compress: false }
    const seen: Array<Extension.SendOptions> = []
    const { calls, encoder } = encoderOf((frame, how) => {
      seen.push(how)
      return new Frame.Frame(frame.opcode, Uint8Array.of(9), true, Frame.Reserved.Rsv1)
    })
    const shared = new SharedMessage(["a"], options)
    const frames = shared.encodedBy(encoder)
    assert.deepStrictEqual([Array.from(frames!.bytes), frames!.isEncoded], [[0xc1, 1, 9], true])
    assert.strictEqual(shared.encodedBy(encoder), frames)
    assert.deepStrictEqual([calls(), seen], [1, [options]])
    assert.isDefined(shared.encodedBy(encoderOf((frame) => frame).encoder))
  })

  it("shares one encoding between encoders that change nothing and servers without extensions", () => {
    const shared = new SharedMessage(["a"], {})
    assert.strictEqual(shared.encodedBy(encoderOf((frame) => frame).encoder), shared.withoutExtensions)
  })

  it("leaves all messages to each connection if an encoder leaves one, throws, or returns what is not a message", () => {
    const encoders = [
      (frame: Frame.Frame) => frame.payload.length > 1 ? undefined : frame,
      () => {
        throw new Error("does not encode")
      },
      () => "frame" as never,
      ({ opcode, payload }: Frame.Frame) => new Frame.Frame(opcode, payload, false)
    ]
    for (const encode of encoders) {
      const { calls, encoder } = encoderOf(encode)
      const shared = new SharedMessage(["a", "long"], {})
      assert.isUndefined(shared.encodedBy(encoder))
      const before = calls()
      assert.isUndefined(shared.encodedBy(encoder))
      assert.strictEqual(calls(), before)
    }
  })
})
