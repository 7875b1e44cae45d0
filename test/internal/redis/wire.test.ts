import { assert, describe, it } from "@effect/vitest"
import {
  decodeEvent,
  decodeMember,
  decodePayload,
  encodeMember,
  encodePayload,
  unreadable
} from "../../../src/internal/redis/wire.ts"
import { anyBytes } from "../../support/properties.ts"
import { Arbitrary, Effect } from "effect"

const bytes = (text: string) => new TextEncoder().encode(text)
const event = (head: string, body: Uint8Array) => Uint8Array.from([...bytes(head), ...body])

describe("the events that Redis transports", () => {
  it.effect.prop(
    "keeps payloads and members as they are",
    [anyBytes(), anyBytes()],
    ([data, info]) =>
      Effect.sync(() => {
        assert.deepStrictEqual(decodePayload(encodePayload({ data, info })), { data, info })
        assert.deepStrictEqual(decodePayload(encodePayload({ data })), { data, info: undefined })
        assert.deepStrictEqual(decodeMember(encodeMember({ id: "größe\n 😀", info })), { id: "größe\n 😀", info })
      })
  )

  it("decodes publications and changes of presence", () => {
    const payload = encodePayload({ data: bytes("hi") })
    assert.deepStrictEqual(decodeEvent(event("1 P e 7\n", payload)), {
      _tag: "Publication",
      epoch: "e",
      offset: 7,
      data: bytes("hi"),
      info: undefined
    })
    const member = { id: "a", info: bytes("Ada") }
    for (const [kind, _tag] of [["J", "Joined"], ["L", "Left"]]) {
      assert.deepStrictEqual(decodeEvent(event(`1 ${kind} e 7 2\n`, encodeMember(member))) as unknown, {
        _tag,
        epoch: "e",
        offset: 7,
        version: 2,
        ...member
      })
    }
  })

  it("returns unreadable for what another version or another program has written", () => {
    const payload = encodePayload({ data: bytes("hi") })
    const heads = [
      "2 P e 7\n",
      "P e 7\n",
      "1 X e 7\n",
      "1 P e\n",
      "1 P e x\n",
      "1 P e 7",
      "1 J e 7\n",
      "1 J e 7 0\n",
      "1 P e \n",
      "1 P e -1\n",
      "1 P e 1.5\n",
      "1 P e Infinity\n",
      "1 P e 9007199254740992\n",
      "1 J e 7 \n",
      "1 J e 7 1.5\n",
      ""
    ]
    for (const head of heads) assert.strictEqual(decodeEvent(event(head, payload)), unreadable)
    assert.strictEqual(decodeEvent(bytes("1 P e 7\n\0\0")), unreadable)
    assert.strictEqual(decodeEvent(bytes("1 P e 7\n\0\0\0\u0009ab")), unreadable)
    assert.strictEqual(decodeEvent(bytes("1 J e 7 1\n\0\0\0\u0009ab")), unreadable)
  })

  it.effect.prop("never throws", [Arbitrary.array(anyBytes(), { maxLength: 3 })], ([parts]) =>
    Effect.sync(() => {
      for (const part of parts) {
        decodeEvent(part)
        decodeEvent(event("1 P e 1\n", part))
        decodeEvent(event("1 J e 1 1\n", part))
      }
    }))
})
