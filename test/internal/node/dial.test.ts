/** From a host to a socket: lookups, several addresses, and which phase a handshake is in. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber, type Scope } from "effect"
import { Handshake, type HandshakeError, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { HttpsProxyAgent } from "https-proxy-agent"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import dns from "node:dns"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { ca, tls } from "../../support/certificates.ts"
import { blocked } from "../../support/blocked.ts"
import { headEnd, rawServer, sampleKey } from "../../support/net.ts"
import { httpProxy } from "../../support/proxies.ts"
import { eventually } from "../../support/resources.ts"
import { interruptAtEachStep } from "../../support/interruptAtEachStep.ts"

const connect = (url: string, options?: WebSocketClient.ConnectOptions) =>
  WebSocketClient.connect(url, { keepalive: false, closeTimeout: "1 milli", ...options }).pipe(
    Effect.provide(Handshake.layerPolicy({ makeKey: () => sampleKey }))
  )

const failure = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) => Effect.flip(Effect.scoped(effect))

const turn = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

const at = (...addresses: ReadonlyArray<string>) => ({ lookup: () => Effect.succeed(addresses) })

/** The client sockets that this process makes from now on. */
const madeSockets = Effect.acquireRelease(
  Effect.sync(() => {
    const sockets: Array<Net.Socket> = []
    const add = (message: unknown) => {
      sockets.push((message as { readonly socket: Net.Socket }).socket)
    }
    subscribe("net.client.socket", add)
    return { sockets, add }
  }),
  ({ add }) => Effect.sync(() => unsubscribe("net.client.socket", add))
).pipe(Effect.map(({ sockets }) => sockets))

const accepting = (address = "127.0.0.1", port = 0) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: Net.Server; readonly peers: Array<Net.Socket>; readonly port: number }>(
      (resume) => {
        const peers: Array<Net.Socket> = []
        const server = Net.createServer((socket) => {
          peers.push(socket)
          socket.on("error", () => {})
          socket.once("data", () =>
            socket.write(
              "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
                `Sec-WebSocket-Accept: ${Handshake.acceptKey(sampleKey)}\r\n\r\n`
            ))
        })
        server.listen(port, address, () =>
          resume(Effect.succeed({ server, peers, port: (server.address() as Net.AddressInfo).port })))
      }
    ),
    ({ peers, server }) =>
      Effect.callback<void>((resume) => {
        for (const peer of peers) {
          peer.destroy()
        }
        server.close(() =>
          resume(Effect.void)
        )
      })
  )

const unusedPort = Effect.map(Effect.scoped(accepting()), ({ port }) => port)

