/** Rules of HTTP beyond RFC 6455, on servers of this library and on routes of an application. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { Handshake, type HandshakeError, WebSocketClient, WebSocketServer } from "effect-ws"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Tls from "node:tls"
import { localhostTls as tls } from "../support/certificates.ts"
import { application } from "../support/application.ts"
import { rawConnect, rawSocket, requestText, serve, splitHead } from "../support/net.ts"
import { ways } from "../support/serverKinds.ts"
import { idle } from "../support/serving.ts"

/** The statuses of all received responses. */
const statuses = (received: Buffer): ReadonlyArray<number> =>
  Array.from(received.toString("latin1").matchAll(/HTTP\/1\.1 (\d{3}) /g), ([, status]) => Number(status))

/** Sends a request, and returns the statuses of `count` responses, or of those before the end of the connection. */
const exchange = (port: number, request: string, count = 1) =>
  Effect.scoped(Effect.gen(function*() {
    const peer = yield* rawConnect(port)
    peer.write(request)
    const received = yield* Effect.raceFirst(peer.until((bytes) => statuses(bytes).length >= count), peer.ended)
    return statuses(received)
  }))

const tlsConnect = (port: number) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => Tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false })),
      (opened) => Effect.sync(() => opened.destroy())
    ),
    rawSocket
  )

const offering = (offer: string, headers = "", requestLine = "GET /health HTTP/1.1") =>
  `${requestLine}\r\nHost: a\r\n${offer}\r\n${headers}\r\n`

const h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
const offers = [
  h2c,
  "Connection: upgrade\r\nUpgrade: TLS/1.0",
  "Connection: upgrade\r\nUpgrade: h2c, TLS/1.2",
  "Connection: upgrade\r\nUpgrade: websockets"
]

/** Responds with the request as `METHOD url body`. */
const onRequest: Http.RequestListener = (request, response) => {
  let body = ""
  request.setEncoding("utf8").on("data", (chunk: string) => body += chunk)
  request.on("end", () => response.end(`<${request.method} ${request.url} ${body}>`))
}

describe("an offer of another protocol than WebSocket (RFC 9110 §7.8)", () => {
  for (const offer of offers) {
    it.live(`is an ordinary request to onRequest, on a socket that stays usable: ${/Upgrade: (.*)$/m.exec(offer)![1]}`, () =>
      Effect.gen(function*() {
        const { port } = yield* serve(idle, { onRequest })
        const peer = yield* rawConnect(port)
        peer.write(offering(offer))
        yield* peer.until((received) => received.includes("<GET /health >"))
        peer.write(offering(offer, "Content-Length: 5\r\n", "POST /length HTTP/1.1") + "hello")
        yield* peer.until((received) => received.includes("<POST /length hello>"))
        peer.write(offering(offer, "Transfer-Encoding: chunked\r\n", "POST /chunks HTTP/1.1") + "3\r\nabc\r\n")
        peer.write("2\r\nde\r\n0\r\n\r\n")
        yield* peer.until((received) => received.includes("<POST /chunks abcde>"))
        peer.write(requestText())
        assert.deepStrictEqual(
          statuses(yield* peer.until((received) => received.toString("latin1").includes(" 101 "))),
          [200, 200, 200, 101]
        )
      }))

    it.live(`gets 426 without onRequest: ${/Upgrade: (.*)$/m.exec(offer)![1]}`, () =>
      Effect.gen(function*() {
        const { port } = yield* serve(idle)
        const peer = yield* rawConnect(port)
        peer.write(offering(offer))
        const { head } = splitHead(yield* peer.ended)
        assert.match(head, /^HTTP\/1\.1 426 /)
        assert.match(head, /\r\nUpgrade: websocket(\r\n|$)/)
      }))
  }

  it.live("does not change a request over TLS", () =>
    Effect.gen(function*() {
      const { port } = yield* serve(idle, { tls, onRequest })
      const peer = yield* tlsConnect(port)
      peer.write(offering(h2c))
      yield* peer.until((received) => received.includes("<GET /health >"))
    }))

  it.live("does not hide an offer of WebSocket beside it", () =>
    Effect.gen(function*() {
      for (const make of Object.values(ways)) {
        const port = yield* make(idle)
        assert.deepStrictEqual(yield* exchange(port, requestText({ Upgrade: "h2c, WebSocket" })), [101])
      }
    }))

  it.live("reaches an application on a prepared server, with its body", () =>
    Effect.gen(function*() {
      const { port } = yield* application(HttpRouter.addAll([
        HttpRouter.route("GET", "/health", HttpServerResponse.text("<healthy>")),
        HttpRouter.route(
          "POST",
          "/length",
          Effect.gen(function*() {
            const request = yield* HttpServerRequest.HttpServerRequest
            return HttpServerResponse.text(`<${yield* Effect.orDie(request.text)}>`)
          })
        ),
        HttpRouter.route("GET", "/ws", WebSocketServer.upgrade(idle))
      ]))
      for (const offer of offers) {
        const get = yield* rawConnect(port)
        get.write(offering(offer))
        yield* get.until((received) => received.includes("<healthy>"))
        const post = yield* rawConnect(port)
        post.write(offering(offer, "Content-Length: 5\r\n", "POST /length HTTP/1.1") + "hello")
        yield* post.until((received) => received.includes("<hello>"))
        assert.deepStrictEqual(yield* exchange(port, offering(offer, "", "GET /ws HTTP/1.1")), [426])
      }
    }))

  it.live("gets no response in a CONNECT request", () =>
    Effect.gen(function*() {
      const { port } = yield* serve(idle, { onRequest })
      assert.deepStrictEqual(yield* exchange(port, offering(h2c, "", "CONNECT a:1 HTTP/1.1")), [])
    }))
})

