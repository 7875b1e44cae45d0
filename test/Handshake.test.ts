import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Context, Effect, Result, Schema } from "effect"
import { type Extension, Handshake, type HandshakeError } from "effect-ws"
import { among, either } from "./support/properties.ts"

type Pairs = Handshake.RawHeaders
type Facts = Readonly<Record<string, unknown>>

const succeed = <A, E>(result: Result.Result<A, E>): A => {
  if (Result.isFailure(result)) return assert.fail(JSON.stringify(result.failure))
  return result.success
}

const factsOf = <E extends object>(result: Result.Result<unknown, E>): Facts => {
  if (Result.isSuccess(result)) return assert.fail(`succeeded: ${JSON.stringify(result.success)}`)
  return { ...result.failure } as Facts
}

const sampleKey = "dGhlIHNhbXBsZSBub25jZQ=="
const sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/** The handshake of RFC 6455 §1.2. */
const sample: Pairs = [
  ["Host", "server.example.com"],
  ["Upgrade", "websocket"],
  ["Connection", "Upgrade"],
  ["Sec-WebSocket-Key", sampleKey],
  ["Origin", "http://example.com"],
  ["Sec-WebSocket-Protocol", "chat, superchat"],
  ["Sec-WebSocket-Version", "13"]
]

/** The sample with some headers replaced, removed (undefined) or added. */
const withHeaders = (changes: Readonly<Record<string, string | undefined>>, pairs: Pairs = sample): Pairs => {
  const changed = new Set(Object.keys(changes).map((name) => name.toLowerCase()))
  const added = Object.entries(changes).flatMap(([name, value]) => value === undefined ? [] : [[name, value] as const])
  return [...pairs.filter(([name]) => !changed.has(name.toLowerCase())), ...added]
}

const http = (changes: Partial<Handshake.HttpRequest> = {}): Handshake.HttpRequest => ({
  method: "GET",
  target: "/chat",
  httpVersion: "1.1",
  rawHeaders: sample,
  ...changes
})

const read = (changes: Readonly<Record<string, string | undefined>> = {}) =>
  Handshake.readRequest(http({ rawHeaders: withHeaders(changes) }))

/** The policy's own request, as a client makes it. */
const asked = (options?: Handshake.RequestOptions, url = "ws://server.example.com/chat") =>
  succeed(Handshake.makeRequest(url, sampleKey, options))

const asHttp = (request: Handshake.Request): Handshake.HttpRequest => ({
  method: "GET",
  target: request.query.size === 0 ? request.path : `${request.path}?${request.query}`,
  httpVersion: "1.1",
  rawHeaders: request.rawHeaders
})

/** What is no Sec-WebSocket-Key: 16 bytes in base64 are. */
const badKeys = [
  "",
  "short",
  "AAAAAAAAAAAAAAAAAAAAAA",
  "AAAAAAAAAAAAAAAAAAAAAA=",
  "AAAAAAAAAAAAAAAAAAAAAA===",
  "AAAAAAAAAAAAAAAAAAAAA===",
  "AAAAAAAAAAAAAAAAAAAA",
  "AAAAAAAAAAAAAAAAAAAAAAA=",
  "AAAAAAAAAAAAAAAAAAAAAAAA",
  "AAAAAAAAAAAAAAAAAAAA-==",
  "AAAAAAAAAAAAAAAAAAAA_==",
  "AAAAAAAAAAA AAAAAAAAAA==",
  " AAAAAAAAAAAAAAAAAAAAAA==",
  "AAAAAAAAAAAAAAAAAAAAAA== ",
  "AAAAAAAAAAAAAAAAAAAAAA==\n",
  "AAAAAAAAAAAAAAAAAAAAAA==\r\nX: y",
  `${sampleKey}, ${sampleKey}`
]

describe("Sec-WebSocket-Accept (RFC 6455 §1.3, §4.2.2)", () => {
  for (
    const [key, accept] of [
      [sampleKey, sampleAccept],
      ["x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="],
      ["AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="]
    ] as const
  ) {
    it(`answers ${key} with ${accept}`, () => {
      assert.strictEqual(Handshake.acceptKey(key), accept)
    })
  }
})

