import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Layer, Redacted, Result, Scope } from "effect"
import { Connection, type Extension, Frame, Handshake, HandshakeError, Transport, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import * as Net from "node:net"
import { localhostTls } from "./support/certificates.ts"
import { contentOf, settle } from "./support/memory.ts"
import { headEnd, rawServer, type RawSocket, sampleKey, serve } from "./support/net.ts"
import { eventually } from "./support/resources.ts"
import { interruptAtEachStep } from "./support/interruptAtEachStep.ts"
import { echo } from "./support/serving.ts"

const { cert, key } = localhostTls

/** The key is known, so that a raw server can answer it. */
const connect = (url: string, options?: WebSocketClient.ConnectOptions) =>
  WebSocketClient.connect(url, { keepalive: false, ...options }).pipe(
    Effect.provide(Handshake.layerPolicy({ makeKey: () => sampleKey }))
  )

const accepted = (headers: Readonly<Record<string, string>> = {}) =>
  responseText("101 Switching Protocols", {
    Upgrade: "websocket",
    Connection: "Upgrade",
    "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ...headers
  })

const responseText = (status: string, headers: Readonly<Record<string, string>>, body = "") =>
  [`HTTP/1.1 ${status}`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`), "", body].join("\r\n")

/** A server that answers each request with the given bytes. */
const answering = (answer: string | Uint8Array, then: (peer: RawSocket) => void = () => {}) =>
  rawServer((peer) => {
    Effect.runFork(Effect.andThen(
      peer.until((received) => received.includes(headEnd)),
      Effect.sync(() => {
        peer.write(answer)
        then(peer)
      })
    ))
  })

/** An extension that begins with `open`, once a server has accepted it. */
const beginningWith = (open: Extension.OpenSession): Extension.Extension => ({
  name: "x-slow",
  reservedBits: 0,
  offers: [[]],
  accept: () => undefined,
  confirm: () => open
})

const extended = accepted({ "Sec-WebSocket-Extensions": "x-slow" })

const failure = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) => Effect.flip(Effect.scoped(effect))

describe("the request (RFC 6455 §4.1)", () => {
  it.live("sends the request of RFC 6455 §4.1, and the headers of the program", () =>
    Effect.gen(function*() {
      const server = yield* answering(accepted({ "Sec-WebSocket-Protocol": "v1" }))
      const connection = yield* connect(`ws://127.0.0.1:${server.port}/feed?since=3`, {
        protocols: ["v2", "v1"],
        headers: { Authorization: "Bearer t", Cookie: "a=1" }
      })
      assert.deepStrictEqual(server.peers[0].received().toString("latin1").split("\r\n"), [
        "GET /feed?since=3 HTTP/1.1",
        `Host: 127.0.0.1:${server.port}`,
        "Upgrade: websocket",
        "Connection: Upgrade",
        `Sec-WebSocket-Key: ${sampleKey}`,
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: v2, v1",
        "Authorization: Bearer t",
        "Cookie: a=1",
        "",
        ""
      ])
      assert.strictEqual(connection.role, "client")
      assert.strictEqual(connection.subprotocol, "v1")
      assert.strictEqual(connection.request.path, "/feed")
      assert.strictEqual(connection.responseHeaders["upgrade"], "websocket")
      server.peers[0].socket.destroy()
    }))

  it.live("sends a new key with each request", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const one = yield* WebSocketClient.connect(server.url)
      const two = yield* WebSocketClient.connect(server.url)
      assert.notStrictEqual(one.request.key, two.request.key)
      assert.strictEqual(Buffer.from(one.request.key, "base64").length, 16)
    }))

  it.live("fails for an invalid request before it connects", () =>
    Effect.gen(function*() {
      const server = yield* rawServer(() => {})
      const url = `ws://127.0.0.1:${server.port}/`
      const tags = yield* Effect.forEach([
        connect("not a url"),
        connect("ftp://127.0.0.1/"),
        connect(`${url}#fragment`),
        connect(url, { headers: { "X-A": "a\r\nX-B: b" } }),
        connect(url, { headers: { "bad name": "x" } }),
        connect(url, { headers: { "Sec-WebSocket-Key": "x" } }),
        connect(url, { protocols: ["a\r\nb"] }),
        connect(url, { protocols: ["a", "a"] })
      ], (attempt) => Effect.map(failure(attempt), (error) => error._tag))
      assert.deepStrictEqual(tags, [
        "InvalidUrl",
        "InvalidUrl",
        "InvalidUrl",
        "InvalidHeader",
        "InvalidHeader",
        "InvalidHeader",
        "InvalidProtocol",
        "InvalidProtocol"
      ])
      assert.strictEqual(server.peers.length, 0)
    }))
})

