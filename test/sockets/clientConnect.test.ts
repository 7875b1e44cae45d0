/** What a client gets through to: redirects, proxies, TLS, sockets of the program's own; and what is refused on the way. */
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Fiber, Layer, Redacted, type Scope, Stream, Tracer } from "effect"
import { Connection, Handshake, HandshakeError, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { HttpsProxyAgent } from "https-proxy-agent"
import { readFileSync } from "node:fs"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Duplex, PassThrough } from "node:stream"
import * as Tls from "node:tls"
import { SocksProxyAgent } from "socks-proxy-agent"
import { contentOf } from "../support/memory.ts"
import { headEnd, rawServer, sampleKey, serve } from "../support/net.ts"
import { httpProxy, socksProxy } from "../support/proxies.ts"
import { interruptAtEachStep } from "../support/interruptAtEachStep.ts"

const certificate = (name: string) => readFileSync(new URL(`../support/certificates/${name}`, import.meta.url), "utf8")
const key = certificate("localhost.key")
const ca = certificate("authority.crt")
const tls = { key, cert: certificate("signed.crt") }

const echo = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  yield* Stream.runForEach(connection.messages, connection.send)
})

const failure = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) => Effect.flip(Effect.scoped(effect))

/** Sends a word to an echo server, and answers the request that it took. */
const visit = (url: string, options?: WebSocketClient.ConnectOptions) =>
  Effect.scoped(Effect.gen(function*() {
    const connection = yield* WebSocketClient.connect(url, options)
    yield* connection.send("hello")
    assert.strictEqual(contentOf(yield* connection.receive), "hello")
    return connection.request
  }))

const turn = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