describe("readRequest (RFC 6455 §4.2.1)", () => {
  it("reads the sample of §1.2", () => {
    const request = succeed(Handshake.readRequest(http()))
    assert.strictEqual(request.path, "/chat")
    assert.strictEqual(request.query.size, 0)
    assert.strictEqual(request.host, "server.example.com")
    assert.strictEqual(request.origin, "http://example.com")
    assert.strictEqual(request.key, sampleKey)
    assert.deepStrictEqual(request.protocols, ["chat", "superchat"])
    assert.deepStrictEqual(request.extensions, [])
    assert.strictEqual(request.rawHeaders, sample)
    assert.deepStrictEqual(Object.entries(request.headers), sample.map(([name, value]) => [name.toLowerCase(), value]))
    assert.isFalse(request.secure)
    assert.isUndefined(request.remoteAddress)
  })

  it("passes on what is known of the socket", () => {
    const request = succeed(Handshake.readRequest(http({ secure: true, remoteAddress: "192.0.2.1" })))
    assert.isTrue(request.secure)
    assert.strictEqual(request.remoteAddress, "192.0.2.1")
    assert.isFalse(succeed(Handshake.readRequest(http({ secure: false }))).secure)
  })

  it("asks for no more than it must", () => {
    const request = succeed(read({ Origin: undefined, "Sec-WebSocket-Protocol": undefined }))
    assert.isUndefined(request.origin)
    assert.deepStrictEqual(request.protocols, [])
    assert.deepStrictEqual(request.extensions, [])
  })

  for (const method of ["POST", "HEAD", "CONNECT", "get", ""]) {
    it(`refuses the method ${JSON.stringify(method)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.readRequest(http({ method }))), {
        _tag: "InvalidMethod",
        status: 405,
        method
      })
    })
  }

  for (const version of ["1.0", "0.9", "2.0", "3.0", "1", "1.", "1.10", "11.1", "1x1", "", " 1.1", "1.1\n"]) {
    it(`refuses HTTP/${JSON.stringify(version)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.readRequest(http({ httpVersion: version }))), {
        _tag: "UnsupportedHttpVersion",
        status: 505,
        version
      })
    })
  }

  it("reads HTTP/1.1 and what may come after it", () => {
    for (const httpVersion of ["1.1", "1.2", "1.9"]) succeed(Handshake.readRequest(http({ httpVersion })))
  })

  for (
    const [target, path, query] of [
      ["/", "/", []],
      ["/chat", "/chat", []],
      ["/a/b%20c/d", "/a/b%20c/d", []],
      ["/chat?", "/chat", []],
      ["/chat?room=1", "/chat", [["room", "1"]]],
      ["/?a=1&b=x%20y+z&a=2&c", "/", [["a", "1"], ["b", "x y z"], ["a", "2"], ["c", ""]]],
      ["/chat?a=b?c", "/chat", [["a", "b?c"]]],
      ["//other.example/chat", "//other.example/chat", []],
      ["/a%23b?c=%23", "/a%23b", [["c", "#"]]],
      ["http://server.example.com/chat?room=1", "/chat", [["room", "1"]]],
      ["HTTP://server.example.com", "/", []],
      ["https://server.example.com:8443/a/b", "/a/b", []],
      ["ws://server.example.com/chat", "/chat", []],
      ["wss://server.example.com/chat", "/chat", []]
    ] as const
  ) {
    it(`reads the target ${target}`, () => {
      const request = succeed(Handshake.readRequest(http({ target })))
      assert.strictEqual(request.path, path)
      assert.deepStrictEqual<ReadonlyArray<ReadonlyArray<string>>>([...request.query], query)
    })
  }

  for (
    const target of [
      "",
      "*",
      "chat",
      "?room=1",
      "server.example.com:80",
      "ftp://a/",
      "http:/a",
      "http://",
      "xhttp://a/",
      "#",
      "/#",
      "/chat#top",
      "/chat?room=1#top",
      "http://server.example.com/#",
      "http://server.example.com/chat#top",
      "http://server.example.com#"
    ]
  ) {
    it(`refuses the target ${JSON.stringify(target)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.readRequest(http({ target }))), {
        _tag: "InvalidTarget",
        status: 400,
        target
      })
    })
  }

  for (
    const value of [
      "websocket",
      "WebSocket",
      "WEBSOCKET",
      "h2c, websocket",
      "websocket/13x, \t websocket ,",
      ", websocket"
    ]
  ) {
    it(`reads Upgrade: ${JSON.stringify(value)}`, () => {
      assert.strictEqual(succeed(read({ upgrade: value })).headers["upgrade"], value)
    })
  }

  for (const value of [undefined, "", "h2c", "websocket/13", "web socket", "websockets", "\"websocket\""]) {
    it(`refuses Upgrade: ${JSON.stringify(value)}`, () => {
      assert.deepStrictEqual(factsOf(read({ upgrade: value })), { _tag: "InvalidUpgradeHeader", status: 426, value })
    })
  }

  for (const value of ["Upgrade", "upgrade", "UPGRADE", "keep-alive, Upgrade", "Upgrade,keep-alive", " , upgrade\t"]) {
    it(`reads Connection: ${JSON.stringify(value)}`, () => {
      assert.strictEqual(succeed(read({ connection: value })).headers["connection"], value)
    })
  }

  for (const value of [undefined, "", "close", "keep-alive", "upgrades", "up grade"]) {
    it(`refuses Connection: ${JSON.stringify(value)}`, () => {
      assert.deepStrictEqual(factsOf(read({ connection: value })), {
        _tag: "InvalidConnectionHeader",
        status: 400,
        value
      })
    })
  }

  const bodies = [
    ["Content-Length", "5"],
    ["Content-Length", "00000000000000000000000000000001"],
    ["Content-Length", ""],
    ["Content-Length", "0, 5"],
    ["Transfer-Encoding", "chunked"],
    ["Transfer-Encoding", "identity"],
    ["Transfer-Encoding", ""]
  ] as const
  for (const [header, value] of bodies) {
    it(`refuses ${header}: ${JSON.stringify(value)}, because a body would be taken for frames`, () => {
      assert.deepStrictEqual(factsOf(read({ [header]: value })), { _tag: "UnexpectedBody", status: 400, header })
    })
  }

  for (const value of ["0", "000"]) {
    it(`reads Content-Length: ${value}`, () => {
      assert.strictEqual(succeed(read({ "content-length": value })).headers["content-length"], value)
    })
  }

  it("reads Upgrade and Connection in several headers", () => {
    const rawHeaders: Pairs = [
      ...withHeaders({ Upgrade: undefined, Connection: undefined }),
      ["UPGRADE", "h2c"],
      ["connection", "keep-alive"],
      ["upgrade", "WebSocket"],
      ["CONNECTION", "upgrade"]
    ]
    assert.strictEqual(succeed(Handshake.readRequest(http({ rawHeaders }))).headers["upgrade"], "h2c, WebSocket")
  })

  for (const version of ["", "8", "0", "12", "14", "013", "13, 8", "13.0", "x"]) {
    it(`refuses Sec-WebSocket-Version: ${JSON.stringify(version)}`, () => {
      assert.deepStrictEqual(factsOf(read({ "Sec-WebSocket-Version": version })), {
        _tag: "UnsupportedVersion",
        status: 426,
        version
      })
    })
  }

  for (const key of ["AAAAAAAAAAAAAAAAAAAAAA==", "////////////////////++==", "abcdefghijklmnopqrstuv==", sampleKey]) {
    it(`reads Sec-WebSocket-Key: ${key}`, () => {
      assert.strictEqual(succeed(read({ "Sec-WebSocket-Key": key })).key, key)
    })
  }

  for (const key of badKeys) {
    it(`refuses Sec-WebSocket-Key: ${JSON.stringify(key)}`, () => {
      assert.deepStrictEqual(factsOf(read({ "Sec-WebSocket-Key": key })), { _tag: "InvalidKey", status: 400, key })
    })
  }

  it("refuses two keys, even if they are the same", () => {
    const rawHeaders: Pairs = [...sample, ["Sec-WebSocket-Key", sampleKey]]
    assert.strictEqual(factsOf(Handshake.readRequest(http({ rawHeaders })))["_tag"], "InvalidKey")
  })

  for (const header of ["Sec-WebSocket-Version", "Sec-WebSocket-Key", "Host"]) {
    it(`refuses a request without ${header}`, () => {
      assert.deepStrictEqual(factsOf(read({ [header]: undefined })), { _tag: "MissingHeader", status: 400, header })
    })
  }

  for (
    const host of [
      "a",
      "localhost",
      "server.example.com",
      "SERVER.example.com",
      "server.example.com.",
      "my_host-1.example",
      "b%C3%BCcher.example",
      "!$&'()*+;=~",
      "192.0.2.1",
      "[::1]",
      "[2001:DB8::1]",
      "[::ffff:192.0.2.1]",
      "a:",
      "a:0",
      "server.example.com:8080",
      "192.0.2.1:80",
      "[::1]:65535"
    ]
  ) {
    it(`reads Host: ${host}`, () => {
      const request = succeed(read({ Host: host }))
      assert.strictEqual(request.host, host)
      assert.strictEqual(request.headers["host"], host)
    })
  }

  for (
    const value of [
      "",
      " ",
      " a",
      "a ",
      "a\t",
      "a\n",
      "\na",
      "a\0",
      "a b",
      "a,b",
      "a, b",
      "a, a",
      ",",
      "user@a",
      "user:pass@a",
      "@a",
      "a/",
      "a/b",
      "http://a",
      "//a",
      "a?b",
      "a#b",
      "a\\b",
      "\"a\"",
      "<a>",
      "{a}",
      "a|b",
      "a^b",
      "a`b",
      "bücher.example",
      ":",
      ":80",
      "a:b",
      "a:80:80",
      "a:-1",
      "a:8o",
      "a: 80",
      "a:123456",
      "::1",
      "[]",
      "[::1",
      "::1]",
      "[::1]a",
      "[::1]:a",
      "[::1]:123456",
      "[::g]",
      "[a.example]",
      "[fe80::1%25eth0]",
      "[fe80::1%251]",
      "a[::1]"
    ]
  ) {
    it(`refuses Host: ${JSON.stringify(value)} (RFC 9112 §3.2)`, () => {
      assert.deepStrictEqual(factsOf(read({ Host: value })), { _tag: "InvalidHostHeader", status: 400, value })
    })
  }

  for (const [name, value] of [["Host", "a"], ["host", "server.example.com"], ["HOST", ""]] as const) {
    it(`refuses two Host headers, the second of them ${name}: ${JSON.stringify(value)}`, () => {
      for (const target of ["/chat", "http://server.example.com/chat"]) {
        const rawHeaders: Pairs = [...sample, [name, value]]
        assert.deepStrictEqual(factsOf(Handshake.readRequest(http({ target, rawHeaders }))), {
          _tag: "InvalidHostHeader",
          status: 400,
          value: `server.example.com, ${value}`
        })
      }
    })
  }

  for (
    const [target, header, host] of [
      ["/chat", "a", "a"],
      ["//b/chat", "a", "a"],
      ["/?http://b/", "a", "a"],
      ["http://b/chat", "a", "b"],
      ["http://b", "a:8080", "b"],
      ["http://b:8080/", "a", "b:8080"],
      ["HTTP://B:80/", "a", "b"],
      ["https://b:443/", "a", "b"],
      ["https://b:80/", "a", "b:80"],
      ["ws://b:80/", "a", "b"],
      ["wss://b:443/", "a", "b"],
      ["http://[0:0::1]:8080/", "a", "[::1]:8080"],
      ["http://b/", "", "b"],
      ["http://b/", "a, c", "b"]
    ] as const
  ) {
    it(`reads the host ${host} of the target ${target} and Host: ${JSON.stringify(header)} (RFC 9112 §3.2.2)`, () => {
      const request = succeed(Handshake.readRequest(http({ target, rawHeaders: withHeaders({ Host: header }) })))
      assert.strictEqual(request.host, host)
      assert.strictEqual(request.headers["host"], header)
    })
  }

  it("refuses a target that names no host, whatever the Host header says", () => {
    for (const target of ["http://a,b/", "http://{a}/", "http://a`/"]) {
      assert.strictEqual(factsOf(Handshake.readRequest(http({ target })))["_tag"], "InvalidHostHeader")
    }
  })

  it("refuses a request without Host where the target names it, too", () => {
    const rawHeaders = withHeaders({ Host: undefined })
    assert.deepStrictEqual(factsOf(Handshake.readRequest(http({ target: "http://server.example.com/", rawHeaders }))), {
      _tag: "MissingHeader",
      status: 400,
      header: "Host"
    })
  })

  it.prop(
    "reads no Host that is more than a URL's host and port",
    { parts: Arbitrary.array(among(..."a.:@/?#[]%\\, \t", "80", "::1", "[::1]", "a.example"), { maxLength: 5 }) },
    ({ parts }) => {
      const value = parts.join("")
      const result = read({ Host: value })
      if (Result.isFailure(result)) {
        assert.deepStrictEqual(factsOf(result), { _tag: "InvalidHostHeader", status: 400, value })
      } else if (URL.canParse(`http://${value}`)) {
        const { hash, password, pathname, search, username } = new URL(`http://${value}`)
        assert.deepStrictEqual([username, password, pathname, search, hash], ["", "", "/", "", ""])
      }
    },
    { arbitrary: { runs: 300 } }
  )

  for (
    const [value, expected] of [
      ["chat", ["chat"]],
      ["superchat, chat", ["superchat", "chat"]],
      ["a,b ,\tc", ["a", "b", "c"]],
      [",a,,b,", ["a", "b"]],
      ["a, A", ["a", "A"]],
      ["v1.example.com, !#$%&'*+-.^_`|~", ["v1.example.com", "!#$%&'*+-.^_`|~"]]
    ] as const
  ) {
    it(`reads Sec-WebSocket-Protocol: ${value}`, () => {
      assert.deepStrictEqual(succeed(read({ "Sec-WebSocket-Protocol": value })).protocols, expected)
    })
  }

  for (const value of ["", ",", "a b", "a;b", "a, a", "a, b, a", "\"a\"", "a/b", "é", "a, b\0"]) {
    it(`refuses Sec-WebSocket-Protocol: ${JSON.stringify(value)}`, () => {
      assert.deepStrictEqual(factsOf(read({ "Sec-WebSocket-Protocol": value })), {
        _tag: "InvalidProtocolHeader",
        status: 400,
        value
      })
    })
  }

  it("reads subprotocols and extensions in several headers", () => {
    const rawHeaders: Pairs = [
      ...sample,
      ["sec-websocket-protocol", "third"],
      ["Sec-WebSocket-Extensions", "a; b=1"],
      ["SEC-WEBSOCKET-EXTENSIONS", "c"]
    ]
    const request = succeed(Handshake.readRequest(http({ rawHeaders })))
    assert.deepStrictEqual(request.protocols, ["chat", "superchat", "third"])
    assert.deepStrictEqual(request.extensions, [
      { name: "a", parameters: [{ name: "b", value: "1" }] },
      { name: "c", parameters: [] }
    ])
  })

  for (const value of ["", ",", "a;", "a; =", "a; b=\"c d\"", "\"a\"", "a b"]) {
    it(`refuses Sec-WebSocket-Extensions: ${JSON.stringify(value)}`, () => {
      assert.deepStrictEqual(factsOf(read({ "Sec-WebSocket-Extensions": value })), {
        _tag: "InvalidExtensionHeader",
        status: 400,
        value
      })
    })
  }

  it("names the first of several things that are wrong", () => {
    const wrong: Record<string, string | undefined> = {
      Host: undefined,
      Upgrade: undefined,
      Connection: undefined,
      "Content-Length": "5",
      "Sec-WebSocket-Version": undefined,
      "Sec-WebSocket-Key": "short",
      "Sec-WebSocket-Protocol": "a b",
      "Sec-WebSocket-Extensions": "="
    }
    let request = http({ method: "POST", httpVersion: "1.0", target: "*", rawHeaders: withHeaders(wrong) })
    const tags: Array<unknown> = []
    const mend = (changes: Partial<Handshake.HttpRequest>) => {
      tags.push(factsOf(Handshake.readRequest(request))["_tag"])
      request = { ...request, ...changes }
    }
    const mendHeader = (name: string, value: string | undefined) => {
      wrong[name] = value
      mend({ rawHeaders: withHeaders(wrong) })
    }
    mend({ method: "GET" })
    mend({ httpVersion: "1.1" })
    mend({ target: "/" })
    mendHeader("Upgrade", "websocket")
    mendHeader("Connection", "upgrade")
    mendHeader("Content-Length", undefined)
    mendHeader("Sec-WebSocket-Version", "13")
    mendHeader("Sec-WebSocket-Key", sampleKey)
    mendHeader("Host", "a b")
    mendHeader("Host", "a")
    mendHeader("Sec-WebSocket-Protocol", "a")
    mendHeader("Sec-WebSocket-Extensions", "a")
    assert.deepStrictEqual(tags, [
      "InvalidMethod",
      "UnsupportedHttpVersion",
      "InvalidTarget",
      "InvalidUpgradeHeader",
      "InvalidConnectionHeader",
      "UnexpectedBody",
      "MissingHeader",
      "InvalidKey",
      "MissingHeader",
      "InvalidHostHeader",
      "InvalidProtocolHeader",
      "InvalidExtensionHeader"
    ])
    assert.strictEqual(succeed(Handshake.readRequest(request)).host, "a")
  })

  it("takes headers named as an object's own parts for headers like any other", () => {
    const rawHeaders: Pairs = [...sample, ["__proto__", "polluted"], ["constructor", "x"], ["toString", "y"]]
    const { headers } = succeed(Handshake.readRequest(http({ rawHeaders })))
    assert.strictEqual(headers["__proto__"], "polluted")
    assert.strictEqual(headers["constructor"], "x")
    assert.strictEqual(headers["tostring"], "y")
    assert.isNull(Object.getPrototypeOf(headers))
    assert.isUndefined(succeed(read()).headers["constructor"])
    assert.isUndefined(({} as Record<string, unknown>)["polluted"])
  })

  it.prop(
    "reads or refuses any request, and never throws",
    {
      method: among("GET", "GET", "POST"),
      target: either(among("/", "/a?b", "http://a/", "*"), Arbitrary.schema(Schema.String)),
      httpVersion: among("1.1", "1.1", "1.0", ""),
      changes: Arbitrary.array(Arbitrary.all([
        among(...sample.map(([name]) => name), "Sec-WebSocket-Extensions"),
        either<string | undefined>(
          Arbitrary.schema(Schema.String),
          Arbitrary.Constant(undefined),
          among("a, b", "\"", ";")
        )
      ]))
    },
    ({ changes, httpVersion, method, target }) => {
      const rawHeaders = withHeaders(Object.fromEntries(changes))
      const result = Handshake.readRequest({ method, target, httpVersion, rawHeaders })
      if (Result.isSuccess(result)) assert.strictEqual(result.success.rawHeaders, rawHeaders)
      else {
        const { rawHeaders: answer, status } = Handshake.errorResponse(result.failure)
        assert.strictEqual(status, result.failure.status)
        assert.strictEqual(answer[0][0], "Connection")
      }
    },
    { arbitrary: { runs: 300 } }
  )
})

