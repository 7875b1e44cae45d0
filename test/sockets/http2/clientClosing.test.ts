/** The end of a client's connection over HTTP/2 (RFC 8441 §5): close frames, then END_STREAM, then resets. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Frame, WebSocketClient } from "effect-ws"
import { ca, tls } from "../../support/certificates.ts"
import { flags, frameTypes, type Http2Peer } from "../../support/http2Frames.ts"
import { acceptByHand, rawHttp2 } from "../../support/http2ServerPeers.ts"
import { turn } from "../../support/memory.ts"
import { handingOut, serve } from "../../support/net.ts"
import { eventually } from "../../support/resources.ts"
import { echo, textOf } from "../../support/serving.ts"

const only = { http2: "only", keepalive: false } as const
const CANCEL = 8

const opened = (options?: WebSocketClient.ConnectOptions) =>
  Effect.gen(function*() {
    const server = yield* rawHttp2({ request: (peer, stream) => peer.headers(stream, [[":status", "200"]]) })
    const connection = yield* WebSocketClient.connect(server.url, { ...only, ...options })
    return { connection, peer: server.peers[0] }
  })

const shared = Effect.provide(WebSocketClient.layer({}))

/** The frames of WebSocket that a peer received. */
const received = (peer: Http2Peer): ReadonlyArray<Frame.Frame> =>
  Frame.makeDecoder({ role: "server" }).decode(Buffer.concat(
    peer.frames().filter(({ type }) => type === frameTypes.DATA).map(({ payload }) => payload)
  )).frames

const hasClosed = (peer: Http2Peer) => () => received(peer).some(({ opcode }) => opcode === Frame.Opcode.Close)
const hasEnded = (peer: Http2Peer) => () =>
  peer.frames().some((frame) => frame.type === frameTypes.DATA && (frame.flags & flags.END_STREAM) !== 0)
const resetOf = (peer: Http2Peer) => peer.frames().find(({ type }) => type === frameTypes.RST_STREAM)?.payload[3]

describe("closing over HTTP/2", () => {
  it.live("a client that closes sends END_STREAM behind the peer's close frame, and no reset", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* opened()
      const closing = yield* Effect.forkChild(connection.close(1000, "enough"))
      yield* eventually(hasClosed(peer))
      for (let i = 0; i < 10; i++) yield* turn
      assert.isFalse(hasEnded(peer)())
      peer.data(1, Frame.encode(Frame.close(1000, "enough")))
      yield* eventually(hasEnded(peer))
      peer.data(1, "", flags.END_STREAM)
      const closed = yield* Fiber.join(closing)
      assert.deepInclude(closed, { clean: true, code: 1000, closedBy: "local" })
      assert.isUndefined(resetOf(peer))
    }).pipe(shared))

  it.live("a client whose peer closes replies, and sends END_STREAM behind the reply", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* opened()
      peer.data(1, Frame.encode(Frame.close(4000, "go")))
      yield* eventually(hasEnded(peer))
      assert.strictEqual(received(peer).length, 1)
      peer.data(1, "", flags.END_STREAM)
      assert.deepInclude(yield* connection.closed, { clean: true, code: 4000, closedBy: "remote" })
      assert.isUndefined(resetOf(peer))
    }).pipe(shared))

  for (const [name, code] of [["NO_ERROR", 0], ["CANCEL", CANCEL]] as const) {
    it.live(`a reset with ${name} behind both close frames is a clean end`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* opened()
        const closing = yield* Effect.forkChild(connection.close())
        yield* eventually(hasClosed(peer))
        peer.data(1, Frame.encode(Frame.close(1000)))
        peer.reset(1, code)
        const closed = yield* Fiber.join(closing)
        assert.deepInclude(closed, { clean: true, code: 1000, cause: undefined })
      }).pipe(shared))

    it.live(`a reset with ${name} before the peer's close frame is a TransportError`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* opened()
        const closing = yield* Effect.forkChild(connection.close())
        yield* eventually(hasClosed(peer))
        peer.reset(1, code)
        const closed = yield* Fiber.join(closing)
        assert.isFalse(closed.clean)
        assert.strictEqual(closed.cause?._tag, "TransportError")
      }).pipe(shared))
  }

  it.effect("a peer that does not end its side is reset with NO_ERROR after closeTimeout", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* opened()
      const closing = yield* Effect.forkChild(connection.close())
      yield* eventually(hasClosed(peer))
      peer.data(1, Frame.encode(Frame.close(1000)))
      yield* eventually(hasEnded(peer))
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* Fiber.join(closing), { clean: true, code: 1000 })
      yield* eventually(() => resetOf(peer) === 0)
    }).pipe(shared))

  it.live("terminate resets the stream, and keeps the session", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({ request: acceptByHand })
      const one = yield* WebSocketClient.connect(server.url, only)
      const two = yield* WebSocketClient.connect(server.url, only)
      yield* one.terminate
      yield* eventually(() => resetOf(server.peers[0]) !== undefined)
      yield* two.send("hello")
      assert.strictEqual(textOf(yield* two.receive), "hello")
    }).pipe(shared))

  it.live("the end of a Scope closes the connection with 1000 and END_STREAM", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({ request: acceptByHand })
      yield* Effect.scoped(WebSocketClient.connect(server.url, only))
      assert.isTrue(hasEnded(server.peers[0])())
      yield* server.peers[0].ended
    }))
})

