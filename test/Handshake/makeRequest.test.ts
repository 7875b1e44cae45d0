/** Requests of a client (RFC 6455 §4.1). */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Result, Schema } from "effect"
import { type Extension, Handshake } from "effect-ws"
import {
  asked,
  badExtension,
  badExtensions,
  badHandshakeHeaders,
  badKeys,
  badName,
  factsOf,
  goodHeaders,
  type Pairs,
  parameterOf,
  sampleKey,
  succeed
} from "../support/handshakes.ts"
import { among, either } from "../support/properties.ts"

const asking = (host: string): Pairs => [
  ["Host", host],
  ["Upgrade", "websocket"],
  ["Connection", "Upgrade"],
  ["Sec-WebSocket-Key", sampleKey],
  ["Sec-WebSocket-Version", "13"]
]

describe("makeRequest (RFC 6455 §4.1)", () => {
  const notToken = "expected a token of letters, digits and !#$%&'*+-.^_`|~"
  const badKey = "expected 16 bytes in base64"

  it("makeRequest has only the required headers by default", () => {
    const request = asked()
    assert.strictEqual(request.path, "/chat")
    assert.strictEqual(request.query.size, 0)
    assert.strictEqual(request.host, "server.example.com")
    assert.isUndefined(request.origin)
    assert.strictEqual(request.key, sampleKey)
    assert.deepStrictEqual(request.protocols, [])
    assert.deepStrictEqual(request.extensions, [])
    assert.deepStrictEqual(request.rawHeaders, asking("server.example.com"))
    assert.deepStrictEqual(Object.entries(request.headers), [
      ["host", "server.example.com"],
      ["upgrade", "websocket"],
      ["connection", "Upgrade"],
      ["sec-websocket-key", sampleKey],
      ["sec-websocket-version", "13"]
    ])
    assert.isFalse(request.secure)
    assert.isUndefined(request.remoteAddress)
  })

  it("makeRequest has subprotocols, extensions and headers", () => {
    const extensions: ReadonlyArray<Extension.HeaderEntry> = [
      { name: "a", parameters: [{ name: "b", value: "1" }, { name: "c", value: undefined }] },
      { name: "d", parameters: [] }
    ]
    const request = asked({
      protocols: ["chat", "superchat"],
      extensions,
      headers: { Origin: "http://example.com", Cookie: ["a=1", "b=2"] }
    })
    assert.deepStrictEqual(request.rawHeaders, [
      ...asking("server.example.com"),
      ["Sec-WebSocket-Protocol", "chat, superchat"],
      ["Sec-WebSocket-Extensions", "a; b=1; c, d"],
      ["Origin", "http://example.com"],
      ["Cookie", "a=1"],
      ["Cookie", "b=2"]
    ])
    assert.deepStrictEqual(request.protocols, ["chat", "superchat"])
    assert.strictEqual(request.extensions, extensions)
    assert.strictEqual(request.origin, "http://example.com")
    assert.strictEqual(request.headers["cookie"], "a=1; b=2")
  })

  for (
    const [url, host, path, query, secure] of [
      ["ws://example.com", "example.com", "/", [], false],
      ["wss://example.com", "example.com", "/", [], true],
      ["http://example.com/a", "example.com", "/a", [], false],
      ["https://example.com/a", "example.com", "/a", [], true],
      ["ws://example.com:80/", "example.com", "/", [], false],
      ["wss://example.com:443/", "example.com", "/", [], true],
      ["ws://example.com:443/", "example.com:443", "/", [], false],
      ["ws://example.com:8080/", "example.com:8080", "/", [], false],
      ["ws://[::1]/", "[::1]", "/", [], false],
      ["ws://[0:0::1]:8080/", "[::1]:8080", "/", [], false],
      ["ws://192.0.2.1:1/", "192.0.2.1:1", "/", [], false],
      ["ws://example.com/a%20b/c d", "example.com", "/a%20b/c%20d", [], false],
      ["ws://example.com?x=1&y=%20z&x=2", "example.com", "/", [["x", "1"], ["y", " z"], ["x", "2"]], false]
    ] as const
  ) {
    it(`makeRequest reads path, query, host and TLS from ${url}`, () => {
      for (const form of [url, new URL(url)]) {
        const request = succeed(Handshake.makeRequest(form, sampleKey))
        assert.strictEqual(request.host, host)
        assert.strictEqual(request.path, path)
        assert.deepStrictEqual<ReadonlyArray<ReadonlyArray<string>>>([...request.query], query)
        assert.strictEqual(request.secure, secure)
        assert.deepStrictEqual(request.rawHeaders, asking(host))
      }
    })
  }

  for (
    const [url, authorization] of [
      ["ws://user:pass@example.com/", "user:pass"],
      ["ws://user@example.com/", "user:"],
      ["ws://user:@example.com/", "user:"],
      ["ws://:pass@example.com/", ":pass"],
      ["ws://:p%40ss@example.com/", ":p@ss"],
      ["ws://us%65r:p%40ss%3A%2F@example.com/", "user:p@ss:/"],
      ["ws://%C3%BCser:p%E2%82%AC@example.com/", "üser:p€"],
      ["ws://üser:p€@example.com/", "üser:p€"]
    ] as const
  ) {
    it(`makes credentials an Authorization header (RFC 7617): ${url}`, () => {
      const header = `Basic ${Buffer.from(authorization).toString("base64")}`
      for (const form of [url, new URL(url)]) {
        const request = succeed(Handshake.makeRequest(form, sampleKey))
        assert.deepStrictEqual(request.rawHeaders, [...asking("example.com"), ["Authorization", header]])
        assert.strictEqual(request.headers["authorization"], header)
        assert.strictEqual(request.host, "example.com")
      }
    })
  }

  it("makes no Authorization header for empty credentials", () => {
    for (const url of ["ws://@example.com/", "ws://:@example.com/"]) {
      assert.deepStrictEqual(asked(undefined, url).rawHeaders, asking("example.com"))
    }
  })

  it("an Authorization header takes precedence over the credentials of the URL", () => {
    const request = asked({ headers: { authorization: "Bearer token" } }, "ws://user:pass@example.com/")
    assert.deepStrictEqual(request.rawHeaders, [...asking("example.com"), ["authorization", "Bearer token"]])
  })

  it("a Host header takes precedence over the host of the URL", () => {
    for (const host of ["virtual.example", ["virtual.example"]]) {
      const request = asked({ headers: { host } })
      assert.strictEqual(request.host, "virtual.example")
      assert.deepStrictEqual(request.rawHeaders, [...asking("server.example.com").slice(1), [
        "host",
        "virtual.example"
      ]])
    }
  })

  for (
    const headers of [
      { Host: "a", host: "b" },
      { host: ["a", "b"] },
      { HOST: "" },
      { Host: "a b" },
      { Host: "user@a" },
      { Host: "a/b" },
      { Host: "a:99999" }
    ]
  ) {
    it(`rejects the Host of ${JSON.stringify(headers)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.makeRequest("ws://example.com", sampleKey, { headers })), {
        _tag: "InvalidHeader",
        header: "Host",
        problem: "expected one host with an optional port"
      })
    })
  }

  it("leaves out a header without values", () => {
    const request = asked({ headers: { Authorization: [], Origin: [] } }, "ws://user:pass@example.com/")
    assert.deepStrictEqual(request.rawHeaders, [...asking("example.com"), ["Authorization", "Basic dXNlcjpwYXNz"]])
    assert.isUndefined(request.origin)
  })

  for (const key of badKeys) {
    it(`rejects the key ${JSON.stringify(key)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.makeRequest("ws://example.com", key)), {
        _tag: "InvalidHeader",
        header: "Sec-WebSocket-Key",
        problem: badKey
      })
    })
  }

  for (const extensions of badExtensions) {
    it(`rejects the extensions ${JSON.stringify(extensions)}`, () => {
      assert.deepStrictEqual(
        factsOf(Handshake.makeRequest("ws://example.com", sampleKey, { extensions })),
        badExtension
      )
    })
  }

  it("offers an extension several times, with different parameters", () => {
    const extensions = [parameterOf("b", "1"), parameterOf("!#$%&'*+-.^_`|~", "2"), parameterOf("c")]
    assert.deepStrictEqual(asked({ extensions }).rawHeaders, [
      ...asking("server.example.com"),
      ["Sec-WebSocket-Extensions", "a; b=1, a; !#$%&'*+-.^_`|~=2, a; c"]
    ])
  })

  it("fails with the first of several errors", () => {
    const headers = { "": "" }
    const extensions = [parameterOf("")]
    const errors = [
      Handshake.makeRequest("", "", { protocols: [""], extensions, headers }),
      Handshake.makeRequest("ws://a", "", { protocols: [""], extensions, headers }),
      Handshake.makeRequest("ws://a", "", { extensions, headers }),
      Handshake.makeRequest("ws://a", sampleKey, { extensions, headers }),
      Handshake.makeRequest("ws://a", sampleKey, { headers })
    ].map(factsOf)
    assert.deepStrictEqual(errors, [
      { _tag: "InvalidUrl", url: "", problem: "expected an absolute URL, such as wss://example.com/feed" },
      { _tag: "InvalidProtocol", protocol: "", problem: notToken },
      { _tag: "InvalidHeader", header: "Sec-WebSocket-Key", problem: badKey },
      badExtension,
      { _tag: "InvalidHeader", header: "", problem: badName }
    ])
  })

  const twice = "expected each subprotocol once, got it twice"
  for (
    const [protocols, protocol, problem] of [
      [[""], "", notToken],
      [["chat", "a b"], "a b", notToken],
      [["a,b"], "a,b", notToken],
      [["a\r\nX: y"], "a\r\nX: y", notToken],
      [["a\0"], "a\0", notToken],
      [["a/b"], "a/b", notToken],
      [["é"], "é", notToken],
      [["€"], "€", notToken],
      [["chat", "chat"], "chat", twice],
      [["a", "b", "c", "b", ""], "b", twice]
    ] as const
  ) {
    it(`rejects the subprotocols ${JSON.stringify(protocols)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.makeRequest("ws://example.com", sampleKey, { protocols })), {
        _tag: "InvalidProtocol",
        protocol,
        problem
      })
    })
  }

  it("offers subprotocols that differ in case", () => {
    assert.deepStrictEqual(asked({ protocols: ["chat", "Chat"] }).protocols, ["chat", "Chat"])
  })

  for (const [headers, header, problem] of badHandshakeHeaders) {
    it(`rejects the headers ${JSON.stringify(headers)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.makeRequest("ws://example.com", sampleKey, { headers })), {
        _tag: "InvalidHeader",
        header,
        problem
      })
    })
  }

  for (const [headers, pairs] of goodHeaders) {
    it(`writes the headers ${JSON.stringify(headers)}`, () => {
      assert.deepStrictEqual(asked({ headers }, "ws://a/").rawHeaders, [...asking("a"), ...pairs])
    })
  }

  it.prop(
    "writes no line breaks for any subprotocols and headers",
    {
      protocols: Arbitrary.array(either(among("a", "b", "c\r\nd"), Arbitrary.schema(Schema.String))),
      headers: Arbitrary.array(Arbitrary.all([
        either(among("A", "B", "C\r\nD"), Arbitrary.schema(Schema.String)),
        either(among("a", "b\nc", "d\re", "f\0"), Arbitrary.schema(Schema.String))
      ]))
    },
    ({ headers, protocols }) => {
      const result = Handshake.makeRequest("ws://example.com/", sampleKey, {
        protocols,
        headers: Object.fromEntries(headers)
      })
      if (Result.isFailure(result)) assert.include(["InvalidProtocol", "InvalidHeader"], result.failure._tag)
      else for (const line of result.success.rawHeaders.flat()) assert.match(line, /^[\t\x20-\x7e\x80-\xff]*$/)
    },
    { arbitrary: { runs: 300 } }
  )
})
