/** Clients that prefer HTTP/2, and servers that do not have it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { WebSocketClient } from "effect-ws"
import * as Http2 from "node:http2"
import * as Net from "node:net"
import { ca, localhostTls, tls } from "../../support/certificates.ts"
import { failure, redirecting, visit } from "../../support/connecting.ts"
import { allowingHttp1, echoStream, type Http2ServerOptions, trusted } from "../../support/http2ServerPeers.ts"
import { serve } from "../../support/net.ts"
import { openSockets } from "../../support/resources.ts"
import { httpProxy } from "../../support/proxies.ts"
import { echo } from "../../support/serving.ts"

const prefer = { http2: "prefer", keepalive: false } as const
const shared = Effect.provide(WebSocketClient.layer({ ...prefer, ...trusted }))

describe("prefer", () => {
  it.live("uses the TLS connection for HTTP/1.1 if the server selects that", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls })
      const proxy = yield* httpProxy()
      const options = { ...prefer, tls: { ca }, proxy: { url: `http://127.0.0.1:${proxy.port}` } }
      const request = yield* visit(server.url, options)
      assert.deepStrictEqual([request.httpVersion, proxy.targets.length], ["1.1", 1])
    }))

  it.live("gives each of several connections a socket, if they find HTTP/1.1 together", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls })
      const before = openSockets()
      const versions = yield* Effect.forEach(
        Array.from({ length: 5 }),
        () => Effect.map(visit(server.url, { tls: { ca } }), ({ httpVersion }) => httpVersion),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(versions, ["1.1", "1.1", "1.1", "1.1", "1.1"])
      while (openSockets() > before) yield* Effect.yieldNow
    }).pipe(shared))

  const lacks: Record<string, Http2ServerOptions> = {
    "does not allow extended CONNECT": { settings: { enableConnectProtocol: false } },
    "requires HTTP/1.1": { respond: (stream) => stream.close(Http2.constants.NGHTTP2_HTTP_1_1_REQUIRED) },
    "responds with 501": { respond: (stream) => stream.respond({ ":status": 501 }) },
    "responds with 405": { respond: (stream) => stream.respond({ ":status": 405 }) }
  }
  for (const [name, options] of Object.entries(lacks)) {
    it.live(`connects over HTTP/1.1 if the server ${name}, and remembers that`, () =>
      Effect.gen(function*() {
        const server = yield* allowingHttp1(options)
        for (let i = 0; i < 2; i++) {
          assert.strictEqual((yield* visit(server.url)).httpVersion, "1.1")
        }
        assert.strictEqual(server.sessions.length, 1)
      }).pipe(shared))
  }

  it.effect("tries HTTP/2 again after 10 minutes", () =>
    Effect.gen(function*() {
      let isUpdated = false
      const server = yield* allowingHttp1({
        respond: (stream) => isUpdated ? echoStream(stream) : stream.respond({ ":status": 501 })
      })
      const version = Effect.map(visit(server.url), ({ httpVersion }) => httpVersion)
      assert.strictEqual(yield* version, "1.1")
      isUpdated = true
      yield* TestClock.adjust("599 seconds")
      assert.strictEqual(yield* version, "1.1")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* version, "2")
    }).pipe(shared))

  it.live("\"only\" does not use what \"prefer\" remembers", () =>
    Effect.gen(function*() {
      let isUpdated = false
      const server = yield* allowingHttp1({
        respond: (stream) => isUpdated ? echoStream(stream) : stream.respond({ ":status": 501 })
      })
      yield* visit(server.url)
      isUpdated = true
      assert.strictEqual((yield* visit(server.url, { http2: "only" })).httpVersion, "2")
    }).pipe(shared))

  it.live("does not fall back for other statuses, or for a reset", () =>
    Effect.gen(function*() {
      for (const status of [400, 401, 404, 503]) {
        const server = yield* allowingHttp1({
          respond: (stream) => stream.respond({ ":status": status }, { endStream: true })
        })
        assert.deepInclude(yield* failure(WebSocketClient.connect(server.url)), { _tag: "HandshakeRejected", status })
      }
      const server = yield* allowingHttp1({ respond: (stream) => stream.close(Http2.constants.NGHTTP2_INTERNAL_ERROR) })
      assert.strictEqual((yield* failure(WebSocketClient.connect(server.url)))._tag, "ConnectFailed")
    }).pipe(shared))

  it.live("an agent, or a stream as duplex, is for HTTP/1.1", () =>
    Effect.gen(function*() {
      const server = yield* allowingHttp1()
      const duplex = Net.connect(server.port, "127.0.0.1")
      assert.strictEqual((yield* visit(server.url, { duplex })).httpVersion, "1.1")
    }).pipe(shared))

  it.live("follows redirects from HTTP/1.1 to HTTP/2, and back", () =>
    Effect.gen(function*() {
      const locations: Record<string, string> = {}
      const plain = yield* redirecting(locations)
      const target = yield* serve(echo, { tls: localhostTls })
      const secure = yield* allowingHttp1({
        respond: (stream) => {
          stream.respond({ ":status": 307, location: target.url.replace("127.0.0.1", "localhost") })
          stream.end()
        }
      })
      locations["/a"] = secure.url
      const request = yield* visit(`${plain.url}/a`, { maxRedirects: 2 })
      assert.deepStrictEqual([request.httpVersion, request.secure], ["1.1", true])
      assert.strictEqual(secure.streams.length, 1)
    }).pipe(shared))
})

describe("reconnecting", () => {
  it.live("connects over HTTP/2, and again after the session is lost", () =>
    Effect.gen(function*() {
      const server = yield* allowingHttp1()
      const client = yield* WebSocketClient.reconnecting(server.url, { schedule: Schedule.spaced("1 millis") })
      const first = yield* client.connection
      assert.strictEqual(first.request.httpVersion, "2")
      server.sessions[0].destroy()
      yield* first.closed
      while (server.sessions.length < 2) yield* Effect.yieldNow
      const second = yield* client.connection
      assert.strictEqual(second.request.httpVersion, "2")
    }).pipe(shared))

  it.live("ends with Http2Unsupported, because another attempt would fail in the same way", () =>
    Effect.gen(function*() {
      const server = yield* allowingHttp1({ settings: { enableConnectProtocol: false } })
      const client = yield* WebSocketClient.reconnecting(server.url, { http2: "only" })
      assert.strictEqual((yield* Effect.flip(client.closed))._tag, "Http2Unsupported")
    }).pipe(shared))
})
