/** Servers that misbehave over HTTP/2, in frames written by hand, and what a client makes of them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { WebSocketClient } from "effect-ws"
import { ca, tls } from "../../support/certificates.ts"
import { failure, visit } from "../../support/connecting.ts"
import { flags, frameTypes, goAwayPayload, type Http2Peer } from "../../support/http2Frames.ts"
import {
  acceptByHand,
  enableConnect,
  http2Server,
  maxStreams,
  rawHttp2,
  type Script,
  settings
} from "../../support/http2ServerPeers.ts"
import { turn } from "../../support/memory.ts"
import { rawServer, serve } from "../../support/net.ts"
import { eventually } from "../../support/resources.ts"
import { echo } from "../../support/serving.ts"

const only = { http2: "only", keepalive: false } as const

const REFUSED_STREAM = 7
const CANCEL = 8
const HTTP_1_1_REQUIRED = 13

const goAway = (peer: Http2Peer, lastStream: number, code: number) =>
  peer.frame(frameTypes.GOAWAY, 0, 0, goAwayPayload(lastStream, code))

/** Connects, and passes the handshake timeout once the server is in the state that is tested. */
const timedOut = (url: string, isReady: () => boolean, options?: WebSocketClient.ConnectOptions) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(failure(WebSocketClient.connect(url, { ...only, ...options })))
    yield* eventually(isReady)
    yield* TestClock.adjust("10 seconds")
    return yield* Fiber.join(fiber)
  })

