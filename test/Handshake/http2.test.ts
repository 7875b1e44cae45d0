/** Handshakes over HTTP/2 (RFC 8441), as the server reads and answers them. */
import { assert, describe, it } from "@effect/vitest"
import { Handshake, HandshakeError } from "effect-ws"
import {
  badHandshakeHeaders,
  factsOf,
  type Pairs,
  sampleAccept,
  sampleKey,
  succeed,
  withHeaders
} from "../support/handshakes.ts"

/** The request of RFC 8441 §5.1. */
const sampleHeaders: Pairs = [
  ["sec-websocket-protocol", "chat, superchat"],
  ["sec-websocket-extensions", "permessage-deflate"],
  ["sec-websocket-version", "13"],
  ["origin", "http://www.example.com"]
]

const connect = (changes: Partial<Handshake.HttpRequest> = {}): Handshake.HttpRequest => ({
  method: "CONNECT",
  protocol: "websocket",
  scheme: "https",
  target: "/chat?room=1",
  authority: "server.example.com",
  httpVersion: "2",
  rawHeaders: sampleHeaders,
  ...changes
})

const read = (changes: Readonly<Record<string, string | undefined>>) =>
  Handshake.readRequest(connect({ rawHeaders: withHeaders(changes, sampleHeaders) }))

describe("readRequest over HTTP/2 (RFC 8441 §5)", () => {
  it("reads the sample of §5.1", () => {
    const request = succeed(Handshake.readRequest(connect({ secure: true, remoteAddress: "192.0.2.1" })))
    assert.deepStrictEqual({ ...request, query: [...request.query], headers: { ...request.headers } }, {
      path: "/chat",
      query: [["room", "1"]],
      httpVersion: "2",
      host: "server.example.com",
      origin: "http://www.example.com",
      key: "",
      protocols: ["chat", "superchat"],
      extensions: [{ name: "permessage-deflate", parameters: [] }],
      headers: Object.fromEntries(sampleHeaders),
      rawHeaders: sampleHeaders,
      secure: true,
      remoteAddress: "192.0.2.1"
    })
  })

  for (const method of ["GET", "POST", "connect", ""]) {
    it(`rejects the method ${JSON.stringify(method)}`, () => {
      const facts = { _tag: "InvalidMethod", status: 405, method, expected: "CONNECT" }
      assert.deepStrictEqual(factsOf(Handshake.readRequest(connect({ method }))), facts)
    })
  }

  for (const protocol of [undefined, "", "WebSocket", "connect-udp", "websocket, x"]) {
    it(`rejects :protocol ${JSON.stringify(protocol)} with 501 (RFC 9220 §3)`, () => {
      const facts = { _tag: "UnsupportedConnectProtocol", status: 501, protocol }
      assert.deepStrictEqual(factsOf(Handshake.readRequest(connect({ protocol }))), facts)
    })
  }

  it("reads :scheme http and https, with and without TLS: a proxy passes on that of the client", () => {
    for (const scheme of ["http", "https"]) {
      for (const secure of [true, false]) {
        assert.strictEqual(succeed(Handshake.readRequest(connect({ scheme, secure }))).secure, secure)
      }
    }
  })

  for (const scheme of [undefined, "", "ws", "wss", "HTTPS", "ftp"]) {
    it(`rejects :scheme ${JSON.stringify(scheme)}`, () => {
      const facts = { _tag: "InvalidScheme", status: 400, scheme }
      assert.deepStrictEqual(factsOf(Handshake.readRequest(connect({ scheme }))), facts)
    })
  }

  for (const target of ["", "*", "chat", "http://server.example.com/chat", "/chat#top"]) {
    it(`rejects :path ${JSON.stringify(target)}`, () => {
      const facts = { _tag: "InvalidTarget", status: 400, target }
      assert.deepStrictEqual(factsOf(Handshake.readRequest(connect({ target }))), facts)
    })
  }

  it("rejects a request without :authority, even with a Host header", () => {
    const rawHeaders: Pairs = [...sampleHeaders, ["host", "server.example.com"]]
    assert.deepStrictEqual(factsOf(Handshake.readRequest(connect({ authority: undefined, rawHeaders }))), {
      _tag: "MissingHeader",
      status: 400,
      header: ":authority"
    })
  })

  for (const authority of ["", "user@a", "a b", "a/b", "::1", "a:b"]) {
    it(`rejects :authority ${JSON.stringify(authority)}`, () => {
      const facts = { _tag: "InvalidHostHeader", status: 400, value: authority }
      assert.deepStrictEqual(factsOf(Handshake.readRequest(connect({ authority }))), facts)
    })
  }

  it("reads a Host header that is the same as :authority, and rejects another (RFC 9113 §8.3.1)", () => {
    assert.strictEqual(succeed(read({ host: "server.example.com" })).host, "server.example.com")
    for (const value of ["other.example.com", "", "server.example.com, server.example.com"]) {
      assert.deepStrictEqual(factsOf(read({ host: value })), { _tag: "InvalidHostHeader", status: 400, value })
    }
  })

  it("ignores an invalid Sec-WebSocket-Key, because HTTP/2 has none", () => {
    assert.strictEqual(succeed(read({ "sec-websocket-key": "not a key" })).key, "")
  })

  it("reads a Sec-WebSocket-Key, and acceptResponse accepts it, because undici sends one and expects that", () => {
    const request = succeed(read({ "sec-websocket-key": sampleKey }))
    assert.strictEqual(request.key, sampleKey)
    const { rawHeaders, status } = succeed(Handshake.acceptResponse(request))
    assert.deepStrictEqual([status, rawHeaders], [200, [["Sec-WebSocket-Accept", sampleAccept]]])
  })

  for (const version of ["8", "13, 13", ""]) {
    it(`rejects Sec-WebSocket-Version ${JSON.stringify(version)}`, () => {
      const facts = { _tag: "UnsupportedVersion", status: 426, version }
      assert.deepStrictEqual(factsOf(read({ "sec-websocket-version": version })), facts)
    })
  }

  it("rejects a request without Sec-WebSocket-Version", () => {
    const facts = { _tag: "MissingHeader", status: 400, header: "Sec-WebSocket-Version" }
    assert.deepStrictEqual(factsOf(read({ "sec-websocket-version": undefined })), facts)
  })

  it("rejects a request that announces a body", () => {
    const facts = { _tag: "UnexpectedBody", status: 400, header: "Content-Length" }
    assert.deepStrictEqual(factsOf(read({ "content-length": "5" })), facts)
  })

  it("rejects invalid subprotocols and extensions as over HTTP/1.1", () => {
    assert.strictEqual(factsOf(read({ "sec-websocket-protocol": "a, a" }))["_tag"], "InvalidProtocolHeader")
    assert.strictEqual(factsOf(read({ "sec-websocket-extensions": "=" }))["_tag"], "InvalidExtensionHeader")
  })

  it("compares the origin with :authority", () => {
    const check = (authority: string) => {
      const headers = withHeaders({ origin: "https://a.example:8443" }, sampleHeaders)
      const request = Handshake.readRequest(connect({ authority, rawHeaders: headers, secure: true }))
      return Handshake.checkOrigin(succeed(request), "same-origin")._tag
    }
    assert.deepStrictEqual(["a.example:8443", "a.example", "b.example:8443"].map(check), [
      "Success",
      "Failure",
      "Failure"
    ])
  })
})

