/** Requests of a client over HTTP/2 (RFC 8441 §4), and the responses to them (§5). */
import { assert, describe, it } from "@effect/vitest"
import { Handshake } from "effect-ws"
import { badExtensions, badHandshakeHeaders, factsOf, type Pairs, succeed } from "../support/handshakes.ts"

const asked = (options?: Handshake.RequestOptions, url = "wss://server.example.com/chat?a=b") =>
  succeed(Handshake.makeConnectRequest(url, options))

describe("makeConnectRequest (RFC 8441 §4)", () => {
  it("makeConnectRequest has no headers of an upgrade, and no key", () => {
    const request = asked()
    assert.deepInclude(request, {
      path: "/chat",
      host: "server.example.com",
      httpVersion: "2",
      key: "",
      secure: true,
      origin: undefined
    })
    assert.deepStrictEqual(request.rawHeaders, [["sec-websocket-version", "13"]])
  })

  it("makeConnectRequest has offers, credentials and headers, in lower case", () => {
    const request = asked({
      protocols: ["a", "b"],
      extensions: [{ name: "x", parameters: [] }],
      headers: { Origin: "https://example.com", "X-Own": ["1", "2"], HOST: "virtual.example:8443" }
    }, "ws://user:pass@server.example.com/")
    assert.deepStrictEqual(request.rawHeaders, [
      ["sec-websocket-version", "13"],
      ["sec-websocket-protocol", "a, b"],
      ["sec-websocket-extensions", "x"],
      ["authorization", "Basic dXNlcjpwYXNz"],
      ["origin", "https://example.com"],
      ["x-own", "1"],
      ["x-own", "2"]
    ])
    assert.deepInclude(request, { host: "virtual.example:8443", origin: "https://example.com", secure: false })
  })

  for (const [headers, header] of badHandshakeHeaders) {
    it(`makeConnectRequest fails with InvalidHeader for ${JSON.stringify(headers)}`, () => {
      const facts = factsOf(Handshake.makeConnectRequest("ws://a/", { headers }))
      assert.deepInclude(facts, { _tag: "InvalidHeader", header })
    })
  }

  for (const header of ["Keep-Alive", "TE", "Proxy-Connection", "HTTP2-Settings", "Upgrade", "Connection"]) {
    it(`makeConnectRequest fails with InvalidHeader for the connection-specific ${header} (RFC 9113 §8.2.2)`, () => {
      const facts = factsOf(Handshake.makeConnectRequest("ws://a/", { headers: { [header]: "x" } }))
      assert.deepInclude(facts, { _tag: "InvalidHeader", header })
      assert.include(String(facts["problem"]), "connection-specific")
    })
  }

  it("makeConnectRequest fails with InvalidUrl, InvalidProtocol and InvalidHeader as makeRequest does", () => {
    assert.deepInclude(factsOf(Handshake.makeConnectRequest("http:")), { _tag: "InvalidUrl" })
    assert.deepInclude(factsOf(Handshake.makeConnectRequest("ws://a/", { protocols: ["a", "a"] })), {
      _tag: "InvalidProtocol"
    })
    assert.deepInclude(factsOf(Handshake.makeConnectRequest("ws://a/", { headers: { Host: ["a", "b"] } })), {
      _tag: "InvalidHeader",
      header: "Host"
    })
    for (const extensions of badExtensions) {
      assert.deepInclude(factsOf(Handshake.makeConnectRequest("ws://a/", { extensions })), { _tag: "InvalidHeader" })
    }
  })
})

describe("readResponse over HTTP/2 (RFC 8441 §5)", () => {
  const request = asked({ protocols: ["a"], extensions: [{ name: "x", parameters: [] }] })
  const read = (status: number, rawHeaders: Pairs = []) =>
    Handshake.readResponse(request, { status, rawHeaders, httpVersion: "2" })

  for (const status of [200, 204, 299]) {
    it(`status ${status} accepts, without the headers of an upgrade`, () => {
      const accepted = succeed(read(status, [["sec-websocket-protocol", "a"], ["sec-websocket-extensions", "x"]]))
      assert.deepInclude(accepted, { _tag: "Accepted", protocol: "a", extensions: [{ name: "x", parameters: [] }] })
    })
  }

  it("checks the subprotocol and the extensions", () => {
    assert.deepInclude(factsOf(read(200, [["sec-websocket-protocol", "b"]])), { _tag: "UnsolicitedProtocol" })
    assert.deepInclude(factsOf(read(200, [["sec-websocket-extensions", "y"]])), { _tag: "UnsolicitedExtension" })
    assert.deepInclude(factsOf(read(200, [["sec-websocket-extensions", ";"]])), { _tag: "InvalidExtensionHeader" })
  })

  for (const status of [101, 199, 300, 401, 501]) {
    it(`status ${status} rejects`, () => assert.deepInclude(succeed(read(status)), { _tag: "Rejected", status }))
  }

  it("a redirect is relative to the authority of the request", () => {
    assert.deepInclude(succeed(read(307, [["location", "/b"]])), {
      _tag: "Redirect",
      location: "https://server.example.com/b"
    })
  })

  it("status 200 does not accept an upgrade over HTTP/1.1", () => {
    const upgrade = succeed(Handshake.makeRequest("ws://a/", "dGhlIHNhbXBsZSBub25jZQ=="))
    assert.deepInclude(succeed(Handshake.readResponse(upgrade, { status: 200, rawHeaders: [] })), { _tag: "Rejected" })
  })
})