describe("the response", () => {
  it.live("a status other than 101 fails with HandshakeRejected, with status, headers and body", () =>
    Effect.gen(function*() {
      const server = yield* answering(
        responseText("403 Forbidden", { "Content-Length": "8", "X-Reason": "quota" }, "no more 💧".slice(0, 8))
      )
      const error = yield* failure(connect(`ws://127.0.0.1:${server.port}/`))
      assert.strictEqual(error._tag, "HandshakeRejected")
      assert.deepInclude(error, { status: 403, body: "no more " })
      assert.strictEqual((error as HandshakeError.HandshakeRejected).headers["x-reason"], "quota")
      assert.match(error.message, /403/)
    }))

  const cookies = ["a=1; Expires=Wed, 01 Jan 2031 00:00:00 GMT", "b=x, y", "a=2; Path=/x"]
  const withCookies = (text: string) =>
    text.replace("\r\n", `\r\n${cookies.map((cookie) => `set-cookie: ${cookie}\r\n`).join("")}`)

  it.live("keeps Set-Cookie headers separate in each response", () =>
    Effect.gen(function*() {
      const answers = [
        accepted(),
        responseText("302 Found", { Location: "/new", "Content-Length": "0" }),
        responseText("401 Unauthorized", { "Content-Length": "0" })
      ]
      const seen: Array<Handshake.RawHeaders> = []
      for (const answer of answers) {
        const { port } = yield* answering(withCookies(answer))
        const connected = yield* Effect.result(connect(`ws://127.0.0.1:${port}/`, { closeTimeout: 0 }))
        if (connected._tag === "Success") seen.push(connected.success.rawResponseHeaders)
        else if ("rawHeaders" in connected.failure) seen.push(connected.failure.rawHeaders)
      }
      assert.deepStrictEqual(seen.map((raw) => Handshake.headerValues(raw, "Set-Cookie")), [cookies, cookies, cookies])
    }))

  it.live("a 101 in HTTP/1.0 fails with UnsupportedHttpVersion", () =>
    Effect.gen(function*() {
      const server = yield* answering(accepted().replace("HTTP/1.1", "HTTP/1.0"))
      const error = yield* failure(connect(`ws://127.0.0.1:${server.port}/`))
      assert.deepInclude(error, { _tag: "UnsupportedHttpVersion", version: "1.0" })
      yield* server.peers[0].ended
    }))

  for (const answer of [accepted(), responseText("401 Unauthorized", { "Content-Length": "0" })]) {
    const status = answer.slice(9, 12)
    const withLines = (lines: number) => {
      const own = answer.split(headEnd)[0].split("\r\n").length - 1
      return answer.replace("\r\n", `\r\n${"x: 1\r\n".repeat(lines - own)}`)
    }

    it.live(`a response with ${status} may have 1,000 header lines`, () =>
      Effect.gen(function*() {
        const { port } = yield* answering(withLines(1000))
        const connected = yield* Effect.result(connect(`ws://127.0.0.1:${port}/`, { closeTimeout: 0 }))
        const raw = connected._tag === "Success"
          ? connected.success.rawResponseHeaders
          : (connected.failure as HandshakeError.HandshakeRejected).rawHeaders
        assert.strictEqual(raw.length, 1000)
      }))

    for (const lines of [1001, 1002, 1500]) {
      it.live(`a response with ${status} and ${lines} header lines, of which Node drops some, fails with ConnectFailed`, () =>
        Effect.gen(function*() {
          const server = yield* answering(withLines(lines))
          const error = yield* failure(connect(`ws://127.0.0.1:${server.port}/`))
          assert.deepInclude(error, { _tag: "ConnectFailed", code: "HPE_HEADER_OVERFLOW" })
          yield* server.peers[0].ended
        }))
    }
  }

  it.live("keeps 64 KiB of an endless body", () =>
    Effect.gen(function*() {
      const server = yield* answering(
        responseText("500 Internal Server Error", { "Transfer-Encoding": "chunked" }),
        (peer) => {
          const chunk = `1000\r\n${"x".repeat(4096)}\r\n`
          const timer = setInterval(() => peer.write(chunk), 1)
          peer.socket.on("close", () => clearInterval(timer))
        }
      )
      const error = yield* failure(connect(`ws://127.0.0.1:${server.port}/`))
      assert.strictEqual((error as HandshakeError.HandshakeRejected).body.length, 64 * 1024)
      yield* server.peers[0].ended
    }))

  it.live("HandshakeRejected has the received part of a truncated body", () =>
    Effect.gen(function*() {
      const server = yield* answering(
        responseText("503 Service Unavailable", { "Content-Length": "100" }, "half of it"),
        (peer) => peer.socket.end()
      )
      const error = yield* failure(connect(`ws://127.0.0.1:${server.port}/`))
      assert.deepInclude(error, { _tag: "HandshakeRejected", status: 503, body: "half of it" })
    }))

  it.effect("HandshakeRejected has the received part of a body that does not end in time", () =>
    Effect.gen(function*() {
      const answer = responseText("401 Unauthorized", { "Content-Length": "100" }, "no token")
      const server = yield* answering(answer)
      const socket = Net.connect(server.port, "127.0.0.1")
      const connecting = connect("ws://inside.example/", { duplex: socket, handshakeTimeout: "3 seconds" })
      const fiber = yield* Effect.forkChild(failure(connecting))
      yield* eventually(() => socket.bytesRead === answer.length)
      yield* settle
      yield* TestClock.adjust("3 seconds")
      assert.deepInclude(yield* Fiber.join(fiber), { _tag: "HandshakeRejected", status: 401, body: "no token" })
      yield* server.peers[0].ended
    }))

  it.live("a redirect fails with HandshakeRedirected, with the location", () =>
    Effect.gen(function*() {
      const server = yield* answering(
        responseText("307 Temporary Redirect", { Location: "/new", "Content-Length": "0" })
      )
      const error = yield* failure(connect(`ws://127.0.0.1:${server.port}/old`))
      assert.deepInclude(error, {
        _tag: "HandshakeRedirected",
        status: 307,
        location: `http://127.0.0.1:${server.port}/new`
      })
    }))

  it.live("a redirect fails without waiting for its body", () =>
    Effect.gen(function*() {
      const server = yield* rawServer((peer) => {
        Effect.runFork(Effect.map(peer.until((received) => received.includes(headEnd)), (received) =>
          peer.write(
            received.toString("latin1").startsWith("GET /old")
              ? responseText("307 Temporary Redirect", { Location: "/new", "Content-Length": "100" }, "to be continued")
              : accepted()
          )))
      })
      const url = `ws://127.0.0.1:${server.port}/old`
      assert.strictEqual((yield* failure(connect(url)))._tag, "HandshakeRedirected")
      const { request } = yield* connect(url, { maxRedirects: 1, closeTimeout: 0 })
      assert.strictEqual(request.path, "/new")
      yield* server.peers[1].ended
    }))

  it.live("a tab at the end of the Connection header is an upgrade if it is one for Node", () =>
    Effect.gen(function*() {
      const server = yield* answering(accepted({ Connection: "Upgrade\t" }), (peer) => peer.socket.end())
      const outcome = yield* Effect.result(Effect.scoped(
        Effect.flatMap(connect(`ws://127.0.0.1:${server.port}/`), (connection) => connection.closed)
      ))
      const what = Result.isSuccess(outcome) ? outcome.success.cause?._tag : outcome.failure._tag
      assert.include(["UnexpectedEof", "InvalidConnectionHeader"], what)
      yield* server.peers[0].ended
    }))

  const refused: ReadonlyArray<readonly [string, string, string]> = [
    ["a wrong accept", accepted({ "Sec-WebSocket-Accept": "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" }), "InvalidAccept"],
    ["another upgrade", accepted({ Upgrade: "h2c" }), "InvalidUpgradeHeader"],
    ["a subprotocol that was not offered", accepted({ "Sec-WebSocket-Protocol": "v9" }), "UnsolicitedProtocol"],
    [
      "an extension that was not offered",
      accepted({ "Sec-WebSocket-Extensions": "permessage-deflate" }),
      "UnsolicitedExtension"
    ],
    ["an invalid extension header", accepted({ "Sec-WebSocket-Extensions": "=" }), "InvalidExtensionHeader"]
  ]
  for (const [name, answer, tag] of refused) {
    it.live(`fails with ${tag} and destroys the socket for ${name}`, () =>
      Effect.gen(function*() {
        const server = yield* answering(answer)
        const error = yield* failure(connect(`ws://127.0.0.1:${server.port}/`, { protocols: ["v1"] }))
        assert.strictEqual(error._tag, tag)
        yield* server.peers[0].ended
      }))
  }

  it.live("receives frames that arrive with the response", () =>
    Effect.gen(function*() {
      const server = yield* answering(
        Buffer.concat([Buffer.from(accepted()), Frame.encode(Frame.text("early")), Frame.encode(Frame.text("bird"))])
      )
      const connection = yield* connect(`ws://127.0.0.1:${server.port}/`)
      assert.strictEqual(contentOf(yield* connection.receive), "early")
      assert.strictEqual(contentOf(yield* connection.receive), "bird")
      server.peers[0].socket.destroy()
    }))

  it.live("accepts a response that arrives byte by byte", () =>
    Effect.gen(function*() {
      const server = yield* answering("", (peer) => {
        const characters = [...accepted()]
        const next = () => {
          const character = characters.shift()
          if (character === undefined) return
          peer.write(character)
          setImmediate(next)
        }
        next()
      })
      yield* connect(`ws://127.0.0.1:${server.port}/`)
      server.peers[0].socket.destroy()
    }))
})