describe("a page of the same host", () => {
  const statusFor = (port: number, scheme: string, secure: boolean) =>
    Effect.scoped(Effect.gen(function*() {
      const peer = yield* secure ? tlsConnect(port) : rawConnect(port)
      peer.write(requestText({ Host: `localhost:${port}`, Origin: `${scheme}://localhost:${port}` }))
      const received = yield* peer.until((bytes) => bytes.includes("\r\n"))
      return statuses(received)[0]
    }))

  for (const secure of [true, false]) {
    it.live(`may ${secure ? "not " : ""}use http if the server has ${secure ? "" : "no "}TLS`, () =>
      Effect.gen(function*() {
        const own = yield* serve(idle, { tls: secure ? tls : undefined })
        const route = yield* application(
          HttpRouter.add("GET", "/", WebSocketServer.upgrade(idle)),
          () => WebSocketServer.prepareServer(secure ? Https.createServer(tls) : Http.createServer())
        )
        for (const { port } of [own, route]) {
          assert.strictEqual(yield* statusFor(port, "https", secure), 101)
          assert.strictEqual(yield* statusFor(port, "http", secure), secure ? 403 : 101)
        }
      }))
  }
})

describe("several Set-Cookie headers of a decision", () => {
  const cookies = ["a=1; Path=/", "b=x%20y; Expires=Wed, 01 Jan 2031 00:00:00 GMT", "a=; Max-Age=0; Path=/old", "a=2"]
  const headers = { "Set-Cookie": cookies }
  const sorted = (raw: Handshake.RawHeaders) => Handshake.headerValues(raw, "set-cookie").toSorted()

  for (const [name, make] of Object.entries(ways)) {
    it.live(`${name} sends each header, with 101 and with a rejection`, () =>
      Effect.gen(function*() {
        const accepting = yield* make(idle, { decide: () => Effect.succeed(Handshake.accept({ headers })) })
        const connection = yield* WebSocketClient.connect(`ws://127.0.0.1:${accepting}/`)
        assert.deepStrictEqual(sorted(connection.rawResponseHeaders), cookies.toSorted())
        const rejecting = yield* make(idle, {
          decide: () => Effect.succeed(Handshake.reject({ status: 401, headers }))
        })
        const rejected = yield* Effect.flip(Effect.scoped(WebSocketClient.connect(`ws://127.0.0.1:${rejecting}/`)))
        assert.strictEqual(rejected._tag, "HandshakeRejected")
        assert.deepStrictEqual(sorted((rejected as HandshakeError.HandshakeRejected).rawHeaders), cookies.toSorted())
      }))
  }
})