describe("a host with several addresses (RFC 8305 §5)", () => {
  it.live("connects to a slow address if the others refuse", () =>
    Effect.gen(function*() {
      const slow = yield* blocked
      const sockets = yield* madeSockets
      const fiber = yield* Effect.forkChild(connect(`ws://host:${slow.port}/`, at("127.0.0.1", "127.0.0.2")))
      yield* eventually(() => sockets.length === 2 && sockets[1].destroyed)
      yield* slow.release
      yield* Fiber.join(fiber)
      assert.strictEqual(sockets.length, 2)
      assert.strictEqual(sockets[0].remoteAddress, "127.0.0.1")
    }), 30_000)

  it.live("connects to another address if the first does not respond, and destroys the first socket", () =>
    Effect.gen(function*() {
      const silent = yield* blocked
      const server = yield* accepting("127.0.0.2", silent.port)
      const sockets = yield* madeSockets
      yield* connect(`ws://host:${silent.port}/`, at("127.0.0.1", "127.0.0.2"))
      assert.strictEqual(server.peers.length, 1)
      assert.deepStrictEqual(sockets.map(({ destroyed }) => destroyed), [true, false])
    }))

  it.live("tries the next address at once if the last one has failed", () =>
    Effect.gen(function*() {
      const server = yield* accepting("127.0.0.3")
      const sockets = yield* madeSockets
      yield* connect(`ws://host:${server.port}/`, {
        ...at("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"),
        connectionAttemptDelay: Duration.infinity
      })
      assert.deepStrictEqual(sockets.map(({ destroyed }) => destroyed), [true, true, false])
    }))

  it.live("keeps one connection if several addresses respond at once", () =>
    Effect.gen(function*() {
      const first = yield* accepting()
      const second = yield* accepting("127.0.0.2", first.port)
      const sockets = yield* madeSockets
      yield* connect(`ws://host:${first.port}/`, {
        ...at("127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2"),
        connectionAttemptDelay: 0
      })
      assert.strictEqual(sockets.filter(({ destroyed }) => !destroyed).length, 1)
      yield* eventually(() => [...first.peers, ...second.peers].filter(({ destroyed }) => !destroyed).length === 1)
    }))

  it.live("fails with all addresses, in the order of RFC 8305 §4, and the error of each", () =>
    Effect.gen(function*() {
      const port = yield* unusedPort
      const error = yield* failure(connect(`ws://host:${port}/`, at("127.0.0.1", "127.0.0.2", "127.0.0.3", "::1")))
      if (error._tag !== "ConnectFailed") return assert.fail(error.message)
      assert.deepInclude(error, { phase: "connect", code: "ECONNREFUSED" })
      assert.deepStrictEqual(error.addresses.map(({ address }) => address), [
        "127.0.0.1",
        "::1",
        "127.0.0.2",
        "127.0.0.3"
      ])
      for (const { address, code, port: tried } of error.addresses) {
        assert.strictEqual(tried, port)
        if (address !== "::1") assert.strictEqual(code, "ECONNREFUSED")
        assert.include(error.message, `${address}:${port}`)
      }
      const six = yield* failure(connect(`ws://host:${port}/`, at("::1", "127.0.0.1", "127.0.0.2")))
      assert.deepStrictEqual((six as HandshakeError.ConnectFailed).addresses.map(({ address }) => address), [
        "::1",
        "127.0.0.1",
        "127.0.0.2"
      ])
    }))

  it.effect("times out with the pending and the failed addresses", () =>
    Effect.gen(function*() {
      const { port } = yield* blocked
      const sockets = yield* madeSockets
      const options = { ...at("127.0.0.1", "127.0.0.2"), connectionAttemptDelay: 0 }
      const fiber = yield* Effect.forkChild(failure(connect(`ws://host:${port}/`, options)))
      yield* eventually(() => sockets.length === 2 && sockets[1].destroyed)
      yield* turn
      yield* TestClock.adjust("10 seconds")
      const error = yield* Fiber.join(fiber)
      if (error._tag !== "HandshakeTimeout") return assert.fail(error.message)
      assert.strictEqual(error.phase, "connect")
      assert.deepStrictEqual(error.addresses, [
        { address: "127.0.0.1", port, code: undefined },
        { address: "127.0.0.2", port, code: "ECONNREFUSED" }
      ])
      assert.isTrue(sockets[0].destroyed)
    }))

  it.live(
    "a host with several addresses, interrupted at each step, leaves no socket behind",
    () =>
      Effect.gen(function*() {
        const first = yield* accepting()
        const second = yield* accepting("127.0.0.2", first.port)
        const sockets = yield* madeSockets
        yield* interruptAtEachStep(Effect.sync(() => ({
          effect: Effect.scoped(connect(`ws://host:${first.port}/`, {
            ...at("127.0.0.1", "127.0.0.2", "127.0.0.3"),
            connectionAttemptDelay: 0
          })),
          events: [],
          waits: true,
          verify: () =>
            Effect.andThen(
              eventually(() => sockets.every(({ destroyed }) => destroyed)),
              eventually(() => [...first.peers, ...second.peers].every(({ destroyed }) => destroyed))
            )
        })))
        assert.isAbove(sockets.length, 50)
      }),
    60_000
  )
})

describe("lookup", () => {
  it.live("looks up names, but no addresses", () =>
    Effect.gen(function*() {
      const server = yield* accepting()
      const asked: Array<string> = []
      const lookup = (host: string) =>
        Effect.sync(() => {
          asked.push(host)
          return ["127.0.0.1"]
        })
      for (const host of ["some.example.", "127.0.0.1", "b%C3%BCcher.example"]) {
        yield* Effect.scoped(connect(`ws://${host}:${server.port}/`, { lookup }))
      }
      yield* failure(connect(`ws://[::1]:1/`, { lookup }))
      assert.deepStrictEqual(asked, ["some.example.", "xn--bcher-kva.example"])
    }))

  it.live("a lookup that fails or returns no address is the cause of ConnectFailed", () =>
    Effect.gen(function*() {
      const cause = Object.assign(new Error("no such name"), { code: "ENAME" })
      const failed = yield* failure(connect("ws://host/", { lookup: () => Effect.fail(cause) }))
      assert.deepInclude(failed, { _tag: "ConnectFailed", phase: "lookup", code: "ENAME", addresses: [] })
      assert.strictEqual((failed as HandshakeError.ConnectFailed).cause, cause)
      const none = yield* failure(connect("ws://host/", at()))
      assert.deepInclude(none, { _tag: "ConnectFailed", phase: "lookup", code: "ENOTFOUND" })
      const name = yield* failure(connect("ws://host/", at("127.0.0.1", "localhost")))
      assert.deepInclude(name, { _tag: "ConnectFailed", phase: "lookup", code: "ERR_INVALID_IP_ADDRESS" })
      assert.include(name.message, "expected IP addresses, got \"localhost\"")
    }))

  it.live("the default lookup is the current dns.lookup of Node", () =>
    Effect.gen(function*() {
      const server = yield* accepting()
      yield* Effect.scoped(connect(`ws://localhost:${server.port}/`))
      const original = dns.lookup
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          const put = (_: string, __: unknown, done: (error: null, found: ReadonlyArray<dns.LookupAddress>) => void) =>
            done(null, [{ address: "127.0.0.1", family: 4 }])
          dns.lookup = put as unknown as typeof dns.lookup
        }),
        () =>
          Effect.sync(() => {
            dns.lookup = original
          })
      )
      yield* Effect.scoped(connect(`ws://elsewhere.example:${server.port}/`))
    }))
})