/** A server that redirects each path to where it is told, and echoes at all others. It keeps the requests. */
const redirecting = (
  locations: Readonly<Record<string, string>>,
  options?: { readonly tls?: typeof tls; readonly socketPath?: string; readonly status?: number }
) =>
  Effect.gen(function*() {
    const requests: Array<Handshake.Request> = []
    const server = yield* serve(echo, {
      ...options?.tls === undefined ? {} : { tls: options.tls },
      ...options?.socketPath === undefined ? {} : { socketPath: options.socketPath },
      serve: {
        decide: (request) =>
          Effect.sync(() => {
            requests.push(request)
            const location = locations[request.path]
            return location === undefined
              ? Handshake.accept()
              : Handshake.reject({ status: options?.status ?? 307, headers: { Location: location } })
          })
      }
    })
    return { ...server, requests }
  })

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
    it.live(`${status} is followed as often as maxRedirects says`, () =>
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

  it.live("to a path in UTF-8 lead to that path, escaped once", () =>
    Effect.gen(function*() {
      const server = yield* redirecting({ "/a": Buffer.from("/café?q=☃").toString("latin1") })
      const request = yield* visit(`${server.url}/a`, { maxRedirects: 1 })
      assert.deepStrictEqual([request.path, request.query.get("q")], ["/caf%C3%A9", "☃"])
    }))

  it.live("are told without the query that they lead to", () =>
    Effect.gen(function*() {
      const server = yield* redirecting({ "/a": "ftp://u:secret@127.0.0.1/?secret#secret", "/b": "/b?secret" })
      for (const [path, maxRedirects] of [["a", 0], ["a", 1], ["b", 1]] as const) {
        const error = yield* failure(WebSocketClient.connect(`${server.url}/${path}`, { maxRedirects }))
        assert.notInclude(error.message, "secret")
      }
    }))

  it.live("that go in a circle end", () =>
    Effect.gen(function*() {
      const server = yield* redirecting({ "/a": "/b", "/b": "/a" })
      const error = yield* failure(WebSocketClient.connect(`${server.url}/a`, { maxRedirects: 10 }))
      assert.strictEqual(error._tag, "TooManyRedirects")
      assert.strictEqual(server.requests.length, 11)
    }))

  it.live("within an origin keep credentials, those of the URL too", () =>
    Effect.gen(function*() {
      const server = yield* redirecting({ "/a": "/b" })
      const last = yield* visit(`${server.url}/a`, { maxRedirects: 1, headers: secrets })
      assert.deepStrictEqual(secretsOf(last), ["Bearer t", "a=1", "Basic eA==", "7"])
      assert.strictEqual(last.headers["host"], "virtual.example")
      const { headers } = yield* visit(`${server.url.replace("ws://", "ws://u:p@")}/a`, { maxRedirects: 1 })
      assert.strictEqual(headers["authorization"], "Basic dTpw")
    }))

  it.live("to another origin leave credentials behind, also on the way back", () =>
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

  it.live("from ws to wss are followed, and never from wss to ws", () =>
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

  it.live("do not take the client's certificate, or the name to look for, to another origin", () =>
    Effect.gen(function*() {
      const wantsCertificate = yield* serve(echo, { tls: { ...tls, ca, requestCert: true } })
      const first = yield* redirecting({ "/a": wantsCertificate.url }, { tls })
      const own = { ca, key, cert: certificate("client.crt"), servername: "localhost" }
      yield* visit(wantsCertificate.url, { tls: own })
      const error = yield* failure(WebSocketClient.connect(`${first.url}/a`, { maxRedirects: 1, tls: own }))
      assert.strictEqual(error._tag, "ConnectFailed")
    }))

  for (const location of ["ftp://127.0.0.1/", "http://[::1", "ws://127.0.0.1:99999/"]) {
    it.live(`to ${location} are refused`, () =>
      Effect.gen(function*() {
        const server = yield* redirecting({ "/a": location })
        const error = yield* failure(WebSocketClient.connect(`${server.url}/a`, { maxRedirects: 1 }))
        assert.deepInclude(error, { _tag: "RedirectRefused", location })
      }))
  }

  it.live("do not lead out of a Unix socket, or a stream", () =>
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

  it.effect("have one deadline together, and leave no socket behind", () =>
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
  it.live("leave no socket behind", () =>
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

describe("proxies", () => {
  it.live("HTTP CONNECT, for ws and wss", () =>
    Effect.gen(function*() {
      const proxy = yield* httpProxy()
      const agent = new HttpsProxyAgent(`http://127.0.0.1:${proxy.port}`)
      const plain = yield* serve(echo)
      const secure = yield* serve(echo, { tls })
      yield* visit(plain.url, { agent })
      yield* visit(secure.url, { agent, tls: { ca } })
      yield* visit(`wss://localhost:${secure.port}`, { agent, tls: { ca } })
      assert.deepStrictEqual(proxy.targets, [
        `127.0.0.1:${plain.port}`,
        `127.0.0.1:${secure.port}`,
        `localhost:${secure.port}`
      ])
    }))

  it.live("the certificate is verified through a proxy too", () =>
    Effect.gen(function*() {
      const proxy = yield* httpProxy()
      const agent = new HttpsProxyAgent(`http://127.0.0.1:${proxy.port}`)
      const server = yield* serve(echo, { tls })
      const untrusted = yield* failure(WebSocketClient.connect(server.url, { agent }))
      assert.deepInclude(untrusted, { _tag: "ConnectFailed", code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" })
      const options = { agent, tls: { ca, servername: "other.example" } }
      const misnamed = yield* failure(WebSocketClient.connect(server.url, options))
      assert.deepInclude(misnamed, { _tag: "ConnectFailed", code: "ERR_TLS_CERT_ALTNAME_INVALID" })
    }))

  it.live("a proxy's own credentials, and its 407 without them", () =>
    Effect.gen(function*() {
      const proxy = yield* httpProxy((credentials) => credentials === "Basic dTpw")
      const server = yield* serve(echo)
      yield* visit(server.url, { agent: new HttpsProxyAgent(`http://u:p@127.0.0.1:${proxy.port}`) })
      const agent = new HttpsProxyAgent(`http://127.0.0.1:${proxy.port}`)
      const error = yield* failure(WebSocketClient.connect(server.url, { agent }))
      assert.deepInclude(error, { _tag: "ProxyRejected", status: 407 })
      assert.strictEqual((error as HandshakeError.ProxyRejected).headers["proxy-authenticate"], "Basic")
    }))

  it.live("SOCKS, where the proxy looks the name up", () =>
    Effect.gen(function*() {
      const proxy = yield* socksProxy
      const agent = new SocksProxyAgent(`socks5h://127.0.0.1:${proxy.port}`)
      const plain = yield* serve(echo)
      const secure = yield* serve(echo, { tls })
      yield* visit(plain.url, { agent })
      yield* visit(`wss://localhost:${secure.port}`, { agent, tls: { ca } })
      assert.deepStrictEqual(proxy.targets, [`127.0.0.1:${plain.port}`, `localhost:${secure.port}`])
    }))

  it.live("that are not there, or reach nobody", () =>
    Effect.gen(function*() {
      const nobody = Net.createServer().listen(0, "127.0.0.1")
      yield* Effect.callback<void>((resume) => {
        nobody.once("listening", () => resume(Effect.void))
      })
      const { port } = nobody.address() as Net.AddressInfo
      yield* Effect.callback<void>((resume) => {
        nobody.close(() => resume(Effect.void))
      })
      const target = `ws://127.0.0.1:${port}/`
      const through = (agent: Http.Agent) => failure(WebSocketClient.connect(target, { agent }))
      const http = yield* httpProxy()
      const socks = yield* socksProxy
      assert.deepInclude(yield* through(new HttpsProxyAgent(`http://127.0.0.1:${port}`)), {
        _tag: "ConnectFailed",
        code: "ECONNREFUSED"
      })
      assert.deepInclude(yield* through(new HttpsProxyAgent(`http://127.0.0.1:${http.port}`)), {
        _tag: "ProxyRejected",
        status: 502
      })
      const refused = yield* through(new SocksProxyAgent(`socks5://127.0.0.1:${socks.port}`))
      assert.strictEqual(refused._tag, "ConnectFailed")
      assert.match(refused.message, /refused/i)
    }))

  it.effect("that never answer are within the deadline", () =>
    Effect.gen(function*() {
      const proxy = yield* httpProxy(() => "never")
      const agent = new HttpsProxyAgent(`http://127.0.0.1:${proxy.port}`)
      const fiber = yield* Effect.forkChild(failure(WebSocketClient.connect("wss://127.0.0.1:1/", { agent })))
      while (proxy.targets.length === 0) yield* turn
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "HandshakeTimeout")
      // The agent's own socket stays until the proxy has answered, and no longer.
      const [client] = proxy.clients
      client.write("HTTP/1.1 200 Connection established\r\n\r\n")
      while (!client.readableEnded) yield* turn
    }))

  it.live("an agent that throws is why there is no connection", () =>
    Effect.gen(function*() {
      const agent = new Http.Agent()
      agent.createConnection = () => {
        throw Object.assign(new Error("no way"), { code: "ENOWAY" })
      }
      const error = yield* failure(WebSocketClient.connect("ws://127.0.0.1:1/", { agent }))
      assert.deepInclude(error, { _tag: "ConnectFailed", code: "ENOWAY" })
    }))

  it.live("an agent of Node's that keeps sockets gets none of these", () =>
    Effect.gen(function*() {
      const agent = new Http.Agent({ keepAlive: true, maxSockets: 1 })
      const server = yield* serve(echo)
      yield* visit(server.url, { agent })
      yield* visit(server.url, { agent })
      assert.deepStrictEqual([agent.sockets, agent.freeSockets], [{}, {}])
      agent.destroy()
    }))
})

describe("TLS", () => {
  it.live("an authority's certificate is trusted where the authority is", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls })
      yield* visit(server.url, { tls: { ca } })
      yield* visit(`wss://localhost:${server.port}`, { tls: { ca: [certificate("localhost.crt"), ca] } })
      const untrusted = yield* failure(WebSocketClient.connect(server.url))
      assert.deepInclude(untrusted, { _tag: "ConnectFailed", code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" })
      const others = yield* failure(WebSocketClient.connect(server.url, { tls: { ca: certificate("localhost.crt") } }))
      assert.deepInclude(others, { _tag: "ConnectFailed", code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" })
    }))

  it.live("a certificate that has expired is not", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls: { key, cert: certificate("expired.crt") } })
      const error = yield* failure(WebSocketClient.connect(server.url, { tls: { ca } }))
      assert.deepInclude(error, { _tag: "ConnectFailed", code: "CERT_HAS_EXPIRED" })
    }))

  it.live("a certificate is for the URL's host, whatever the Host header says", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls })
      yield* visit(`wss://localhost:${server.port}`, { tls: { ca }, headers: { Host: "other.example" } })
      const options = { tls: { ca }, headers: { Host: "localhost" } }
      const error = yield* failure(WebSocketClient.connect(`wss://127.0.0.2:${server.port}`, options))
      assert.strictEqual(error._tag, "ConnectFailed")
    }))

  it.live("a server gets the name that is asked for, without a dot behind it, and http/1.1 to agree on", () =>
    Effect.gen(function*() {
      const names: Array<unknown> = []
      const hosts: Array<string | undefined> = []
      const server = Tls.createServer({ key, cert: certificate("signed.crt"), ALPNProtocols: ["h2", "http/1.1"] })
      server.on("secureConnection", (socket) => {
        names.push(socket.servername)
        assert.strictEqual(socket.alpnProtocol, "http/1.1")
        socket.once("data", (data) => {
          hosts.push(/^Host: (.*?)(?::\d+)?\r$/m.exec(data.toString("latin1"))?.[1])
          socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        })
      })
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => {
          server.listen(0, "127.0.0.1", () => resume(Effect.void))
        }),
        () =>
          Effect.callback<void>((resume) => {
            server.close(() => resume(Effect.void))
          })
      )
      const { port } = server.address() as Net.AddressInfo
      const lookup: Net.LookupFunction = (_, __, callback) => callback(null, [{ address: "127.0.0.1", family: 4 }])
      const agent = new Https.Agent({ lookup })
      const duplex = () => Effect.sync(() => Net.connect(port, "127.0.0.1"))
      for (
        const [host, servername, options] of [
          ["localhost", "localhost", { duplex }],
          ["LOCALHOST.", "localhost", { duplex }],
          ["localhost.", "localhost", { agent }],
          ["127.0.0.1", false, {}],
          ["127.0.0.1.", false, {}],
          // The certificate is for these names, whatever the URL says.
          ["elsewhere.example", "localhost", { duplex, servername: "localhost." }],
          ["elsewhere.example", false, { duplex, servername: "127.0.0.1" }],
          ["localhost", false, { duplex, servername: "" }]
        ] as const
      ) {
        const { servername: given, ...way } = { servername: undefined, ...options }
        const connecting = WebSocketClient.connect(`wss://${host}:${port}`, { ...way, tls: { ca, servername: given } })
        const error = yield* failure(connecting)
        assert.strictEqual(error._tag, "HandshakeRejected", error.message)
        assert.strictEqual(names.pop(), servername)
        // DNS and HTTP take a name as it is written (RFC 3986 §3.2.2).
        assert.strictEqual(hosts.pop(), new URL(`ws://${host}`).hostname)
      }
      const misnamed = yield* failure(
        WebSocketClient.connect(`wss://elsewhere.example.:${port}`, { duplex, tls: { ca } })
      )
      assert.deepInclude(misnamed, { _tag: "ConnectFailed", code: "ERR_TLS_CERT_ALTNAME_INVALID" })
    }))

  it.live("a client's certificate lets it in where one is asked for, if the authority signed it", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls: { ...tls, ca, requestCert: true } })
      yield* visit(server.url, { tls: { ca, cert: certificate("client.crt"), key: Redacted.make(key) } })
      for (const own of [{}, { cert: certificate("localhost.crt"), key }]) {
        const error = yield* failure(WebSocketClient.connect(server.url, { tls: { ca, ...own } }))
        assert.strictEqual(error._tag, "ConnectFailed")
      }
      const lenient = yield* serve(echo, { tls: { ...tls, ca, requestCert: true, rejectUnauthorized: false } })
      yield* visit(lenient.url, { tls: { ca } })
    }))

  it.live("a server that speaks no TLS", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const error = yield* failure(WebSocketClient.connect(`wss://127.0.0.1:${server.port}`))
      assert.strictEqual(error._tag, "ConnectFailed")
    }))
})

