/**
 * What has broken WebSocket implementations, done to a server or a client that
 * runs. Each test names the reports; each ends with proof that any other client that is
 * there is served as before.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Option, Stream } from "effect"
import { Connection, Frame, Handshake, PerMessageDeflate, WebSocketClient } from "effect-ws"
import { readFileSync } from "node:fs"
import * as Net from "node:net"
import { deflateRawSync } from "node:zlib"
import { contentOf } from "../support/memory.ts"
import {
  handingOut,
  headEnd,
  rawConnect,
  rawHandshake,
  rawServer,
  requestText,
  sampleKey,
  serve as serveWith,
  type Server,
  splitHead
} from "../support/net.ts"
import { runExample } from "../support/process.ts"
import { eventually, memoryInUse, openSockets } from "../support/resources.ts"

const echo = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  yield* Stream.runForEach(connection.messages, connection.send)
})

/** Serves an echo to those who behave, and keeps how each connection ended. */
const serve = (options?: Parameters<typeof serveWith>[1], handler = echo) =>
  Effect.gen(function*() {
    const ends: Array<string> = []
    const server = yield* serveWith(
      Effect.andThen(
        Effect.flatMap(Connection.Connection, (connection) =>
          Effect.forkDetach(
            Effect.map(connection.closed, ({ cause, code }) => void ends.push(cause?._tag ?? String(code)))
          )),
        handler
      ),
      options
    )
    return { ...server, ends }
  })

/** Others are served. */
const isAlive = (server: Server) =>
  Effect.gen(function*() {
    const good = yield* rawHandshake(server.port)
    good.send(Frame.text("alive?"))
    const [answer] = yield* good.untilFrames(1)
    assert.strictEqual(Buffer.from(answer.payload).toString(), "alive?")
    good.send(Frame.close(1000))
    yield* good.untilFrames(2)
  }).pipe(Effect.scoped)

/** The status that a request is answered with. */
const statusOf = (server: Server, request: string | Uint8Array) =>
  Effect.gen(function*() {
    const peer = yield* rawConnect(server.port)
    peer.write(request)
    const received = yield* peer.until((bytes) => bytes.includes(headEnd))
    return Number(received.toString("latin1").split(" ")[1])
  }).pipe(Effect.scoped)

/** Sends bytes in an open connection, and answers the close code that comes. */
const closeCodeAfter = (server: Server, bytes: Uint8Array, headers?: Readonly<Record<string, string>>) =>
  Effect.gen(function*() {
    const peer = yield* rawHandshake(server.port, headers)
    peer.write(bytes)
    yield* peer.ended
    const close = peer.frames().find(({ opcode }) => opcode === Frame.Opcode.Close)
    return close === undefined ? undefined : (Frame.readClose(close.payload) as Frame.CloseFrame).code
  }).pipe(Effect.scoped)

const masked = (...frames: ReadonlyArray<Frame.Frame>) => Buffer.concat(frames.map((frame) => Frame.encode(frame, 7)))
const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex")

