/** Opening handshakes over HTTP/2 (RFC 8441), on servers of this library and on routes. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Logger } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { Connection, Handshake, PerMessageDeflate, WebSocketServer } from "effect-ws"
import * as Http2 from "node:http2"
import { application } from "../../support/application.ts"
import { tls } from "../../support/certificates.ts"
import { http2Client } from "../../support/http2Client.ts"
import { http2Ways, plainServer, secureServer } from "../../support/http2Servers.ts"
import { contentOf } from "../../support/memory.ts"
import { handingOut, serve } from "../../support/net.ts"
import { connect, echo, idle } from "../../support/serving.ts"

const reject = Handshake.reject({
  status: 403,
  headers: { "Set-Cookie": ["a=1", "b=2"], "X-Reason": "no", Upgrade: "websocket", "Keep-Alive": "timeout=5" },
  body: "not you"
})

for (const [way, serveAt] of Object.entries(http2Ways)) {
  describe(`${way}, over HTTP/2`, () => {
    it.live("accepts with 200 and the negotiated subprotocol, extension and headers", () =>
      Effect.gen(function*() {
        const decide = () => Effect.succeed(Handshake.accept({ headers: { "Set-Cookie": ["a=1", "b=2"] } }))
        const url = yield* serveAt(echo, { protocols: ["v2"], extensions: [PerMessageDeflate.make()], decide })
        const client = yield* http2Client(url)
        const { headers, status } = yield* client.request({
          "sec-websocket-protocol": "v1, v2",
          "sec-websocket-extensions": "permessage-deflate"
        })
        assert.strictEqual(status, 200)
        assert.strictEqual(headers["sec-websocket-protocol"], "v2")
        assert.match(String(headers["sec-websocket-extensions"]), /^permessage-deflate/)
        assert.deepStrictEqual(headers["set-cookie"], ["a=1", "b=2"])
        for (const name of ["connection", "upgrade", "sec-websocket-accept"]) assert.notProperty(headers, name)
      }))

    it.live("the handler finds the request, and its HTTP version", () =>
      Effect.gen(function*() {
        const { connection, handler } = yield* handingOut
        const url = yield* serveAt(handler)
        const client = yield* http2Client(url)
        yield* client.open({ ":path": "/?a=1", "x-forwarded-for": "192.0.2.1", cookie: "c=d" })
        const { rawResponseHeaders, request } = yield* connection
        assert.strictEqual(request.httpVersion, "2")
        assert.deepStrictEqual([request.path, request.query.get("a"), request.key], ["/", "1", ""])
        assert.strictEqual(request.host, new URL(url).host)
        assert.strictEqual(request.secure, url.startsWith("https"))
        assert.match(request.remoteAddress!, /127\.0\.0\.1|::1/)
        assert.deepInclude({ ...request.headers }, { "x-forwarded-for": "192.0.2.1", cookie: "c=d" })
        assert.isFalse(request.rawHeaders.some(([name]) => name.startsWith(":")))
        assert.deepStrictEqual(rawResponseHeaders, [])
      }))

    it.live("rejects with the body and the headers of the decision that HTTP/2 allows, and closes the stream", () =>
      Effect.gen(function*() {
        const client = yield* http2Client(yield* serveAt(idle, { decide: () => Effect.succeed(reject) }))
        const { body, headers, status, stream } = yield* client.fetch()
        assert.deepStrictEqual([status, body], [403, "not you"])
        assert.deepInclude(headers, { "x-reason": "no", "content-length": "7" })
        assert.deepStrictEqual(headers["set-cookie"], ["a=1", "b=2"])
        for (const name of ["connection", "upgrade", "keep-alive"]) assert.notProperty(headers, name)
        assert.strictEqual(stream.rstCode, Http2.constants.NGHTTP2_NO_ERROR)
      }))

    it.live("rejects after a decision that suspends, and keeps the session", () =>
      Effect.gen(function*() {
        const decide = ({ query }: Handshake.Request) =>
          Effect.delay(Effect.succeed(query.has("no") ? reject : Handshake.accept()), 5)
        const client = yield* http2Client(yield* serveAt(echo, { decide }))
        const { body, status, stream } = yield* client.fetch({ ":path": "/?no" })
        assert.deepStrictEqual([status, body, stream.rstCode], [403, "not you", Http2.constants.NGHTTP2_NO_ERROR])
        const connection = yield* client.open()
        yield* connection.send("still there")
        assert.strictEqual(contentOf(yield* connection.receive), "still there")
      }))

    it.live("delivers what the client sends before the response", () =>
      Effect.gen(function*() {
        const proceed = yield* Deferred.make<void>()
        const decide = () => Effect.as(Deferred.await(proceed), Handshake.accept())
        const client = yield* http2Client(yield* serveAt(echo, { decide }))
        const stream = client.session.request({
          ":method": "CONNECT",
          ":protocol": "websocket",
          ":path": "/",
          "sec-websocket-version": "13"
        }, { endStream: false })
        // A text frame with "early", masked with zeros.
        stream.write(Buffer.concat([Uint8Array.of(0x81, 0x85, 0, 0, 0, 0), Buffer.from("early")]))
        yield* Effect.sleep(20)
        yield* Deferred.succeed(proceed, undefined)
        const received = yield* Effect.callback<Buffer>((resume) => {
          stream.once("data", (chunk: Buffer) => resume(Effect.succeed(chunk)))
        })
        assert.strictEqual(received.toString("latin1"), "\x81\x05early")
        stream.close(Http2.constants.NGHTTP2_CANCEL)
      }))

    it.live("stops the decision when the client resets the stream", () =>
      Effect.gen(function*() {
        const [deciding, interrupted] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const decide = () =>
          Effect.andThen(Deferred.succeed(deciding, undefined), Effect.never).pipe(
            Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
          )
        const client = yield* http2Client(yield* serveAt(idle, { decide }))
        yield* Effect.forkScoped(Effect.exit(client.request()), { startImmediately: true })
        yield* Deferred.await(deciding)
        client.session.destroy()
        yield* Deferred.await(interrupted)
      }))

    it.live("compares the origin of a page with :authority", () =>
      Effect.gen(function*() {
        const url = yield* serveAt(idle)
        const client = yield* http2Client(url)
        assert.strictEqual((yield* client.request({ origin: new URL(url).origin })).status, 200)
        const { body, status } = yield* client.fetch({ origin: "https://other.example" })
        assert.strictEqual(status, 403)
        assert.match(body, /^Origin header: /)
      }))

    it.live("rejects another :protocol and a plain CONNECT request with 501", () =>
      Effect.gen(function*() {
        const url = yield* serveAt(idle)
        const client = yield* http2Client(url)
        const udp = yield* client.fetch({ ":protocol": "connect-udp" })
        assert.deepStrictEqual([udp.status, udp.body], [
          501,
          ":protocol of a CONNECT request: expected \"websocket\", got \"connect-udp\""
        ])
        // Node's client leaves out what is undefined. A plain CONNECT request has neither scheme nor path.
        const tunnel = yield* client.fetch({ ":protocol": undefined, ":path": undefined, ":authority": "a.example:80" })
        assert.strictEqual(tunnel.status, 501)
      }))

    it.live("rejects an invalid handshake with its status and message", () =>
      Effect.gen(function*() {
        const client = yield* http2Client(yield* serveAt(idle))
        const old = yield* client.fetch({ "sec-websocket-version": "8" })
        assert.deepStrictEqual([old.status, old.headers["sec-websocket-version"]], [426, "13"])
        const none = yield* client.fetch({ "sec-websocket-version": undefined })
        assert.strictEqual(none.body, "WebSocket handshake: expected a Sec-WebSocket-Version header, got none")
      }))

    it.live("rejects a GET request with 405, because WebSockets over HTTP/2 begin with CONNECT", () =>
      Effect.gen(function*() {
        const client = yield* http2Client(yield* serveAt(idle))
        const { body, headers, status } = yield* client.fetch({ ":method": "GET", ":protocol": undefined })
        assert.deepStrictEqual([status, headers["allow"]], [405, "CONNECT"])
        assert.strictEqual(body, "WebSocket handshake: expected the method CONNECT, got GET")
      }))

    it.live("rejects a request above maxConnections with 503 and Retry-After", () =>
      Effect.gen(function*() {
        const client = yield* http2Client(yield* serveAt(idle, { maxConnections: 1 }))
        yield* client.open()
        const { headers, status } = yield* client.fetch()
        assert.strictEqual(status, 503)
        assert.property(headers, "retry-after")
      }))

    it.live("rejects with 500 and logs if the decision makes no valid response", () =>
      Effect.gen(function*() {
        const logs: Array<unknown> = []
        const logger = Logger.make(({ message }) => void logs.push(message))
        const decide = () => Effect.succeed(Handshake.accept({ headers: { "Sec-WebSocket-Accept": "x" } }))
        const url = yield* Effect.provideService(serveAt(idle, { decide }), Logger.CurrentLoggers, new Set([logger]))
        const client = yield* http2Client(url)
        assert.strictEqual((yield* client.fetch()).status, 500)
        assert.match(String(logs[0]), /Sec-WebSocket-Accept/)
      }))
  })
}

describe("a port with both versions", () => {
  it.live("serves WebSockets over HTTP/1.1 too, on servers and on routes", () =>
    Effect.gen(function*() {
      const plain = yield* serve(echo, { cleartextHttp2: true })
      const secure = yield* serve(echo, { tls, http2: true })
      const route = HttpRouter.add("GET", "/", WebSocketServer.upgrade(echo))
      const app = yield* application(route, secureServer)
      for (
        const url of [`ws://127.0.0.1:${plain.port}`, `wss://localhost:${secure.port}`, `wss://localhost:${app.port}`]
      ) {
        const connection = yield* connect(url, { tls: { rejectUnauthorized: false } })
        assert.strictEqual(connection.request.httpVersion, "1.1")
        yield* connection.send("hello")
        assert.strictEqual(contentOf(yield* connection.receive), "hello")
      }
    }))

  it.live("announces extended CONNECT only with the option", () =>
    Effect.gen(function*() {
      const announced = (session: Http2.ClientHttp2Session) => session.remoteSettings.enableConnectProtocol
      const { port } = yield* serve(idle, { tls, http2: true })
      assert.isTrue(announced((yield* http2Client(`https://localhost:${port}`)).session))
      const unprepared = () =>
        WebSocketServer.prepareServer(Http2.createServer()) as unknown as ReturnType<typeof plainServer>
      const app = yield* application(HttpRouter.add("GET", "/", HttpServerResponse.text("hello")), unprepared)
      assert.isFalse(announced((yield* http2Client(`http://127.0.0.1:${app.port}`)).session))
    }))

  it.live("passes other requests to onRequest, with Node's objects for HTTP/2", () =>
    Effect.gen(function*() {
      const { port } = yield* serve(idle, {
        cleartextHttp2: true,
        onRequest: (request, response) => response.writeHead(201).end(`${request.httpVersion} ${request.url}`)
      })
      const client = yield* http2Client(`http://127.0.0.1:${port}`)
      const { body, status } = yield* client.fetch({ ":method": "GET", ":protocol": undefined, ":path": "/page" })
      assert.deepStrictEqual([status, body], [201, "2.0 /page"])
    }))

  it.live("rejects with 503 before serve, and while no application serves", () =>
    Effect.gen(function*() {
      const server = yield* WebSocketServer.make({ host: "127.0.0.1", cleartextHttp2: true })
      const client = yield* http2Client(server.url.replace("ws", "http"))
      assert.strictEqual((yield* client.fetch()).status, 503)
    }))

  it.live("accepts streams of the program, with HTTP/2 or HTTP/1.1", () =>
    Effect.gen(function*() {
      const server = yield* serve(Effect.flatMap(Connection.Connection, ({ send }) => send("hello")), {
        cleartextHttp2: true
      })
      const { duplexPair } = yield* Effect.promise(() => import("node:stream"))
      const [left, right] = duplexPair()
      yield* server.accept(right)
      const session = Http2.connect("http://localhost", { createConnection: () => left })
      const body = yield* Effect.callback<string>((resume) => {
        session.once("remoteSettings", () => {
          const stream = session.request(
            { ":method": "CONNECT", ":protocol": "websocket", ":path": "/", "sec-websocket-version": "13" },
            { endStream: false }
          )
          stream.once("data", (chunk: Buffer) => resume(Effect.succeed(chunk.toString("latin1"))))
        })
      })
      assert.strictEqual(body.slice(0, 7), "\x81\x05hello")
      session.destroy()
    }))
})
