/** Redirects of a handshake: which are followed, and what the next server is told. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Handshake, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ca, certificate, key, tls } from "../support/certificates.ts"
import { failure, redirecting, visit } from "../support/connecting.ts"
import { turn } from "../support/memory.ts"
import { echo } from "../support/serving.ts"
import { interruptAtEachStep } from "../support/interruptAtEachStep.ts"
import { headEnd, rawServer, sampleKey, serve } from "../support/net.ts"

const secrets = {
  Authorization: "Bearer t",
  COOKIE: "a=1",
  "Proxy-Authorization": "Basic eA==",
  Host: "virtual.example",
  "X-Trace": "7"
}

const secretsOf = ({ headers }: Handshake.Request) => [
  headers["authorization"],
  headers["cookie"],
  headers["proxy-authorization"],
  headers["x-trace"]
]

describe("redirects", () => {
  for (const status of [301, 302, 303, 307, 308]) {
    it.live(`follows ${status} up to maxRedirects times`, () =>
      Effect.gen(function*() {
        const server = yield* redirecting({ "/a": "/b?x=1", "/b": "c#part" }, { status })
        const url = `${server.url}/a`
        const request = yield* visit(url, { maxRedirects: 2 })
        assert.strictEqual(request.path, "/c")
        assert.deepStrictEqual(server.requests.map(({ path }) => path), ["/a", "/b", "/c"])
        assert.strictEqual(new Set(server.requests.map((each) => each.key)).size, 3)
        const one = yield* failure(WebSocketClient.connect(url, { maxRedirects: 1 }))
        assert.deepInclude(one, {
          _tag: "TooManyRedirects",
          maxRedirects: 1,
          location: `${server.url.replace("ws", "http")}/c#part`
        })
        const none = yield* failure(WebSocketClient.connect(url))
        assert.deepInclude(none, { _tag: "HandshakeRedirected", status })
      }))
  }

  it.live("follows a redirect to a path in UTF-8, and escapes it once", () =>
    Effect.gen(function*() {
      const server = yield* redirecting({ "/a": Buffer.from("/café?q=☃").toString("latin1") })
      const request = yield* visit(`${server.url}/a`, { maxRedirects: 1 })
      assert.deepStrictEqual([request.path, request.query.get("q")], ["/caf%C3%A9", "☃"])
    }))

  it.live("errors of redirects do not show the query of the Location", () =>
    Effect.gen(function*() {
      const server = yield* redirecting({ "/a": "ftp://u:secret@127.0.0.1/?secret#secret", "/b": "/b?secret" })
      for (const [path, maxRedirects] of [["a", 0], ["a", 1], ["b", 1]] as const) {
        const error = yield* failure(WebSocketClient.connect(`${server.url}/${path}`, { maxRedirects }))
        assert.notInclude(error.message, "secret")
      }
    }))

  it.live("a loop of redirects fails with TooManyRedirects", () =>
    Effect.gen(function*() {
      const server = yield* redirecting({ "/a": "/b", "/b": "/a" })
      const error = yield* failure(WebSocketClient.connect(`${server.url}/a`, { maxRedirects: 10 }))
      assert.strictEqual(error._tag, "TooManyRedirects")
      assert.strictEqual(server.requests.length, 11)
    }))

  it.live("a redirect within an origin keeps credentials, also those of the URL", () =>
    Effect.gen(function*() {
      const server = yield* redirecting({ "/a": "/b" })
      const last = yield* visit(`${server.url}/a`, { maxRedirects: 1, headers: secrets })
      assert.deepStrictEqual(secretsOf(last), ["Bearer t", "a=1", "Basic eA==", "7"])
      assert.strictEqual(last.headers["host"], "virtual.example")
      const { headers } = yield* visit(`${server.url.replace("ws://", "ws://u:p@")}/a`, { maxRedirects: 1 })
      assert.strictEqual(headers["authorization"], "Basic dTpw")
    }))

  it.live("a redirect to another origin drops credentials, also for a redirect back", () =>
    Effect.gen(function*() {
      const away: Record<string, string> = {}
      const home: Record<string, string> = {}
      const other = yield* redirecting(away)
      const server = yield* redirecting(home)
      home["/a"] = `${other.url}/b`
      away["/b"] = `${server.url}/c`
      const last = yield* visit(`${server.url}/a`, { maxRedirects: 2, headers: secrets })
      assert.deepStrictEqual(secretsOf(server.requests[0]), ["Bearer t", "a=1", "Basic eA==", "7"])
      for (const request of [other.requests[0], last]) {
        assert.deepStrictEqual<ReadonlyArray<string | undefined>>(secretsOf(request), [
          undefined,
          undefined,
          undefined,
          "7"
        ])
        assert.notStrictEqual(request.host, "virtual.example")
      }
      yield* visit(`${server.url.replace("ws://", "ws://u:p@")}/a`, { maxRedirects: 2 })
      assert.isTrue(other.requests.every(({ headers }) => headers["authorization"] === undefined))
    }))

  it.live("follows redirects from ws to wss, and refuses those from wss to ws", () =>
    Effect.gen(function*() {
      const plain = yield* redirecting({})
      const locations: Record<string, string> = { "/down": plain.url.replace("ws:", "http:") }
      const secure = yield* redirecting(locations, { tls })
      const start = yield* redirecting({ "/up": `${secure.url}/`, "/updown": `${secure.url}/down` })
      const options = { maxRedirects: 5, headers: secrets, tls: { ca } }
      const request = yield* visit(`${start.url}/up`, options)
      assert.isTrue(request.secure)
      assert.isUndefined(request.headers["authorization"])
      for (const url of [`${secure.url}/down`, `${start.url}/updown`]) {
        const error = yield* failure(WebSocketClient.connect(url, options))
        assert.deepInclude(error, { _tag: "RedirectRefused", problem: "it leads from wss to ws" })
      }
      assert.strictEqual(plain.requests.length, 0)
    }))

  it.live("a redirect to another origin drops the certificate and the servername of the client", () =>
    Effect.gen(function*() {
      const wantsCertificate = yield* serve(echo, { tls: { ...tls, ca, requestCert: true } })
      const first = yield* redirecting({ "/a": wantsCertificate.url }, { tls })
      const own = { ca, key, cert: certificate("client.crt"), servername: "localhost" }
      yield* visit(wantsCertificate.url, { tls: own })
      const error = yield* failure(WebSocketClient.connect(`${first.url}/a`, { maxRedirects: 1, tls: own }))
      assert.strictEqual(error._tag, "ConnectFailed")
    }))

  for (const location of ["ftp://127.0.0.1/", "http://[::1", "ws://127.0.0.1:99999/"]) {
    it.live(`refuses a redirect to ${location}`, () =>
      Effect.gen(function*() {
        const server = yield* redirecting({ "/a": location })
        const error = yield* failure(WebSocketClient.connect(`${server.url}/a`, { maxRedirects: 1 }))
        assert.deepInclude(error, { _tag: "RedirectRefused", location })
      }))
  }

  it.live("refuses redirects that leave a Unix socket or a stream", () =>
    Effect.gen(function*() {
      const socketPath = join(tmpdir(), `effect-ws-${process.pid}-redirect.sock`)
      const server = yield* redirecting({ "/a": "/b", "/c": "ws://other.example/" }, { socketPath })
      assert.strictEqual((yield* visit("ws://here/a", { socketPath, maxRedirects: 1 })).path, "/b")
      const out = yield* failure(WebSocketClient.connect("ws://here/c", { socketPath, maxRedirects: 1 }))
      assert.deepInclude(out, {
        _tag: "RedirectRefused",
        problem: "the Unix socket of the socketPath option leads to one server only"
      })
      const duplex = Net.connect(socketPath)
      const spent = yield* failure(WebSocketClient.connect("ws://here/a", { duplex, maxRedirects: 1 }))
      assert.deepInclude(spent, {
        _tag: "RedirectRefused",
        problem: "the stream of the duplex option carries one request; pass a function that returns a stream for each"
      })
      assert.isTrue(duplex.destroyed)
      assert.strictEqual(server.requests.length, 4)
    }))

  it.effect("handshakeTimeout covers all redirects, and destroys their sockets", () =>
    Effect.gen(function*() {
      const silent = yield* rawServer(() => {})
      const server = yield* redirecting({ "/a": `ws://127.0.0.1:${silent.port}/slow` })
      const fiber = yield* Effect.forkChild(
        failure(WebSocketClient.connect(`${server.url}/a`, { maxRedirects: 1, handshakeTimeout: "3 seconds" }))
      )
      while (silent.peers.length === 0) yield* turn
      yield* TestClock.adjust("3 seconds")
      const error = yield* Fiber.join(fiber)
      assert.deepInclude(error, { _tag: "HandshakeTimeout", url: `ws://127.0.0.1:${silent.port}/slow` })
      yield* silent.peers[0].ended
    }))
})

describe("redirects, interrupted at each step", () => {
  it.live("redirects interrupted at each step leave no socket behind", () =>
    Effect.gen(function*() {
      const server = yield* rawServer((peer) => {
        Effect.runFork(Effect.map(peer.until((received) => received.includes(headEnd)), (received) => {
          const redirect = received.toString("latin1").startsWith("GET /a")
          peer.write(
            redirect
              ? "HTTP/1.1 307 Temporary Redirect\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"
              : "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
                `Sec-WebSocket-Accept: ${Handshake.acceptKey(sampleKey)}\r\n\r\n`
          )
        }))
      })
      const url = `ws://127.0.0.1:${server.port}/a`
      const steps = yield* interruptAtEachStep(Effect.sync(() => {
        const from = server.peers.length
        return {
          effect: Effect.scoped(WebSocketClient.connect(url, { maxRedirects: 1, closeTimeout: "1 milli" })).pipe(
            Effect.provide(Handshake.layerPolicy({ makeKey: () => sampleKey }))
          ),
          events: [],
          waits: true,
          verify: () => Effect.forEach(server.peers.slice(from), (peer) => peer.ended, { discard: true })
        }
      }))
      assert.isAbove(steps, 20)
    }), 30_000)
})
