/** Proxies: the tunnel that CONNECT opens, and what a proxy answers that opens none. */
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Fiber, Layer, Redacted, Result, type Scope } from "effect"
import { Handshake, HandshakeError, Reconnecting, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { HttpsProxyAgent } from "https-proxy-agent"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { parseProxy } from "../../../src/internal/node/proxy.ts"
import { ca, tls } from "../../support/certificates.ts"
import { contentOf } from "../../support/memory.ts"
import { headEnd, rawServer, type RawSocket, sampleKey, serve } from "../../support/net.ts"
import { httpProxy } from "../../support/proxies.ts"
import { eventually } from "../../support/resources.ts"
import { interruptAtEachStep } from "../../support/interruptAtEachStep.ts"
import { echo } from "../../support/serving.ts"

describe("parseProxy", () => {
  const problems: ReadonlyArray<readonly [url: string, problem: string]> = [
    ["proxy", `expected an absolute URL, got "proxy"`],
    ["ada:secret@proxy", `expected http or https, got "***@proxy"; for SOCKS, use an agent`],
    ["socks5://ada:secret@proxy:1", `expected http or https, got "***@proxy:1"; for SOCKS, use an agent`],
    ["http://ad%a:secret@proxy", "expected a percent-encoded user name and password; write % as %25"]
  ]
  for (const [url, problem] of problems) {
    it(`rejects ${url}, and shows no credentials`, () => {
      const parsed = parseProxy({ url })
      assert.deepInclude(Result.isFailure(parsed) ? parsed.failure : {}, { option: "proxy.url", problem })
    })
  }

  it("accepts texts, secrets and URLs with http or https", () => {
    for (const url of ["http://ad%25a:secret@proxy:1/", "https://proxy/"]) {
      for (const form of [url, Redacted.make(url), new URL(url)]) {
        assert.strictEqual(Result.getOrThrow(parseProxy({ url: form })).href, url)
      }
    }
  })
})

const connect = (url: string, options?: WebSocketClient.ConnectOptions) =>
  WebSocketClient.connect(url, { keepalive: false, closeTimeout: "1 milli", ...options }).pipe(
    Effect.provide(Handshake.layerPolicy({ makeKey: () => sampleKey }))
  )

const failure = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) => Effect.flip(Effect.scoped(effect))

const visit = (url: string, options?: WebSocketClient.ConnectOptions) =>
  Effect.scoped(Effect.gen(function*() {
    const connection = yield* connect(url, options)
    yield* connection.send("hello")
    assert.strictEqual(contentOf(yield* connection.receive), "hello")
  }))

/** A proxy that answers CONNECT with the given bytes. */
const answering = (answer: string, then: (peer: RawSocket) => void = () => {}) =>
  rawServer((peer) => {
    Effect.runFork(Effect.andThen(
      peer.until((received) => received.includes(headEnd)),
      Effect.sync(() => {
        peer.write(answer)
        then(peer)
      })
    ))
  })

const established = "HTTP/1.1 200 Connection established\r\n\r\n"

/** A server with TLS that hands on all that it decrypts to a port of this machine. */
const tlsInFrontOf = (port: number) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: Tls.Server; readonly sockets: Array<Net.Socket> }>((resume) => {
      const sockets: Array<Net.Socket> = []
      const server = Tls.createServer(tls, (socket) => {
        const onward = Net.connect(port, "127.0.0.1")
        sockets.push(socket, onward)
        for (const each of [socket, onward]) each.on("error", () => {})
        socket.pipe(onward).pipe(socket)
        socket.on("close", () => onward.destroy())
        onward.on("close", () => socket.destroy())
      })
      server.on("tlsClientError", () => {})
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, sockets })))
    }),
    ({ server, sockets }) =>
      Effect.callback<void>((resume) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => resume(Effect.void))
      })
  ).pipe(Effect.map(({ server }) => (server.address() as Net.AddressInfo).port))