describe("the handshake", () => {
  it.live("headers on which a regular expression would run without end (CVE-2021-32640, CVE-2020-7662)", () =>
    Effect.gen(function*() {
      const server = yield* serve({ maxHeaderSize: 2 ** 20, serve: { extensions: [PerMessageDeflate.make()] } })
      const many = 200_000
      const of = (name: string, value: string) => statusOf(server, requestText({ [name]: value }))
      assert.strictEqual(yield* of("Sec-WebSocket-Protocol", "a" + " ".repeat(many) + "b"), 400)
      assert.strictEqual(yield* of("Sec-WebSocket-Extensions", "a; b=\"" + "\\".repeat(many)), 400)
      assert.strictEqual(yield* of("Sec-WebSocket-Extensions", "a; b" + "\t".repeat(many) + "\"c"), 400)
      assert.strictEqual(yield* of("Sec-WebSocket-Extensions", "permessage-deflate;".repeat(20_000) + ";"), 400)
      yield* isAlive(server)
    }))

  it.live("names that every object has (WS-2017-0421)", () =>
    Effect.gen(function*() {
      const server = yield* serve({ serve: { extensions: [PerMessageDeflate.make()], protocols: ["chat"] } })
      for (const name of ["constructor", "__proto__", "toString", "hasOwnProperty"]) {
        const peer = yield* rawHandshake(server.port, {
          "Sec-WebSocket-Extensions": `${name}; ${name}=1, permessage-deflate; ${name}`,
          "Sec-WebSocket-Protocol": `${name}, chat`,
          [name]: "1"
        })
        assert.include(peer.head, "Sec-WebSocket-Protocol: chat")
        assert.notInclude(peer.head, "Extensions")
      }
      yield* isAlive(server)
    }))

  it.live("rejects requests with more headers than Node keeps (CVE-2024-37890)", () =>
    Effect.gen(function*() {
      const server = yield* serve({ maxHeaderSize: 2 ** 20 })
      const many = Array.from({ length: 5000 }, (_, i) => `X-${i}: 1\r\n`).join("")
      const text = requestText().replace("Upgrade: ", `${many}Upgrade: `)
      assert.include([426, 431], yield* statusOf(server, text))
      yield* isAlive(server)
    }))

  it.live("headers without end, to a server and to a client (CVE-2023-43669, CVE-2026-54465)", () =>
    Effect.gen(function*() {
      const endless = (socket: Net.Socket) => {
        const more = () => {
          while (!socket.destroyed && socket.write(`X-More: ${"x".repeat(1000)}\r\n`));
        }
        socket.on("error", () => {})
        socket.on("drain", more)
        more()
      }
      const server = yield* serve()
      const peer = yield* rawConnect(server.port)
      peer.write("GET / HTTP/1.1\r\n")
      endless(peer.socket)
      assert.include((yield* peer.ended).toString("latin1"), "HTTP/1.1 431 ")
      assert.isBelow(peer.socket.bytesWritten, 10_000_000)
      yield* isAlive(server)

      const bad = yield* rawServer(({ socket }) => {
        socket.write("HTTP/1.1 101 Switching Protocols\r\n")
        endless(socket)
      })
      const error = yield* Effect.flip(WebSocketClient.connect(`ws://127.0.0.1:${bad.port}/`))
      assert.deepInclude(error, { _tag: "ConnectFailed", code: "HPE_HEADER_OVERFLOW" })
    }))

  it.live("line breaks in what a client or a server puts into headers (CVE-2026-47072, CVE-2026-1527)", () =>
    Effect.gen(function*() {
      const nobody = yield* rawServer(() => {})
      const url = `ws://127.0.0.1:${nobody.port}/`
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
        // A URL has no place for them: they are encoded, dropped or refused, and never sent.
        const target = yield* Effect.exit(Effect.fromResult(Handshake.parseUrl(`ws://127.0.0.1:1/${bad}?${bad}`)))
        if (target._tag === "Success") assert.notMatch(target.value.href, /[\r\n\0]/)
      }
      assert.strictEqual(nobody.peers.length, 0)

      const server = yield* serve({
        serve: {
          decide: (request) =>
            Effect.succeed(
              request.path === "/" ? Handshake.accept() : Handshake.accept({ headers: { "X-A": "a\r\nX-Injected: 1" } })
            )
        }
      })
      assert.strictEqual(yield* statusOf(server, requestText({}, "GET /bad HTTP/1.1")), 500)
      yield* isAlive(server)
    }))

  it.live("sockets that are reset before and during a decision (CVE-2022-21676, CVE-2022-41940)", () =>
    Effect.gen(function*() {
      const asked = { count: 0 }
      const server = yield* serve({
        serve: {
          decide: (request) => {
            if (request.path !== "/wait") return Effect.succeed(Handshake.accept())
            asked.count++
            return Effect.never
          }
        }
      })
      const before = openSockets()
      for (let i = 0; i < 20; i++) {
        const waiting = yield* rawConnect(server.port)
        waiting.write(requestText({}, "GET /wait HTTP/1.1"))
        yield* eventually(() => asked.count === i + 1)
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
      yield* isAlive(server)
    }))

  it.live("invalid keys leave nothing behind (GHSA-9mqv-5hh9-4cgg)", () =>
    Effect.gen(function*() {
      const server = yield* serve({ serve: { maxConnections: 5 } })
      const before = openSockets()
      for (let i = 0; i < 50; i++) {
        assert.strictEqual(yield* statusOf(server, requestText({ "Sec-WebSocket-Key": "x".repeat(i % 30) })), 400)
        yield* eventually(() => openSockets() <= before)
      }
      // Each would have taken one of five places.
      yield* isAlive(server)
    }))

  it.live("requests without end on one socket (CVE-2026-100658)", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const peer = yield* rawConnect(server.port)
      peer.write(requestText({ Upgrade: undefined, Connection: "keep-alive" }).repeat(5000))
      const answers = (yield* peer.ended).toString("latin1").split("HTTP/1.1 ")
      assert.strictEqual(answers.length - 1, 1)
      // Behind an upgrade they are no requests, but frames, and none that may be.
      const upgraded = yield* rawConnect(server.port)
      upgraded.write(requestText().repeat(100))
      const { rest } = splitHead(yield* upgraded.ended)
      assert.notInclude(rest.toString("latin1"), "HTTP/1.1")
      assert.strictEqual(rest[0], 0x88)
      assert.deepStrictEqual(yield* server.connections, [])
      yield* isAlive(server)
    }))

  it.live("pages of other origins (CVE-2025-24964, CVE-2025-24010)", () =>
    Effect.gen(function*() {
      const server = yield* serve()
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
      yield* isAlive(server)
    }))

  it.live("slow bytes, no bytes, and a decision that never ends: one deadline for all of it", () =>
    Effect.gen(function*() {
      const server = yield* serve({
        handshakeTimeout: "1 second",
        serve: {
          decide: (request) => request.path === "/never" ? Effect.never : Effect.succeed(Handshake.accept())
        }
      })
      const started = performance.now()
      const silent = yield* rawConnect(server.port)
      const dribbling = yield* rawConnect(server.port)
      const drop = setInterval(() => dribbling.socket.writable && dribbling.write("x"), 20)
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(drop)))
      // Half of its time for the request, and so only half of it for the decision.
      const late = yield* rawConnect(server.port)
      late.write("GET /never HTTP/1.1\r\n")
      yield* Effect.sleep("600 millis")
      late.write(requestText().replace(/^.*\r\n/, ""))
      const answer = (yield* late.until((received) => received.includes(headEnd))).toString("latin1")
      assert.match(answer, /^HTTP\/1.1 503 /)
      assert.isBelow(performance.now() - started, 1500)
      yield* silent.ended
      yield* dribbling.ended
      yield* isAlive(server)
    }))

  const unasked: ReadonlyArray<readonly [string, string, WebSocketClient.ConnectOptions, string]> = [
    ["a wrong Sec-WebSocket-Accept", "Sec-WebSocket-Accept: AAAA", {}, "InvalidAccept"],
    ["no Sec-WebSocket-Accept", "X: 1", {}, "MissingHeader"],
    ["a subprotocol that was not offered", "Sec-WebSocket-Protocol: b", { protocols: ["a"] }, "UnsolicitedProtocol"],
    ["an extension that was not offered", "Sec-WebSocket-Extensions: permessage-deflate", {}, "UnsolicitedExtension"]
  ]
  for (const [name, header, options, tag] of unasked) {
    it.live(`${name} ends the client's handshake`, () =>
      Effect.gen(function*() {
        const fake = yield* rawServer((peer) => {
          peer.socket.on("data", (chunk) => {
            const key = /Sec-WebSocket-Key: (\S+)/i.exec(chunk.toString("latin1"))?.[1] ?? sampleKey
            const accept = header.startsWith("Sec-WebSocket-Accept") || header === "X: 1"
              ? []
              : [`Sec-WebSocket-Accept: ${Handshake.acceptKey(key)}`]
            const lines = ["HTTP/1.1 101 OK", "Upgrade: websocket", "Connection: Upgrade", ...accept, header, "", ""]
            peer.write(lines.join("\r\n"))
          })
        })
        const error = yield* Effect.flip(WebSocketClient.connect(`ws://127.0.0.1:${fake.port}/`, options))
        assert.strictEqual(error._tag, tag)
        yield* fake.peers[0].ended
      }))
  }

  it.live("credentials stay with the origin that they were given for", () =>
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
      const told = (yield* elsewhere.peers[0].until((received) => received.includes(headEnd))).toString("latin1")
      assert.include(told, "Sec-WebSocket-Key")
      assert.notInclude(told, "secret")
    }))
})

