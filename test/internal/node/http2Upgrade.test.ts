import { assert, describe, it } from "@effect/vitest"
import type { IncomingHttpHeaders } from "node:http2"
import { Http2RequestHead, toHttp2Headers } from "../../../src/internal/node/http2Upgrade.ts"

describe("toHttp2Headers", () => {
  it("writes names in lower case, with all values of each in order", () => {
    assert.deepStrictEqual(
      toHttp2Headers({
        status: 401,
        rawHeaders: [["Set-Cookie", "a=1"], ["X-A", "b"], ["set-cookie", "c=2"]],
        body: ""
      }),
      { ":status": 401, "set-cookie": ["a=1", "c=2"], "x-a": ["b"] }
    )
  })

  for (
    const name of [
      "Connection",
      "keep-alive",
      "Proxy-Connection",
      "Transfer-Encoding",
      "UPGRADE",
      "HTTP2-Settings",
      "TE"
    ]
  ) {
    it(`leaves out ${name} (RFC 9113 §8.2.2)`, () => {
      assert.deepStrictEqual(
        Object.keys(toHttp2Headers({ status: 426, rawHeaders: [[name, "x"], ["X-A", "b"]], body: "" })),
        [
          ":status",
          "x-a"
        ]
      )
    })
  }
})

describe("Http2RequestHead", () => {
  it("separates the pseudo-header fields from the headers", () => {
    const flat = [":method", "CONNECT", ":protocol", "websocket", ":path", "/a", "x-b", "c"]
    const headers: IncomingHttpHeaders = { ":method": "CONNECT", ":protocol": "websocket", ":path": "/a", "x-b": "c" }
    const head = new Http2RequestHead(headers, flat, { secure: true, remoteAddress: "192.0.2.1" })
    assert.deepStrictEqual(
      [head.method, head.protocol, head.target, head.scheme, head.authority, head.httpVersion] as ReadonlyArray<
        unknown
      >,
      ["CONNECT", "websocket", "/a", undefined, undefined, "2"]
    )
    assert.deepStrictEqual(head.rawHeaders, [["x-b", "c"]])
    assert.deepStrictEqual([head.secure, head.remoteAddress], [true, "192.0.2.1"])
  })
})
