/** Limits of HTTP/2 sessions, and clients that break the rules. The clients write HTTP/2 by hand. */
import { assert, describe, it } from "@effect/vitest"
import { Data, Deferred, Effect, Fiber, Stream } from "effect"
import { Connection, type ConnectionError, Frame, Handshake, type WebSocketServer } from "effect-ws"
import * as Http2 from "node:http2"
import { http2Client } from "../../support/http2Client.ts"
import {
  connectHeaders,
  encodeHeaders,
  flags,
  frameTypes,
  type Http2Frame,
  http2Peer,
  uint32
} from "../../support/http2Frames.ts"
import { contentOf } from "../../support/memory.ts"
import { rawConnect, requestText, serve } from "../../support/net.ts"
import { eventually } from "../../support/resources.ts"
import { echo, idle, statusOf } from "../../support/serving.ts"

class Lost extends Data.Error<{ readonly message: string }> {}

const codes = { NO_ERROR: 0, ENHANCE_YOUR_CALM: 11 }

const { DATA, GOAWAY, HEADERS, RST_STREAM } = frameTypes

const h2c = (
  handler: Parameters<typeof serve>[0],
  options?: WebSocketServer.MakeOptions & { readonly serve?: object }
) => serve(handler as typeof idle, { cleartextHttp2: true, ...options })

const isResponse = (stream: number) => (frame: Http2Frame) => frame.type === HEADERS && frame.stream === stream

const codeOf = ({ payload, type }: Http2Frame): number => Buffer.from(payload).readUInt32BE(type === GOAWAY ? 4 : 0)

describe("flow control over HTTP/2", () => {
  it.live(
    "a handler that does not read holds back its own stream, and none of the ninety-nine beside it",
    () =>
      Effect.gen(function*() {
        const stalled = yield* Deferred.make<Connection.Connection>()
        const resume = yield* Deferred.make<void>()
        const handler = Effect.flatMap(Connection.Connection, (connection) =>
          connection.request.query.has("stalled")
            ? Effect.andThen(
              Deferred.succeed(stalled, connection),
              Effect.andThen(Deferred.await(resume), echo)
            )
            : echo)
        const { port } = yield* h2c(handler)
        const client = yield* http2Client(`http://127.0.0.1:${port}`)
        const slow = yield* client.open({ ":path": "/?stalled" })
        const payload = new Uint8Array(4 * 1024 * 1024)
        // More than the windows of the stream and of the session, and than all queues of the connection.
        yield* Effect.forkScoped(slow.send(payload))
        yield* Deferred.await(stalled)
        const others = yield* Effect.replicateEffect(client.open(), 99, { concurrency: "unbounded" })
        const size = 300_000
        yield* Effect.forEach(others, (other, i) =>
          Effect.gen(function*() {
            yield* other.send(new Uint8Array(size).fill(i))
            const back = yield* other.receive
            assert.deepStrictEqual([back.bytes.length, back.bytes[size - 1]], [size, i])
          }), { concurrency: "unbounded" })
        yield* Deferred.succeed(resume, undefined)
        assert.strictEqual((yield* slow.receive).bytes.length, payload.length)
      }),
    60_000
  )

  it.live("a client that does not read holds back the sends of its own connection, and no other", () =>
    Effect.gen(function*() {
      let sent = 0
      const handler = Effect.flatMap(Connection.Connection, (connection) =>
        connection.request.query.has("unread")
          ? Effect.forever(Effect.andThen(
            connection.send(new Uint8Array(16_384)),
            Effect.sync(() => void (sent += 16_384))
          ))
          : echo)
      const { port } = yield* h2c(handler)
      const client = yield* http2Client(`http://127.0.0.1:${port}`)
      const { stream } = yield* client.request({ ":path": "/?unread" })
      stream.pause()
      const other = yield* client.open()
      for (let i = 0; i < 20; i++) {
        yield* other.send("x".repeat(100_000))
        assert.strictEqual((yield* other.receive).bytes.length, 100_000)
      }
      // The window of the client's stream, and the queues of the server.
      assert.isBelow(sent, 1_000_000)
    }))

  it.live("a client that never extends the windows gets what they allow, and its connection stays open", () =>
    Effect.gen(function*() {
      const handler = Effect.flatMap(Connection.Connection, ({ send }) => send(new Uint8Array(200_000)))
      const { port } = yield* h2c(handler, { serve: { closeTimeout: Infinity, writeTimeout: Infinity } })
      const peer = yield* http2Peer(port)
      const received = () =>
        peer.frames().reduce((sum, { payload, type }) => sum + (type === DATA ? payload.length : 0), 0)
      peer.headers(1)
      yield* eventually(() => received() === 65_535)
      peer.frame(frameTypes.WINDOW_UPDATE, 0, 0, uint32(1_000_000))
      peer.frame(frameTypes.WINDOW_UPDATE, 0, 1, uint32(1_000_000))
      yield* eventually(() => received() > 200_000)
    }))
})