describe("the proxy option", () => {
  it.live("opens a tunnel for ws and wss, and verifies the certificate of the server", () =>
    Effect.gen(function*() {
      const { port, targets } = yield* httpProxy()
      const proxy = { url: `http://127.0.0.1:${port}` }
      const plain = yield* serve(echo)
      const secure = yield* serve(echo, { tls })
      yield* visit(plain.url, { proxy })
      yield* visit(secure.url, { proxy, tls: { ca } })
      yield* visit(`wss://localhost:${secure.port}`, { proxy: { url: new URL(proxy.url) }, tls: { ca } })
      assert.deepStrictEqual(targets, [
        `127.0.0.1:${plain.port}`,
        `127.0.0.1:${secure.port}`,
        `localhost:${secure.port}`
      ])
      const untrusted = yield* failure(connect(secure.url, { proxy }))
      assert.deepInclude(untrusted, {
        _tag: "ConnectFailed",
        phase: "tls",
        code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE"
      })
    }))

  it.live("uses TLS with the proxy for an https URL, and with the server inside of it", () =>
    Effect.gen(function*() {
      const { port } = yield* httpProxy()
      const url = `https://localhost:${yield* tlsInFrontOf(port)}`
      const plain = yield* serve(echo)
      const secure = yield* serve(echo, { tls })
      yield* visit(plain.url, { proxy: { url, tls: { ca } } })
      yield* visit(secure.url, { proxy: { url, tls: { ca } }, tls: { ca } })
      const untrusted = yield* failure(connect(secure.url, { proxy: { url }, tls: { ca } }))
      assert.deepInclude(untrusted, { _tag: "ConnectFailed", phase: "proxy", code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" })
      const server = yield* failure(connect(secure.url, { proxy: { url, tls: { ca } } }))
      assert.deepInclude(server, { _tag: "ConnectFailed", phase: "tls", code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" })
    }))

  it.live("sends one CONNECT request, with the credentials of the proxy and none of the server", () =>
    Effect.gen(function*() {
      const server = yield* answering("HTTP/1.1 403 Forbidden\r\n\r\n")
      const at = `127.0.0.1:${server.port}`
      const requestOf = (target: string, proxy: WebSocketClient.ProxyOptions) =>
        Effect.gen(function*() {
          yield* failure(connect(target, { proxy, headers: { Authorization: "Bearer secret", Cookie: "secret" } }))
          return server.peers.at(-1)!.received().toString("latin1").split("\r\n")
        })
      assert.deepStrictEqual(yield* requestOf("wss://u:secret@example.com/path?secret", { url: `http://${at}` }), [
        "CONNECT example.com:443 HTTP/1.1",
        "Host: example.com:443",
        "Connection: keep-alive",
        "",
        ""
      ])
      const [line, host, , credentials, own] = yield* requestOf("ws://[::1]/", {
        url: Redacted.make(`http://us%40er:p%3Ass@${at}`),
        headers: { "X-Via": "1" }
      })
      assert.deepStrictEqual([line, host], ["CONNECT [::1]:80 HTTP/1.1", "Host: [::1]:80"])
      assert.strictEqual(credentials, `Proxy-Authorization: Basic ${Buffer.from("us@er:p:ss").toString("base64")}`)
      assert.strictEqual(own, "X-Via: 1")
      const lines = yield* requestOf("ws://a.example.:81/", {
        url: `http://u:p@${at}`,
        headers: { "proxy-authorization": "Bearer t" }
      })
      assert.deepStrictEqual(lines.filter((each) => /^proxy-authorization/i.test(each)), [
        "proxy-authorization: Bearer t"
      ])
      assert.strictEqual(lines[0], "CONNECT a.example.:81 HTTP/1.1")
    }))

  it.live("fails for invalid headers before it sends the request", () =>
    Effect.gen(function*() {
      const server = yield* rawServer(() => {})
      for (const headers of [{ Host: "a" }, { "X-A": "a\r\nX-B: b" }, { "X\n": "a" }]) {
        const proxy = { url: `http://127.0.0.1:${server.port}`, headers }
        assert.strictEqual((yield* failure(connect("ws://host/", { proxy })))._tag, "InvalidHeader")
      }
      assert.isTrue(server.peers.every((peer) => peer.received().length === 0))
    }))

  it.live("reads the proxy from the configuration", () =>
    Effect.gen(function*() {
      const { port, targets } = yield* httpProxy((credentials) => credentials === "Basic dTpw")
      const server = yield* serve(echo)
      const layer = WebSocketClient.layerConfig({ proxy: { url: Config.Redacted("PROXY") } })
      const environment = { PROXY: `http://u:p@127.0.0.1:${port}` }
      yield* visit(server.url).pipe(
        Effect.provide(Layer.provide(layer, ConfigProvider.layer(ConfigProvider.fromUnknown(environment))))
      )
      assert.strictEqual(targets.length, 1)
    }))

  it.live("opens a tunnel for each redirect", () =>
    Effect.gen(function*() {
      const { port, targets } = yield* httpProxy()
      const last = yield* serve(echo)
      const first = yield* serve(echo, {
        serve: {
          decide: () => Effect.succeed(Handshake.reject({ status: 307, headers: { Location: last.url } }))
        }
      })
      yield* visit(first.url, { proxy: { url: `http://127.0.0.1:${port}` }, maxRedirects: 1 })
      assert.deepStrictEqual(targets, [`127.0.0.1:${first.port}`, `127.0.0.1:${last.port}`])
    }))

  it.live("a tunnel interrupted at each step leaves no socket behind", () =>
    Effect.gen(function*() {
      const { clients, port } = yield* httpProxy()
      const server = yield* serve(echo)
      const steps = yield* interruptAtEachStep(Effect.sync(() => ({
        effect: Effect.scoped(connect(server.url, { proxy: { url: `http://127.0.0.1:${port}` } })),
        events: [],
        waits: true,
        verify: () => eventually(() => clients.every(({ destroyed }) => destroyed))
      })))
      assert.isAbove(steps, 20)
    }), 60_000)

  it.effect("leaves no socket behind after a timeout or interruption while the proxy does not respond", () =>
    Effect.gen(function*() {
      const { clients, port, targets } = yield* httpProxy(() => "never")
      const connecting = connect("wss://127.0.0.1:1/", { proxy: { url: `http://127.0.0.1:${port}` } })
      const late = yield* Effect.forkChild(failure(connecting))
      yield* eventually(() => targets.length === 1)
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* Fiber.join(late), { _tag: "HandshakeTimeout", phase: "proxy" })
      const interrupted = yield* Effect.forkChild(Effect.scoped(connecting))
      yield* eventually(() => targets.length === 2)
      yield* Fiber.interrupt(interrupted)
      yield* eventually(() => clients.every(({ readableEnded }) => readableEnded))
    }))
})

/** The other ways that a proxy can fail. */
describe("a proxy that does not open a tunnel", () => {
  for (
    const [about, answer, then, facts] of [
      ["sends data behind its response", `${established}HTTP/1.1 101 Switching Protocols\r\n\r\n`, undefined, {}],
      ["is not an HTTP server", "220 smtp.example ESMTP ready\r\n", undefined, { code: "HPE_INVALID_CONSTANT" }],
      ["closes the connection", "", (peer: RawSocket) => peer.socket.end(), { code: "ECONNRESET" }],
      ["closes the connection within its response", "HTTP/1.1 20", (peer: RawSocket) => peer.socket.end(), {
        code: "ECONNRESET"
      }],
      ["resets the connection", "", (peer: RawSocket) => peer.socket.resetAndDestroy(), { code: "ECONNRESET" }]
    ] as const
  ) {
    it.live(`fails in the phase proxy if the proxy ${about}`, () =>
      Effect.gen(function*() {
        for (const url of ["ws://host/", "wss://host/"]) {
          const { peers, port } = yield* answering(answer, then)
          const error = yield* failure(connect(url, { proxy: { url: `http://127.0.0.1:${port}` } }))
          assert.deepInclude(error, { _tag: "ConnectFailed", phase: "proxy", url, ...facts })
          assert.include(error.message, "through the proxy")
          yield* peers[0].ended
        }
      }))
  }

  it.live("fails in the phase proxy, with the address, if the proxy does not listen", () =>
    Effect.gen(function*() {
      const port = yield* Effect.map(Effect.scoped(rawServer(() => {})), (closed) => closed.port)
      const error = yield* failure(connect("wss://host/", { proxy: { url: `http://127.0.0.1:${port}` } }))
      assert.deepInclude(error, { _tag: "ConnectFailed", phase: "proxy", code: "ECONNREFUSED", url: "wss://host/" })
      assert.deepStrictEqual((error as HandshakeError.ConnectFailed).addresses, [
        { address: "127.0.0.1", port, code: "ECONNREFUSED" }
      ])
    }))

  it.live("fails in the phase tls if a proxy responds in place of the server", () =>
    Effect.gen(function*() {
      const { port } = yield* answering(established, (peer) => {
        Effect.runFork(Effect.map(
          peer.until((received) => received.indexOf(headEnd) + headEnd.length < received.length),
          () => peer.write("HTTP/1.1 302 Found\r\nLocation: https://other.example/\r\n\r\n")
        ))
      })
      const proxy = `http://127.0.0.1:${port}`
      for (const way of [{ proxy: { url: proxy } }, { agent: new HttpsProxyAgent(proxy) }]) {
        const error = yield* failure(connect("wss://host/", { ...way, maxRedirects: 3 }))
        assert.deepInclude(error, { _tag: "ConnectFailed", phase: "tls" })
      }
    }))

  const accept = `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${Handshake.acceptKey(sampleKey)}`
  const ways = (port: number) =>
    [
      ["the proxy option", { proxy: { url: `http://127.0.0.1:${port}` } }],
      ["an agent", { agent: new HttpsProxyAgent(`http://127.0.0.1:${port}`) }]
    ] as const
  for (
    const [status, headers] of [
      [101, accept],
      [301, "Location: OTHER"],
      [302, "Location: OTHER"],
      [307, "Location: OTHER\r\nContent-Length: 0"],
      [400, "Content-Length: 4"],
      [401, "WWW-Authenticate: Basic"],
      [403, "X-Why: policy"],
      [404, ""],
      [407, "Proxy-Authenticate: Basic"],
      [426, "Upgrade: websocket\r\nConnection: Upgrade"],
      [429, "Retry-After: 5"],
      [502, "Content-Length: 100000"],
      [503, "Transfer-Encoding: chunked"]
    ] as const
  ) {
    it.live(`a proxy that responds with ${status} fails with ProxyRejected, also over an agent, for ws and wss`, () =>
      Effect.gen(function*() {
        const other = yield* rawServer(() => {})
        const fields = headers.replace("OTHER", `http://127.0.0.1:${other.port}/`)
        const server = yield* answering(`HTTP/1.1 ${status} Because\r\n${fields === "" ? "" : `${fields}\r\n`}\r\nbody`)
        for (const scheme of ["ws", "wss"]) {
          for (const [about, way] of ways(server.port)) {
            const options = { ...way, maxRedirects: 3, headers: { Authorization: "Bearer t" } }
            const error = yield* failure(connect(`${scheme}://host/?a`, options))
            assert.deepInclude(error, { _tag: "ProxyRejected", status, url: `${scheme}://host/` }, about)
            const raw = (error as HandshakeError.ProxyRejected).rawHeaders
            assert.deepStrictEqual(raw.map(([name, value]) => `${name}: ${value}`).join("\r\n"), fields)
            assert.include(error.message, "proxy")
          }
        }
        assert.strictEqual(other.peers.length, 0)
        for (const peer of server.peers) {
          yield* peer.ended
          assert.notInclude(peer.received().toString("latin1"), "Bearer")
        }
      }))
  }

  it.live("ProxyRejected is final for the same statuses as HandshakeRejected", () =>
    Effect.sync(() => {
      const reject = (status: number) => ({ status, url: "ws://host/", headers: {}, rawHeaders: [] })
      assert.deepStrictEqual(
        [403, 407, 302, 429, 502, 503].map((status) =>
          Reconnecting.isFinal(new HandshakeError.ProxyRejected(reject(status)))
        ),
        [true, true, true, false, false, false]
      )
    }))
})

describe("an agent for wss", () => {
  for (const scheme of ["http", "https"] as const) {
    it.live(`sends nothing over a socket without TLS for wss (an agent for ${scheme})`, () =>
      Effect.gen(function*() {
        const server = yield* answering("HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n")
        const agent = scheme === "https" ? new Https.Agent() : new Http.Agent()
        Object.assign(agent, { protocol: "https:" })
        agent.createConnection = () => Net.connect(server.port, "127.0.0.1")
        const options = { agent, headers: { Authorization: "Bearer t" } }
        const error = yield* failure(connect("wss://host/", options))
        assert.deepInclude(error, { _tag: "ConnectFailed", phase: "agent" })
        assert.include(error.message, "expected a TLS socket")
        yield* Effect.forEach(server.peers, (peer) => peer.ended)
        assert.isTrue(server.peers.every((peer) => peer.received().length === 0))
      }))
  }
})
