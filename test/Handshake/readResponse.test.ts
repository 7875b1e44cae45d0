/** Reading responses (RFC 6455 §4.1). */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Schema } from "effect"
import { Handshake } from "effect-ws"
import {
  asked,
  type Facts,
  factsOf,
  type Pairs,
  sampleAccept,
  sampleKey,
  succeed,
  withHeaders
} from "../support/handshakes.ts"
import { among, either } from "../support/properties.ts"

const asHttp = (request: Handshake.Request): Handshake.HttpRequest => ({
  method: "GET",
  target: request.query.size === 0 ? request.path : `${request.path}?${request.query}`,
  httpVersion: "1.1",
  rawHeaders: request.rawHeaders
})

const accepting: Pairs = [
  ["Upgrade", "websocket"],
  ["Connection", "Upgrade"],
  ["Sec-WebSocket-Accept", sampleAccept]
]

/** The result for a response header without an offer. */
const unasked = (name: string, value: string) =>
  factsOf(Handshake.readResponse(asked(), { status: 101, rawHeaders: [...accepting, [name, value]] }))

describe("readResponse (RFC 6455 §4.1)", () => {
  const request = asked({
    protocols: ["chat", "superchat"],
    extensions: [{ name: "x-a", parameters: [] }, { name: "x-b", parameters: [] }]
  })
  const answer = (changes: Readonly<Record<string, string | undefined>> = {}, status = 101) =>
    Handshake.readResponse(request, { status, rawHeaders: withHeaders(changes, accepting) })

  it("readResponse accepts the response of §1.2", () => {
    const read = succeed(answer())
    assert.deepStrictEqual<object>({ ...read, headers: { ...read.headers } }, {
      _tag: "Accepted",
      protocol: undefined,
      extensions: [],
      headers: { upgrade: "websocket", connection: "Upgrade", "sec-websocket-accept": sampleAccept },
      rawHeaders: accepting
    })
  })

  it("readResponse accepts offered subprotocols and extensions", () => {
    const read = succeed(
      answer({ "Sec-WebSocket-Protocol": "superchat", "sec-websocket-extensions": "x-b; c=1, x-a" })
    )
    assert.strictEqual(read._tag, "Accepted")
    assert.strictEqual(read._tag === "Accepted" && read.protocol, "superchat")
    assert.deepStrictEqual(read._tag === "Accepted" && read.extensions, [
      { name: "x-b", parameters: [{ name: "c", value: "1" }] },
      { name: "x-a", parameters: [] }
    ])
  })

  for (
    const [name, value] of [
      ["Upgrade", "WebSocket"],
      ["UPGRADE", "WEBSOCKET"],
      ["Connection", "UPGRADE"],
      ["connection", "keep-alive, upgrade"]
    ]
  ) {
    it(`accepts ${name}: ${value}`, () => {
      assert.strictEqual(succeed(answer({ [name]: value }))._tag, "Accepted")
    })
  }

  const expected = sampleAccept
  const offered = ["chat", "superchat"]
  for (
    const [name, value, error] of [
      ["Upgrade", undefined, { _tag: "InvalidUpgradeHeader", status: 426, value: undefined }],
      ...["", "h2c", "websocket, h2c", "h2c, websocket", "websocket, websocket", "websocket,", "websocket/13"].map(
        (upgrade) => ["Upgrade", upgrade, { _tag: "InvalidUpgradeHeader", status: 426, value: upgrade }] as const
      ),
      ["Connection", undefined, { _tag: "InvalidConnectionHeader", status: 400, value: undefined }],
      ["Connection", "close", { _tag: "InvalidConnectionHeader", status: 400, value: "close" }],
      ["Sec-WebSocket-Accept", undefined, { _tag: "MissingHeader", status: 400, header: "Sec-WebSocket-Accept" }],
      ["Sec-WebSocket-Accept", "", { _tag: "InvalidAccept", expected, actual: "" }],
      ["Sec-WebSocket-Accept", sampleKey, { _tag: "InvalidAccept", expected, actual: sampleKey }],
      ["Sec-WebSocket-Accept", expected.toLowerCase(), {
        _tag: "InvalidAccept",
        expected,
        actual: expected.toLowerCase()
      }],
      ["Sec-WebSocket-Accept", `${expected}, ${expected}`, {
        _tag: "InvalidAccept",
        expected,
        actual: `${expected}, ${expected}`
      }],
      ["Sec-WebSocket-Protocol", "soap", { _tag: "UnsolicitedProtocol", protocol: "soap", offered }],
      ["Sec-WebSocket-Protocol", "", { _tag: "UnsolicitedProtocol", protocol: "", offered }],
      ["Sec-WebSocket-Protocol", "Chat", { _tag: "UnsolicitedProtocol", protocol: "Chat", offered }],
      ["Sec-WebSocket-Protocol", "chat, superchat", {
        _tag: "UnsolicitedProtocol",
        protocol: "chat, superchat",
        offered
      }],
      ["Sec-WebSocket-Extensions", "x-b, mux; a=1, x-c", {
        _tag: "UnsolicitedExtension",
        extension: "mux",
        offered: ["x-a", "x-b"]
      }],
      ["Sec-WebSocket-Extensions", "", { _tag: "InvalidExtensionHeader", status: 400, value: "" }],
      ["Sec-WebSocket-Extensions", "x-a; =", { _tag: "InvalidExtensionHeader", status: 400, value: "x-a; =" }]
    ] as const
  ) {
    it(`rejects ${name}: ${value}`, () => {
      assert.deepStrictEqual<Facts>(factsOf(answer({ [name]: value })), error)
    })
  }

  for (const httpVersion of ["1.0", "0.9", "2.0"]) {
    it(`rejects a 101 in HTTP/${httpVersion}`, () => {
      assert.deepStrictEqual(
        factsOf(Handshake.readResponse(request, { status: 101, httpVersion, rawHeaders: accepting })),
        { _tag: "UnsupportedHttpVersion", status: 505, version: httpVersion }
      )
    })
  }

  it("reads a rejection in any version of HTTP", () => {
    const read = succeed(Handshake.readResponse(request, { status: 401, httpVersion: "1.0", rawHeaders: [] }))
    assert.strictEqual(read._tag, "Rejected")
  })

  it("rejects two Upgrade headers", () => {
    const rawHeaders: Pairs = [...accepting, ["upgrade", "websocket"]]
    assert.deepStrictEqual(factsOf(Handshake.readResponse(request, { status: 101, rawHeaders })), {
      _tag: "InvalidUpgradeHeader",
      status: 426,
      value: "websocket, websocket"
    })
  })

  it("rejects any subprotocol and extension if none was offered", () => {
    assert.deepStrictEqual(unasked("Sec-WebSocket-Protocol", "chat"), {
      _tag: "UnsolicitedProtocol",
      protocol: "chat",
      offered: []
    })
    assert.deepStrictEqual(unasked("Sec-WebSocket-Extensions", "permessage-deflate"), {
      _tag: "UnsolicitedExtension",
      extension: "permessage-deflate",
      offered: []
    })
  })

  it("rejects a Sec-WebSocket-Accept for another key", () => {
    const other = succeed(Handshake.makeRequest("ws://example.com", "AAAAAAAAAAAAAAAAAAAAAA=="))
    assert.deepStrictEqual(factsOf(Handshake.readResponse(other, { status: 101, rawHeaders: accepting })), {
      _tag: "InvalidAccept",
      expected: "ICX+Yqv66kxgM0FcWaLWlFLwTAI=",
      actual: sampleAccept
    })
  })

  for (
    const [url, location, resolved] of [
      ["ws://example.com/a/b", "ws://other.example/c", "ws://other.example/c"],
      ["ws://example.com/a/b", "https://other.example/c", "https://other.example/c"],
      ["ws://example.com/a/b", "/c?d=1", "http://example.com/c?d=1"],
      ["ws://example.com/a/b", "c", "http://example.com/a/c"],
      ["ws://example.com/a/b", "?d=1", "http://example.com/a/b?d=1"],
      ["ws://example.com:8080/a/b", "../c", "http://example.com:8080/c"],
      ["wss://example.com/a/b", "/c", "https://example.com/c"],
      ["wss://example.com/a/b", "//other.example/c", "https://other.example/c"],
      ["wss://[::1]:8443/a", "", "https://[::1]:8443/a"],
      ["ws://example.com/", "http://[nowhere", "http://[nowhere"],
      // As browsers take what is not ASCII (web-platform-tests, redirect-location-escape): byte by byte.
      ["ws://example.com/a", "/caf\xc3\xa9", "http://example.com/caf%C3%A9"],
      ["ws://example.com/a", "/caf%C3%A9", "http://example.com/caf%C3%A9"],
      ["ws://example.com/a", "/caf%c3%a9\xc3\xa9", "http://example.com/caf%c3%a9%C3%A9"],
      ["ws://example.com/a", "top?\xe2\x98\x83", "http://example.com/top?%E2%98%83"],
      ["ws://example.com/a", "top?%\xe2\x98\x83", "http://example.com/top?%%E2%98%83"],
      ["ws://example.com/a", "top?\xff", "http://example.com/top?%FF"],
      ["ws://example.com/a", "/#\xe2\x98\x83", "http://example.com/#%E2%98%83"],
      ["ws://example.com/a", "http://b\xc3\xbccher.example/", "http://xn--bcher-kva.example/"],
      ["ws://example.com/a", "//u:\xc3\xa9@example.com/", "http://u:%C3%A9@example.com/"]
    ] as const
  ) {
    it(`redirects from ${url} to ${JSON.stringify(location)}`, () => {
      const read = succeed(
        Handshake.readResponse(asked(undefined, url), { status: 302, rawHeaders: [["Location", location]], body: "x" })
      )
      assert.deepStrictEqual({ ...read, headers: { ...read.headers } }, {
        _tag: "Redirect",
        status: 302,
        location: resolved,
        headers: { location },
        rawHeaders: [["Location", location]]
      })
    })
  }

  it("resolves a Location against the URL that responded, if it is given, and not against the Host header", () => {
    const sent = asked({ headers: { Host: "virtual.example" } }, "wss://user:secret@[::1]:8443/a/b?token=1")
    const locations = (url?: URL) =>
      ["c", "?d=1", ""].map((location) => {
        const read = succeed(Handshake.readResponse(sent, { url, status: 307, rawHeaders: [["Location", location]] }))
        return read._tag === "Redirect" && read.location
      })
    assert.deepStrictEqual(locations(new URL("wss://user:secret@[::1]:8443/a/b?token=1")), [
      "https://[::1]:8443/a/c",
      "https://[::1]:8443/a/b?d=1",
      "https://[::1]:8443/a/b?token=1"
    ])
    assert.deepStrictEqual(locations(), [
      "https://virtual.example/a/c",
      "https://virtual.example/a/b?d=1",
      "https://virtual.example/a/b"
    ])
  })

  it("reads a redirect only from 301, 302, 303, 307 and 308 with a Location", () => {
    const statuses = Array.from({ length: 500 }, (_, i) => i + 100).filter((status) => status !== 101)
    const redirects = statuses.filter((status) => succeed(answer({ Location: "/c" }, status))._tag === "Redirect")
    assert.deepStrictEqual(redirects, [301, 302, 303, 307, 308])
    for (const status of statuses) {
      const read = succeed(answer({}, status))
      assert.strictEqual(read._tag, "Rejected")
      assert.strictEqual(read._tag === "Rejected" && read.status, status)
    }
  })

  it("reads a rejection, with its body, from any other status", () => {
    const response = { status: 401, rawHeaders: [["WWW-Authenticate", "Basic"]] as Pairs, body: "who are you" }
    const read = succeed(Handshake.readResponse(request, response))
    assert.deepStrictEqual({ ...read, headers: { ...read.headers } }, {
      _tag: "Rejected",
      status: 401,
      headers: { "www-authenticate": "Basic" },
      rawHeaders: response.rawHeaders,
      body: "who are you"
    })
    const bare = succeed(Handshake.readResponse(request, { status: 500, rawHeaders: [] }))
    assert.strictEqual(bare._tag === "Rejected" && bare.body, "")
  })

  it("reads a rejection from a 200 with the headers of a handshake", () => {
    assert.strictEqual(succeed(answer({}, 200))._tag, "Rejected")
  })
})

