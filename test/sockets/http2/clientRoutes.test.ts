/** The ways to a server over HTTP/2: proxies, lookups, Unix sockets, streams of the program; and interruptions on them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, type Scope } from "effect"
import { type HandshakeError, WebSocketClient } from "effect-ws"
import * as Http from "node:http"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Duplex } from "node:stream"
import * as Tls from "node:tls"
import { failure, visit } from "../../support/connecting.ts"
import {
  acceptByHand,
  enableConnect,
  http2Server,
  maxStreams,
  rawHttp2,
  type Script,
  secureHttp2Server,
  settings,
  trusted
} from "../../support/http2ServerPeers.ts"
import { turn } from "../../support/memory.ts"
import { rawServer, serve } from "../../support/net.ts"
import { httpProxy } from "../../support/proxies.ts"
import { countingFibers, eventually } from "../../support/resources.ts"
import { echo } from "../../support/serving.ts"

const only = { http2: "only", keepalive: false } as const
const shared = Effect.provide(WebSocketClient.layer({ ...only, ...trusted }))

describe("routes over HTTP/2", () => {
  it.live("a proxy gets one CONNECT for all connections of a session", () =>
    Effect.gen(function*() {
      const server = yield* secureHttp2Server()
      const proxy = yield* httpProxy()
      const options = { proxy: { url: `http://127.0.0.1:${proxy.port}` } }
      yield* Effect.forEach([1, 2, 3], () => visit(server.url, options), { concurrency: "unbounded" })
      assert.deepStrictEqual(proxy.targets, [`localhost:${server.port}`])
      assert.strictEqual(server.sessions.length, 1)
    }).pipe(shared))

  it.live("a proxy that rejects is ProxyRejected, and one that fails ConnectFailed, for each connection", () =>
    Effect.gen(function*() {
      const server = yield* secureHttp2Server()
      const proxy = yield* httpProxy(() => false)
      const url = `http://127.0.0.1:${proxy.port}`
      const errors = yield* Effect.forEach(
        ["/a", "/b"],
        (path) => failure(WebSocketClient.connect(server.url + path, { proxy: { url } })),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(
        errors.map((error) => error._tag === "ProxyRejected" && [error.status, error.url]),
        [[407, `${server.url}/a`], [407, `${server.url}/b`]]
      )
      const gone = yield* failure(WebSocketClient.connect(server.url, { proxy: { url: "http://127.0.0.1:1" } }))
      assert.deepInclude(gone, { _tag: "ConnectFailed", phase: "proxy", code: "ECONNREFUSED" })
    }).pipe(shared))

  it.live("lookup and connectionAttemptDelay find the address that responds", () =>
    Effect.gen(function*() {
      const server = yield* http2Server()
      const lookup = () => Effect.succeed(["127.0.0.9", "127.0.0.1"])
      yield* visit(`ws://name.example:${server.port}`, { lookup, connectionAttemptDelay: 0 })
      assert.strictEqual(server.requests[0][":authority"], `name.example:${server.port}`)
      const failed = yield* failure(
        WebSocketClient.connect(`ws://name.example:${server.port}`, { lookup: () => Effect.succeed(["127.0.0.9"]) })
      )
      const { addresses, code, phase } = failed as HandshakeError.ConnectFailed
      assert.deepStrictEqual([phase, code], ["connect", "ECONNREFUSED"])
      assert.deepStrictEqual(addresses, [{ address: "127.0.0.9", port: server.port, code: "ECONNREFUSED" }])
    }).pipe(shared))

  it.live("a Unix socket carries a session", () =>
    Effect.gen(function*() {
      const socketPath = join(tmpdir(), `effect-ws-http2-${process.pid}.sock`)
      yield* serve(echo, { socketPath, cleartextHttp2: true })
      const versions = yield* Effect.forEach([1, 2], () => visit("ws://localhost/", { socketPath }))
      assert.deepStrictEqual(versions.map(({ httpVersion }) => httpVersion), ["2", "2"])
    }).pipe(shared))

  it.live("a duplex function is called for each session, and its Scope closes with the session", () =>
    Effect.gen(function*() {
      const server = yield* http2Server()
      const journal: Array<string> = []
      const duplex = (url: URL) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            journal.push("open")
            return Net.connect(Number(url.port), "127.0.0.1")
          }),
          (socket) => Effect.sync(() => journal.push(socket.destroyed ? "closed" : "open"))
        )
      yield* Effect.forEach([1, 2], () => visit(server.url, { duplex }))
      assert.deepStrictEqual(journal, ["open"])
      server.sessions[0].close()
      yield* eventually(() => journal.length === 2)
      assert.deepStrictEqual(journal, ["open", "closed"])
    }).pipe(shared))

  it.live("a stream that is no socket carries a session", () =>
    Effect.gen(function*() {
      const server = yield* http2Server()
      const socket = Net.connect(server.port, "127.0.0.1")
      const duplex = Duplex.from({ readable: socket, writable: socket })
      const connections = yield* Effect.forEach([1, 2], () => WebSocketClient.connect(server.url, { duplex }))
      assert.deepStrictEqual(connections.map(({ request }) => request.httpVersion), ["2", "2"])
      assert.strictEqual(server.sessions.length, 1)
      yield* Effect.forEach(connections, (connection) => connection.close())
    }).pipe(shared))

  it.live("a TLS socket as duplex needs h2 as its protocol", () =>
    Effect.gen(function*() {
      const server = yield* secureHttp2Server({ allowHTTP1: true })
      const dial = (ALPNProtocols: Array<string>) =>
        Tls.connect({
          port: server.port,
          host: "127.0.0.1",
          servername: "localhost",
          ca: trusted.tls.ca,
          ALPNProtocols
        })
      yield* visit(server.url, { duplex: dial(["h2"]) })
      const error = yield* failure(WebSocketClient.connect(server.url, { duplex: dial(["http/1.1"]) }))
      assert.deepInclude(error, { _tag: "Http2Unsupported", reason: "alpn" })
    }).pipe(shared))

  for (
    const [name, options] of [
      ["an agent", { agent: new Http.Agent() }],
      ["another value", { http2: "always" as "only" }]
    ] as const
  ) {
    it.live(`fails with InvalidOption for ${name}`, () =>
      Effect.gen(function*() {
        const error = yield* failure(WebSocketClient.connect("ws://127.0.0.1:1/", { ...only, ...options }))
        assert.deepInclude(error, { _tag: "InvalidOption", option: "http2" })
      }))
  }
})

/** A server that lets a client wait, and the sockets that the client has opened to it. */
interface Stage {
  readonly url: string
  readonly options?: WebSocketClient.ConnectOptions
  readonly sockets?: () => ReadonlyArray<Net.Socket>
}