describe("Expect: 100-continue on a handshake (RFC 9110 §7.8)", () => {
  for (const [name, make] of Object.entries(ways)) {
    it.live(`${name} sends 100 before 101`, () =>
      Effect.gen(function*() {
        const port = yield* make(idle)
        for (const Expect of ["100-continue", "100-Continue"]) {
          assert.deepStrictEqual(yield* exchange(port, requestText({ Expect }), 2), [100, 101])
        }
      }))

    it.live(`${name} sends only the rejection`, () =>
      Effect.gen(function*() {
        const port = yield* make(idle)
        const peer = yield* rawConnect(port)
        peer.write(requestText({ Expect: "100-continue", Origin: "http://elsewhere.example" }))
        assert.deepStrictEqual(statuses(yield* peer.ended), [403])
      }))
  }

  it.live("does not disturb this client and this server", () =>
    Effect.gen(function*() {
      const { url } = yield* serve(idle)
      const connection = yield* WebSocketClient.connect(url, { headers: { Expect: "100-continue" } })
      assert.strictEqual(connection.request.headers["expect"], "100-continue")
    }))
})

describe("a request with many header lines", () => {
  const withLines = (lines: number, request: string) => {
    const own = request.split("\r\n").length - 3
    return request.replace("\r\n", `\r\n${"x: 1\r\n".repeat(lines - own)}`)
  }

  for (const [name, make] of Object.entries(ways)) {
    it.live(`${name} accepts 1,000 lines`, () =>
      Effect.gen(function*() {
        const port = yield* make(idle)
        assert.deepStrictEqual(yield* exchange(port, withLines(1000, requestText())), [101])
      }))

    // The handshake's own headers are the last ones, so Node drops these.
    for (const lines of [1001, 1002, 1023, 1024, 1500]) {
      it.live(`${name} rejects ${lines} lines with 431`, () =>
        Effect.gen(function*() {
          const port = yield* make(idle)
          assert.deepStrictEqual(yield* exchange(port, withLines(lines, requestText())), [431])
        }))
    }
  }

  it.live("never reaches onRequest without the lines that Node drops", () =>
    Effect.gen(function*() {
      const { port } = yield* serve(idle, { onRequest })
      const plain = "GET / HTTP/1.1\r\nHost: a\r\n"
      for (const request of [plain, offering(h2c).slice(0, -2)]) {
        const own = request.split("\r\n").length - 2
        const withMore = (lines: number) => `${request}${"x: 1\r\n".repeat(lines - own)}\r\n`
        assert.deepStrictEqual(yield* exchange(port, withMore(1000)), [200])
        for (const lines of [1001, 1002, 1500]) {
          assert.deepStrictEqual(yield* exchange(port, withMore(lines)), [431])
        }
      }
    }))

  it.live("never reaches a route without the lines that maxHeadersCount drops", () =>
    Effect.gen(function*() {
      const { port } = yield* application(HttpRouter.add("GET", "/", WebSocketServer.upgrade(idle)), () => {
        const server = Http.createServer()
        server.maxHeadersCount = 62
        return WebSocketServer.prepareServer(server)
      })
      assert.deepStrictEqual(yield* exchange(port, withLines(61, requestText())), [101])
      for (const lines of [63, 64, 100]) {
        assert.deepStrictEqual(yield* exchange(port, withLines(lines, requestText())), [431])
      }
    }))

  it.live("can have any number of lines if the server of a route has no limit", () =>
    Effect.gen(function*() {
      const { port } = yield* application(HttpRouter.add("GET", "/", WebSocketServer.upgrade(idle)), () => {
        const server = Http.createServer()
        server.maxHeadersCount = 0
        return WebSocketServer.prepareServer(server)
      })
      assert.deepStrictEqual(yield* exchange(port, withLines(2000, requestText())), [101])
    }))
})