describe("limits of an HTTP/2 session", () => {
  it.live("maxStreams lets further requests of a client wait until a stream has ended", () =>
    Effect.gen(function*() {
      const { port } = yield* h2c(idle, { http2Limits: { maxStreams: 2 } })
      const client = yield* http2Client(`http://127.0.0.1:${port}`)
      assert.strictEqual(client.session.remoteSettings.maxConcurrentStreams, 2)
      const first = yield* client.open()
      yield* client.open()
      // Node may still count the ended stream when the next one arrives.
      const third = yield* Effect.forkChild(Effect.eventually(client.request()), { startImmediately: true })
      yield* Effect.sleep(20)
      assert.isUndefined(third.pollUnsafe())
      yield* first.close()
      assert.strictEqual((yield* Fiber.join(third)).status, 200)
    }))

  it.live("maxStreams ends the session of a client that opens more", () =>
    Effect.gen(function*() {
      const { port } = yield* h2c(idle, { http2Limits: { maxStreams: 2 } })
      const peer = yield* http2Peer(port)
      for (const stream of [1, 3, 5]) peer.headers(stream)
      yield* peer.untilFrame(({ type }) => type === GOAWAY)
      assert.isFalse(peer.frames().some(isResponse(5)))
    }))

  it.live("idleTimeout ends a session without streams with GOAWAY, from its begin or from its last stream", () =>
    Effect.gen(function*() {
      const { port } = yield* h2c(Effect.void, { http2Limits: { idleTimeout: 30 } })
      for (const streams of [[], [1]]) {
        const peer = yield* http2Peer(port)
        for (const stream of streams) {
          peer.headers(stream)
          // The server closes, and ends the stream once the client has replied.
          yield* peer.untilFrame(({ type }) => type === DATA)
          peer.data(stream, Frame.encode(Frame.close(1000), 7), flags.END_STREAM)
          yield* peer.untilFrame(({ flags: bits, type }) => type === DATA && (bits & flags.END_STREAM) > 0)
        }
        assert.strictEqual(codeOf(yield* peer.untilFrame(({ type }) => type === GOAWAY)), codes.NO_ERROR)
        yield* peer.ended
      }
    }))

  it.live("idleTimeout leaves alone a session with a connection", () =>
    Effect.gen(function*() {
      const { port } = yield* h2c(echo, { http2Limits: { idleTimeout: 20 } })
      const client = yield* http2Client(`http://127.0.0.1:${port}`)
      const connection = yield* client.open()
      const silent = yield* http2Peer(port)
      yield* silent.ended
      yield* connection.send("still there")
      assert.strictEqual(contentOf(yield* connection.receive), "still there")
    }))

  it.live("maxPendingHandshakes closes the oldest session without streams", () =>
    Effect.gen(function*() {
      const { port } = yield* h2c(idle, { maxPendingHandshakes: 1 })
      const first = yield* http2Peer(port)
      const second = yield* http2Peer(port)
      yield* first.ended
      second.headers(1)
      yield* second.untilFrame(isResponse(1))
    }))

  it.live("maxConnectionsPerAddress counts streams, also of one session", () =>
    Effect.gen(function*() {
      const { port } = yield* h2c(idle, { serve: { maxConnectionsPerAddress: 2 } })
      const client = yield* http2Client(`http://127.0.0.1:${port}`)
      yield* client.open()
      yield* client.open()
      assert.strictEqual((yield* client.fetch()).status, 503)
    }))
})