describe("a stream of the program's own", () => {
  it.live("is made for each request, where one is to be made", () =>
    Effect.gen(function*() {
      const server = yield* redirecting({ "/a": "/b" })
      const made: Array<Net.Socket> = []
      const duplex = (url: URL) =>
        Effect.sync(() => {
          const socket = Net.connect(Number(url.port), url.hostname)
          made.push(socket)
          return socket
        })
      yield* visit(`${server.url}/a`, { duplex, maxRedirects: 1 })
      assert.strictEqual(made.length, 2)
      assert.isTrue(made.every((socket) => socket.destroyed))
    }))

  it.live("gets TLS put over it for wss, unless it has that", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls })
      const duplex = (url: URL) => Effect.sync(() => Net.connect(Number(url.port), "127.0.0.1"))
      yield* visit(server.url, { duplex, tls: { ca } })
      const untrusted = yield* failure(WebSocketClient.connect(server.url, { duplex }))
      assert.deepInclude(untrusted, { _tag: "ConnectFailed", code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" })
      yield* visit(server.url, { duplex: Tls.connect({ port: server.port, host: "127.0.0.1", ca }) })
      const plain = yield* serve(echo)
      yield* failure(WebSocketClient.connect(`wss://127.0.0.1:${plain.port}`, { duplex, tls: { ca } }))
    }))

  it.live("that cannot be made is why there is no connection", () =>
    Effect.gen(function*() {
      const cause = Object.assign(new Error("no tunnel"), { code: "ETUNNEL" })
      const error = yield* failure(
        WebSocketClient.connect("ws://there/a?token=x", { duplex: () => Effect.fail(cause) })
      )
      assert.deepInclude(error, { _tag: "ConnectFailed", code: "ETUNNEL", url: "ws://there/a" })
      assert.strictEqual((error as HandshakeError.ConnectFailed).cause, cause)
    }))

  it.live("is gone when the handshake comes to nothing", () =>
    Effect.gen(function*() {
      let written = ""
      const duplex = new Duplex({
        read: () => {},
        write: (chunk, _encoding, done) => {
          written += chunk
          done()
        }
      })
      const fiber = yield* Effect.forkChild(Effect.scoped(WebSocketClient.connect("ws://there/", { duplex })))
      while (!written.endsWith("\r\n\r\n")) yield* turn
      yield* Fiber.interrupt(fiber)
      assert.isTrue(duplex.destroyed)
    }))
})