describe("secrets that clients send", () => {
  /** Says what is compared in constant time, in a process of an example. */
  const listener = `
    import crypto from "node:crypto"
    import { syncBuiltinESMExports } from "node:module"
    const { timingSafeEqual } = crypto
    crypto.timingSafeEqual = (one, other) => {
      console.log("COMPARED " + one.length + " " + other.length)
      return timingSafeEqual(one, other)
    }
    syncBuiltinESMExports()`

  it.live("the example compares secrets in constant time (CVE-2021-33880)", () =>
    Effect.gen(function*() {
      const example = yield* runExample("subprotocol-auth.js", {
        PORT: "0",
        TOKENS: "s3cret:Ada,hunter2:Grace",
        NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(listener)}`
      })
      const [, url] = yield* example.printed(/LISTENING (\S+)/)
      let expected = 0
      // However much of it is right, and however long it is: as much is compared, with all that are known.
      for (const token of ["x", "s3cre", "s3creT", "s3cret5", "hunter", "x".repeat(1000)]) {
        const error = yield* Effect.flip(
          WebSocketClient.connect(url, { headers: { Authorization: `Bearer ${token}` } })
        )
        assert.deepInclude(error, { _tag: "HandshakeRejected", status: 401 })
        expected += 2
        yield* example.printed(new RegExp(`(?:COMPARED 32 32\\n){${expected}}`))
      }
    }))

  it.live("credentials are not sent to a server with an untrusted certificate", () =>
    Effect.gen(function*() {
      const certificates = new URL("../support/certificates/", import.meta.url)
      const [key, cert] = ["localhost.key", "localhost.crt"].map((name) =>
        readFileSync(new URL(name, certificates), "utf8")
      )
      const requests: Array<string> = []
      const server = yield* serve({
        tls: { key, cert },
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

describe("frames", () => {
  it.live("lengths that no message has (CVE-2026-1528, CVE-2020-27813, CVE-2026-50161)", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      assert.strictEqual(yield* closeCodeAfter(server, hex("82 ff 8000000000000000 00000000")), 1002)
      assert.strictEqual(yield* closeCodeAfter(server, hex("82 ff ffffffffffffffff 00000000")), 1002)
      assert.strictEqual(yield* closeCodeAfter(server, hex("82 ff 7fffffffffffffff 00000000")), 1009)
      assert.strictEqual(yield* closeCodeAfter(server, hex("82 ff 0020000000000000 00000000")), 1009)
      assert.strictEqual(yield* closeCodeAfter(server, hex("82 ff 0000000001000001 00000000")), 1009)
      yield* isAlive(server)
    }))

  it.live("lengths that are declared and never come (CVE-2022-35922, CVE-2016-10542)", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const before = yield* memoryInUse
      const peers = yield* Effect.replicateEffect(rawHandshake(server.port), 50)
      // 16 MiB each, as much as there may be.
      for (const peer of peers) peer.write(hex("82 ff 0000000001000000 00000000 01"))
      const connections = yield* server.connections
      yield* eventually(() => connections.every(({ stats }) => Effect.runSync(stats).bytesIn === 15))
      assert.isBelow((yield* memoryInUse) - before, 16 * 2 ** 20)
      yield* isAlive(server)
    }))

  it.live(
    "fragments without end, with nothing in them (CVE-2026-48779, CVE-2026-62389, CVE-2026-12151, CVE-2026-123817)",
    () =>
      Effect.gen(function*() {
        const server = yield* serve()
        const before = yield* memoryInUse
        const empty = Buffer.alloc(65_536 * 6, masked(Frame.continuation("", { fin: false })))
        const peer = yield* rawHandshake(server.port)
        peer.send(Frame.text("", { fin: false }))
        while (peer.socket.writable && server.ends.length === 0) {
          if (!peer.socket.write(empty)) {
            yield* eventually(() => peer.socket.writableLength === 0 || server.ends.length > 0)
          }
        }
        assert.deepStrictEqual(server.ends, ["TooManyFragments"])
        assert.isBelow((yield* memoryInUse) - before, 16 * 2 ** 20)
        yield* isAlive(server)
      })
  )

  it.live("a message of 65,536 fragments is one all the same", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const peer = yield* rawHandshake(server.port)
      const part = "x".repeat(64)
      peer.send(Frame.text(part, { fin: false }))
      const middle = masked(Frame.continuation(part, { fin: false }))
      peer.write(Buffer.alloc(middle.length * 65_534, middle))
      peer.send(Frame.continuation(part))
      const size = 65_536 * 64
      const answer = splitHead(yield* peer.until((received) => splitHead(received).rest.length === size + 10)).rest
      assert.isTrue(answer.subarray(10).equals(Buffer.alloc(size, "x")))
    }))

  it.live("a message that comes a byte at a time costs what it holds", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const peer = yield* rawHandshake(server.port)
      const [connection] = yield* server.connections
      const before = yield* memoryInUse
      const frame = masked(Frame.binary(new Uint8Array(10_000)))
      for (let i = 0; i + 1 < frame.length; i++) {
        peer.write(frame.subarray(i, i + 1))
        const came = Effect.map(connection.stats, ({ bytesIn }) => bytesIn > i)
        while (!(yield* came)) yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      }
      assert.isBelow((yield* memoryInUse) - before, 2 ** 20)
      peer.write(frame.subarray(-1))
      assert.strictEqual((yield* peer.untilFrames(1))[0].payload.length, 10_000)
    }), 20_000)

  it.live("the limit holds for the message, not for each frame (CVE-2026-9675, CVE-2014-0193)", () =>
    Effect.gen(function*() {
      const server = yield* serve({ serve: { maxMessageSize: 1000 } })
      const part = new Uint8Array(400)
      const fragments = (last: Uint8Array) =>
        masked(Frame.binary(part, { fin: false }), Frame.continuation(part, { fin: false }), Frame.continuation(last))
      assert.strictEqual(yield* closeCodeAfter(server, fragments(new Uint8Array(201))), 1009)
      const peer = yield* rawHandshake(server.port)
      peer.write(fragments(new Uint8Array(200)))
      assert.strictEqual((yield* peer.untilFrames(1))[0].payload.length, 1000)
      yield* isAlive(server)
    }))

  it.live("masks that can be foretold (GHSA-w67g-5rqw-f597)", () =>
    Effect.gen(function*() {
      const random = Math.random
      yield* Effect.addFinalizer(() => Effect.sync(() => void (Math.random = random)))
      Math.random = () => 0.5
      const server = yield* rawServer((peer) => {
        peer.socket.once("data", (chunk) => {
          const key = /Sec-WebSocket-Key: (\S+)/i.exec(chunk.toString("latin1"))![1]
          peer.write(
            `HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${
              Handshake.acceptKey(key)
            }\r\n\r\n`
          )
        })
      })
      const connection = yield* WebSocketClient.connect(`ws://127.0.0.1:${server.port}/`, { closeTimeout: 0 })
      const count = 3000
      yield* connection.sendAll(Array.from({ length: count }, () => Uint8Array.of(0)))
      const [peer] = server.peers
      const sent = splitHead(yield* peer.until((received) => splitHead(received).rest.length >= count * 7)).rest
      const keys = Array.from({ length: count }, (_, i) => sent.readUInt32BE(i * 7 + 2))
      assert.isAbove(new Set(keys).size, count - 5)
      // All 32 bits of them vary.
      assert.strictEqual(keys.reduce((a, b) => a | b) >>> 0, 0xffffffff)
      assert.strictEqual(keys.reduce((a, b) => a & b) >>> 0, 0)
    }))
})

describe("control frames", () => {
  it.live(
    "pings without end from a peer that reads no pongs (ws 8.23, CVE-2026-109932, CVE-2026-11586)",
    () =>
      Effect.gen(function*() {
        const server = yield* serve({ serve: { writeTimeout: "1 second", closeTimeout: "1 second", keepalive: false } })
        const before = yield* memoryInUse
        const peer = yield* rawHandshake(server.port)
        peer.socket.pause()
        const [connection] = yield* server.connections
        const pings = Buffer.alloc(131 * 1000, masked(Frame.ping(new Uint8Array(125))))
        let most = 0
        while (server.ends.length === 0) {
          if (peer.socket.writable) peer.socket.write(pings)
          yield* eventually(() => peer.socket.writableLength === 0 || server.ends.length > 0)
          most = Math.max(most, (yield* connection.stats).bufferedAmount)
        }
        assert.deepStrictEqual(server.ends, ["WriteTimeout"])
        assert.isBelow(most, 2 ** 20)
        peer.socket.destroy()
        assert.isBelow((yield* memoryInUse) - before, 16 * 2 ** 20)
        yield* isAlive(server)
      }),
    20_000
  )

  it.live("a pong that is longer than its ping (CVE-2026-67292)", () =>
    Effect.gen(function*() {
      const held = yield* handingOut
      const server = yield* serve({ serve: { keepalive: false } }, held.handler)
      const peer = yield* rawHandshake(server.port)
      const connection = yield* held.connection
      const ping = yield* Effect.forkChild(Effect.exit(connection.ping("abc")), { startImmediately: true })
      yield* peer.untilFrames(1)
      peer.send(Frame.pong(Buffer.from("abcd")), Frame.pong(Buffer.from("ab")), Frame.pong(new Uint8Array(125)))
      yield* eventually(() => Effect.runSync(connection.stats).framesIn === 3)
      assert.isUndefined(ping.pollUnsafe())
      peer.write(Buffer.concat([hex("8a fe 007e 00000000"), Buffer.alloc(126)]))
      yield* peer.ended
      assert.strictEqual((yield* connection.closed).cause?._tag, "ControlFrameTooLong")
      yield* Fiber.join(ping)
    }))

  it.live("a value that is not a payload sends nothing, in particular no memory (CVE-2026-45736, CVE-2016-10518)", () =>
    Effect.gen(function*() {
      const wrong = [100, 5000, { length: 5000 }, Array.from({ length: 5000 }), null, true] as ReadonlyArray<unknown>
      const operations: ReadonlyArray<
        (connection: Connection.Connection, value: never) => Effect.Effect<unknown, unknown>
      > = [
        (connection, value) => connection.close(1000, value),
        (connection, value) => connection.ping(value),
        (connection, value) => connection.send(value),
        (connection, value) => connection.sendAll([value]),
        (connection, value) => connection.sendFrame(new Frame.Frame(Frame.Opcode.Binary, value))
      ]
      let failed = 0
      const server = yield* serve(
        {},
        Effect.gen(function*() {
          const connection = yield* Connection.Connection
          const { path } = connection.request
          if (path === "/") return yield* echo
          const [operation, value] = path.slice(1).split("/").map(Number)
          const exit = yield* Effect.exit(operations[operation](connection, wrong[value] as never))
          if (exit._tag === "Failure") failed++
        })
      )
      for (let operation = 0; operation < operations.length; operation++) {
        for (let value = 0; value < wrong.length; value++) {
          const peer = yield* rawConnect(server.port)
          peer.write(requestText({}, `GET /${operation}/${value} HTTP/1.1`))
          const { rest } = splitHead(yield* peer.until((received) => splitHead(received).rest.length > 1))
          assert.strictEqual(rest[0], 0x88, `${operation}, ${value}: ${rest.toString("hex")}`)
          peer.write(masked(Frame.close(1000)))
          assert.strictEqual((yield* peer.ended).length, splitHead(peer.received()).head.length + 4 + 2 + rest[1])
          assert.isAtMost(rest[1], 2)
        }
      }
      assert.strictEqual(failed, operations.length * wrong.length)
      yield* isAlive(server)
    }))

  it.live("empty and full payloads are exact", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const peer = yield* rawHandshake(server.port)
      const full = Buffer.from(Array.from({ length: 125 }, (_, i) => i))
      peer.send(Frame.ping(new Uint8Array()), Frame.ping(full))
      yield* peer.untilFrames(2)
      assert.deepStrictEqual(splitHead(peer.received()).rest, Buffer.concat([hex("8a00 8a7d"), full]))
    }))
})