describe("failures of connect", () => {
  const unusedPort = Effect.callback<number>((resume) => {
    const server = Net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as Net.AddressInfo
      server.close(() => resume(Effect.succeed(port)))
    })
  })

  it.live("fails with ECONNREFUSED if no server listens", () =>
    Effect.gen(function*() {
      const error = yield* failure(connect(`ws://127.0.0.1:${yield* unusedPort}/path`))
      assert.deepInclude(error, { _tag: "ConnectFailed", code: "ECONNREFUSED" })
      assert.match(error.message, /could not connect to ws:\/\/127\.0\.0\.1:\d+\/path/)
    }))

  it.live("fails with ENOTFOUND for an unknown host", () =>
    Effect.gen(function*() {
      const error = yield* failure(connect("ws://no-such-host.invalid/"))
      assert.strictEqual(error._tag, "ConnectFailed")
      assert.match((error as HandshakeError.ConnectFailed).code!, /ENOTFOUND|EAI_AGAIN/)
    }))

  it.live("fails for a certificate that is not trusted, or for another name", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls: { key: Redacted.make(key), cert } })
      const untrusted = yield* failure(connect(server.url))
      assert.deepInclude(untrusted, { _tag: "ConnectFailed", code: "DEPTH_ZERO_SELF_SIGNED_CERT" })
      const misnamed = yield* failure(connect(server.url, { tls: { ca: cert, servername: "other.example" } }))
      assert.deepInclude(misnamed, { _tag: "ConnectFailed", code: "ERR_TLS_CERT_ALTNAME_INVALID" })
      yield* Effect.scoped(connect(server.url, { tls: { rejectUnauthorized: false } }))
      yield* Effect.scoped(connect(server.url, { tls: { ca: [cert] } }))
    }))

  it.live("fails if the server requires a client certificate", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls: { key, cert, requestCert: true, ca: cert } })
      const connection = yield* connect(server.url, { tls: { ca: cert, cert, key: Redacted.make(key) } })
      yield* connection.send("it is me")
      assert.strictEqual(contentOf(yield* connection.receive), "it is me")
      yield* connection.close()
      const error = yield* failure(connect(server.url, { tls: { ca: cert } }))
      assert.strictEqual(error._tag, "ConnectFailed")
    }))

  it.live("fails if the response is not HTTP", () =>
    Effect.gen(function*() {
      const server = yield* rawServer((peer) => peer.write("220 smtp.example ESMTP ready\r\n"))
      const error = yield* failure(connect(`ws://127.0.0.1:${server.port}/`))
      assert.strictEqual(error._tag, "ConnectFailed")
      assert.match((error as HandshakeError.ConnectFailed).code!, /^HPE_/)
    }))

  it.live("fails if the connection is lost before or within the response", () =>
    Effect.gen(function*() {
      for (const answer of ["", "HTTP/1.1 101 Switching Protocols\r\nUpgr"]) {
        const server = yield* answering(answer, (peer) => peer.socket.end())
        const error = yield* failure(connect(`ws://127.0.0.1:${server.port}/`))
        assert.strictEqual(error._tag, "ConnectFailed")
      }
    }))

  it.effect("fails with HandshakeTimeout and destroys the socket if the server does not respond", () =>
    Effect.gen(function*() {
      const server = yield* rawServer(() => {})
      const fiber = yield* Effect.forkChild(
        failure(connect(`ws://127.0.0.1:${server.port}/`, { handshakeTimeout: "3 seconds" }))
      )
      while (server.peers.length === 0) yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      yield* TestClock.adjust("3 seconds")
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error._tag, "HandshakeTimeout")
      assert.isTrue(Duration.equals((error as HandshakeError.HandshakeTimeout).duration, Duration.seconds(3)))
      yield* server.peers[0].ended
    }))

  it.effect("fails with HandshakeTimeout and destroys the socket if an extension does not start", () =>
    Effect.gen(function*() {
      const server = yield* answering(extended)
      const begun = yield* Deferred.make<void>()
      const extensions = [beginningWith(Effect.andThen(Deferred.succeed(begun, undefined), Effect.never))]
      const fiber = yield* Effect.forkChild(
        failure(connect(`ws://127.0.0.1:${server.port}/`, { extensions, handshakeTimeout: "3 seconds" }))
      )
      yield* Deferred.await(begun)
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "HandshakeTimeout")
      yield* server.peers[0].ended
    }))

  it.live("dies and destroys the socket if an extension dies when it starts", () =>
    Effect.gen(function*() {
      const server = yield* answering(extended)
      const extensions = [beginningWith(Effect.die("broken"))]
      const exit = yield* Effect.exit(Effect.scoped(connect(`ws://127.0.0.1:${server.port}/`, { extensions })))
      assert.isTrue(Exit.hasDies(exit))
      yield* server.peers[0].ended
    }))

  it.live("returns a connection that is lost right after the handshake", () =>
    Effect.gen(function*() {
      const server = yield* answering(accepted(), (peer) => peer.socket.resetAndDestroy())
      const result = yield* Effect.result(Effect.scoped(
        Effect.flatMap(connect(`ws://127.0.0.1:${server.port}/`), (connection) => connection.closed)
      ))
      assert.strictEqual(result._tag === "Success" ? result.success._tag : result.failure._tag, "ConnectionClosed")
    }))
})