describe("options that cannot be", () => {
  const cases: ReadonlyArray<readonly [string, string, WebSocketClient.ConnectOptions]> = [
    ["maxRedirects", "ws:", { maxRedirects: -1 }],
    ["maxRedirects", "ws:", { maxRedirects: 1.5 }],
    ["maxRedirects", "ws:", { maxRedirects: Number.NaN }],
    ["handshakeTimeout", "ws:", { handshakeTimeout: "soon" as "1 second" }],
    ["handshakeTimeout", "ws:", { handshakeTimeout: 0 }],
    ["keepalive.interval", "ws:", { keepalive: { interval: 0 } }],
    ["agent", "ws:", { agent: new Http.Agent(), socketPath: "/tmp/x" }],
    ["agent", "ws:", { agent: new Http.Agent(), proxy: { url: "http://127.0.0.1:1" } }],
    ["duplex", "ws:", { duplex: new PassThrough(), proxy: { url: "http://127.0.0.1:1" } }],
    ["proxy", "ws:", { proxy: { url: "http://127.0.0.1:1" }, socketPath: "/tmp/x" }],
    ["proxy.url", "ws:", { proxy: { url: "127.0.0.1:1" } }],
    ["proxy.url", "ws:", { proxy: { url: "proxy" } }],
    ["proxy.url", "ws:", { proxy: { url: "socks5://127.0.0.1:1" } }],
    ["proxy.url", "ws:", { proxy: { url: "http://%zz@127.0.0.1:1" } }],
    ["proxy.tls", "ws:", { proxy: { url: "https://127.0.0.1:1", tls: { ca: "none", cert: "none" } } }],
    ["socketPath", "ws:", { socketPath: "" }],
    ["duplex", "ws:", { duplex: new PassThrough(), socketPath: "/tmp/x" }],
    ["agent", "wss:", { agent: new Http.Agent() }],
    ["agent", "ws:", { agent: {} as Http.Agent }],
    ["socketPath", "ws:", { socketPath: "/tmp/a\0b" }],
    ["tls", "wss:", { tls: { ca: "no certificate", cert: "none" } }],
    ["tls", "wss:", { tls: { cert: certificate("client.crt"), key: Redacted.make("no key") } }],
    ["tls.servername", "wss:", { tls: { servername: "a\r\nb" } }],
    ["tls.servername", "wss:", { tls: { servername: "a\0b" } }]
  ]
  for (const [option, scheme, options] of cases) {
    it.live(`${option}: ${JSON.stringify(options).slice(0, 60)}`, () =>
      Effect.gen(function*() {
        const server = yield* rawServer(() => {})
        const error = yield* failure(WebSocketClient.connect(`${scheme}//127.0.0.1:${server.port}/`, options))
        assert.deepInclude(error, { _tag: "InvalidOption", option })
        assert.strictEqual(server.peers.length, 0)
      }))
  }
})