const check = (host: string, origin: string | undefined, policy: Handshake.OriginPolicy, secure = false) =>
  Handshake.checkOrigin({ ...succeed(read()), host, origin, secure }, policy)

describe("checkOrigin (RFC 6455 §4.2.2, §10.2)", () => {
  for (
    const [host, origin, allowed] of [
      ["example.com", "http://example.com", true],
      ["example.com", "https://example.com", true],
      ["EXAMPLE.com", "http://example.com", true],
      ["example.com:80", "http://example.com", true],
      ["example.com:443", "https://example.com", true],
      ["example.com:", "https://example.com", true],
      ["Example.com:080", "http://example.com", true],
      ["example.com:8080", "http://example.com:8080", true],
      ["example.com:443", "http://example.com:443", true],
      ["example.com:80", "https://example.com:80", true],
      ["[::1]:8080", "http://[::1]:8080", true],
      ["[::1]", "http://[::1]", true],
      ["[0:0::1]:80", "http://[::1]", true],
      ["192.0.2.1", "https://192.0.2.1", true],
      ["localhost:3000", "http://localhost:3000", true],
      ["xn--bcher-kva.example", "https://xn--bcher-kva.example", true],
      ["example.com", undefined, true],
      // Another host or port.
      ["example.com:443", "http://example.com", false],
      ["example.com:80", "https://example.com", false],
      ["example.com", "http://example.com:8080", false],
      ["example.com:8080", "http://example.com", false],
      ["example.com", "http://www.example.com", false],
      ["example.com", "http://example.org", false],
      ["example.com", "http://example.com.evil.example", false],
      ["example.com", "http://evil-example.com", false],
      ["example.com", "http://example.com.", false],
      // No serialised origin, though a URL of the host that was asked.
      ["example.com", "http://example.com/", false],
      ["example.com", "http://example.com/chat", false],
      ["example.com", "http://example.com?", false],
      ["example.com", "http://example.com#", false],
      ["example.com", "http://user@example.com", false],
      ["example.com", "http://user:pass@example.com", false],
      ["example.com", "http://@example.com", false],
      ["example.com", "http://example.com:80", false],
      ["example.com", "https://example.com:443", false],
      ["example.com:80", "http://example.com:80", false],
      ["example.com", "http://example.com:", false],
      ["example.com:8080", "http://example.com:08080", false],
      ["example.com", "http://EXAMPLE.com", false],
      ["EXAMPLE.com", "http://EXAMPLE.com", false],
      ["example.com", "HTTP://example.com", false],
      ["example.com", "Https://example.com", false],
      ["[::1]", "http://[0:0::1]", false],
      ["[0:0::1]", "http://[0:0::1]", false],
      ["[::ab]", "http://[::AB]", false],
      ["192.0.2.1", "http://192.0.513", false],
      ["xn--bcher-kva.example", "https://bücher.example", false],
      ["example.com", "http://ex%61mple.com", false],
      ["example.com", "http:example.com", false],
      ["example.com", "http:/example.com", false],
      ["example.com", "http:\\\\example.com", false],
      ["example.com", " http://example.com", false],
      ["example.com", "http://example.com\t", false],
      ["example.com", "http://example.com, http://example.com", false],
      // Other schemes.
      ["example.com", "ws://example.com", false],
      ["example.com", "wss://example.com", false],
      ["example.com", "ftp://example.com", false],
      ["example.com", "httpx://example.com", false],
      ["example.com", "xhttp://example.com", false],
      ["example.com", "chrome-extension://example.com", false],
      ["example.com", "blob:http://example.com", false],
      ["example.com", "file://", false],
      ["", "file://", false],
      // No URL.
      ["example.com", "null", false],
      ["null", "null", false],
      ["example.com", "", false],
      ["example.com", "example.com", false],
      ["example.com", "//example.com", false],
      ["example.com", "http:", false],
      ["example.com", "http://", false],
      // No host.
      ["", "http://example.com", false],
      ["256.0.0.1", "http://example.com", false],
      ["example.com:99999", "http://example.com", false],
      ["exa mple.com", "http://example.com", false],
      ["example.com, example.org", "http://example.com", false]
    ] as const
  ) {
    const [page, server] = [origin, host].map((text) => JSON.stringify(text))
    it(`same-origin: a page of ${page} ${allowed ? "may" : "may not"} connect to ${server}`, () => {
      const result = check(host, origin, "same-origin")
      if (allowed) assert.isUndefined(succeed(result))
      else assert.deepStrictEqual(factsOf(result), { _tag: "OriginNotAllowed", status: 403, origin, host })
    })
  }

  for (
    const [host, origin, overTls] of [
      ["example.com", "https://example.com", true],
      ["EXAMPLE.com", "https://example.com", true],
      ["example.com:443", "https://example.com", true],
      ["example.com:", "https://example.com", true],
      ["example.com:8443", "https://example.com:8443", true],
      ["example.com:80", "https://example.com:80", true],
      ["[::1]", "https://[::1]", true],
      ["[0:0::1]:443", "https://[::1]", true],
      ["[::1]:8443", "https://[::1]:8443", true],
      ["192.0.2.1", "https://192.0.2.1", true],
      ["localhost:8443", "https://localhost:8443", true],
      // What anyone on the network can write: a page of the same host and port, but http.
      ["example.com", "http://example.com", false],
      ["EXAMPLE.com", "http://example.com", false],
      ["example.com:80", "http://example.com", false],
      ["example.com:443", "http://example.com:443", false],
      ["example.com:8443", "http://example.com:8443", false],
      ["[::1]", "http://[::1]", false],
      ["[::1]:8443", "http://[::1]:8443", false],
      ["192.0.2.1", "http://192.0.2.1", false],
      ["localhost:8443", "http://localhost:8443", false]
    ] as const
  ) {
    it(`same-origin: a page of ${origin} may${overTls ? "" : " not"} connect to ${host} over TLS`, () => {
      const result = check(host, origin, "same-origin", true)
      if (overTls) assert.isUndefined(succeed(result))
      else assert.deepStrictEqual(factsOf(result), { _tag: "OriginNotAllowed", status: 403, origin, host })
      // A proxy may have ended TLS, and not told.
      assert.isUndefined(succeed(check(host, origin, "same-origin", false)))
    })
  }

  it("a list and any: whether the request came over TLS does not matter", () => {
    for (const secure of [true, false]) {
      assert.isUndefined(succeed(check("example.com", "http://example.com", ["http://example.com"], secure)))
      assert.isUndefined(succeed(check("example.com", "http://example.com", "any", secure)))
      assert.isUndefined(succeed(check("example.com", undefined, "same-origin", secure)))
      assert.isTrue(Result.isFailure(check("example.com", "http://example.com", ["https://example.com"], secure)))
    }
  })

  it("same-origin: the host of an absolute target counts, and not the Host header", () => {
    for (
      const [origin, allowed] of [["https://example.com:8443", true], ["https://other.example", false]] as const
    ) {
      const request = succeed(
        Handshake.readRequest(
          http({
            target: "https://EXAMPLE.com:8443/chat",
            rawHeaders: withHeaders({ Host: "other.example", Origin: origin })
          })
        )
      )
      const result = Handshake.checkOrigin(request, "same-origin")
      if (allowed) assert.isUndefined(succeed(result))
      else {
        assert.deepStrictEqual(factsOf(result), {
          _tag: "OriginNotAllowed",
          status: 403,
          origin,
          host: "example.com:8443"
        })
      }
    }
  })

  const list = ["https://example.com", "http://localhost:3000"]
  for (
    const [origin, allowed] of [
      ["https://example.com", true],
      ["http://localhost:3000", true],
      [undefined, true],
      ["http://example.com", false],
      ["https://example.com:8443", false],
      ["https://example.com.evil.example", false],
      ["https://www.example.com", false],
      ["https://EXAMPLE.com", false],
      ["https://example.com/", false],
      ["https://example.com:443", false],
      ["https://api.example.net", false],
      ["null", false],
      ["", false]
    ] as const
  ) {
    it(`a list: a page of ${origin} ${allowed ? "may" : "may not"} connect`, () => {
      const result = check("api.example.net", origin, list)
      if (allowed) assert.isUndefined(succeed(result))
      else {
        assert.deepStrictEqual(factsOf(result), {
          _tag: "OriginNotAllowed",
          status: 403,
          origin,
          host: "api.example.net"
        })
      }
    })
  }

  it("an empty list: no page may connect", () => {
    assert.strictEqual(factsOf(check("example.com", "http://example.com", []))["_tag"], "OriginNotAllowed")
    assert.isUndefined(succeed(check("example.com", undefined, [])))
  })

  it("a list may hold null, which sandboxed pages send", () => {
    assert.isUndefined(succeed(check("example.com", "null", ["null"])))
  })

  it("any: every page may connect", () => {
    for (const origin of ["http://example.org", "null", "", "nonsense", undefined]) {
      assert.isUndefined(succeed(check("example.com", origin, "any")))
    }
  })
})

