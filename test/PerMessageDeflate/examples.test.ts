/** The examples of RFC 7692, and the negotiation of the extension as a whole. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Extension, Frame, PerMessageDeflate } from "effect-ws"
import {
  compressed,
  continued,
  decode,
  encode,
  fromHex,
  hello,
  helloAgain,
  hex,
  openClient,
  openServer,
  rsv1,
  textOf
} from "../support/deflate.ts"

describe("negotiation (RFC 7692 §7.1)", () => {
  it("accepts the first of several offers that is valid", () => {
    const offered = Extension.parse(
      "permessage-deflate; server_max_window_bits=99, permessage-deflate; nonsense, " +
        "permessage-deflate; server_max_window_bits=10, permessage-deflate"
    )!
    const negotiated = Extension.accept([PerMessageDeflate.make()], offered)
    assert.strictEqual(
      Extension.format(negotiated.map(({ entry }) => entry)),
      "permessage-deflate; server_max_window_bits=10"
    )
  })

  it("makes one offer, declines invalid ones, and says what is wrong with a response", () => {
    const extension = PerMessageDeflate.make()
    assert.deepStrictEqual(extension.offers, [[{ name: "client_max_window_bits", value: undefined }]])
    assert.isUndefined(extension.accept([{ name: "nonsense", value: undefined }]))
    assert.strictEqual(
      extension.confirm([{ name: "server_max_window_bits", value: "7" }]),
      "server_max_window_bits: expected an integer from 8 to 15, got 7"
    )
  })
})

describe("the examples of RFC 7692 §7.2.3", () => {
  const decodes = (name: string, frames: ReadonlyArray<Frame.Frame>, expected: ReadonlyArray<string>) =>
    it.effect(name, () =>
      Effect.gen(function*() {
        for (const open of [openServer, openClient]) {
          const session = yield* open(PerMessageDeflate.make())
          const decoded: Array<string> = []
          for (const frame of frames) {
            const result = yield* decode(session, frame)
            assert.strictEqual(result.reserved, 0)
            assert.strictEqual(result.fin, frame.fin)
            assert.strictEqual(result.opcode, frame.opcode)
            decoded.push(textOf(result))
          }
          assert.deepStrictEqual(decoded, expected)
        }
      }))

  decodes("decodes a message in one block (§7.2.3.1)", [hello], ["Hello"])
  decodes("decodes a message in two fragments (§7.2.3.1)", [
    compressed(fromHex("f2 48 cd"), false),
    continued(fromHex("c9 c9 07 00"), true)
  ], ["He", "llo"])
  decodes("decodes two messages that share a window (§7.2.3.2)", [hello, helloAgain], ["Hello", "Hello"])
  decodes("decodes a block without compression (§7.2.3.3)", [
    compressed(fromHex("00 05 00 fa ff 48 65 6c 6c 6f 00"))
  ], ["Hello"])
  decodes("decodes a final block (§7.2.3.4)", [compressed(fromHex("f3 48 cd c9 c9 07 00 00"))], ["Hello"])
  decodes("decodes two blocks (§7.2.3.5)", [
    compressed(fromHex("f2 48 05 00 00 00 ff ff ca c9 c9 07 00"))
  ], ["Hello"])
  decodes("decodes an empty message (§7.2.3.6)", [compressed(fromHex("00")), hello], ["", "Hello"])
  decodes(
    "decodes final blocks without the start of an empty one, several of them, and messages after them (§7.2.3.4)",
    [
      compressed(fromHex("f3 48 cd c9 c9 07 00")),
      compressed(fromHex("f3 48 cd c9 c9 07 00 f3 48 cd c9 c9 07 00 00")),
      compressed(fromHex("f3 48 cd c9 c9 07 00"), false),
      continued(fromHex("f2 48 cd c9 c9 07 00"), true),
      hello,
      helloAgain
    ],
    ["Hello", "HelloHello", "Hello", "Hello", "Hello", "Hello"]
  )

  it.effect("encodes as the examples show", () =>
    Effect.gen(function*() {
      const options = { threshold: 0, level: 6 } as const
      const session = yield* openServer(PerMessageDeflate.make(options))
      for (const expected of [hello, helloAgain]) {
        const frame = yield* encode(session, Frame.text("Hello"))
        assert.strictEqual(hex(frame.payload), hex(expected.payload))
        assert.strictEqual(frame.reserved, rsv1)
      }
      const other = yield* openServer(PerMessageDeflate.make({ ...options, memoryLevel: 8 }))
      const first = yield* encode(other, Frame.text("Hello", { fin: false }))
      const last = yield* encode(other, continued(new Uint8Array(0), true))
      // The flush of a fragment stays; only "the tail end" of the message loses four octets (§7.2.1).
      assert.deepStrictEqual([hex(first.payload), first.reserved], ["f248cdc9c907000000ffff", rsv1])
      assert.deepStrictEqual([hex(last.payload), last.reserved, last.fin], ["00", 0, true])
    }))
})
