/** The pushes for events of a channel. */
import { assert, describe, it } from "@effect/vitest"
import { jsonCodec } from "../../../src/internal/centrifuge/jsonCodec.ts"
import { protobufCodec } from "../../../src/internal/centrifuge/protobufCodec.ts"
import { formatOf } from "../../../src/internal/centrifuge/pushes.ts"

const position = { epoch: "e", offset: 1 }
const bytes = (text: string) => new TextEncoder().encode(text)

describe("the format of a codec", () => {
  it("serves all clients, so that they share encodings", () => {
    assert.strictEqual(formatOf(jsonCodec), formatOf(jsonCodec))
    assert.notStrictEqual(formatOf(jsonCodec), formatOf(protobufCodec))
  })

  it("encodes messages and changes of members", () => {
    const { encode } = formatOf(jsonCodec)
    assert.strictEqual(
      encode("a", { _tag: "Publication", ...position, data: bytes("[1]") }),
      `{"push":{"channel":"a","pub":{"data":[1],"offset":1}}}`
    )
    for (const [_tag, name] of [["Joined", "join"], ["Left", "leave"]] as const) {
      assert.strictEqual(
        encode("a", { _tag, ...position, version: 1, id: "c", info: bytes("1") }),
        `{"push":{"channel":"a","${name}":{"info":{"user":"","client":"c","chan_info":1}}}}`
      )
    }
  })

  it("tells neither gaps nor lists of members", () => {
    const { encode } = formatOf(jsonCodec)
    assert.isUndefined(encode("a", { _tag: "Gap", from: position, to: position }))
    assert.isUndefined(encode("a", { _tag: "Subscribed", position, members: [] }))
  })
})