describe("makeRequest, readRequest, acceptResponse and readResponse", () => {
  it.prop(
    "a request and its response survive the codec of both sides",
    {
      names: Arbitrary.array(Arbitrary.schema(Schema.String.check(Schema.isPattern(/^[A-Za-z0-9._-]+$/)))),
      path: among("/", "/chat", "/a%20b"),
      value: either(among("", "a b", "ü"), Arbitrary.schema(Schema.String.check(Schema.isPattern(/^[!-~]*$/))))
    },
    ({ names, path, value }) => {
      const protocols = [...new Set(names)]
      const extensions = names.map((name) => ({ name, parameters: [{ name: "p", value: name }] }))
      const sent = asked(
        { protocols, extensions, headers: { "X-Value": value } },
        `ws://example.com${path}?q=${encodeURIComponent(value)}`
      )
      const got = succeed(Handshake.readRequest(asHttp(sent)))
      assert.strictEqual(got.path, sent.path)
      assert.strictEqual(got.query.get("q"), value)
      assert.strictEqual(got.host, "example.com")
      assert.strictEqual(got.headers["x-value"], value)
      assert.deepStrictEqual(got.protocols, protocols)
      assert.deepStrictEqual(got.extensions, extensions)
      const protocol = protocols.at(-1)
      const { rawHeaders, status } = succeed(Handshake.acceptResponse(got, { protocol, extensions }))
      const read = succeed(Handshake.readResponse(sent, { status, rawHeaders }))
      assert.strictEqual(read._tag, "Accepted")
      assert.strictEqual(read._tag === "Accepted" && read.protocol, protocol)
      assert.deepStrictEqual(read._tag === "Accepted" && read.extensions, extensions)
    }
  )

  it("the client reads the rejection that the server makes", () => {
    const response = succeed(Handshake.rejectResponse(Handshake.reject({ status: 403, body: "no" })))
    const { rawHeaders, status } = response
    const read = succeed(Handshake.readResponse(asked(), { status, rawHeaders, body: "no" }))
    assert.strictEqual(read._tag === "Rejected" && read.body, "no")
  })
})