describe("before the response", () => {
  it.effect("a server that never sends its settings is HandshakeTimeout in the phase session", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({ open: () => {} })
      const error = yield* timedOut(server.url, () => server.peers[0]?.frames().length > 0)
      assert.deepInclude(error, { _tag: "HandshakeTimeout", phase: "session", url: `${server.url}/` })
      assert.include(error.message, "an HTTP/2 session")
      yield* server.peers[0].ended
    }))

  for (
    const [name, layer] of [["its own session", Layer.empty], ["a shared session", WebSocketClient.layer({})]] as const
  ) {
    it.effect(`a server that never responds is HandshakeTimeout in the phase response, on ${name}`, () =>
      Effect.gen(function*() {
        let requests = 0
        const server = yield* rawHttp2({ request: () => requests++ })
        const error = yield* timedOut(server.url, () => requests > 0)
        assert.deepInclude(error, { _tag: "HandshakeTimeout", phase: "response" })
        if (layer === Layer.empty) return yield* Effect.asVoid(server.peers[0].ended)
        const reset = yield* server.peers[0].untilFrame(({ type }) => type === frameTypes.RST_STREAM)
        assert.deepStrictEqual([reset.stream, Array.from(reset.payload)], [1, [0, 0, 0, CANCEL]])
      }).pipe(Effect.provide(layer)))
  }

  it.effect("a server that allows no stream is HandshakeTimeout in the phase session, without a request", () =>
    Effect.gen(function*() {
      let requests = 0
      const server = yield* rawHttp2({ open: settings(enableConnect, maxStreams(0)), request: () => requests++ })
      const acknowledged = () => server.peers[0]?.frames().some((frame) => frame.flags === flags.ACK)
      const error = yield* timedOut(server.url, acknowledged)
      assert.deepInclude(error, { _tag: "HandshakeTimeout", phase: "session" })
      assert.deepStrictEqual([requests, server.peers.length], [0, 1])
    }))

  it.effect("a server that sends half of a body is HandshakeRejected with that half", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({
        request: (peer, stream) => {
          peer.headers(stream, [[":status", "403"]])
          peer.data(stream, "a tok")
          peer.frame(frameTypes.PING, 0, 0, Buffer.alloc(8))
        }
      })
      const fiber = yield* Effect.forkChild(failure(WebSocketClient.connect(server.url, only)))
      yield* eventually(() => server.peers[0]?.frames().some(({ type }) => type === frameTypes.PING))
      for (let i = 0; i < 10; i++) yield* turn
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* Fiber.join(fiber), { _tag: "HandshakeRejected", status: 403, body: "a tok" })
    }))

  const failures: ReadonlyArray<
    readonly [name: string, script: Script, phase: "session" | "response", message: RegExp]
  > = [
    [
      "HTTP/1.1 instead of settings",
      {
        open: (peer) => peer.write("HTTP/1.1 400 Bad Request\r\n\r\n")
      },
      "session",
      /remove http2: "only"/
    ],
    [
      "the end of the connection instead of settings",
      {
        open: ({ socket }) => socket.end()
      },
      "session",
      /expected HTTP\/2 settings, got the end of the connection/
    ],
    [
      "a reset of the connection instead of settings",
      {
        open: ({ socket }) => socket.resetAndDestroy()
      },
      "session",
      /ECONNRESET/
    ],
    ["invalid settings", { open: settings([8, 2]) }, "session", /./],
    ["a reset with CANCEL", { request: (peer, stream) => peer.reset(stream, CANCEL) }, "response", /CANCEL/],
    ["a reset with NO_ERROR", { request: (peer, stream) => peer.reset(stream, 0) }, "response", /NO_ERROR/],
    ["a reset with INTERNAL_ERROR", { request: (peer, stream) => peer.reset(stream, 2) }, "response", /INTERNAL_ERROR/],
    [
      "the status 101",
      {
        request: (peer, stream) => peer.headers(stream, [[":status", "101"]])
      },
      "response",
      /PROTOCOL_ERROR/
    ],
    [
      "a response without a status",
      {
        request: (peer, stream) => peer.headers(stream, [["a", "b"]])
      },
      "response",
      /PROTOCOL_ERROR/
    ],
    [
      "a connection-specific header",
      {
        request: (peer, stream) => peer.headers(stream, [[":status", "200"], ["connection", "upgrade"]])
      },
      "response",
      /PROTOCOL_ERROR/
    ],
    ["the end of the connection", { request: ({ socket }) => socket.end() }, "response", /end of the session/],
    ["a reset of the connection", { request: ({ socket }) => socket.resetAndDestroy() }, "response", /ECONNRESET/],
    [
      "GOAWAY that has processed the request",
      {
        request: (peer, stream) => goAway(peer, stream, 2)
      },
      "response",
      /./
    ]
  ]
  for (const [name, script, phase, message] of failures) {
    it.live(`${name} fails with ConnectFailed in the phase ${phase}, without another attempt`, () =>
      Effect.gen(function*() {
        const server = yield* rawHttp2(script)
        const error = yield* failure(WebSocketClient.connect(`${server.url}/a`, only))
        assert.deepInclude(error, { _tag: "ConnectFailed", phase, url: `${server.url}/a` })
        assert.match(error.message, message)
        assert.strictEqual(server.peers.length, 1)
        yield* server.peers[0].ended
      }))
  }

  it.live("a server that closes TCP at once fails with ConnectFailed", () =>
    Effect.gen(function*() {
      const server = yield* rawServer(({ socket }) => socket.destroy())
      const error = yield* failure(WebSocketClient.connect(`ws://127.0.0.1:${server.port}/`, only))
      assert.deepInclude(error, { _tag: "ConnectFailed", phase: "session" })
    }))

  it.live("informational responses before the response are skipped", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({
        request: (peer, stream) => {
          peer.headers(stream, [[":status", "103"], ["link", "</a>"]])
          peer.headers(stream, [[":status", "100"]])
          acceptByHand(peer, stream)
        }
      })
      yield* visit(server.url, only)
    }))

  it.live("a response that ends its stream is a connection that is closed without a close frame", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({
        request: (peer, stream) => peer.headers(stream, [[":status", "200"]], flags.END_HEADERS | flags.END_STREAM)
      })
      const closed = yield* Effect.scoped(
        Effect.flatMap(WebSocketClient.connect(server.url, only), (connection) => connection.closed)
      )
      assert.deepInclude(closed.cause, { _tag: "UnexpectedEof" })
    }))
})

describe("requests that the server has not processed", () => {
  const refusals: Record<string, (peer: Http2Peer, stream: number) => void> = {
    "REFUSED_STREAM": (peer, stream) => peer.reset(stream, REFUSED_STREAM),
    "GOAWAY with NO_ERROR": (peer) => goAway(peer, 0, 0),
    "GOAWAY with an error": (peer) => goAway(peer, 0, 11)
  }
  for (const [name, refuse] of Object.entries(refusals)) {
    it.live(`${name} before the response leads to one more request, on a new session`, () =>
      Effect.gen(function*() {
        const server = yield* rawHttp2({
          request: (peer, stream, index) => index === 0 ? refuse(peer, stream) : acceptByHand(peer, stream)
        })
        yield* visit(server.url, only)
        assert.strictEqual(server.peers.length, 2)
      }))

    it.live(`${name} twice fails with ConnectFailed`, () =>
      Effect.gen(function*() {
        const server = yield* rawHttp2({ request: refuse })
        const error = yield* failure(WebSocketClient.connect(server.url, only))
        assert.deepInclude(error, { _tag: "ConnectFailed", phase: "response", code: "ECONNRESET" })
        assert.include(error.message, "REFUSED_STREAM or GOAWAY")
        assert.strictEqual(server.peers.length, 2)
      }))
  }

  it.live("GOAWAY behind the settings is tried once more, and then fails", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({
        open: (peer) => {
          settings(enableConnect)(peer)
          goAway(peer, 0, 0)
        }
      })
      const error = yield* failure(WebSocketClient.connect(server.url, only))
      assert.strictEqual(error._tag, "ConnectFailed")
      assert.strictEqual(server.peers.length, 2)
    }))
})