describe("connectionAttemptDelay", () => {
  for (const connectionAttemptDelay of ["soon" as "1 second", -1]) {
    it.live(`connectionAttemptDelay ${connectionAttemptDelay} fails with InvalidOption`, () =>
      Effect.gen(function*() {
        const error = yield* failure(connect("ws://127.0.0.1:1/", { connectionAttemptDelay }))
        assert.deepInclude(error, { _tag: "InvalidOption", option: "connectionAttemptDelay" })
      }))
  }
})

describe("the phase of HandshakeTimeout", () => {
  interface Waiting {
    readonly url: string
    readonly options: WebSocketClient.ConnectOptions
    /** Whether it has got there. */
    readonly there: () => boolean
  }
  const silentServer = Effect.map(rawServer(() => {}), ({ peers, port }) => ({
    port,
    heard: () => peers.some((peer) => peer.received().length > 0)
  }))
  const called = () => {
    const state = { called: false }
    const never = () =>
      Effect.suspend(() => {
        state.called = true
        return Effect.never
      })
    return { state, never, there: () => state.called }
  }
  const cases: ReadonlyArray<
    readonly [phase: HandshakeError.Phase, about: string, make: Effect.Effect<Waiting, never, Scope.Scope>]
  > = [
    [
      "lookup",
      "a lookup without an answer",
      Effect.sync(() => {
        const { never, there } = called()
        return { url: "ws://host/", options: { lookup: never }, there }
      })
    ],
    [
      "connect",
      "a server that does not accept",
      Effect.gen(function*() {
        const { port } = yield* blocked
        const sockets = yield* madeSockets
        return { url: `wss://127.0.0.1:${port}/`, options: {}, there: () => sockets.length > 0 }
      })
    ],
    [
      "tls",
      "a silent server, for wss",
      Effect.map(silentServer, ({ heard, port }) => ({ url: `wss://127.0.0.1:${port}/`, options: {}, there: heard }))
    ],
    [
      "response",
      "a silent server, for ws",
      Effect.map(silentServer, ({ heard, port }) => ({ url: `ws://127.0.0.1:${port}/`, options: {}, there: heard }))
    ],
    ...["http", "https"].map((scheme) =>
      [
        "proxy",
        `a silent ${scheme} proxy`,
        Effect.map(silentServer, ({ heard, port }) => ({
          url: "wss://host/",
          options: { proxy: { url: `${scheme}://127.0.0.1:${port}` } },
          there: heard
        }))
      ] as const
    ),
    [
      "proxy",
      "a proxy whose name has no answer",
      Effect.sync(() => {
        const { never, there } = called()
        return { url: "wss://127.0.0.1/", options: { proxy: { url: "http://proxy" }, lookup: never }, there }
      })
    ],
    [
      "tls",
      "a silent server behind a proxy",
      Effect.gen(function*() {
        const proxy = yield* httpProxy()
        const { heard, port } = yield* silentServer
        const options = { proxy: { url: `http://127.0.0.1:${proxy.port}` } }
        return { url: `wss://127.0.0.1:${port}/`, options, there: heard }
      })
    ],
    [
      "agent",
      "an agent that waits for its proxy",
      Effect.map(silentServer, ({ heard, port }) => ({
        url: "wss://host/",
        options: { agent: new HttpsProxyAgent(`http://127.0.0.1:${port}`) },
        there: heard
      }))
    ],
    [
      "lookup",
      "an agent whose lookup has no answer",
      Effect.sync(() => {
        let asked = false
        const lookup = () => {
          asked = true
        }
        return { url: "ws://host/", options: { agent: new Http.Agent({ lookup }) }, there: () => asked }
      })
    ],
    [
      "connect",
      "an agent, and a server that does not accept",
      Effect.gen(function*() {
        const { port } = yield* blocked
        const sockets = yield* madeSockets
        const options = { agent: new Http.Agent() }
        return { url: `ws://127.0.0.1:${port}/`, options, there: () => sockets.length > 0 }
      })
    ],
    [
      "tls",
      "an agent, and a silent server, for wss",
      Effect.map(silentServer, ({ heard, port }) => ({
        url: `wss://127.0.0.1:${port}/`,
        options: { agent: new Https.Agent() },
        there: heard
      }))
    ],
    [
      "response",
      "an agent, and a silent server, for ws",
      Effect.map(silentServer, ({ heard, port }) => ({
        url: `ws://127.0.0.1:${port}/`,
        options: { agent: new Http.Agent() },
        there: heard
      }))
    ],
    [
      "response",
      "an agent, and a server that is silent after the TLS handshake",
      Effect.gen(function*() {
        let requested = false
        const server = Tls.createServer(tls, (socket) => {
          socket.on("data", () => requested = true).on("error", () => {})
        })
        yield* Effect.acquireRelease(
          Effect.callback<void>((resume) => {
            server.listen(0, "127.0.0.1", () => resume(Effect.void))
          }),
          () => Effect.sync(() => server.close())
        )
        const { port } = server.address() as Net.AddressInfo
        const options = { agent: new Https.Agent(), tls: { ca } }
        return { url: `wss://localhost:${port}/`, options, there: () => requested }
      })
    ],
    [
      "duplex",
      "a stream that is not made",
      Effect.sync(() => {
        const { never, there } = called()
        return { url: "ws://host/", options: { duplex: never }, there }
      })
    ],
    [
      "duplex",
      "a TLS socket of the program's own, with a silent server",
      Effect.gen(function*() {
        const { heard, port } = yield* silentServer
        const duplex = () => Effect.sync(() => Tls.connect({ host: "127.0.0.1", port }))
        return { url: "wss://host/", options: { duplex }, there: heard }
      })
    ],
    [
      "tls",
      "a stream of the program's own, with a silent server, for wss",
      Effect.gen(function*() {
        const { heard, port } = yield* silentServer
        const duplex = () => Effect.sync(() => Net.connect({ host: "127.0.0.1", port }))
        return { url: "wss://host/", options: { duplex }, there: heard }
      })
    ]
  ]
  for (const [phase, about, make] of cases) {
    it.effect(`times out in the phase ${phase}: ${about}`, () =>
      Effect.gen(function*() {
        const { options, there, url } = yield* make
        const fiber = yield* Effect.forkChild(failure(connect(url, options)))
        yield* eventually(there)
        // What the client did in the turn of the condition is complete after the next.
        yield* turn
        yield* turn
        yield* TestClock.adjust("10 seconds")
        const error = yield* Fiber.join(fiber)
        assert.deepInclude(error, { _tag: "HandshakeTimeout", phase })
      }))
  }
})

