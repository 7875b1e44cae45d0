import { assert, describe, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { Frame, Message } from "effect-ws"
import { bytes, hex, toHex } from "../support/frames.ts"
import { badText, fragmentsOf, messageOf, open, utf8 } from "../support/messages.ts"
import { anyBoolean, anyCuts, anyPayload, anyText, cutAt, either } from "../support/properties.ts"

describe("Message.makeCollector", () => {
  it("returns each message with its last frame, and ignores control frames", () => {
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

  it("returns the same error for each frame after it", () => {
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
    "returns any message, in any fragments, with control frames in between",
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

  it.prop("returns text as the string that was sent", { text: anyText, cuts: anyCuts }, ({ cuts, text }) => {
    const collector = Message.makeCollector()
    const [message] = fragmentsOf("Text", cutAt(utf8(text), cuts)).map((frame) => collector.push(frame)).slice(-1)
    if (message?._tag !== "Text") return assert.fail(`${message?._tag}`)
    assert.strictEqual(message.text, text)
  })
})
