import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Handshake from "../../../src/Handshake.ts"
import { KeptHandshake } from "../../../src/internal/client/keptHandshake.ts"
import { httpVersion } from "../../../src/internal/connection/hooks.ts"

const key = "dGhlIHNhbXBsZSBub25jZQ=="
const url = "wss://example.com:8443/chat%20room?a=1&a=%C3%BC&b"

const options: Handshake.RequestOptions = {
  protocols: ["v2", "v1"],
  headers: { Origin: "https://example.com", "X-Latin": "ü", Cookie: ["a=1", "b=2"] },
  extensions: [{ name: "permessage-deflate", parameters: [{ name: "client_max_window_bits", value: "9" }] }]
}

const response: Handshake.RawHeaders = [
  ["Upgrade", "websocket"],
  ["Sec-WebSocket-Accept", Handshake.acceptKey(key)],
  ["Set-Cookie", "a=\"1\""],
  ["set-cookie", "b=2"],
  ["Sec-WebSocket-Protocol", "v1"]
]

const accepted: Handshake.Accepted = {
  _tag: "Accepted",
  protocol: "v1",
  extensions: [],
  headers: Handshake.foldHeaders(response),
  rawHeaders: response
}

describe("KeptHandshake", () => {
  const requests = {
    "1.1": Result.getOrThrow(Handshake.makeRequest(url, key, options)),
    "1.1 without options": Result.getOrThrow(Handshake.makeRequest("ws://localhost", key)),
    "2": Result.getOrThrow(Handshake.makeConnectRequest(url, options))
  }

  for (const [name, request] of Object.entries(requests)) {
    it(`returns the request over HTTP/${name} as it was made`, () => {
      const kept = new KeptHandshake(request, accepted)
      assert.deepStrictEqual(kept.request, request)
      assert.strictEqual(kept[httpVersion], request.httpVersion)
    })
  }

  it("returns the headers of the response, with their order and case", () => {
    const kept = new KeptHandshake(requests["1.1"], accepted)
    assert.strictEqual(kept.subprotocol, "v1")
    assert.deepStrictEqual(kept.rawResponseHeaders, response)
    assert.deepStrictEqual(kept.responseHeaders, accepted.headers)
  })

  it("returns the key of its own handshake, and the server's answer to it", () => {
    const keys = [key, "AQIDBAUGBwgJCgsMDQ4PEC==", "AAAAAAAAAAAAAAAAAAAAAA=="]
    const handshakes = keys.map((own) => {
      const rawHeaders = [["Upgrade", "websocket"], ["Sec-WebSocket-Accept", Handshake.acceptKey(own)]] as const
      const made = Result.getOrThrow(Handshake.makeRequest("ws://localhost", own))
      return new KeptHandshake(made, { ...accepted, rawHeaders, headers: Handshake.foldHeaders(rawHeaders) })
    })
    for (const [i, { request, responseHeaders }] of handshakes.entries()) {
      assert.strictEqual(request.key, keys[i])
      assert.strictEqual(request.headers["sec-websocket-key"], keys[i])
      assert.strictEqual(responseHeaders["sec-websocket-accept"], Handshake.acceptKey(keys[i]))
    }
  })

  it("returns what it has of its own, also next to a handshake that differs in one part", () => {
    const [first, second] = ["AAAAAAAAAAAAAAAAAAAAAA==", key]
    const answer = (own: string, ...more: Handshake.RawHeaders) =>
      [["Upgrade", "websocket"], ["Sec-WebSocket-Accept", Handshake.acceptKey(own)], ...more] as const
    const variants = [
      ["ws://localhost", first, {}, answer(first)],
      ["ws://localhost", second, {}, answer(second)],
      ["ws://localhost/", second, { headers: { "X-Key": first } }, answer(second)],
      ["ws://localhost/", first, { headers: { "X-Key": first } }, answer(first)],
      ["ws://localhost/", second, { headers: { "X-Key": first } }, answer(second, ["X", Handshake.acceptKey(first)])],
      ["ws://localhost/?a", second, {}, answer(second)],
      ["ws://localhost/b", second, {}, answer(second)],
      ["wss://localhost/b", second, {}, answer(second)],
      ["wss://localhost/b", second, { protocols: ["c"] }, answer(second)],
      ["wss://localhost/b", second, { headers: { Host: "d" } }, answer(second)],
      ["wss://localhost/b", second, { headers: { Host: "d" } }, answer(second, ["Date", "e"])],
      ["wss://localhost/b", second, { headers: { Host: "d" } }, answer(second, ["Date", "f"])]
    ] as const
    for (const [i, [target, own, request, rawHeaders]] of variants.entries()) {
      const made = Result.getOrThrow(Handshake.makeRequest(target, own, request))
      const headers = Handshake.foldHeaders(rawHeaders)
      const kept = new KeptHandshake(made, { ...accepted, headers, rawHeaders })
      assert.deepStrictEqual(kept.request, made, `request ${i}`)
      assert.deepStrictEqual(kept.rawResponseHeaders, rawHeaders, `response ${i}`)
    }
  })

  it("returns the same objects each time", () => {
    const kept = new KeptHandshake(requests["1.1"], accepted)
    assert.strictEqual(kept.request, kept.request)
    assert.strictEqual(kept.rawResponseHeaders, kept.rawResponseHeaders)
  })

  it("does not change when the program changes what it has passed", () => {
    const headers = { "X-Token": "a" }
    const protocols = ["v1"]
    const kept = new KeptHandshake(Result.getOrThrow(Handshake.makeRequest(url, key, { headers, protocols })), accepted)
    headers["X-Token"] = "b"
    protocols.push("v2")
    assert.deepStrictEqual(kept.request.protocols, ["v1"])
    assert.strictEqual(kept.request.headers["x-token"], "a")
  })
})