describe("a client that misbehaves over HTTP/2", () => {
  it.live("a client that resets streams before the response loses its session with ENHANCE_YOUR_CALM", () =>
    Effect.gen(function*() {
      let interrupted = 0
      const decide = () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void interrupted++))
      const { port } = yield* h2c(idle, { serve: { decide } })
      const peer = yield* http2Peer(port)
      for (let i = 0; i < 150; i++) {
        peer.headers(1 + 2 * i)
        peer.reset(1 + 2 * i, 8)
      }
      const goAway = yield* peer.untilFrame(({ type }) => type === GOAWAY)
      assert.strictEqual(codeOf(goAway), codes.ENHANCE_YOUR_CALM)
      yield* peer.ended
      assert.isAtMost(interrupted, 150)
    }))

  it.live("a client that resets accepted streams without end loses its session, and no other session is affected", () =>
    Effect.gen(function*() {
      const { port } = yield* h2c(echo)
      const client = yield* http2Client(`http://127.0.0.1:${port}`)
      const connection = yield* client.open()
      const peer = yield* http2Peer(port)
      let stream = 1
      const attack = Effect.gen(function*() {
        for (let i = 0; i < 100; i++, stream += 2) {
          peer.headers(stream)
          peer.reset(stream, 8)
        }
        yield* Effect.sleep(1)
      })
      yield* Effect.raceFirst(peer.untilFrame(({ type }) => type === GOAWAY), Effect.forever(attack))
      yield* connection.send("still there")
      assert.strictEqual(contentOf(yield* connection.receive), "still there")
    }))

  it.live("resets the stream of a client that sends too many headers, and keeps its session", () =>
    Effect.gen(function*() {
      const { port } = yield* h2c(idle, { maxHeaderSize: 2000 })
      const peer = yield* http2Peer(port)
      peer.headers(1, connectHeaders({ "x-long": "x".repeat(3000) }))
      const reset = yield* peer.untilFrame(({ type }) => type === RST_STREAM)
      assert.deepStrictEqual([reset.stream, codeOf(reset)], [1, codes.ENHANCE_YOUR_CALM])
      peer.headers(3)
      yield* peer.untilFrame(isResponse(3))
    }))

  it.live("resets the stream of a client that sends headers that HTTP/2 does not allow", () =>
    Effect.gen(function*() {
      const { port } = yield* h2c(idle)
      const peer = yield* http2Peer(port)
      const malformed: ReadonlyArray<Readonly<Record<string, string | undefined>>> = [
        { connection: "Upgrade" },
        { upgrade: "websocket" },
        { "transfer-encoding": "chunked" },
        { ":path": undefined },
        { ":scheme": undefined },
        { ":authority": undefined },
        { ":status": "200" }
      ]
      for (const [i, changes] of malformed.entries()) {
        peer.headers(1 + 2 * i, connectHeaders(changes))
        yield* peer.untilFrame(({ stream, type }) => type === RST_STREAM && stream === 1 + 2 * i)
      }
      peer.headers(99)
      yield* peer.untilFrame(isResponse(99))
    }))

  it.live("resets the stream of a client that sends more than 256 KiB before the decision", () =>
    Effect.gen(function*() {
      const interrupted = yield* Deferred.make<void>()
      const decide = () => Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
      const { port } = yield* h2c(idle, { serve: { decide } })
      const peer = yield* http2Peer(port)
      peer.headers(1)
      for (let i = 0; i < 17; i++) {
        peer.data(1, new Uint8Array(16_384))
        yield* Effect.sleep(1)
      }
      yield* peer.untilFrame(({ stream, type }) => type === RST_STREAM && stream === 1)
      yield* Deferred.await(interrupted)
    }))

  it.live("serves a client that sends the preface slowly, and closes one that stops within it", () =>
    Effect.gen(function*() {
      const { port } = yield* h2c(idle, { handshakeTimeout: 100 })
      const slow = yield* rawConnect(port)
      for (const part of ["P", "R"]) {
        slow.write(part)
        yield* Effect.sleep(5)
      }
      slow.write("I * HTTP/2.0\r\n\r\nSM\r\n\r\n")
      slow.write(Uint8Array.of(0, 0, 0, frameTypes.SETTINGS, 0, 0, 0, 0, 0))
      yield* slow.until((received) => received.length > 9)
      const silent = yield* rawConnect(port)
      silent.write("PR")
      yield* silent.ended
    }))

  it.live("serves a client over HTTP/1.1 if its request begins like the preface", () =>
    Effect.gen(function*() {
      const { port } = yield* h2c(idle, { onRequest: (_request, response) => response.writeHead(200).end() })
      const status = yield* statusOf(
        port,
        "PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
      )
      assert.strictEqual(status, 200)
      assert.strictEqual(yield* statusOf(port, requestText({ "Sec-WebSocket-Version": "8" })), 426)
    }))

  it.live("a client that breaks the protocol of HTTP/2 ends its own session, and no other", () =>
    Effect.gen(function*() {
      const { port } = yield* h2c(echo)
      const client = yield* http2Client(`http://127.0.0.1:${port}`)
      const connection = yield* client.open()
      const faults: ReadonlyArray<readonly [type: number, bits: number, stream: number, payload: Uint8Array]> = [
        [DATA, 0, 0, Buffer.from("x")],
        [HEADERS, flags.END_HEADERS, 2, encodeHeaders(connectHeaders())],
        [HEADERS, flags.END_HEADERS, 1, Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff)],
        [frameTypes.SETTINGS, 0, 0, Uint8Array.of(1)],
        [frameTypes.WINDOW_UPDATE, 0, 0, uint32(0)],
        [frameTypes.CONTINUATION, flags.END_HEADERS, 1, new Uint8Array()]
      ]
      for (const [type, bits, stream, payload] of faults) {
        const peer = yield* http2Peer(port)
        peer.frame(type, bits, stream, payload)
        yield* peer.untilFrame((frame) => frame.type === GOAWAY)
      }
      yield* connection.send("still there")
      assert.strictEqual(contentOf(yield* connection.receive), "still there")
    }))
})

describe("a lost session", () => {
  it.live("ends the streams of messages of each of its connections", () =>
    Effect.gen(function*() {
      const ends: Array<ConnectionError.ConnectionClosed> = []
      const handler = Effect.flatMap(
        Connection.Connection,
        (connection) =>
          Effect.andThen(
            Effect.exit(Stream.runDrain(connection.messages)),
            Effect.map(connection.closed, (end) => {
              ends.push(end)
            })
          )
      )
      const { port } = yield* h2c(handler, { serve: { decide: () => Effect.succeed(Handshake.accept()) } })
      const client = yield* http2Client(`http://127.0.0.1:${port}`)
      yield* Effect.replicateEffect(client.request(), 5)
      setImmediate(() => client.session.destroy(new Lost({ message: "lost" }), Http2.constants.NGHTTP2_INTERNAL_ERROR))
      yield* eventually(() => ends.length === 5)
      for (const { cause, code } of ends) assert.deepStrictEqual([code, cause?._tag], [1006, "TransportError"])
    }))
})