describe("CVE-2026-47072, CVE-2026-1527: line breaks and NUL in what is to be sent", () => {
  for (const bad of ["\r\nX-Injected: 1", "\n", "\r", "\0"]) {
    it.live(`${JSON.stringify(bad)} is a typed error, and nothing is written`, () =>
      Effect.gen(function*() {
        const server = yield* rawServer(() => {})
        const host = `127.0.0.1:${server.port}`
        const errors = yield* Effect.forEach([
          WebSocketClient.connect(`ws://${host}/a${bad}`),
          WebSocketClient.connect(`ws://${host}/?a=${bad}`),
          WebSocketClient.connect(`ws://127.0.0.1${bad}:${server.port}/`),
          WebSocketClient.connect(`ws://u${bad}:p@${host}/`),
          WebSocketClient.connect(`ws://${host}/`, { headers: { Host: `example.com${bad}` } }),
          WebSocketClient.connect(`ws://${host}/`, { headers: { "X-A": `a${bad}` } }),
          WebSocketClient.connect(`ws://${host}/`, { headers: { "X-A": ["a", bad] } }),
          WebSocketClient.connect(`ws://${host}/`, { headers: { [`X${bad}`]: "a" } }),
          WebSocketClient.connect(`ws://${host}/`, { protocols: ["a", `b${bad}`] })
        ], failure)
        assert.deepStrictEqual(errors.map((error) => error._tag), [
          "InvalidUrl",
          "InvalidUrl",
          "InvalidUrl",
          "InvalidUrl",
          "InvalidHeader",
          "InvalidHeader",
          "InvalidHeader",
          "InvalidHeader",
          "InvalidProtocol"
        ])
        assert.strictEqual(server.peers.length, 0)
      }))
  }
})