describe("selectProtocol (RFC 6455 §4.2.2)", () => {
  for (
    const [supported, offered, selected] of [
      [["a", "b"], ["b", "a"], "a"],
      [["a", "b"], ["c", "b"], "b"],
      [["a"], ["b"], undefined],
      [["a"], ["A"], undefined],
      [[], ["a"], undefined],
      [["a"], [], undefined]
    ] as const
  ) {
    it(`of ${supported.join(", ") || "none"} for ${offered.join(", ") || "none"} is ${selected}`, () => {
      assert.strictEqual(Handshake.selectProtocol(supported, offered), selected)
    })
  }
})

class User extends Context.Service<User, string>()("User") {}

describe("decisions", () => {
  it("to accept hold nothing unless it is given", () => {
    const plain = Handshake.accept()
    assert.strictEqual(plain._tag, "Accept")
    assert.isUndefined(plain.protocol)
    assert.isUndefined(plain.headers)
    assert.deepStrictEqual([...plain.services.mapUnsafe], [])
  })

  it("to accept hold a subprotocol, headers and services", () => {
    const full = Handshake.accept({
      protocol: "chat",
      headers: { "Set-Cookie": ["a=1", "b=2"] },
      services: Context.make(User, "ann")
    })
    assert.strictEqual(full.protocol, "chat")
    assert.deepStrictEqual(full.headers, { "Set-Cookie": ["a=1", "b=2"] })
    assert.strictEqual(Context.get(full.services, User), "ann")
  })

  it("to reject hold a status, headers and a body", () => {
    const plain = Handshake.reject({ status: 404 })
    assert.deepStrictEqual({ ...plain }, { _tag: "Reject", status: 404, headers: undefined, body: "" })
    const full = Handshake.reject({ status: 401, headers: { A: "b" }, body: "no" })
    assert.deepStrictEqual({ ...full }, { _tag: "Reject", status: 401, headers: { A: "b" }, body: "no" })
  })
})

const badName = "expected a name of letters, digits and !#$%&'*+-.^_`|~"
const badValue = "expected a value of Latin-1 characters without line breaks, NUL and other control characters"
const reserved = "expected a header that the handshake does not set itself"

type BadHeaders = ReadonlyArray<readonly [input: Handshake.HeadersInput, header: string, problem: string]>