describe("servers without WebSocket over HTTP/2", () => {
  it.live("only fails with Http2Unsupported if the server does not allow extended CONNECT", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({ open: settings() })
      const error = yield* failure(WebSocketClient.connect(server.url, only))
      assert.deepInclude(error, { _tag: "Http2Unsupported", reason: "settings", url: `${server.url}/` })
      assert.include(error.message, "SETTINGS_ENABLE_CONNECT_PROTOCOL")
      yield* server.peers[0].ended
    }))

  it.live("only fails with Http2Unsupported if the server requires HTTP/1.1", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({ request: (peer, stream) => peer.reset(stream, HTTP_1_1_REQUIRED) })
      const error = yield* failure(WebSocketClient.connect(server.url, only))
      assert.deepInclude(error, { _tag: "Http2Unsupported", reason: "required" })
    }))

  it.live("only reports the statuses 405 and 501 as any other", () =>
    Effect.gen(function*() {
      for (const status of [405, 501]) {
        const server = yield* http2Server({
          respond: (stream) => stream.respond({ ":status": status }, { endStream: true })
        })
        assert.deepInclude(yield* failure(WebSocketClient.connect(server.url, only)), {
          _tag: "HandshakeRejected",
          status
        })
      }
    }))

  it.live("only fails if the server selects HTTP/1.1 in TLS", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { tls })
      const error = yield* failure(WebSocketClient.connect(server.url, { ...only, tls: { ca } }))
      assert.deepInclude(error, { _tag: "Http2Unsupported", reason: "alpn" })
    }))
})

describe("an open connection", () => {
  const opened = (script: Omit<Script, "request">) =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({
        ...script,
        request: (peer, stream) => peer.headers(stream, [[":status", "200"]])
      })
      const connection = yield* WebSocketClient.connect(server.url, { ...only, closeTimeout: 0 })
      return { connection, peer: server.peers[0] }
    })

  const losses: Record<string, (peer: Http2Peer) => void> = {
    "a reset with CANCEL": (peer) => peer.reset(1, CANCEL),
    "a reset with NO_ERROR": (peer) => peer.reset(1, 0),
    "a reset with INTERNAL_ERROR": (peer) => peer.reset(1, 2),
    "GOAWAY with an error": (peer) => goAway(peer, 1, 2),
    "the end of TCP": ({ socket }) => socket.end(),
    "a reset of TCP": ({ socket }) => socket.resetAndDestroy(),
    "SETTINGS_ENABLE_CONNECT_PROTOCOL from 1 to 0": settings([8, 0])
  }
  for (const [name, lose] of Object.entries(losses)) {
    it.live(`${name} ends with a TransportError`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* opened({})
        peer.data(1, Buffer.from([0x81, 2, 0x68, 0x69]))
        assert.strictEqual((yield* connection.receive)._tag, "Text")
        lose(peer)
        const closed = yield* connection.closed
        assert.isFalse(closed.clean)
        assert.strictEqual(closed.cause?._tag, "TransportError")
      }))
  }

  it.live("GOAWAY with NO_ERROR does not end it", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* opened({})
      goAway(peer, 1, 0)
      peer.data(1, Buffer.from([0x81, 2, 0x68, 0x69]))
      assert.strictEqual((yield* connection.receive)._tag, "Text")
      yield* connection.send("still open")
      yield* peer.untilFrame(({ stream, type }) => type === frameTypes.DATA && stream === 1)
    }))

  it.live("a loss of the session ends each of its connections", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({ request: (peer, stream) => peer.headers(stream, [[":status", "200"]]) })
      const connections = yield* Effect.forEach([1, 2, 3], () => WebSocketClient.connect(server.url, only))
      assert.strictEqual(server.peers.length, 1)
      server.peers[0].socket.resetAndDestroy()
      for (const connection of connections) {
        assert.strictEqual((yield* connection.closed).cause?._tag, "TransportError")
      }
    }).pipe(Effect.provide(WebSocketClient.layer({}))))
})