describe("layer", () => {
  it.live("gives all connections of a program options in common", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls, serve: { protocols: ["v1"] } })
      const program = visit(server.url, { headers: { "X-B": "2" } })
      const request = yield* Effect.provide(
        program,
        WebSocketClient.layer({ tls: { ca }, protocols: ["v1"], headers: { "X-A": "1" } })
      )
      assert.deepStrictEqual(request.protocols, ["v1"])
      assert.deepStrictEqual([request.headers["x-a"], request.headers["x-b"]], [undefined, "2"])
    }))

  it.live("whose headers go along with the trace, and with a client that connects again", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const request = yield* Effect.withParentSpan(
        visit(server.url),
        Tracer.externalSpan({ traceId: "a".repeat(32), spanId: "b".repeat(16) })
      )
      const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`
      assert.deepStrictEqual([request.headers["x-a"], request.headers["traceparent"]], ["1", traceparent])
      const client = yield* WebSocketClient.reconnecting(server.url)
      const again = yield* client.connection
      assert.strictEqual(again.request.headers["x-a"], "1")
    }).pipe(Effect.provide(WebSocketClient.layer({ headers: { "X-A": "1" } }))))

  it.live("layerConfig reads them from the configuration", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls: { ...tls, ca, requestCert: true } })
      const layer = WebSocketClient.layerConfig({
        tls: { ca: Config.String("CA"), cert: Config.String("CERT"), key: Config.Redacted("KEY") },
        handshakeTimeout: Config.Duration("TIMEOUT"),
        keepalive: Config.all({ interval: Config.Duration("INTERVAL") }),
        maxRedirects: Config.Int("REDIRECTS").pipe(Config.withDefault(3)),
        maxMessageSize: Config.Int("MAX_SIZE")
      })
      const configured = (environment: Readonly<Record<string, string>>) =>
        Effect.provide(
          visit(server.url),
          Layer.provide(layer, ConfigProvider.layer(ConfigProvider.fromUnknown(environment)))
        )
      const environment = {
        CA: ca,
        CERT: certificate("client.crt"),
        KEY: key,
        TIMEOUT: "5 seconds",
        INTERVAL: "1 minute",
        MAX_SIZE: "5"
      }
      yield* configured(environment)
      const tooLarge = yield* Effect.flip(configured({ ...environment, MAX_SIZE: "4" }))
      assert.deepInclude(tooLarge, { _tag: "ConnectionClosed" })
      const wrong = yield* Effect.flip(configured({ ...environment, TIMEOUT: "soon" }))
      assert.strictEqual(wrong._tag, "ConfigError")
    }))
})
