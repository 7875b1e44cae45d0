/** Attacks on the handshake that broke other implementations: each test names the reports, and ends with proof that other clients are served. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Frame, Handshake, PerMessageDeflate, WebSocketClient } from "effect-ws"
import type * as Net from "node:net"
import { expectAlive, serveEcho, statusOf } from "../../support/attacks.ts"
import {
  headEnd,
  rawConnect,
  rawHandshake,
  rawServer,
  requestText,
  splitHead,
  upgradeResponse
} from "../../support/net.ts"
import { localhostTls } from "../../support/certificates.ts"
import { eventually, openSockets } from "../../support/resources.ts"

describe("attacks on the handshake", () => {
  it.live("a server rejects malformed headers of 200,000 characters with 400 in linear time (CVE-2021-32640, CVE-2020-7662)", () =>
    Effect.gen(function*() {
      const server = yield* serveEcho({ maxHeaderSize: 2 ** 20, serve: { extensions: [PerMessageDeflate.make()] } })
      const length = 200_000
      const of = (name: string, value: string) => statusOf(server, requestText({ [name]: value }))
      assert.strictEqual(yield* of("Sec-WebSocket-Protocol", "a" + " ".repeat(length) + "b"), 400)
      assert.strictEqual(yield* of("Sec-WebSocket-Extensions", "a; b=\"" + "\\".repeat(length)), 400)
      assert.strictEqual(yield* of("Sec-WebSocket-Extensions", "a; b" + "\t".repeat(length) + "\"c"), 400)
      assert.strictEqual(yield* of("Sec-WebSocket-Extensions", "permessage-deflate;".repeat(20_000) + ";"), 400)
      yield* expectAlive(server)
    }))

  it.live("a server ignores extensions and subprotocols named as properties of Object.prototype (WS-2017-0421)", () =>
    Effect.gen(function*() {
      const server = yield* serveEcho({ serve: { extensions: [PerMessageDeflate.make()], protocols: ["chat"] } })
      for (const name of ["constructor", "__proto__", "toString", "hasOwnProperty"]) {
        const peer = yield* rawHandshake(server.port, {
          "Sec-WebSocket-Extensions": `${name}; ${name}=1, permessage-deflate; ${name}`,
          "Sec-WebSocket-Protocol": `${name}, chat`,
          [name]: "1"
        })
        assert.include(peer.head, "Sec-WebSocket-Protocol: chat")
        assert.notInclude(peer.head, "Extensions")
      }
      yield* expectAlive(server)
    }))

  it.live("a server rejects a request with more headers than Node keeps (CVE-2024-37890)", () =>
    Effect.gen(function*() {
      const server = yield* serveEcho({ maxHeaderSize: 2 ** 20 })
      const many = Array.from({ length: 5000 }, (_, i) => `X-${i}: 1\r\n`).join("")
      const text = requestText().replace("Upgrade: ", `${many}Upgrade: `)
      assert.include([426, 431], yield* statusOf(server, text))
      yield* expectAlive(server)
    }))

  it.live("endless headers get 431 from a server and HPE_HEADER_OVERFLOW from a client (CVE-2023-43669, CVE-2026-54465)", () =>
    Effect.gen(function*() {
      const endless = (socket: Net.Socket) => {
        const more = () => {
          while (!socket.destroyed && socket.write(`X-More: ${"x".repeat(1000)}\r\n`));
        }
        socket.on("error", () => {})
        socket.on("drain", more)
        more()
      }
      const server = yield* serveEcho()
      const peer = yield* rawConnect(server.port)
      peer.write("GET / HTTP/1.1\r\n")
      endless(peer.socket)
      assert.include((yield* peer.ended).toString("latin1"), "HTTP/1.1 431 ")
      assert.isBelow(peer.socket.bytesWritten, 10_000_000)
      yield* expectAlive(server)

      const bad = yield* rawServer(({ socket }) => {
        socket.write("HTTP/1.1 101 Switching Protocols\r\n")
        endless(socket)
      })
      const error = yield* Effect.flip(WebSocketClient.connect(`ws://127.0.0.1:${bad.port}/`))
      assert.deepInclude(error, { _tag: "ConnectFailed", code: "HPE_HEADER_OVERFLOW" })
    }))

  it.live("line breaks in options, URLs and decisions never reach the wire (CVE-2026-47072, CVE-2026-1527)", () =>
    Effect.gen(function*() {
      const target = yield* rawServer(() => {})
      const url = `ws://127.0.0.1:${target.port}/`
      for (const bad of ["a\r\nX-Injected: 1", "a\nb", "a\rb", "a\0b"]) {
        const attempts: ReadonlyArray<WebSocketClient.ConnectOptions> = [
          { headers: { "X-A": bad } },
          { headers: { [bad]: "1" } },
          { headers: { Host: bad } },
          { protocols: [bad] }
        ]
        for (const options of attempts) {
          const error = yield* Effect.flip(WebSocketClient.connect(url, options))
          assert.include(["InvalidHeader", "InvalidProtocol"], error._tag)
        }
        // A URL cannot contain them: they are encoded, dropped or rejected, and never sent.
        const parsed = yield* Effect.exit(Effect.fromResult(Handshake.parseUrl(`ws://127.0.0.1:1/${bad}?${bad}`)))
        if (parsed._tag === "Success") assert.notMatch(parsed.value.href, /[\r\n\0]/)
      }
      assert.strictEqual(target.peers.length, 0)

      const server = yield* serveEcho({
        serve: {
          decide: (request) =>
            Effect.succeed(
              request.path === "/" ? Handshake.accept() : Handshake.accept({ headers: { "X-A": "a\r\nX-Injected: 1" } })
            )
        }
      })
      assert.strictEqual(yield* statusOf(server, requestText({}, "GET /bad HTTP/1.1")), 500)
      yield* expectAlive(server)
    }))

  it.live("sockets that are reset before, during and after a decision leave nothing behind (CVE-2022-21676, CVE-2022-41940)", () =>
    Effect.gen(function*() {
      let decisions = 0
      const server = yield* serveEcho({
        serve: {
          decide: (request) => {
            if (request.path !== "/wait") return Effect.succeed(Handshake.accept())
            decisions++
            return Effect.never
          }
        }
      })
      const before = openSockets()
      for (let i = 0; i < 20; i++) {
        const waiting = yield* rawConnect(server.port)
        waiting.write(requestText({}, "GET /wait HTTP/1.1"))
        yield* eventually(() => decisions === i + 1)
        waiting.socket.resetAndDestroy()
        const early = yield* rawConnect(server.port)
        early.write(requestText())
        early.socket.resetAndDestroy()
        const open = yield* rawHandshake(server.port)
        open.send(Frame.text("x".repeat(100_000)))
        open.socket.resetAndDestroy()
      }
      yield* eventually(() => openSockets() <= before)
      yield* eventually(() => server.ends.length >= 20)
      while ((yield* server.connections).length > 0) yield* Effect.sleep(1)
      yield* expectAlive(server)
    }))

  it.live("requests with an invalid key leave no socket and no connection behind (GHSA-9mqv-5hh9-4cgg)", () =>
    Effect.gen(function*() {
      const server = yield* serveEcho({ serve: { maxConnections: 5 } })
      const before = openSockets()
      for (let i = 0; i < 50; i++) {
        assert.strictEqual(yield* statusOf(server, requestText({ "Sec-WebSocket-Key": "x".repeat(i % 30) })), 400)
        yield* eventually(() => openSockets() <= before)
      }
      // If each kept its connection, maxConnections would reject this one.
      yield* expectAlive(server)
    }))

  it.live("a server answers one of 5,000 pipelined requests, and rejects requests after an upgrade (CVE-2026-100658)", () =>
    Effect.gen(function*() {
      const server = yield* serveEcho()
      const peer = yield* rawConnect(server.port)
      peer.write(requestText({ Upgrade: undefined, Connection: "keep-alive" }).repeat(5000))
      const responses = (yield* peer.ended).toString("latin1").split("HTTP/1.1 ")
      assert.strictEqual(responses.length - 1, 1)
      // After an upgrade, requests are invalid frames.
      const upgraded = yield* rawConnect(server.port)
      upgraded.write(requestText().repeat(100))
      const { rest } = splitHead(yield* upgraded.ended)
      assert.notInclude(rest.toString("latin1"), "HTTP/1.1")
      assert.strictEqual(rest[0], 0x88)
      assert.deepStrictEqual(yield* server.connections, [])
      yield* expectAlive(server)
    }))

  it.live("a server rejects pages of other origins with 403 (CVE-2025-24964, CVE-2025-24010)", () =>
    Effect.gen(function*() {
      const server = yield* serveEcho()
      const Host = `127.0.0.1:${server.port}`
      const from = (Origin: string) => statusOf(server, requestText({ Host, Origin }))
      const others = [
        "http://evil.example",
        "null",
        `http://${Host}.evil.example`,
        `http://evil.example/?${Host}`,
        `http://${Host}@evil.example`,
        "http://127.0.0.1:1",
        ""
      ]
      for (const origin of others) assert.strictEqual(yield* from(origin), 403, origin)
      assert.strictEqual(yield* from(`http://${Host}`), 101)
      yield* expectAlive(server)
    }))

  it.live("handshakeTimeout covers slow bytes, silence and a decision that never ends", () =>
    Effect.gen(function*() {
      const server = yield* serveEcho({
        handshakeTimeout: "1 second",
        serve: {
          decide: (request) => request.path === "/never" ? Effect.never : Effect.succeed(Handshake.accept())
        }
      })
      const started = performance.now()
      const silent = yield* rawConnect(server.port)
      const dribbling = yield* rawConnect(server.port)
      const drip = setInterval(() => dribbling.socket.writable && dribbling.write("x"), 20)
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(drip)))
      // The request takes 600 ms of the second, which leaves 400 ms for the decision.
      const late = yield* rawConnect(server.port)
      late.write("GET /never HTTP/1.1\r\n")
      yield* Effect.sleep("600 millis")
      late.write(requestText().replace(/^.*\r\n/, ""))
      const response = (yield* late.until((received) => received.includes(headEnd))).toString("latin1")
      assert.match(response, /^HTTP\/1.1 503 /)
      assert.isBelow(performance.now() - started, 1500)
      yield* silent.ended
      yield* dribbling.ended
      yield* expectAlive(server)
    }))

  const invalidResponses: ReadonlyArray<
    readonly [
      fault: string,
      tag: string,
      response: (request: Buffer) => string,
      options?: WebSocketClient.ConnectOptions
    ]
  > = [
    [
      "a wrong Sec-WebSocket-Accept",
      "InvalidAccept",
      (request) => upgradeResponse(request).replace(/Accept: .*\r/, "Accept: AAAA\r")
    ],
    [
      "no Sec-WebSocket-Accept",
      "MissingHeader",
      (request) => upgradeResponse(request).replace(/Sec-WebSocket-Accept: .*\r\n/, "")
    ],
    [
      "a subprotocol that the client did not offer",
      "UnsolicitedProtocol",
      (request) => upgradeResponse(request, "Sec-WebSocket-Protocol: b"),
      { protocols: ["a"] }
    ],
    [
      "an extension that the client did not offer",
      "UnsolicitedExtension",
      (request) => upgradeResponse(request, "Sec-WebSocket-Extensions: permessage-deflate")
    ]
  ]
  for (const [fault, tag, response, options] of invalidResponses) {
    it.live(`a client fails with ${tag} if a response has ${fault}`, () =>
      Effect.gen(function*() {
        const server = yield* rawServer((peer) => peer.socket.on("data", (chunk) => peer.write(response(chunk))))
        const error = yield* Effect.flip(WebSocketClient.connect(`ws://127.0.0.1:${server.port}/`, options))
        assert.strictEqual(error._tag, tag)
        yield* server.peers[0].ended
      }))
  }

  it.live("a client sends credentials only to the origin of its URL, not to the target of a redirect", () =>
    Effect.gen(function*() {
      const elsewhere = yield* rawServer((peer) =>
        peer.socket.once("data", () => peer.write("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n"))
      )
      const first = yield* rawServer((peer) =>
        peer.socket.once("data", () =>
          peer.write(
            `HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:${elsewhere.port}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`
          ))
      )
      const headers = { Authorization: "Bearer secret", Cookie: "session=secret" }
      yield* Effect.flip(WebSocketClient.connect(`ws://127.0.0.1:${first.port}/`, { headers, maxRedirects: 1 }))
      assert.include(first.peers[0].received().toString("latin1"), "secret")
      assert.strictEqual(elsewhere.peers.length, 1)
      const redirected = (yield* elsewhere.peers[0].until((received) => received.includes(headEnd))).toString("latin1")
      assert.include(redirected, "Sec-WebSocket-Key")
      assert.notInclude(redirected, "secret")
    }))

  it.live("a client does not send credentials to a server with an untrusted certificate", () =>
    Effect.gen(function*() {
      const { cert } = localhostTls
      const requests: Array<string> = []
      const server = yield* serveEcho({
        tls: localhostTls,
        serve: { decide: ({ path }) => Effect.sync(() => (requests.push(path), Handshake.accept())) }
      })
      const url = server.url.replace("127.0.0.1", "localhost")
      const headers = { Authorization: "Bearer secret" }
      const error = yield* Effect.flip(WebSocketClient.connect(url, { headers }))
      assert.deepInclude(error, { _tag: "ConnectFailed", code: "DEPTH_ZERO_SELF_SIGNED_CERT" })
      assert.deepStrictEqual(requests, [])
      yield* Effect.scoped(WebSocketClient.connect(url, { headers, tls: { ca: cert } }))
      assert.deepStrictEqual(requests, ["/"])
    }))
})