describe("a client and a server of this library", () => {
  const ways: Record<string, readonly [Parameters<typeof serve>[1], WebSocketClient.ConnectOptions]> = {
    "over HTTP/1.1": [{}, {}],
    "over HTTP/2 without TLS": [{ cleartextHttp2: true }, only],
    "over HTTP/2 with TLS": [{ http2: true, tls }, { http2: "prefer", tls: { ca } }]
  }
  for (const [name, [serverOptions, clientOptions]] of Object.entries(ways)) {
    const version = name.includes("HTTP/2") ? "2" : "1.1"
    const connected = Effect.gen(function*() {
      const handler = yield* handingOut
      const server = yield* serve(handler.handler, serverOptions)
      const client = yield* WebSocketClient.connect(server.url.replace("127.0.0.1", "localhost"), {
        keepalive: false,
        ...clientOptions
      })
      assert.strictEqual(client.request.httpVersion, version)
      return { client, server: yield* handler.connection }
    })

    it.live(`exchange messages of all sizes ${name}`, () =>
      Effect.gen(function*() {
        const server = yield* serve(echo, serverOptions)
        const client = yield* WebSocketClient.connect(server.url.replace("127.0.0.1", "localhost"), clientOptions)
        for (const size of [0, 1, 125, 126, 65_535, 65_536, 1_000_000]) {
          yield* client.send("x".repeat(size))
          assert.strictEqual(textOf(yield* client.receive).length, size)
        }
        yield* client.send(Uint8Array.of(1, 2, 3))
        assert.strictEqual((yield* client.receive)._tag, "Binary")
        yield* client.ping()
      }))

    for (const closer of ["client", "server"] as const) {
      it.live(`see the same end ${name}, closed by the ${closer}`, () =>
        Effect.gen(function*() {
          const ends = yield* connected
          const other = closer === "client" ? "server" : "client"
          yield* ends[other].send("last")
          const here = yield* ends[closer].close(4001, "enough")
          const there = yield* ends[other].closed
          assert.deepStrictEqual(
            [here.code, here.reason, here.clean, here.closedBy],
            [4001, "enough", true, "local"]
          )
          assert.deepStrictEqual(
            [there.code, there.reason, there.clean, there.closedBy],
            [4001, "enough", true, "remote"]
          )
          assert.deepStrictEqual(textOf(yield* ends[closer].receive), "last")
        }))

      it.live(`a ${closer} that terminates is a TransportError or the end at the other end, ${name}`, () =>
        Effect.gen(function*() {
          const ends = yield* connected
          const other = closer === "client" ? "server" : "client"
          yield* ends[closer].terminate
          const closed = yield* ends[other].closed
          assert.isFalse(closed.clean)
          assert.include(["TransportError", "UnexpectedEof"], closed.cause?._tag)
        }))
    }

    it.live(`deliver all messages before the end ${name}`, () =>
      Effect.gen(function*() {
        const { client, server } = yield* connected
        yield* Effect.forkChild(Effect.andThen(
          server.sendAll(Array.from({ length: 1000 }, (_, i) => `${i} ${"x".repeat(1000)}`)),
          server.close()
        ))
        assert.strictEqual((yield* Stream.runCollect(client.messages)).length, 1000)
      }))
  }
})