describe("permessage-deflate", () => {
  const rsv1 = Frame.Reserved.Rsv1
  const offer = { "Sec-WebSocket-Extensions": "permessage-deflate" }
  const compressed = (payload: Uint8Array) => masked(new Frame.Frame(Frame.Opcode.Binary, payload, true, rsv1))
  const serveDeflate = (options?: Parameters<typeof serve>[0]) => {
    const extension = PerMessageDeflate.make()
    return Effect.map(
      serve({ ...options, serve: { maxMessageSize: 2 ** 20, ...options?.serve, extensions: [extension] } }),
      (server) => ({ ...server, extension })
    )
  }

  it.live("bombs (CVE-2026-1526, CVE-2018-1000518, CVE-2026-39804)", () =>
    Effect.gen(function*() {
      const server = yield* serveDeflate()
      const bomb = deflateRawSync(Buffer.alloc(256 * 2 ** 20))
      assert.isBelow(bomb.length, 2 ** 20)
      const before = yield* memoryInUse
      const codes = yield* Effect.forEach(
        Array.from({ length: 8 }),
        () => closeCodeAfter(server, compressed(bomb), offer),
        { concurrency: 8 }
      )
      assert.deepStrictEqual(codes, Array.from({ length: 8 }, () => 1009))
      assert.isBelow((yield* memoryInUse) - before, 16 * 2 ** 20)
      assert.deepInclude(yield* server.extension.stats, { connections: 0 })
      yield* isAlive(server)
    }))

  it.live("invalid windows (CVE-2026-2229)", () =>
    Effect.gen(function*() {
      const server = yield* serveDeflate()
      for (const bits of ["0", "7", "16", "-1", "99999999999999999999", "1e1", "0x8", "08", ""]) {
        const { head } = yield* rawHandshake(server.port, {
          "Sec-WebSocket-Extensions": `permessage-deflate; server_max_window_bits=${bits === "" ? "\"\"" : bits}`
        }).pipe(Effect.catchDefect(() => Effect.succeed({ head: "" })))
        assert.notInclude(head, "permessage-deflate", bits)
      }
      const fake = yield* rawServer((peer) =>
        peer.socket.on("data", (chunk) => {
          const key = /Sec-WebSocket-Key: (\S+)/i.exec(chunk.toString("latin1"))![1]
          peer.write(
            `HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${
              Handshake.acceptKey(key)
            }\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=16\r\n\r\n`
          )
        })
      )
      const error = yield* Effect.flip(
        WebSocketClient.connect(`ws://127.0.0.1:${fake.port}/`, { extensions: [PerMessageDeflate.make()] })
      )
      assert.strictEqual(error._tag, "ExtensionMismatch")
      yield* isAlive(server)
    }))

  it.live("RSV1 where nothing was agreed on (GHSA-mq44-7p77-q5h7)", () =>
    Effect.gen(function*() {
      const server = yield* serveDeflate()
      assert.strictEqual(yield* closeCodeAfter(server, compressed(hex("00"))), 1002)
      // Nor may it stand on a fragment that is not the first, or on a control frame.
      const late = masked(
        Frame.binary(hex("61"), { fin: false }),
        new Frame.Frame(Frame.Opcode.Continuation, hex("00"), true, rsv1)
      )
      assert.strictEqual(yield* closeCodeAfter(server, late, offer), 1002)
      assert.strictEqual(
        yield* closeCodeAfter(server, masked(new Frame.Frame(Frame.Opcode.Ping, hex(""), true, rsv1)), offer),
        1002
      )
      yield* isAlive(server)
    }))

  it.live("too much, and then what is no DEFLATE (CVE-2026-85024)", () =>
    Effect.gen(function*() {
      const server = yield* serveDeflate()
      const bomb = deflateRawSync(Buffer.alloc(4 * 2 ** 20))
      const broken = Buffer.concat([bomb.subarray(0, -1), Buffer.alloc(100, 0xff)])
      const codes = yield* Effect.forEach(
        [broken, Buffer.alloc(1000, 0xff)],
        (bytes) => closeCodeAfter(server, Buffer.concat([compressed(bytes), compressed(bytes)]), offer)
      )
      assert.deepStrictEqual(codes, [1009, 1007])
      assert.strictEqual(server.ends.length, 2)
      yield* isAlive(server)
    }))

  it.live(
    "peers that go in the middle of much work, and leave room for others (ws issue 1617)",
    () =>
      Effect.gen(function*() {
        const extension = PerMessageDeflate.make()
        const noise = Buffer.from(Array.from({ length: 500_000 }, (_, i) => (i * 7919) % 251))
        const begun = { count: 0 }
        const server = yield* serve(
          { serve: { extensions: [extension] } },
          Effect.gen(function*() {
            const connection = yield* Connection.Connection
            if (connection.extensions.length === 0) return yield* echo
            begun.count++
            return yield* Effect.forever(connection.send(noise))
          })
        )
        for (let i = 0; i < 30; i++) {
          const peer = yield* rawHandshake(server.port, offer)
          yield* peer.until((received) => received.length > 1000)
          peer.socket.resetAndDestroy()
        }
        yield* eventually(() => server.ends.length === 30)
        while ((yield* extension.stats).connections > 0) yield* Effect.yieldNow
        assert.deepInclude(yield* extension.stats, { deflaters: 0, inflaters: 0, memory: 0 })
        const good = yield* WebSocketClient.connect(server.url, { extensions: [PerMessageDeflate.make()] })
        const message = yield* good.receive
        assert.isTrue(noise.equals(message.bytes))
        yield* good.close()
      }),
    20_000
  )

  it.live("connections that have compressed and are idle hold no compressor (ws issues 804, 1202)", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ releaseAfter: "100 millis" })
      const server = yield* serve({ serve: { extensions: [extension] } })
      const clients = yield* Effect.replicateEffect(
        WebSocketClient.connect(server.url, { extensions: [PerMessageDeflate.make()] }),
        40
      )
      const text = "the same again and again ".repeat(100)
      for (const client of clients) {
        yield* client.send(text)
        assert.strictEqual(contentOf(yield* client.receive), text)
      }
      while ((yield* extension.stats).deflaters + (yield* extension.stats).inflaters > 0) yield* Effect.sleep(10)
      assert.strictEqual((yield* extension.stats).connections, 40)
      for (const client of clients) {
        yield* client.send(text)
        assert.strictEqual(contentOf(yield* client.receive), text)
      }
    }))
})

