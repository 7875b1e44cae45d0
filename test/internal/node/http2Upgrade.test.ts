import { assert, describe, it } from "@effect/vitest"
import { Http2RequestHead } from "../../../src/internal/node/http2Upgrade.ts"

describe("Http2RequestHead (RFC 8441 §4)", () => {
  it("reads the pseudo-headers, and leaves them out of the headers", () => {
    const headers = {
      ":method": "CONNECT",
      ":protocol": "websocket",
      ":scheme": "https",
      ":path": "/a",
      ":authority": "b"
    }
    const flat = [...Object.entries(headers), ["origin", "https://b"], ["cookie", "a=1"], ["cookie", "b=2"]].flat()
    const head = new Http2RequestHead(headers, flat, { secure: true, remoteAddress: "192.0.2.1" })
    const { authority, method, protocol, remoteAddress, scheme, secure, target } = head
    assert.deepStrictEqual({ authority, method, protocol, remoteAddress, scheme, secure, target }, {
      authority: "b",
      method: "CONNECT",
      protocol: "websocket",
      remoteAddress: "192.0.2.1",
      scheme: "https",
      secure: true,
      target: "/a"
    })
    assert.deepStrictEqual(head.rawHeaders, [["origin", "https://b"], ["cookie", "a=1"], ["cookie", "b=2"]])
  })

  it("reads an empty method and target without pseudo-headers", () => {
    const { method, protocol, target } = new Http2RequestHead({}, [], { secure: false, remoteAddress: undefined })
    assert.deepStrictEqual([method, protocol, target], ["", undefined, ""])
  })
})