const rawStage = (script: Script): Effect.Effect<Stage, never, Scope.Scope> =>
  Effect.map(rawHttp2(script), ({ peers, url }) => ({ url, sockets: () => peers.map(({ socket }) => socket) }))

const stages: Record<string, Effect.Effect<Stage, never, Scope.Scope>> = {
  "the lookup": Effect.succeed({ url: "ws://name.example/", options: { lookup: () => Effect.never } }),
  "the proxy": Effect.map(httpProxy(() => "never"), ({ clients, port }) => ({
    url: "ws://name.example/",
    options: { proxy: { url: `http://127.0.0.1:${port}` } },
    sockets: () => clients
  })),
  "the duplex": Effect.succeed({ url: "ws://name.example/", options: { duplex: () => Effect.never } }),
  "TLS": Effect.map(rawServer(() => {}), ({ peers, port }) => ({
    url: `wss://localhost:${port}/`,
    sockets: () => peers.map(({ socket }) => socket)
  })),
  "the settings": rawStage({ open: () => {} }),
  "the wait for room": rawStage({ open: settings(enableConnect, maxStreams(0)) }),
  "the response": rawStage({}),
  "the body of a rejection": rawStage({ request: (peer, stream) => peer.headers(stream, [[":status", "401"]]) })
}

describe("interruption", () => {
  for (const [name, stage] of Object.entries(stages)) {
    it.live(`during ${name} leaves no socket and no fiber of a client, also without a layer`, () =>
      Effect.gen(function*() {
        const { options, sockets = () => [], url } = yield* stage
        const fibers = countingFibers()
        const attempts = (client: Layer.Layer<never>) =>
          Effect.gen(function*() {
            for (let turns = 0; turns < 12; turns++) {
              const attempt = Effect.scoped(WebSocketClient.connect(url, { ...only, ...trusted, ...options }))
              const fiber = yield* Effect.forkChild(fibers.counted(attempt))
              for (let i = 0; i < turns * 2; i++) yield* turn
              yield* Fiber.interrupt(fiber)
              assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
            }
          }).pipe(Effect.provide(client))
        for (const client of [Layer.empty, WebSocketClient.layer({})]) {
          yield* attempts(client)
          yield* eventually(() => fibers.running() === 0)
          yield* eventually(() => sockets().every(({ destroyed, readableEnded }) => destroyed || readableEnded))
        }
      }))
  }

  it.live("keeps a session for others, if some connections are interrupted in any order", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({ request: acceptByHand })
      const fibers = yield* Effect.forEach(
        Array.from({ length: 30 }),
        () => Effect.forkChild(Effect.scoped(Effect.andThen(WebSocketClient.connect(server.url), Effect.never)))
      )
      for (const [i, fiber] of fibers.entries()) {
        if (i % 3 !== 0) yield* turn
        yield* Fiber.interrupt(fiber)
      }
      assert.strictEqual((yield* visit(server.url)).httpVersion, "2")
      assert.isAtMost(server.peers.length, 2)
    }).pipe(shared))
})