/** Headers that cannot be sent with anything, which of them that is, and why. */
const badHeaders: BadHeaders = [
  [{ "": "a" }, "", badName],
  [{ "a b": "c" }, "a b", badName],
  [{ "a:": "c" }, "a:", badName],
  [{ "a\r\nB": "c" }, "a\r\nB", badName],
  [{ "a\0": "c" }, "a\0", badName],
  [{ "é": "c" }, "é", badName],
  [{ A: "b\r\nC: d" }, "A", badValue],
  [{ A: "b\n" }, "A", badValue],
  [{ A: "\r" }, "A", badValue],
  [{ A: "b\0c" }, "A", badValue],
  [{ A: "b\x7f" }, "A", badValue],
  [{ A: "\x1b[0m" }, "A", badValue],
  [{ A: "€" }, "A", badValue],
  [{ A: "😀" }, "A", badValue],
  [{ A: ["fine", "not\nfine"] }, "A", badValue],
  [{ Fine: "1", Worse: "\n", Bad: "\r" }, "Worse", badValue],
  [{ Connection: "close" }, "Connection", reserved],
  [{ "Content-Length": "0" }, "Content-Length", reserved],
  [{ "TRANSFER-encoding": "chunked" }, "TRANSFER-encoding", reserved],
  [{ Connection: [] }, "Connection", reserved],
  [{ connection: "\n" }, "connection", reserved],
  [{ Host: "a\r\nB: c" }, "Host", badValue],
  [{ Host: ["a\n"] }, "Host", badValue]
]

/** The headers of a handshake, which only a rejection may have. */
const handshakeHeaders = [
  "upgrade",
  "Sec-WebSocket-Key",
  "SEC-WEBSOCKET-ACCEPT",
  "sec-websocket-version",
  "Sec-WebSocket-Protocol",
  "Sec-WebSocket-Extensions"
]

/** Headers that cannot be sent with a request, nor with a response that accepts it. */
const badHandshakeHeaders: BadHeaders = [
  ...badHeaders,
  ...handshakeHeaders.flatMap((header): BadHeaders => [
    [{ [header]: "x" }, header, reserved],
    [{ [header]: [] }, header, reserved]
  ])
]

