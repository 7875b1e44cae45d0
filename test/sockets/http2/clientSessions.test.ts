/** The HTTP/2 sessions of a client: which connections share one, and when one ends. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Redacted, Scope } from "effect"
import { TestClock } from "effect/testing"
import { WebSocketClient } from "effect-ws"
import { certificate, key } from "../../support/certificates.ts"
import { failure } from "../../support/connecting.ts"
import { flags, frameTypes } from "../../support/http2Frames.ts"
import {
  acceptByHand,
  enableConnect,
  http2Server,
  maxStreams,
  rawHttp2,
  secureHttp2Server,
  settings,
  trusted
} from "../../support/http2ServerPeers.ts"
import { contentOf, turn } from "../../support/memory.ts"
import { eventually } from "../../support/resources.ts"

const only = { http2: "only", keepalive: false } as const
const shared = Effect.provide(WebSocketClient.layer(only))

const roundTrip = (connection: Effect.Success<ReturnType<typeof WebSocketClient.connect>>, text: string) =>
  Effect.gen(function*() {
    yield* connection.send(text)
    assert.strictEqual(contentOf(yield* connection.receive), text)
  })

describe("connections of a layer", () => {
  it.live("share one session, whether they are opened in turn or at once", () =>
    Effect.gen(function*() {
      const server = yield* http2Server()
      const first = yield* WebSocketClient.connect(`${server.url}/0`)
      const others = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, i) => `${server.url}/${i}`),
        (url) => WebSocketClient.connect(url),
        { concurrency: "unbounded" }
      )
      yield* Effect.forEach([first, ...others], (connection, i) => roundTrip(connection, `message ${i}`))
      assert.deepStrictEqual([server.sessions.length, server.streams.length], [1, 21])
    }).pipe(shared))

  it.live("wait for one session if they open at once, and fail with its error, each with its own URL", () =>
    Effect.gen(function*() {
      const server = yield* secureHttp2Server()
      const errors = yield* Effect.forEach(
        ["/a", "/b"],
        (path) => failure(WebSocketClient.connect(server.url + path)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(
        errors.map((error) => error._tag === "ConnectFailed" && [error.phase, error.url]),
        [["tls", `${server.url}/a`], ["tls", `${server.url}/b`]]
      )
    }).pipe(shared))

  it.live("go on with their session if the one that opened it is interrupted", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const server = yield* rawHttp2({
        open: (peer) => {
          Effect.runFork(Effect.andThen(Deferred.await(gate), Effect.sync(() => settings(enableConnect)(peer))))
        },
        request: acceptByHand
      })
      const opener = yield* Effect.forkChild(Effect.scoped(WebSocketClient.connect(server.url)))
      yield* eventually(() => server.peers.length === 1)
      const other = yield* Effect.forkChild(WebSocketClient.connect(server.url))
      yield* turn
      yield* Fiber.interrupt(opener)
      yield* Deferred.succeed(gate, undefined)
      yield* roundTrip(yield* Fiber.join(other), "hello")
      assert.strictEqual(server.peers.length, 1)
    }).pipe(shared))

  it.live("leave no session behind if all of them are interrupted while it opens", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({ open: () => {} })
      const fibers = yield* Effect.forEach([1, 2], () =>
        Effect.forkChild(Effect.scoped(WebSocketClient.connect(server.url))))
      yield* eventually(() =>
        server.peers.length === 1 && server.peers[0].frames().length > 0
      )
      yield* Effect.forEach(fibers, Fiber.interrupt)
      yield* server.peers[0].ended
      assert.strictEqual(server.peers.length, 1)
    }).pipe(shared))

  it.live("get a further session while the server allows no more streams on the others", () =>
    Effect.gen(function*() {
      const server = yield* http2Server({ settings: { maxConcurrentStreams: 2 } })
      const connections = yield* Effect.forEach(
        Array.from({ length: 5 }, (_, i) => `${server.url}/${i}`),
        (url) => WebSocketClient.connect(url),
        { concurrency: "unbounded" }
      )
      yield* Effect.forEach(connections, (connection) => roundTrip(connection, "hello"))
      assert.strictEqual(server.sessions.length, 3)
      yield* connections[0].close()
      yield* eventually(() => server.streams.filter((stream) => stream.closed).length === 1)
      const next = yield* WebSocketClient.connect(server.url)
      yield* roundTrip(next, "again")
      assert.strictEqual(server.sessions.length, 3)
    }).pipe(shared))

  it.live("wait while the server allows no stream at all", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({ open: settings(enableConnect, maxStreams(0)), request: acceptByHand })
      const fiber = yield* Effect.forkChild(WebSocketClient.connect(server.url))
      yield* eventually(() => server.peers[0]?.frames().some((frame) => frame.flags === flags.ACK))
      settings(maxStreams(1))(server.peers[0])
      yield* roundTrip(yield* Fiber.join(fiber), "hello")
      assert.strictEqual(server.peers.length, 1)
    }).pipe(shared))

  it.live("share no session with another identity, name, path or route", () =>
    Effect.gen(function*() {
      const server = yield* secureHttp2Server()
      const { tls } = trusted
      const identity = { cert: certificate("client.crt"), key: Redacted.make(key) }
      const options: ReadonlyArray<WebSocketClient.ConnectOptions> = [
        { tls },
        { tls: { ...tls, ...identity } },
        { tls: { ...tls, servername: "127.0.0.1" } },
        { tls: { rejectUnauthorized: false } },
        { tls, lookup: () => Effect.succeed(["127.0.0.1"]) }
      ]
      for (const each of options) {
        for (let i = 0; i < 2; i++) yield* WebSocketClient.connect(server.url, each)
      }
      assert.deepStrictEqual([server.sessions.length, server.streams.length], [options.length, 2 * options.length])
    }).pipe(shared))

  it.live("use the same session with \"prefer\" and \"only\"", () =>
    Effect.gen(function*() {
      const server = yield* secureHttp2Server()
      yield* WebSocketClient.connect(server.url, { http2: "prefer", ...trusted })
      yield* WebSocketClient.connect(server.url, { http2: "only", ...trusted })
      assert.strictEqual(server.sessions.length, 1)
    }).pipe(shared))
})

describe("the end of a session", () => {
  it.effect("comes 30 seconds after its last connection", () =>
    Effect.gen(function*() {
      const server = yield* http2Server()
      yield* Effect.scoped(WebSocketClient.connect(server.url))
      yield* TestClock.adjust("29 seconds")
      yield* Effect.scoped(WebSocketClient.connect(server.url))
      assert.strictEqual(server.sessions.length, 1)
      yield* TestClock.adjust("29 seconds")
      yield* turn
      assert.isFalse(server.sessions[0].closed)
      yield* TestClock.adjust("1 second")
      yield* eventually(() => server.sessions[0].destroyed)
      yield* Effect.scoped(WebSocketClient.connect(server.url))
      assert.strictEqual(server.sessions.length, 2)
    }).pipe(shared))

  it.effect("cuts TCP off if the server does not end it within 10 seconds", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({ request: acceptByHand })
      yield* Effect.scoped(WebSocketClient.connect(server.url))
      yield* TestClock.adjust("30 seconds")
      yield* server.peers[0].untilFrame(({ type }) => type === frameTypes.GOAWAY)
      const errors: Array<Error> = []
      server.peers[0].socket.on("error", (error) => errors.push(error))
      yield* TestClock.adjust("10 seconds")
      // Only a socket that is gone responds with a reset.
      while (errors.length === 0) {
        server.peers[0].write("x")
        yield* turn
      }
    }).pipe(shared))

  it.live("comes with the Scope of the layer, and ends connections that outlive it", () =>
    Effect.gen(function*() {
      const server = yield* http2Server()
      const scope = yield* Scope.make()
      const client = yield* Layer.buildWithScope(WebSocketClient.layer(only), scope)
      const connection = yield* Effect.provide(WebSocketClient.connect(server.url), client)
      yield* roundTrip(connection, "hello")
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* connection.closed).cause?._tag, "TransportError")
      yield* eventually(() => server.sessions[0].destroyed)
    }))

  it.live("comes with the connection, without a layer", () =>
    Effect.gen(function*() {
      const server = yield* http2Server()
      const [one, two] = yield* Effect.forEach([1, 2], () => WebSocketClient.connect(server.url, only))
      assert.strictEqual(server.sessions.length, 2)
      yield* one.close()
      yield* eventually(() => server.sessions[0].destroyed)
      yield* roundTrip(two, "hello")
    }))

  it.live("GOAWAY leads new connections to a new session, and open ones go on", () =>
    Effect.gen(function*() {
      const server = yield* http2Server()
      const first = yield* WebSocketClient.connect(server.url)
      server.sessions[0].goaway(0)
      yield* roundTrip(first, "hello")
      const second = yield* WebSocketClient.connect(server.url)
      yield* roundTrip(second, "hello")
      yield* roundTrip(first, "again")
      assert.strictEqual(server.sessions.length, 2)
      yield* first.close()
      yield* eventually(() => server.sessions[0].destroyed)
    }).pipe(shared))

  it.effect("a session that did not respond in time gets no requests until it responds to a ping", () =>
    Effect.gen(function*() {
      let isStuck = true
      const server = yield* rawHttp2({
        request: (peer, stream, index) => index === 0 && isStuck ? undefined : acceptByHand(peer, stream)
      })
      const fiber = yield* Effect.forkChild(failure(WebSocketClient.connect(server.url)))
      yield* eventually(() => server.peers[0]?.frames().some(({ type }) => type === frameTypes.HEADERS))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "HandshakeTimeout")
      yield* Effect.scoped(WebSocketClient.connect(server.url))
      assert.strictEqual(server.peers.length, 2)
      const ping = yield* server.peers[0].untilFrame(({ type }) => type === frameTypes.PING)
      isStuck = false
      server.peers[0].frame(frameTypes.PING, flags.ACK, 0, ping.payload)
      const requests = () => server.peers[0].frames().filter(({ type }) => type === frameTypes.HEADERS).length
      yield* Effect.repeat(Effect.scoped(WebSocketClient.connect(server.url)), { until: () => requests() === 2 })
    }).pipe(shared))
})
