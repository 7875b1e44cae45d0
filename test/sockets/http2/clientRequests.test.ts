/** The requests of a client over HTTP/2 (RFC 8441 §4), and the responses to them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { PerMessageDeflate, WebSocketClient } from "effect-ws"
import { failure, visit } from "../../support/connecting.ts"
import { localhostTls } from "../../support/certificates.ts"
import { echoStream, http2Server, secureHttp2Server, trusted } from "../../support/http2ServerPeers.ts"

const only = { http2: "only" } as const

describe("requests over HTTP/2", () => {
  it.live("only connects over HTTP/2 without TLS, with an extended CONNECT", () =>
    Effect.gen(function*() {
      const server = yield* http2Server({
        respond: (stream) => echoStream(stream, { "sec-websocket-protocol": "b", "set-cookie": ["a=1", "b=2"] })
      })
      yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* WebSocketClient.connect(`${server.url}/a/b?c=d`, {
          ...only,
          protocols: ["a", "b"],
          headers: { "X-Own": "café", Cookie: ["x=1", "y=2"], Origin: "https://example.com" }
        })
        assert.strictEqual(connection.subprotocol, "b")
        assert.strictEqual(connection.request.httpVersion, "2")
        assert.deepStrictEqual(
          connection.rawResponseHeaders.filter(([name]) => name === "set-cookie"),
          [["set-cookie", "a=1"], ["set-cookie", "b=2"]]
        )
      }))
      assert.deepInclude({ ...server.requests[0] }, {
        ":method": "CONNECT",
        ":protocol": "websocket",
        ":scheme": "http",
        ":path": "/a/b?c=d",
        ":authority": `localhost:${server.port}`,
        "sec-websocket-version": "13",
        "sec-websocket-protocol": "a, b",
        "x-own": "café",
        cookie: "x=1; y=2",
        origin: "https://example.com"
      })
      for (const header of ["sec-websocket-key", "upgrade", "connection", "host"]) {
        assert.notProperty(server.requests[0], header)
      }
    }))

  for (const http2 of ["prefer", "only"] as const) {
    it.live(`${http2} connects over HTTP/2 with TLS, if the server supports it`, () =>
      Effect.gen(function*() {
        const server = yield* secureHttp2Server()
        const request = yield* visit(server.url.replace("//", "//user:pass@"), { http2, ...trusted })
        assert.deepStrictEqual([request.httpVersion, request.secure], ["2", true])
        assert.deepInclude({ ...server.requests[0] }, { ":scheme": "https", authorization: "Basic dXNlcjpwYXNz" })
      }))
  }

  it.live("a Host header becomes :authority", () =>
    Effect.gen(function*() {
      const server = yield* http2Server()
      const request = yield* visit(server.url, { ...only, headers: { Host: "virtual.example" } })
      assert.strictEqual(request.host, "virtual.example")
      assert.strictEqual(server.requests[0][":authority"], "virtual.example")
      assert.notProperty(server.requests[0], "host")
    }))

  it.live("prefer connects over HTTP/1.1 without TLS, and nothing tries HTTP/2 by default", () =>
    Effect.gen(function*() {
      const plain = yield* http2Server()
      assert.strictEqual(
        (yield* failure(WebSocketClient.connect(plain.url, { http2: "prefer" })))._tag,
        "ConnectFailed"
      )
      const secure = yield* secureHttp2Server({ allowHTTP1: true })
      assert.strictEqual((yield* visit(secure.url, trusted)).httpVersion, "1.1")
      assert.deepStrictEqual([plain.requests, secure.requests], [[], []])
    }))

  for (const header of ["Keep-Alive", "TE", "Proxy-Connection", "HTTP2-Settings"]) {
    it.live(`fails with InvalidHeader for ${header}, which HTTP/2 does not allow, before a connection`, () =>
      Effect.gen(function*() {
        const server = yield* http2Server()
        for (const http2 of ["prefer", "only"] as const) {
          const error = yield* failure(WebSocketClient.connect(server.url, { http2, headers: { [header]: "x" } }))
          assert.deepInclude(error, { _tag: "InvalidHeader", header })
        }
        assert.strictEqual(server.sessions.length, 0)
      }))
  }

  const accepting: ReadonlyArray<readonly [string, Record<string, string>, WebSocketClient.ConnectOptions]> = [
    ["UnsolicitedProtocol", { "sec-websocket-protocol": "c" }, { protocols: ["a"] }],
    ["UnsolicitedExtension", { "sec-websocket-extensions": "x" }, {}],
    ["InvalidExtensionHeader", { "sec-websocket-extensions": ";" }, {}],
    ["ExtensionMismatch", { "sec-websocket-extensions": "permessage-deflate; a=1" }, {
      extensions: [PerMessageDeflate.make()]
    }]
  ]
  for (const [tag, headers, options] of accepting) {
    it.live(`a response that accepts fails with ${tag} as over HTTP/1.1, and resets the stream`, () =>
      Effect.gen(function*() {
        const closed: Array<number> = []
        const server = yield* http2Server({
          respond: (stream) => {
            stream.on("close", () => closed.push(stream.rstCode))
            echoStream(stream, headers)
          }
        })
        assert.strictEqual((yield* failure(WebSocketClient.connect(server.url, { ...only, ...options })))._tag, tag)
        while (closed.length === 0) yield* Effect.yieldNow
        assert.deepStrictEqual(closed, [8])
      }))
  }

  for (const status of [200, 201, 299]) {
    it.live(`status ${status} accepts`, () =>
      Effect.gen(function*() {
        const server = yield* http2Server({ respond: (stream) => echoStream(stream, { ":status": status }) })
        yield* visit(server.url, only)
      }))
  }

  it.live("any other status fails with HandshakeRejected, with the headers and the body", () =>
    Effect.gen(function*() {
      const server = yield* http2Server({
        respond: (stream) => {
          stream.respond({ ":status": 401, "www-authenticate": "Bearer", "set-cookie": ["a=1", "b=2"] })
          stream.end("a token is needed")
        }
      })
      const error = yield* failure(WebSocketClient.connect(server.url, only))
      assert.deepInclude(error, { _tag: "HandshakeRejected", status: 401, body: "a token is needed" })
      if (error._tag !== "HandshakeRejected") return
      assert.strictEqual(error.headers["www-authenticate"], "Bearer")
      assert.isFalse(error.rawHeaders.some(([name]) => name.startsWith(":")))
      assert.strictEqual(error.rawHeaders.filter(([name]) => name === "set-cookie").length, 2)
    }))

  it.live("keeps 64 KiB of the body of a rejection", () =>
    Effect.gen(function*() {
      const server = yield* http2Server({
        respond: (stream) => {
          stream.respond({ ":status": 500 })
          stream.end("x".repeat(1_000_000))
        }
      })
      const error = yield* failure(WebSocketClient.connect(server.url, only))
      assert.strictEqual(error._tag === "HandshakeRejected" && error.body.length, 65_536)
    }))

  it.live("follows redirects on the session of the server", () =>
    Effect.gen(function*() {
      const server = yield* http2Server({
        respond: (stream, headers) => {
          if (headers[":path"] !== "/a") return echoStream(stream)
          stream.respond({ ":status": 307, location: "/b" })
          stream.end("elsewhere")
        }
      })
      const request = yield* visit(`${server.url}/a`, { ...only, maxRedirects: 1 })
      assert.strictEqual(request.path, "/b")
      assert.deepStrictEqual(server.requests.map((headers) => headers[":path"]), ["/a", "/b"])
      assert.strictEqual((yield* failure(WebSocketClient.connect(`${server.url}/a`, only)))._tag, "HandshakeRedirected")
    }))

  it.live("a certificate that is not trusted is ConnectFailed in the phase tls", () =>
    Effect.gen(function*() {
      const server = yield* secureHttp2Server()
      const error = yield* failure(WebSocketClient.connect(server.url, only))
      assert.deepInclude(error, { _tag: "ConnectFailed", phase: "tls", url: `${server.url}/` })
      const invalid = yield* failure(WebSocketClient.connect(server.url, { ...only, tls: { ca: "no", cert: "no" } }))
      assert.deepInclude(invalid, { _tag: "InvalidOption", option: "tls" })
    }))

  it.live("a connection in a Scope of its own leaves no session behind", () =>
    Effect.gen(function*() {
      const server = yield* secureHttp2Server({ tls: localhostTls })
      const exit = yield* Effect.exit(visit(server.url, { ...only, ...trusted }))
      assert.isTrue(Exit.isSuccess(exit))
      while (!server.sessions[0].destroyed) yield* Effect.yieldNow
    }))
})
