/** Reading requests (RFC 6455 §4.2.1). */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Result, Schema } from "effect"
import { Handshake } from "effect-ws"
import {
  badKeys,
  factsOf,
  http,
  type Pairs,
  read,
  sample,
  sampleKey,
  succeed,
  withHeaders
} from "../support/handshakes.ts"
import { among, either } from "../support/properties.ts"

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

  it("passes on TLS and the address of the client", () => {
    const request = succeed(Handshake.readRequest(http({ secure: true, remoteAddress: "192.0.2.1" })))
    assert.isTrue(request.secure)
    assert.strictEqual(request.remoteAddress, "192.0.2.1")
    assert.isFalse(succeed(Handshake.readRequest(http({ secure: false }))).secure)
  })

  it("reads a request with only the required headers", () => {
    const request = succeed(read({ Origin: undefined, "Sec-WebSocket-Protocol": undefined }))
    assert.isUndefined(request.origin)
    assert.deepStrictEqual(request.protocols, [])
    assert.deepStrictEqual(request.extensions, [])
  })

  for (const method of ["POST", "HEAD", "CONNECT", "get", ""]) {
    it(`rejects the method ${JSON.stringify(method)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.readRequest(http({ method }))), {
        _tag: "InvalidMethod",
        status: 405,
        method,
        expected: "GET"
      })
    })
  }

  for (const version of ["1.0", "0.9", "2.0", "3.0", "1", "1.", "1.10", "11.1", "1x1", "", " 1.1", "1.1\n"]) {
    it(`rejects HTTP/${JSON.stringify(version)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.readRequest(http({ httpVersion: version }))), {
        _tag: "UnsupportedHttpVersion",
        status: 505,
        version
      })
    })
  }

  it("reads HTTP/1.1 and later minor versions", () => {
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
    it(`rejects the target ${JSON.stringify(target)}`, () => {
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
    it(`rejects Upgrade: ${JSON.stringify(value)}`, () => {
      assert.deepStrictEqual(factsOf(read({ upgrade: value })), { _tag: "InvalidUpgradeHeader", status: 426, value })
    })
  }

  for (const value of ["Upgrade", "upgrade", "UPGRADE", "keep-alive, Upgrade", "Upgrade,keep-alive", " , upgrade\t"]) {
    it(`reads Connection: ${JSON.stringify(value)}`, () => {
      assert.strictEqual(succeed(read({ connection: value })).headers["connection"], value)
    })
  }

  for (const value of [undefined, "", "close", "keep-alive", "upgrades", "up grade"]) {
    it(`rejects Connection: ${JSON.stringify(value)}`, () => {
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
    it(`rejects ${header}: ${JSON.stringify(value)}, because it announces a body`, () => {
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
    it(`rejects Sec-WebSocket-Version: ${JSON.stringify(version)}`, () => {
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
    it(`rejects Sec-WebSocket-Key: ${JSON.stringify(key)}`, () => {
      assert.deepStrictEqual(factsOf(read({ "Sec-WebSocket-Key": key })), { _tag: "InvalidKey", status: 400, key })
    })
  }

  it("rejects two keys, even if they are the same", () => {
    const rawHeaders: Pairs = [...sample, ["Sec-WebSocket-Key", sampleKey]]
    assert.strictEqual(factsOf(Handshake.readRequest(http({ rawHeaders })))["_tag"], "InvalidKey")
  })

  for (const header of ["Sec-WebSocket-Version", "Sec-WebSocket-Key", "Host"]) {
    it(`rejects a request without ${header}`, () => {
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
    it(`rejects Host: ${JSON.stringify(value)} (RFC 9112 §3.2)`, () => {
      assert.deepStrictEqual(factsOf(read({ Host: value })), { _tag: "InvalidHostHeader", status: 400, value })
    })
  }

  for (const [name, value] of [["Host", "a"], ["host", "server.example.com"], ["HOST", ""]] as const) {
    it(`rejects two Host headers, the second of them ${name}: ${JSON.stringify(value)}`, () => {
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

  it("rejects an absolute target without a host, with any Host header", () => {
    for (const target of ["http://a,b/", "http://{a}/", "http://a`/"]) {
      assert.strictEqual(factsOf(Handshake.readRequest(http({ target })))["_tag"], "InvalidHostHeader")
    }
  })

  it("rejects a request without Host, also if the target has one", () => {
    const rawHeaders = withHeaders({ Host: undefined })
    assert.deepStrictEqual(factsOf(Handshake.readRequest(http({ target: "http://server.example.com/", rawHeaders }))), {
      _tag: "MissingHeader",
      status: 400,
      header: "Host"
    })
  })

  it.prop(
    "reads only a Host that a URL has as host and port",
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
    it(`rejects Sec-WebSocket-Protocol: ${JSON.stringify(value)}`, () => {
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
    it(`rejects Sec-WebSocket-Extensions: ${JSON.stringify(value)}`, () => {
      assert.deepStrictEqual(factsOf(read({ "Sec-WebSocket-Extensions": value })), {
        _tag: "InvalidExtensionHeader",
        status: 400,
        value
      })
    })
  }

  it("fails with the first of several errors", () => {
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

  it("reads headers with names of object properties, such as __proto__", () => {
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
    "reads or rejects any request without throwing",
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