describe("connections", () => {
  /** A server whose connection can be had, with short deadlines. */
  const serveHeld = Effect.gen(function*() {
    const held = yield* Deferred.make<Connection.Connection>()
    const server = yield* serve(
      { serve: { closeTimeout: "300 millis", keepalive: { interval: "100 millis", timeout: "200 millis" } } },
      Effect.flatMap(Connection.Connection, (connection) =>
        connection.request.path === "/"
          ? Effect.andThen(Deferred.succeed(held, connection), connection.closed)
          : echo)
    )
    return { ...server, held: Deferred.await(held) }
  })
  const gone = (server: Server) =>
    Effect.gen(function*() {
      while ((yield* server.connections).length > 0) yield* Effect.sleep(5)
    })

  it.live("both ends close at once", () =>
    Effect.gen(function*() {
      const server = yield* serveHeld
      const client = yield* WebSocketClient.connect(server.url, { keepalive: false })
      const connection = yield* server.held
      const [here, there] = yield* Effect.all([client.close(3001, "here"), connection.close(3002, "there")], {
        concurrency: 2
      })
      for (const end of [here, there]) {
        assert.isTrue(end.clean)
        assert.strictEqual(end.closedBy, "local")
      }
      assert.deepStrictEqual([here.code, there.code], [3001, 3002])
      assert.deepStrictEqual([here.received, there.received], [there.sent, here.sent])
      // And once more is nothing more.
      assert.deepStrictEqual(yield* client.close(1000), here)
      assert.deepStrictEqual(yield* connection.close(1000), there)
    }))

  it.live("a close in the middle of sending loses nothing that was accepted", () =>
    Effect.gen(function*() {
      const server = yield* serveHeld
      const client = yield* WebSocketClient.connect(server.url, { keepalive: false })
      const connection = yield* server.held
      let accepted = 0
      const sending = yield* Effect.forkChild(
        Effect.exit(Effect.forever(Effect.andThen(connection.send("x".repeat(10_000)), Effect.sync(() => accepted++)))),
        { startImmediately: true }
      )
      const reading = yield* Effect.forkChild(
        Stream.runCount(client.messages).pipe(Effect.catchTag("ConnectionClosed", Effect.die))
      )
      yield* eventually(() => accepted >= 1000)
      const end = yield* connection.close(1000, "enough")
      yield* Fiber.join(sending)
      assert.isTrue(end.clean, end.message)
      assert.strictEqual(yield* Fiber.join(reading), accepted)
    }))

  it.live("a peer that never answers a close frame", () =>
    Effect.gen(function*() {
      const server = yield* serveHeld
      yield* rawHandshake(server.port)
      const connection = yield* server.held
      const end = yield* connection.close(1000)
      assert.strictEqual(end.cause?._tag, "CloseTimeout")
      yield* gone(server)
      assert.deepStrictEqual(server.ends, ["CloseTimeout"])
    }))

  it.live("a peer that answers, and never ends TCP", () =>
    Effect.gen(function*() {
      const server = yield* serveHeld
      const peer = yield* rawHandshake(server.port)
      const connection = yield* server.held
      const closing = yield* Effect.forkChild(connection.close(1000), { startImmediately: true })
      yield* peer.untilFrames(1)
      peer.send(Frame.close(1000))
      assert.isTrue((yield* Fiber.join(closing)).clean)
      yield* gone(server)
      assert.deepStrictEqual(server.ends, ["1000"])
    }))

  it.live("a peer that ends its side and goes on listening, and one that says nothing at all", () =>
    Effect.gen(function*() {
      const server = yield* serveHeld
      const half = yield* rawHandshake(server.port)
      half.socket.end()
      assert.strictEqual((yield* (yield* server.held).closed).cause?._tag, "UnexpectedEof")
      yield* half.ended

      const mute = yield* serveHeld
      yield* rawHandshake(mute.port)
      assert.strictEqual((yield* (yield* mute.held).closed).cause?._tag, "KeepaliveTimeout")
      yield* gone(mute)
    }))

  it.live("small messages that are kept do not keep the reads that they came in (ws 8.22, 8.23)", () =>
    Effect.gen(function*() {
      const kept: Array<Uint8Array> = []
      const server = yield* serve(
        {},
        Effect.gen(function*() {
          const connection = yield* Connection.Connection
          if (connection.request.path !== "/keep") return yield* echo
          let count = 0
          yield* Stream.runForEach(connection.messages, (message) =>
            Effect.sync(() => {
              if (count++ % 1000 === 0) kept.push(message.bytes)
            }))
        })
      )
      const before = yield* memoryInUse
      const peer = yield* rawConnect(server.port)
      peer.write(requestText({}, "GET /keep HTTP/1.1"))
      yield* peer.until((received) => received.includes(headEnd))
      const thousand = Buffer.alloc(1000 * 70, masked(Frame.binary(new Uint8Array(64))))
      for (let i = 0; i < 500; i++) peer.write(thousand)
      yield* eventually(() => kept.length === 500)
      peer.write(masked(Frame.close(1000)))
      yield* peer.ended
      // 500 reads of 64 KiB would be 32 MiB.
      assert.isBelow((yield* memoryInUse) - before, 8 * 2 ** 20)
      assert.isTrue(Option.isSome(Option.fromNullishOr(kept[499])))
      yield* isAlive(server)
    }))
})