describe("a connection that is lost between two steps", () => {
  it.live("a connection that is lost between two steps fails at once", () =>
    Effect.gen(function*() {
      const server = yield* rawServer(() => {})
      const lost = Net.connect(server.port, "127.0.0.1")
      lost.on("error", () => {})
      lost.destroy(Object.assign(new Error("gone"), { code: "EGONE" }))
      yield* eventually(() => lost.closed)
      for (const scheme of ["ws", "wss"]) {
        const error = yield* failure(connect(`${scheme}://host/`, { duplex: lost }))
        assert.deepInclude(error, { _tag: "ConnectFailed", phase: "duplex", code: "EGONE" })
      }
    }))
})

describe("a request to a server whose certificate is not trusted", () => {
  it.live("sends no request to a server without a trusted certificate", () =>
    Effect.gen(function*() {
      const received: Array<Buffer> = []
      const over = yield* Deferred.make<void>()
      const server = Tls.createServer(tls, (socket) => {
        socket.on("data", (data) => received.push(data))
        socket.on("error", () => {})
      })
      server.on("connection", (socket) => socket.on("close", () => Deferred.doneUnsafe(over, Effect.void)))
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => {
          server.listen(0, "127.0.0.1", () => resume(Effect.void))
        }),
        () => Effect.sync(() => server.close())
      )
      const { port } = server.address() as Net.AddressInfo
      const error = yield* failure(connect(`wss://localhost:${port}/`, { headers: { Authorization: "Bearer t" } }))
      assert.deepInclude(error, { _tag: "ConnectFailed", phase: "tls" })
      yield* Deferred.await(over)
      assert.strictEqual(Buffer.concat(received).toString().includes(headEnd), false)
      assert.strictEqual(received.length, 0)
    }))
})
