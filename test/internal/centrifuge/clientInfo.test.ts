/** Publishers and members, in the bytes that brokers carry. */
import { assert, describe, it } from "@effect/vitest"
import type { TopicServer } from "effect-ws"
import { decodeMember, decodePublisher, memberOf, publisherOf } from "../../../src/internal/centrifuge/clientInfo.ts"
import { JsonText } from "../../../src/internal/centrifuge/schema.ts"
import { identityOf, valueOf, withIdentity } from "../../../src/internal/topics/identity.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

const client = (info?: unknown) => ({ id: "c1", user: "ada\n€", info }) as unknown as TopicServer.Client

describe("a publisher", () => {
  it("encodes the client, with its value as a member", () => {
    assert.deepStrictEqual(decodePublisher(publisherOf(client({ a: 1 }), bytes(`{"name":"Ada"}`))), {
      user: "ada\n€",
      client: "c1",
      conn_info: new JsonText(`{"a":1}`),
      chan_info: new JsonText(`{"name":"Ada"}`)
    })
    assert.deepInclude(decodePublisher(publisherOf(client(), undefined)), {
      user: "ada\n€",
      client: "c1",
      conn_info: undefined
    })
  })

  it("returns undefined for other bytes, or none", () => {
    for (const other of [undefined, bytes(""), bytes("x"), bytes("[]"), bytes(`{"user":1}`)]) {
      assert.isUndefined(decodePublisher(other))
    }
  })
})

describe("a member", () => {
  it("encodes the value, with the user behind it", () => {
    const { id, info } = memberOf(client(null), bytes(`{"name":"Ada"}`))
    assert.strictEqual(new TextDecoder().decode(valueOf(info)), `{"name":"Ada"}`)
    assert.deepStrictEqual(decodeMember({ id, info }), {
      user: "ada\n€",
      client: "c1",
      conn_info: new JsonText("null"),
      chan_info: new JsonText(`{"name":"Ada"}`)
    })
  })

  it("returns no user for a member that a program has joined", () => {
    const expected = { user: "", client: "bot", conn_info: undefined, chan_info: new JsonText("1") }
    assert.deepStrictEqual(decodeMember({ id: "bot", info: bytes("1") }), expected)
    assert.deepStrictEqual(decodeMember({ id: "bot", info: withIdentity(bytes("1"), bytes("other")) }), expected)
    assert.isUndefined(identityOf(bytes("1")))
  })
})
