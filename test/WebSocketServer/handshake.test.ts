/** The opening handshake, byte by byte over TCP. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Frame, type HandshakeError } from "effect-ws"
import { headEnd, rawConnect, rawHandshake, requestText, serve, splitHead } from "../support/net.ts"
import { connect, echo, idle, statusOf, textOf } from "../support/serving.ts"

describe("the handshake over TCP (RFC 6455 §4.2)", () => {
  it.live("sends the headers of RFC 6455 and no others", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle)
      const { head } = yield* rawHandshake(server.port)
      assert.deepStrictEqual(head.split("\r\n"), [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
      ])
    }))

  it.live("accepts a request that arrives byte by byte, and frames sent right after a request", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const slow = yield* rawConnect(server.port)
      for (const character of requestText()) {
        slow.write(character)
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      }
      yield* slow.until((received) => received.includes(headEnd))

      const eager = yield* rawConnect(server.port)
      eager.write(Buffer.concat([Buffer.from(requestText()), Frame.encode(Frame.text("early"), 1)]))
      const { rest } = splitHead(yield* eager.until((received) => received.includes("early")))
      assert.deepStrictEqual(rest, Buffer.from([0x81, 5, ...Buffer.from("early")]))
    }))

  it.live("responds to a Connection header with a trailing tab, whether or not Node emits an upgrade", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle)
      const peer = yield* rawConnect(server.port)
      peer.write(requestText({ Connection: "Upgrade\t" }))
      const { head } = splitHead(yield* peer.until((received) => received.includes(headEnd)))
      assert.match(head, /^HTTP\/1.1 (101|400) /)
    }))

  const malformed: ReadonlyArray<readonly [string, string, number]> = [
    ["a POST", requestText({ "Content-Length": "0" }, "POST / HTTP/1.1"), 405],
    ["HTTP/1.0", requestText({}, "GET / HTTP/1.0"), 505],
    ["no Upgrade", requestText({ Upgrade: undefined }), 426],
    ["another Upgrade", requestText({ Upgrade: "h2c" }), 426],
    ["no Connection", requestText({ Connection: undefined }), 400],
    ["another Connection", requestText({ Connection: "keep-alive" }), 400],
    ["a body", requestText({ "Content-Length": "5" }) + "hello", 400],
    ["a body in chunks", requestText({ "Transfer-Encoding": "chunked" }) + "0\r\n\r\n", 400],
    ["no key", requestText({ "Sec-WebSocket-Key": undefined }), 400],
    ["a key that is too short", requestText({ "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25j" }), 400],
    ["no version", requestText({ "Sec-WebSocket-Version": undefined }), 400],
    ["another version", requestText({ "Sec-WebSocket-Version": "8" }), 426],
    ["no Host", requestText({ Host: undefined }), 400],
    ["a subprotocol that is not a token", requestText({ "Sec-WebSocket-Protocol": "a b" }), 400],
    ["a subprotocol twice", requestText({ "Sec-WebSocket-Protocol": "a, a" }), 400],
    ["invalid extensions", requestText({ "Sec-WebSocket-Extensions": "a; =1" }), 400],
    ["an unclosed quote", requestText({ "Sec-WebSocket-Extensions": "a; b=\"" + "\\".repeat(10_000) }), 400],
    ["headers above maxHeaderSize", requestText({ "X-Filler": "x".repeat(20_000) }), 431],
    ["a page of another origin", requestText({ Origin: "http://elsewhere.example" }), 403]
  ]
  for (const [name, request, status] of malformed) {
    it.live(`rejects ${name} with ${status}`, () =>
      Effect.gen(function*() {
        const server = yield* serve(idle)
        assert.strictEqual(yield* statusOf(server.port, request), status)
        assert.deepStrictEqual(yield* server.connections, [])
      }))
  }

  it.live("rejects a request with 431 if Node drops its Upgrade header (CVE-2024-37890)", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle, { maxHeaderSize: 1024 * 1024 })
      const many = Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`X-${i}`, "1"]))
      const text = requestText({ ...many, Upgrade: undefined, Connection: undefined }).slice(0, -2) +
        "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
      assert.strictEqual(yield* statusOf(server.port, text), 431)
      yield* rawHandshake(server.port)
    }))

  it.live("responds to a plain GET with 426 and an explanation, or calls onRequest", () =>
    Effect.gen(function*() {
      const plain = yield* serve(idle)
      const response = yield* Effect.promise(() => fetch(`http://127.0.0.1:${plain.port}/`))
      assert.strictEqual(response.status, 426)
      assert.strictEqual(response.headers.get("upgrade"), "websocket")
      assert.match(yield* Effect.promise(() => response.text()), /Upgrade header: expected "websocket", got none/)

      const withPage = yield* serve(echo, { onRequest: (_request, answer) => answer.end("a page") })
      const page = yield* Effect.promise(() => fetch(`http://127.0.0.1:${withPage.port}/`))
      assert.strictEqual(yield* Effect.promise(() => page.text()), "a page")
      const connection = yield* connect(withPage.url)
      yield* connection.send("and a socket")
      assert.strictEqual(textOf(yield* connection.receive), "and a socket")
    }))

  it.live("closes the socket of an upgrade behind a pending response, which would be written between frames", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { onRequest: () => {} })
      for (const before of [1, 2]) {
        const peer = yield* rawConnect(server.port)
        peer.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(before) + requestText())
        assert.strictEqual((yield* peer.ended).length, 0)
        assert.deepStrictEqual(yield* server.connections, [])
      }
    }))

  it.live("accepts an upgrade on a socket after a response", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { onRequest: (_request, response) => response.end("ok") })
      const peer = yield* rawConnect(server.port)
      peer.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      yield* peer.until((received) => received.toString().endsWith("ok"))
      peer.write(requestText())
      yield* peer.until((received) => received.toString().includes("HTTP/1.1 101"))
    }))

  it.live("path: rejects requests for other paths with 404", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle, { path: "/chat" })
      assert.strictEqual(yield* statusOf(server.port, requestText({}, "GET /other HTTP/1.1")), 404)
      const connection = yield* connect(`${server.url}?room=1`)
      assert.strictEqual(connection.request.path, "/chat")
      assert.strictEqual(connection.request.query.get("room"), "1")
    }))

  it.live("origin: allows the same origin by default, the listed origins, or any", () =>
    Effect.gen(function*() {
      const own = yield* serve(idle)
      yield* connect(own.url)
      yield* connect(own.url, { headers: { Origin: `http://127.0.0.1:${own.port}` } })
      const rejected = yield* Effect.flip(connect(own.url, { headers: { Origin: "http://evil.example" } }))
      assert.strictEqual((rejected as HandshakeError.HandshakeRejected).status, 403)

      const listed = yield* serve(idle, { serve: { origin: ["https://app.example"] } })
      yield* connect(listed.url, { headers: { Origin: "https://app.example" } })
      yield* Effect.flip(connect(listed.url, { headers: { Origin: `http://127.0.0.1:${listed.port}` } }))

      const open = yield* serve(idle, { serve: { origin: "any" } })
      yield* connect(open.url, { headers: { Origin: "http://anything.example" } })
    }))

  it.live("protocols: selects the server's first protocol that the client offers", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle, { serve: { protocols: ["v2", "v1"] } })
      const both = yield* connect(server.url, { protocols: ["v1", "v2"] })
      assert.strictEqual(both.subprotocol, "v2")
      const none = yield* connect(server.url, { protocols: ["v9"] })
      assert.isUndefined(none.subprotocol)
      assert.deepStrictEqual((yield* server.connections).map((connection) => connection.subprotocol), ["v2", undefined])
    }))
})