describe("connect interrupted", () => {
  it.live("connect interrupted at each step leaves no socket behind", () =>
    Effect.gen(function*() {
      const server = yield* answering(accepted())
      yield* interruptAtEachStep(Effect.sync(() => {
        const from = server.peers.length
        return {
          effect: Effect.scoped(
            Effect.flatMap(
              connect(`ws://127.0.0.1:${server.port}/`, { closeTimeout: "1 milli" }),
              () => Effect.sleep("1 milli")
            )
          ),
          events: [],
          waits: true,
          verify: () => Effect.forEach(server.peers.slice(from), (peer) => peer.ended, { discard: true })
        }
      }))
    }), 30_000)

  it.live("connect interrupted while an extension starts ends at once", () =>
    Effect.gen(function*() {
      const server = yield* answering(extended)
      const begun = yield* Deferred.make<void>()
      const extensions = [beginningWith(Effect.andThen(Deferred.succeed(begun, undefined), Effect.never))]
      const fiber = yield* Effect.forkChild(Effect.scoped(connect(`ws://127.0.0.1:${server.port}/`, { extensions })))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(fiber)
      yield* server.peers[0].ended
    }))

  it.live("connect interrupted while it waits for the response ends at once", () =>
    Effect.gen(function*() {
      const server = yield* rawServer(() => {})
      const fiber = yield* Effect.forkChild(Effect.scoped(connect(`ws://127.0.0.1:${server.port}/`)))
      while (server.peers.length === 0) yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      yield* Fiber.interrupt(fiber)
      yield* server.peers[0].ended
      assert.isTrue(Exit.hasInterrupts(fiber.pollUnsafe()!))
    }))
})

describe("the Scope", () => {
  it.live("closing the Scope closes the connection with the closing handshake", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* connect(server.url)
        yield* connection.send("x")
        yield* connection.receive
        assert.strictEqual((yield* server.connections).length, 1)
      }))
      assert.strictEqual((yield* server.connections).length, 0)
    }))
})

describe("the service", () => {
  it.effect("another client can be provided, to test a program without a network", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      const InMemory = Layer.succeed(WebSocketClient.WebSocketClient, {
        connect: (_url, options) => Connection.make(left, { ...options, role: "client" })
      })
      const program = Effect.scoped(
        Effect.flatMap(WebSocketClient.connect("ws://wherever/"), (connection) => connection.send("hello"))
      )
      const server = yield* Connection.make(right, { role: "server" })
      yield* Effect.provide(program, InMemory)
      assert.strictEqual(contentOf(yield* server.receive), "hello")
    }))
})