/** Headers that can be sent, and how. */
const goodHeaders: ReadonlyArray<readonly [input: Handshake.HeadersInput, pairs: Pairs]> = [
  [{}, []],
  [{ "X-A": "b" }, [["X-A", "b"]]],
  [{ "Set-Cookie": ["a=1", "b=2"], "x-c": "d" }, [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"], ["x-c", "d"]]],
  [{ A: [] }, []],
  [{ A: "" }, [["A", ""]]],
  [{ A: "tab\tand café" }, [["A", "tab\tand café"]]],
  [{ "!#$%&'*+-.^_`|~09": "x" }, [["!#$%&'*+-.^_`|~09", "x"]]],
  [{ constructor: "x", toString: "y" } as unknown as Handshake.HeadersInput, [["constructor", "x"], ["toString", "y"]]]
]

const parameterOf = (name: string, value?: string): Extension.HeaderEntry => ({
  name: "a",
  parameters: [{ name, value }]
})

/** Extensions that cannot be written: not all names and values are tokens. */
const badExtensions: ReadonlyArray<ReadonlyArray<Extension.HeaderEntry>> = [
  ...["", "a b", "a;b", "a, b", "a=b", "\"a\"", "é", "a\0", "a\r\nX: y"].flatMap((text) => [
    [{ name: text, parameters: [] }],
    [parameterOf(text)],
    [parameterOf(text, "1")],
    [parameterOf("b", text)]
  ]),
  [{ name: "a", parameters: [{ name: "b", value: "1" }, { name: "c", value: "\n" }] }],
  [{ name: "a", parameters: [] }, { name: "b", parameters: [{ name: "c d", value: undefined }] }]
]

const badExtension = {
  _tag: "InvalidHeader",
  header: "Sec-WebSocket-Extensions",
  problem: "expected tokens as names and values"
}

describe("acceptResponse (RFC 6455 §4.2.2)", () => {
  const request = succeed(read())
  const basic: Pairs = [
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Accept", sampleAccept]
  ]

  it("answers the sample of §1.2", () => {
    assert.deepStrictEqual(succeed(Handshake.acceptResponse(request, { protocol: "chat" })), {
      status: 101,
      rawHeaders: [...basic, ["Sec-WebSocket-Protocol", "chat"]],
      body: ""
    })
  })

  it("has nothing that was not asked for", () => {
    const plain = { status: 101, rawHeaders: basic, body: "" }
    assert.deepStrictEqual(succeed(Handshake.acceptResponse(request)), plain)
    assert.deepStrictEqual(succeed(Handshake.acceptResponse(request, {})), plain)
    const nothing = { protocol: undefined, headers: undefined, extensions: [] }
    assert.deepStrictEqual(succeed(Handshake.acceptResponse(request, nothing)), plain)
  })

  it("has a subprotocol, extensions and headers, in this order", () => {
    const response = succeed(
      Handshake.acceptResponse(succeed(read({ "Sec-WebSocket-Extensions": "c, b, a; d" })), {
        protocol: "superchat",
        extensions: [{ name: "a", parameters: [{ name: "b", value: "1" }] }, { name: "c", parameters: [] }],
        headers: { "Set-Cookie": ["x=1", "y=2"], "X-Served-By": "one" }
      })
    )
    assert.deepStrictEqual(response.rawHeaders, [
      ...basic,
      ["Sec-WebSocket-Protocol", "superchat"],
      ["Sec-WebSocket-Extensions", "a; b=1, c"],
      ["Set-Cookie", "x=1"],
      ["Set-Cookie", "y=2"],
      ["X-Served-By", "one"]
    ])
  })

  for (const protocol of ["soap", "", "Chat", "chat, superchat", "chat\r\nX: y"]) {
    it(`refuses to select ${JSON.stringify(protocol)}, which was not offered`, () => {
      assert.deepStrictEqual(factsOf(Handshake.acceptResponse(request, { protocol })), {
        _tag: "ProtocolNotOffered",
        protocol,
        offered: ["chat", "superchat"]
      })
    })
  }

  for (
    const [header, names, extension, offered] of [
      [undefined, ["a"], "a", []],
      ["a", ["b"], "b", ["a"]],
      ["a", ["A"], "A", ["a"]],
      ["a; b=1, c, a", ["a", "b", "d"], "b", ["a", "c", "a"]],
      ["a, b", ["a", "b", "c"], "c", ["a", "b"]],
      ["a", [""], "", ["a"]],
      ["a, b", ["a, b"], "a, b", ["a", "b"]],
      ["a", ["a", "b\r\nX: y"], "b\r\nX: y", ["a"]]
    ] as const
  ) {
    it(`refuses to accept the extensions ${JSON.stringify(names)} where ${header ?? "none"} were offered`, () => {
      const asker = succeed(read({ "Sec-WebSocket-Extensions": header }))
      const extensions = names.map((name) => ({ name, parameters: [] }))
      assert.deepStrictEqual(factsOf(Handshake.acceptResponse(asker, { extensions })), {
        _tag: "ExtensionNotOffered",
        extension,
        offered
      })
    })
  }

  it("accepts an extension that was offered as often, and with what parameters, as it is told to", () => {
    const asker = succeed(read({ "Sec-WebSocket-Extensions": "a; b" }))
    const extensions = [parameterOf("c", "!#$%&'*+-.^_`|~"), parameterOf("b")]
    assert.deepStrictEqual(succeed(Handshake.acceptResponse(asker, { extensions })).rawHeaders, [
      ...basic,
      ["Sec-WebSocket-Extensions", "a; c=!#$%&'*+-.^_`|~, a; b"]
    ])
  })

  for (const extensions of badExtensions) {
    it(`refuses to write the extensions ${JSON.stringify(extensions)}`, () => {
      const asker = { ...request, extensions }
      assert.deepStrictEqual(factsOf(Handshake.acceptResponse(asker, { extensions })), badExtension)
    })
  }

  it("names the first of several things that are wrong", () => {
    const wrong = { protocol: "soap", extensions: [parameterOf("")], headers: { "": "" } }
    const asker = succeed(read({ "Sec-WebSocket-Extensions": "a" }))
    const errors = [
      Handshake.acceptResponse(request, wrong),
      Handshake.acceptResponse(request, { ...wrong, protocol: "chat" }),
      Handshake.acceptResponse(asker, { ...wrong, protocol: "chat" }),
      Handshake.acceptResponse(asker, { headers: wrong.headers })
    ].map(factsOf)
    assert.deepStrictEqual(errors, [
      { _tag: "ProtocolNotOffered", protocol: "soap", offered: ["chat", "superchat"] },
      { _tag: "ExtensionNotOffered", extension: "a", offered: [] },
      badExtension,
      { _tag: "InvalidHeader", header: "", problem: badName }
    ])
  })

  for (const [headers, header, problem] of badHandshakeHeaders) {
    it(`refuses the headers ${JSON.stringify(headers)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.acceptResponse(request, { headers })), {
        _tag: "InvalidHeader",
        header,
        problem
      })
    })
  }

  for (const [headers, pairs] of goodHeaders) {
    it(`writes the headers ${JSON.stringify(headers)}`, () => {
      assert.deepStrictEqual(succeed(Handshake.acceptResponse(request, { headers })).rawHeaders, [...basic, ...pairs])
    })
  }
})

const rejectWith = (options: ConstructorParameters<typeof Handshake.Reject>[0]) =>
  Handshake.rejectResponse(Handshake.reject(options))

describe("rejectResponse", () => {
  it("closes the connection, with a status alone", () => {
    assert.deepStrictEqual(succeed(rejectWith({ status: 403 })), {
      status: 403,
      rawHeaders: [["Connection", "close"], ["Content-Length", "0"]],
      body: ""
    })
  })

  it("has a body of text", () => {
    assert.deepStrictEqual(succeed(rejectWith({ status: 401, body: "né" })), {
      status: 401,
      rawHeaders: [
        ["Connection", "close"],
        ["Content-Length", "3"],
        ["Content-Type", "text/plain; charset=utf-8"]
      ],
      body: "né"
    })
  })

  it("has a body of bytes, of the type that the decision gives", () => {
    const body = Uint8Array.of(1, 2, 3, 4)
    const response = succeed(rejectWith({ status: 500, body, headers: { "content-TYPE": "image/png", "X-A": "b" } }))
    assert.deepStrictEqual(response.rawHeaders, [
      ["Connection", "close"],
      ["Content-Length", "4"],
      ["content-TYPE", "image/png"],
      ["X-A", "b"]
    ])
    assert.strictEqual(response.body, body)
  })

  it("has any status from 300 to 599, but not 304", () => {
    const statuses = Array.from({ length: 1200 }, (_, i) => i - 100)
    const expected = statuses.filter((status) => status >= 300 && status < 600 && status !== 304)
    assert.deepStrictEqual(statuses.filter((status) => Result.isSuccess(rejectWith({ status }))), expected)
    for (const status of expected) assert.strictEqual(succeed(rejectWith({ status })).status, status)
  })

  for (const status of [101, 199, 200, 204, 299, 304, 600, 0, -404, 303.5, 404.5, 599.5, NaN, Infinity, -Infinity]) {
    it(`cannot have status ${status}`, () => {
      assert.deepStrictEqual(factsOf(rejectWith({ status })), { _tag: "InvalidStatus", status })
      assert.deepStrictEqual(factsOf(rejectWith({ status, headers: { "": "" } })), { _tag: "InvalidStatus", status })
    })
  }

  for (const name of ["Upgrade", "upgrade", "UPGRADE"]) {
    it(`names ${name} in Connection (RFC 9110 §7.8)`, () => {
      const headers = { [name]: ["websocket", "h2c"], "Sec-WebSocket-Version": "13" }
      assert.deepStrictEqual(succeed(rejectWith({ status: 426, headers, body: "no" })), {
        status: 426,
        rawHeaders: [
          ["Connection", "close, Upgrade"],
          ["Content-Length", "2"],
          ["Content-Type", "text/plain; charset=utf-8"],
          [name, "websocket"],
          [name, "h2c"],
          ["Sec-WebSocket-Version", "13"]
        ],
        body: "no"
      })
    })
  }

  it("names no Upgrade in Connection where it has no values", () => {
    assert.deepStrictEqual(succeed(rejectWith({ status: 426, headers: { Upgrade: [] } })).rawHeaders, [
      ["Connection", "close"],
      ["Content-Length", "0"]
    ])
  })

  for (const name of handshakeHeaders) {
    it(`may have ${name}`, () => {
      const connection = name === "upgrade" ? "close, Upgrade" : "close"
      assert.deepStrictEqual(succeed(rejectWith({ status: 400, headers: { [name]: "x" } })).rawHeaders, [
        ["Connection", connection],
        ["Content-Length", "0"],
        [name, "x"]
      ])
    })
  }

  for (const [headers, header, problem] of badHeaders) {
    it(`refuses the headers ${JSON.stringify(headers)}`, () => {
      assert.deepStrictEqual(factsOf(rejectWith({ status: 400, headers })), { _tag: "InvalidHeader", header, problem })
    })
  }

  for (const [headers, pairs] of goodHeaders) {
    it(`writes the headers ${JSON.stringify(headers)}`, () => {
      assert.deepStrictEqual(succeed(rejectWith({ status: 400, headers })).rawHeaders, [
        ["Connection", "close"],
        ["Content-Length", "0"],
        ...pairs
      ])
    })
  }
})

const failureOf = (result: Result.Result<unknown, HandshakeError.RequestError>): HandshakeError.RequestError =>
  Result.isFailure(result) ? result.failure : assert.fail("succeeded")

describe("errorResponse", () => {
  for (
    const [result, connection, extra] of [
      [Handshake.readRequest(http({ method: "POST" })), "close", [["Allow", "GET"]]],
      [Handshake.readRequest(http({ httpVersion: "1.0" })), "close", []],
      [Handshake.readRequest(http({ target: "*" })), "close", []],
      [read({ Upgrade: undefined }), "close, Upgrade", [["Upgrade", "websocket"]]],
      [read({ Connection: undefined }), "close", []],
      [read({ "Content-Length": "5" }), "close", []],
      [read({ "Sec-WebSocket-Version": "8" }), "close, Upgrade", [
        ["Upgrade", "websocket"],
        ["Sec-WebSocket-Version", "13"]
      ]],
      [read({ "Sec-WebSocket-Version": undefined }), "close", []],
      [read({ "Sec-WebSocket-Key": "short" }), "close", []],
      [read({ Host: "a b" }), "close", []],
      [read({ "Sec-WebSocket-Protocol": "a b" }), "close", []],
      [read({ "Sec-WebSocket-Extensions": "a b" }), "close", []],
      [Handshake.checkOrigin(succeed(read()), "same-origin"), "close", []]
    ] as ReadonlyArray<readonly [Result.Result<unknown, HandshakeError.RequestError>, string, Pairs]>
  ) {
    const error = failureOf(result)
    it(`answers ${error._tag} with ${error.status}, and says why`, () => {
      assert.deepStrictEqual(Handshake.errorResponse(error), {
        status: error.status,
        rawHeaders: [
          ["Connection", connection],
          ["Content-Length", String(Buffer.byteLength(error.message))],
          ["Content-Type", "text/plain; charset=utf-8"],
          ...extra
        ],
        body: error.message
      })
    })
  }
})

/** Text that is nearly a URL, with a secret somewhere before an "@", or behind a "?" or "#". */
const secretUrl: Arbitrary.Arbitrary<string> = Arbitrary.flatMap(
  Arbitrary.array(among("/", "\\", "?", "#", ":", "@", "%", "%zz", " ", "\n", "[", "a", "1", "é", "//"), {
    maxLength: 4
  }),
  (parts) =>
    Arbitrary.map(
      Arbitrary.all([
        among("ws://", "wss://", "WS:", "http://", "https:/", "ftp://", " ws://", "//", "", "localhost:", "ws:\\\\"),
        among("user:", "", ":"),
        among("@h/", "@[::1]/", "@h:99999/", "@", "@h/#x", "@h/a?b#c"),
        among(0, 1, 2, 3, 4)
      ]),
      ([scheme, user, rest, at]) => {
        const filled = [...parts.slice(0, at), "SECRET", ...parts.slice(at)].join("")
        return at < 4
          ? `${scheme}${user}${filled}${rest}`
          : `${scheme}h/${filled.length % 2 === 0 ? "?" : "#"}${filled}`
      }
    )
)

describe("parseUrl (RFC 6455 §3)", () => {
  for (
    const [url, href] of [
      ["ws://example.com", "ws://example.com/"],
      ["wss://example.com/chat?room=1", "wss://example.com/chat?room=1"],
      ["WS://EXAMPLE.com/Chat", "ws://example.com/Chat"],
      ["http://example.com/chat", "ws://example.com/chat"],
      ["https://example.com/chat", "wss://example.com/chat"],
      ["ws://example.com:80/", "ws://example.com/"],
      ["wss://example.com:443/", "wss://example.com/"],
      ["ws://example.com:443/", "ws://example.com:443/"],
      ["http://example.com:80/", "ws://example.com/"],
      ["https://example.com:443/", "wss://example.com/"],
      ["https://example.com:80/", "wss://example.com:80/"],
      ["ws://[::1]:8080/", "ws://[::1]:8080/"],
      ["ws://127.0.0.1/a b", "ws://127.0.0.1/a%20b"],
      ["ws://example.com/%23", "ws://example.com/%23"],
      ["ws://us%40er:p%3ass@example.com/", "ws://us%40er:p%3ass@example.com/"],
      ["ws://bücher.example/", "ws://xn--bcher-kva.example/"]
    ] as const
  ) {
    it(`reads ${url}`, () => {
      assert.strictEqual(succeed(Handshake.parseUrl(url)).href, href)
    })
  }

  it("reads a host beyond ASCII each time, also when Node has optimized its URL functions", () => {
    for (let i = 0; i < 20_000; i++) assert.isTrue(Result.isSuccess(Handshake.parseUrl("ws://h\u00e9.example/")))
  })

  it("reads a URL object, and leaves it as it is", () => {
    const url = new URL("https://example.com/chat")
    assert.strictEqual(succeed(Handshake.parseUrl(url)).href, "wss://example.com/chat")
    assert.strictEqual(url.href, "https://example.com/chat")
  })

  const notAbsolute = "expected an absolute URL, such as wss://example.com/feed"
  const notEncoded = "expected a percent-encoded user name and password; write % as %25"
  const fragment = "expected no fragment; write # as %23 if it belongs to the path"
  const control = "expected no control characters, got a line break or another one"
  for (
    const [url, problem] of [
      ["", notAbsolute],
      ["/chat", notAbsolute],
      ["//example.com/chat", notAbsolute],
      ["example.com", notAbsolute],
      ["ws://", notAbsolute],
      ["ws://example.com:99999/", notAbsolute],
      ["ws://exa mple.com/", notAbsolute],
      ["ws://[::1/", notAbsolute],
      ["ftp://example.com/", "expected the scheme ws or wss, got ftp"],
      ["file:///chat", "expected the scheme ws or wss, got file"],
      ["localhost:8080", "expected the scheme ws or wss, got localhost"],
      ["wss+unix://a/", "expected the scheme ws or wss, got wss+unix"],
      ["ws://example.com/\r\nX-Injected: 1", control],
      ["ws://example.com/\t", control],
      ["ws://exam\nple.com/", control],
      ["ws://example.com/\0", control],
      ["ws://example.com/\x7f", control],
      ["ws://example.com/\n", control]
    ] as const
  ) {
    it(`refuses ${JSON.stringify(url)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.parseUrl(url)), { _tag: "InvalidUrl", url, problem })
      assert.deepStrictEqual(factsOf(Handshake.makeRequest(url, sampleKey)), { _tag: "InvalidUrl", url, problem })
    })
  }

  for (
    const [url, shown, problem] of [
      ["ws://example.com/#", "ws://example.com/", fragment],
      ["ws://example.com/# ", "ws://example.com/", fragment],
      ["ws://example.com/#\n", "ws://example.com/", fragment],
      [" ws://example.com#", " ws://example.com", fragment],
      ["ws://example.com?#", "ws://example.com", fragment],
      ["ws://example.com/#%23", "ws://example.com/", fragment],
      ["ws://example.com/##", "ws://example.com/", fragment],
      ["ws://example.com/#secret", "ws://example.com/", fragment],
      ["ws://example.com/chat?token=secret#x", "ws://example.com/chat", fragment],
      ["https://example.com#x", "https://example.com", fragment],
      ["ws://exa mple.com/?token=secret", "ws://exa mple.com/", notAbsolute],
      ["ws://user:secret@example.com/#", "ws://***@example.com/", fragment],
      ["ws://secret@example.com/chat#x", "ws://***@example.com/chat", fragment],
      ["ws://:secret@example.com#x", "ws://***@example.com", fragment],
      ["ws://user:sec@ret@example.com:8080/#", "ws://***@example.com:8080/", fragment],
      ["ws://us%40er:sec%2fret@example.com/#", "ws://***@example.com/", fragment],
      ["http://user:secret@[::1]:8080/#", "http://***@[::1]:8080/", fragment],
      [" WSS://user:secret@example.com/# ", " WSS://***@example.com/", fragment],
      ["ws:user:secret@example.com/#", "ws:***@example.com/", fragment],
      ["ws:/user:secret@example.com/#", "ws:/***@example.com/", fragment],
      ["ws:\\\\user:secret@example.com/#", "ws:\\\\***@example.com/", fragment],
      ["ftp://user:secret@example.com/", "***@example.com/", "expected it to begin with ws:// or wss://"],
      ["secret://@example.com/", "***@example.com/", "expected it to begin with ws:// or wss://"],
      ["ws://user:secret@exa mple.com/", "ws://***@exa mple.com/", notAbsolute],
      ["ws://user:secret@", "ws://***@", notAbsolute],
      ["//user:secret@example.com/", "//***@example.com/", notAbsolute],
      ["ws://secret%zz@example.com/", "ws://***@example.com/", notEncoded],
      ["ws://user:secret%@example.com/", "ws://***@example.com/", notEncoded],
      ["ws://user:secret%ff@example.com/", "ws://***@example.com/", notEncoded],
      ["ws://%ff:secret@example.com/", "ws://***@example.com/", notEncoded],
      // Characters that end the host where they are not escaped.
      ["ws://user:#secret@example.com/", "ws://***", fragment],
      ["ws://user:sec#ret@example.com/", "ws://***", notAbsolute],
      ["ws://user:secret?@example.com/", "ws://***", notAbsolute],
      ["ws://user:secret/@example.com/", "ws://***@example.com/", notAbsolute],
      ["ws://user:secret\\@example.com/", "ws://***@example.com/", notAbsolute],
      ["ws://user:1/secret@example.com/#", "ws://***@example.com/", fragment],
      ["ws://user:secret@example.com/a@b#x", "ws://***@b", fragment],
      ["ws://example.com/?a@secret#x", "ws://***", fragment],
      // Without a scheme, or with another one.
      ["secret:password@example.com/", "***@example.com/", "expected it to begin with ws:// or wss://"],
      ["user:secret#@example.com/", "***", "expected it to begin with ws:// or wss://"],
      ["secret@example.com", "***@example.com", notAbsolute],
      ["mailto:secret@example.com", "***@example.com", "expected it to begin with ws:// or wss://"],
      ["w\ns://user:secret@example.com/", "***@example.com/", control],
      ["ws://us\ner:secret@example.com/", "ws://***@example.com/", control]
    ] as const
  ) {
    it(`refuses ${JSON.stringify(url)}, and shows no credentials, query or fragment`, () => {
      const result = Handshake.parseUrl(url)
      assert.deepStrictEqual(factsOf(result), { _tag: "InvalidUrl", url: shown, problem })
      assert.deepStrictEqual(factsOf(Handshake.makeRequest(url, sampleKey)), factsOf(result))
      if (Result.isFailure(result)) assert.notInclude(String(result.failure), "secret")
    })
  }

  it("refuses a URL object, and shows no credentials, query or fragment", () => {
    for (
      const [url, shown] of [
        ["ws://example.com/#", "ws://example.com/"],
        ["wss://user:secret@example.com#x", "wss://***@example.com/"],
        ["ws:user:secret@example.com/?secret#", "ws://***@example.com/"]
      ] as const
    ) {
      assert.deepStrictEqual(factsOf(Handshake.parseUrl(new URL(url))), {
        _tag: "InvalidUrl",
        url: shown,
        problem: fragment
      })
    }
  })

  it.prop(
    "shows nothing of an invalid URL that stands before an @, or behind a ? or #",
    [secretUrl],
    ([url]) => {
      const result = Handshake.parseUrl(url)
      if (Result.isSuccess(result)) return true
      const told = [result.failure.message, String(result.failure), JSON.stringify(result.failure)].join()
      return !told.toLowerCase().includes("secret")
    },
    { arbitrary: { runs: 2000 } }
  )
})

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

  it("asks for no more than it is told to", () => {
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

  it("asks for subprotocols, extensions and headers", () => {
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
    it(`for ${url}`, () => {
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

  it("has no Authorization header where the credentials are empty", () => {
    for (const url of ["ws://@example.com/", "ws://:@example.com/"]) {
      assert.deepStrictEqual(asked(undefined, url).rawHeaders, asking("example.com"))
    }
  })

  it("takes an Authorization header over the URL's credentials", () => {
    const request = asked({ headers: { authorization: "Bearer token" } }, "ws://user:pass@example.com/")
    assert.deepStrictEqual(request.rawHeaders, [...asking("example.com"), ["authorization", "Bearer token"]])
  })

  it("takes a Host header over the URL's host", () => {
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
    it(`refuses the Host of ${JSON.stringify(headers)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.makeRequest("ws://example.com", sampleKey, { headers })), {
        _tag: "InvalidHeader",
        header: "Host",
        problem: "expected one host with an optional port"
      })
    })
  }

  it("leaves a header of no values away", () => {
    const request = asked({ headers: { Authorization: [], Origin: [] } }, "ws://user:pass@example.com/")
    assert.deepStrictEqual(request.rawHeaders, [...asking("example.com"), ["Authorization", "Basic dXNlcjpwYXNz"]])
    assert.isUndefined(request.origin)
  })

  for (const key of badKeys) {
    it(`refuses the key ${JSON.stringify(key)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.makeRequest("ws://example.com", key)), {
        _tag: "InvalidHeader",
        header: "Sec-WebSocket-Key",
        problem: badKey
      })
    })
  }

  for (const extensions of badExtensions) {
    it(`refuses the extensions ${JSON.stringify(extensions)}`, () => {
      assert.deepStrictEqual(
        factsOf(Handshake.makeRequest("ws://example.com", sampleKey, { extensions })),
        badExtension
      )
    })
  }

  it("offers an extension more than once, with other parameters", () => {
    const extensions = [parameterOf("b", "1"), parameterOf("!#$%&'*+-.^_`|~", "2"), parameterOf("c")]
    assert.deepStrictEqual(asked({ extensions }).rawHeaders, [
      ...asking("server.example.com"),
      ["Sec-WebSocket-Extensions", "a; b=1, a; !#$%&'*+-.^_`|~=2, a; c"]
    ])
  })

  it("names the first of several things that are wrong", () => {
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
    it(`refuses the subprotocols ${JSON.stringify(protocols)}`, () => {
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
    it(`refuses the headers ${JSON.stringify(headers)}`, () => {
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
    "writes no line breaks, whatever subprotocols and headers it is given",
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

const accepting: Pairs = [
  ["Upgrade", "websocket"],
  ["Connection", "Upgrade"],
  ["Sec-WebSocket-Accept", sampleAccept]
]

/** What becomes of a header that answers an offer, where nothing was offered. */
const unasked = (name: string, value: string) =>
  factsOf(Handshake.readResponse(asked(), { status: 101, rawHeaders: [...accepting, [name, value]] }))

describe("readResponse (RFC 6455 §4.1)", () => {
  const request = asked({
    protocols: ["chat", "superchat"],
    extensions: [{ name: "x-a", parameters: [] }, { name: "x-b", parameters: [] }]
  })
  const answer = (changes: Readonly<Record<string, string | undefined>> = {}, status = 101) =>
    Handshake.readResponse(request, { status, rawHeaders: withHeaders(changes, accepting) })

  it("accepts", () => {
    const verdict = succeed(answer())
    assert.deepStrictEqual<object>({ ...verdict, headers: { ...verdict.headers } }, {
      _tag: "Accepted",
      protocol: undefined,
      extensions: [],
      headers: { upgrade: "websocket", connection: "Upgrade", "sec-websocket-accept": sampleAccept },
      rawHeaders: accepting
    })
  })

  it("accepts a subprotocol and extensions that were offered", () => {
    const verdict = succeed(
      answer({ "Sec-WebSocket-Protocol": "superchat", "sec-websocket-extensions": "x-b; c=1, x-a" })
    )
    assert.strictEqual(verdict._tag, "Accepted")
    assert.strictEqual(verdict._tag === "Accepted" && verdict.protocol, "superchat")
    assert.deepStrictEqual(verdict._tag === "Accepted" && verdict.extensions, [
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
    it(`refuses ${name}: ${value}`, () => {
      assert.deepStrictEqual<Facts>(factsOf(answer({ [name]: value })), error)
    })
  }

  for (const httpVersion of ["1.0", "0.9", "2.0"]) {
    it(`refuses a 101 in HTTP/${httpVersion}`, () => {
      assert.deepStrictEqual(
        factsOf(Handshake.readResponse(request, { status: 101, httpVersion, rawHeaders: accepting })),
        { _tag: "UnsupportedHttpVersion", status: 505, version: httpVersion }
      )
    })
  }

  it("takes a rejection in any version of HTTP", () => {
    const verdict = succeed(Handshake.readResponse(request, { status: 401, httpVersion: "1.0", rawHeaders: [] }))
    assert.strictEqual(verdict._tag, "Rejected")
  })

  it("refuses two Upgrade headers", () => {
    const rawHeaders: Pairs = [...accepting, ["upgrade", "websocket"]]
    assert.deepStrictEqual(factsOf(Handshake.readResponse(request, { status: 101, rawHeaders })), {
      _tag: "InvalidUpgradeHeader",
      status: 426,
      value: "websocket, websocket"
    })
  })

  it("refuses what was not offered where nothing was", () => {
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

  it("refuses an answer to another key", () => {
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
      const verdict = succeed(
        Handshake.readResponse(asked(undefined, url), { status: 302, rawHeaders: [["Location", location]], body: "x" })
      )
      assert.deepStrictEqual({ ...verdict, headers: { ...verdict.headers } }, {
        _tag: "Redirect",
        status: 302,
        location: resolved,
        headers: { location },
        rawHeaders: [["Location", location]]
      })
    })
  }

  it("redirects with 301, 302, 303, 307 and 308 alone, and a Location", () => {
    const statuses = Array.from({ length: 500 }, (_, i) => i + 100).filter((status) => status !== 101)
    const redirects = statuses.filter((status) => succeed(answer({ Location: "/c" }, status))._tag === "Redirect")
    assert.deepStrictEqual(redirects, [301, 302, 303, 307, 308])
    for (const status of statuses) {
      const verdict = succeed(answer({}, status))
      assert.strictEqual(verdict._tag, "Rejected")
      assert.strictEqual(verdict._tag === "Rejected" && verdict.status, status)
    }
  })

  it("rejects with another status, and its body", () => {
    const response = { status: 401, rawHeaders: [["WWW-Authenticate", "Basic"]] as Pairs, body: "who are you" }
    const verdict = succeed(Handshake.readResponse(request, response))
    assert.deepStrictEqual({ ...verdict, headers: { ...verdict.headers } }, {
      _tag: "Rejected",
      status: 401,
      headers: { "www-authenticate": "Basic" },
      rawHeaders: response.rawHeaders,
      body: "who are you"
    })
    const bare = succeed(Handshake.readResponse(request, { status: 500, rawHeaders: [] }))
    assert.strictEqual(bare._tag === "Rejected" && bare.body, "")
  })

  it("rejects a 200 that looks like a handshake", () => {
    assert.strictEqual(succeed(answer({}, 200))._tag, "Rejected")
  })
})

describe("a client and a server", () => {
  it.prop(
    "understand each other",
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
      const verdict = succeed(Handshake.readResponse(sent, { status, rawHeaders }))
      assert.strictEqual(verdict._tag, "Accepted")
      assert.strictEqual(verdict._tag === "Accepted" && verdict.protocol, protocol)
      assert.deepStrictEqual(verdict._tag === "Accepted" && verdict.extensions, extensions)
    }
  )

  it("understand each other where the server rejects", () => {
    const response = succeed(Handshake.rejectResponse(Handshake.reject({ status: 403, body: "no" })))
    const { rawHeaders, status } = response
    const verdict = succeed(Handshake.readResponse(asked(), { status, rawHeaders, body: "no" }))
    assert.strictEqual(verdict._tag === "Rejected" && verdict.body, "no")
  })
})

describe("the policy", () => {
  it.effect("makes keys of 16 random bytes, and accepts, by default", () =>
    Effect.gen(function*() {
      const policy = yield* Handshake.HandshakePolicy
      const keys = Array.from({ length: 1000 }, () => policy.makeKey())
      for (const key of keys) {
        assert.match(key, /^[A-Za-z0-9+/]{21}[AQgw]==$/)
        assert.strictEqual(Buffer.from(key, "base64").length, 16)
      }
      assert.strictEqual(new Set(keys).size, 1000)
      assert.strictEqual(succeed(read({ "Sec-WebSocket-Key": keys[0] })).key, keys[0])
      const decision = yield* policy.decide(succeed(read()))
      assert.strictEqual(decision._tag, "Accept")
      assert.isUndefined(decision._tag === "Accept" ? decision.protocol : "rejected")
      assert.isUndefined(decision.headers)
    }))

  it.effect("is another where a Layer says so: its keys", () =>
    Effect.gen(function*() {
      const policy = yield* Handshake.HandshakePolicy
      assert.strictEqual(policy.makeKey(), sampleKey)
      assert.strictEqual((yield* policy.decide(succeed(read())))._tag, "Accept")
    }).pipe(Effect.provide(Handshake.layerPolicy({ makeKey: () => sampleKey }))))

  it.effect("is another where a Layer says so: its decision", () =>
    Effect.gen(function*() {
      const policy = yield* Handshake.HandshakePolicy
      assert.notStrictEqual(policy.makeKey(), policy.makeKey())
      const decision = yield* policy.decide(succeed(read()))
      assert.strictEqual(decision._tag === "Reject" && decision.body, "/chat")
    }).pipe(
      Effect.provide(
        Handshake.layerPolicy({
          decide: (request) => Effect.succeed(Handshake.reject({ status: 403, body: request.path }))
        })
      )
    ))

  it.effect("is the default again where a Layer says nothing", () =>
    Effect.gen(function*() {
      const policy = yield* Handshake.HandshakePolicy
      assert.notStrictEqual(policy.makeKey(), policy.makeKey())
      assert.strictEqual((yield* policy.decide(succeed(read())))._tag, "Accept")
    }).pipe(Effect.provide(Handshake.layerPolicy())))
})

describe("foldHeaders", () => {
  it("gives headers by lower-case name, with the values of a repeated one together", () => {
    const headers = Handshake.foldHeaders([["A", "1"], ["b", "2"], ["a", "3"], ["Cookie", "x"], ["cookie", "y"]])
    assert.deepStrictEqual(Object.entries(headers), [["a", "1, 3"], ["b", "2"], ["cookie", "x; y"]])
  })
})
