import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { Link, rejectionOf } from "../../../src/internal/centrifuge/clientLink.ts"
import { protobufCodec } from "../../../src/internal/centrifuge/protobufCodec.ts"
import { codecOf } from "../../../src/internal/topics/codec.ts"
import { makePair } from "../../support/memory.ts"
import { Feed } from "../../support/topicSession.ts"

describe("Link.decode", () => {
  it.effect("returns no value for a payload that is not JSON", () =>
    Effect.gen(function*() {
      const { client } = yield* makePair()
      const link = new Link(client, protobufCodec)
      const decode = (text: string) => link.decode(codecOf(Feed).message, new TextEncoder().encode(text))
      assert.deepStrictEqual(decode(`{"text":"a"}`), Option.some({ text: "a" }))
      assert.deepStrictEqual(decode("{"), Option.none())
      assert.deepStrictEqual(decode("1"), Option.none())
    }))
})

describe("rejectionOf", () => {
  it("fills in what the server leaves out of an error", () => {
    const parts = (error: object) => {
      const { code, reason, temporary } = rejectionOf({ error })!
      return [code, reason, temporary]
    }
    assert.deepStrictEqual(parts({}), [0, "", false])
    assert.deepStrictEqual(parts({ code: 103 }), [103, "permission denied", false])
    assert.deepStrictEqual(parts({ code: 100, message: "later", temporary: true }), [100, "later", true])
  })

  it("returns undefined for a reply without an error", () => {
    assert.isUndefined(rejectionOf({ rpc: {} }))
  })
})
