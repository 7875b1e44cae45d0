import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { Topic } from "effect-ws"
import { codecOf, jsonFormat, type ValueCodec } from "../../../src/internal/topics/codec.ts"
import { toEvents, toMembers } from "../../../src/internal/topics/values.ts"

const bytes = (text: string) => new TextEncoder().encode(text)
const Room = Topic.make("room/:id", { message: Schema.String, member: Schema.String })
const News = Topic.make("news/:id", { message: Schema.String })

const position = { epoch: "e", offset: 3 }
const members = [{ id: "1", info: bytes("\"Ada\"") }, { id: "2", info: bytes("7") }]

describe("values of a topic", () => {
  it("leaves out members that the schema cannot decode, and all without a schema for members", () => {
    assert.deepStrictEqual(toMembers(codecOf(Room), members), [{ id: "1", member: "Ada" }])
    assert.deepStrictEqual(toMembers(codecOf(News), members), [])
    assert.deepStrictEqual(toEvents(codecOf(Room), { _tag: "Subscribed", position, members }), [
      { _tag: "Subscribed", position, members: [{ id: "1", member: "Ada" }] }
    ])
  })

  it("gives values that a history or presence keeps memory of their own", () => {
    const Kept = Topic.make("kept/:id", { message: Schema.String, history: { size: 1, ttl: "1 minute" } })
    const memoryOf = ({ encode }: ValueCodec<string>) => Result.getOrThrow(encode("abc")).buffer.byteLength
    assert.strictEqual(memoryOf(codecOf(Kept).message), 5)
    assert.strictEqual(memoryOf(codecOf(Room).member!), 5)
    assert.isAbove(memoryOf(codecOf(News).message), 5)
  })

  it("does not tell of an epoch that continues under another name", () => {
    const gap = { _tag: "Gap", from: position, to: { epoch: "f", offset: 3 } } as const
    const renamed = { ...gap, isLossless: true }
    assert.deepStrictEqual(toEvents(codecOf(Room), gap), [{ _tag: "Gap", from: gap.from, to: gap.to }])
    assert.deepStrictEqual(toEvents(codecOf(Room), renamed), [])
    assert.isUndefined(jsonFormat.encode("room/1", renamed))
  })

  it("tells a gap for a message that the schema cannot decode", () => {
    assert.deepStrictEqual(toEvents(codecOf(News), { _tag: "Publication", ...position, data: bytes("7") }), [
      { _tag: "Gap", from: { epoch: "e", offset: 2 }, to: position, missed: 1 }
    ])
  })
})