describe("acceptResponse over HTTP/2 (RFC 8441 §5)", () => {
  const request = succeed(Handshake.readRequest(connect()))

  it("acceptResponse has the status 200 and no headers about the upgrade", () => {
    assert.deepStrictEqual(succeed(Handshake.acceptResponse(request)), { status: 200, rawHeaders: [], body: "" })
  })

  it("acceptResponse has a subprotocol, extensions and headers over HTTP/2", () => {
    const response = succeed(Handshake.acceptResponse(request, {
      protocol: "chat",
      extensions: [{ name: "permessage-deflate", parameters: [] }],
      headers: { "Set-Cookie": ["a=1", "b=2"] }
    }))
    assert.deepStrictEqual(response.rawHeaders, [
      ["Sec-WebSocket-Protocol", "chat"],
      ["Sec-WebSocket-Extensions", "permessage-deflate"],
      ["Set-Cookie", "a=1"],
      ["Set-Cookie", "b=2"]
    ])
  })

  for (
    const [headers, header, problem] of [...badHandshakeHeaders, [{ ":status": "204" }, ":status", undefined]] as const
  ) {
    it(`fails with InvalidHeader for the headers ${JSON.stringify(headers)}`, () => {
      const facts = factsOf(Handshake.acceptResponse(request, { headers }))
      assert.deepStrictEqual([facts["_tag"], facts["header"]], ["InvalidHeader", header])
      if (problem !== undefined) assert.strictEqual(facts["problem"], problem)
    })
  }
})

describe("errorResponse over HTTP/2", () => {
  it("names CONNECT as the allowed method", () => {
    const error = new HandshakeError.InvalidMethod({ method: "GET", expected: "CONNECT" })
    const { rawHeaders, status } = Handshake.errorResponse(error)
    assert.deepStrictEqual([status, rawHeaders.at(-1)], [405, ["Allow", "CONNECT"]])
  })
})
