/** How connections over HTTP/2 end (RFC 8441 §5), frame by frame. The clients write HTTP/2 by hand. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { Connection, type ConnectionError, Frame, WebSocketServer } from "effect-ws"
import { flags, frameTypes, type Http2Frame, type Http2Peer, http2Peer } from "../../support/http2Frames.ts"
import { serve } from "../../support/net.ts"

const codes = { NO_ERROR: 0, PROTOCOL_ERROR: 1, INTERNAL_ERROR: 2, CANCEL: 8 }

const { DATA, GOAWAY, HEADERS, RST_STREAM } = frameTypes

/** A frame of a WebSocket, masked. */
const masked = (frame: Frame.Frame) => Frame.encode(frame, 7)

const isEnd = ({ flags: bits, stream, type }: Http2Frame) =>
  type === DATA && (bits & flags.END_STREAM) > 0 && stream === 1

/** The frames of stream 1 behind the response: "data" with what a WebSocket receives, "end" and resets with their code. */
const streamEvents = (peer: Http2Peer): ReadonlyArray<string> =>
  peer.frames().filter(({ stream }) => stream === 1).flatMap((frame) => {
    if (frame.type === RST_STREAM) return [`reset ${Buffer.from(frame.payload).readUInt32BE()}`]
    if (frame.type !== DATA) return []
    const events = frame.payload.length === 0 ? [] : [`data ${Buffer.from(frame.payload).toString("hex")}`]
    if ((frame.flags & flags.END_STREAM) > 0) events.push("end")
    return events
  })

/** An open connection: the client's frames, and how the handler saw it end. */
const opened = Effect.fnUntraced(function*(
  options?: WebSocketServer.ServeOptions<never, Scope.Scope>,
  handler: Effect.Effect<unknown, unknown, Connection.Connection> = Effect.void
) {
  const ended = yield* Deferred.make<ConnectionError.ConnectionClosed>()
  const scope = yield* Effect.acquireRelease(Scope.make(), (made) => Scope.close(made, Exit.void))
  const program = Effect.flatMap(
    Connection.Connection,
    (connection) =>
      Effect.andThen(handler, Effect.flatMap(connection.closed, (closed) => Deferred.succeed(ended, closed)))
  )
  const server = yield* Scope.provide(
    serve(program, { cleartextHttp2: true, serve: { keepalive: false, ...options } }),
    scope
  )
  const peer = yield* http2Peer(server.port)
  peer.headers(1)
  const response = yield* peer.untilFrame(({ stream, type }) => type === HEADERS && stream === 1)
  // The first byte is the static index of ":status: 200" (RFC 7541 Appendix A).
  assert.strictEqual(response.payload[0], 0x88)
  return { peer, ended: Deferred.await(ended), stop: Scope.close(scope, Exit.void) }
})

const causeOf = ({ cause, clean, code }: ConnectionError.ConnectionClosed) => [code, clean, cause?._tag]

describe("a connection over HTTP/2", () => {
  it.live("replies to a close frame, ends the stream, and sends no reset if the client ends it too", () =>
    Effect.gen(function*() {
      const { ended, peer } = yield* opened()
      peer.data(1, masked(Frame.close(1000)))
      yield* peer.untilFrame(isEnd)
      peer.data(1, "", flags.END_STREAM)
      assert.deepStrictEqual(causeOf(yield* ended), [1000, true, undefined])
      // The reply to a PING follows everything about the stream.
      peer.frame(frameTypes.PING, 0, 0, Buffer.alloc(8))
      yield* peer.untilFrame(({ flags: bits, type }) => type === frameTypes.PING && bits === flags.ACK)
      assert.deepStrictEqual(streamEvents(peer), ["data 880203e8", "end"])
    }))

  it.live("reads on after its END_STREAM up to closeTimeout, and then resets the stream with NO_ERROR", () =>
    Effect.gen(function*() {
      const { ended, peer } = yield* opened({ closeTimeout: 50 })
      peer.data(1, masked(Frame.close(1000)))
      yield* peer.untilFrame(isEnd)
      peer.data(1, "data after the close frame is dropped")
      yield* peer.untilFrame(({ type }) => type === RST_STREAM)
      assert.deepStrictEqual(streamEvents(peer), ["data 880203e8", "end", `reset ${codes.NO_ERROR}`])
      assert.deepStrictEqual(causeOf(yield* ended), [1000, true, undefined])
    }))

  for (const [name, code] of Object.entries({ CANCEL: codes.CANCEL, NO_ERROR: codes.NO_ERROR })) {
    it.live(`ends normally if the client resets the stream with ${name} after both close frames, as browsers do`, () =>
      Effect.gen(function*() {
        const { ended, peer } = yield* opened({ closeTimeout: Infinity })
        peer.data(1, masked(Frame.close(1001)))
        yield* peer.untilFrame(isEnd)
        peer.reset(1, code)
        assert.deepStrictEqual(causeOf(yield* ended), [1001, true, undefined])
      }))

    it.live(`ends normally if a reset with ${name} is right behind the client's close frame`, () =>
      Effect.gen(function*() {
        const { ended, peer } = yield* opened({ closeTimeout: Infinity })
        peer.data(1, masked(Frame.close(1000)))
        peer.reset(1, code)
        assert.deepStrictEqual(causeOf(yield* ended), [1000, true, undefined])
      }))

    it.live(`ends with a TransportError if the client resets the stream with ${name} before its close frame`, () =>
      Effect.gen(function*() {
        const { ended, peer } = yield* opened()
        peer.reset(1, code)
        const closed = yield* ended
        assert.deepStrictEqual(causeOf(closed), [1006, false, "TransportError"])
        assert.deepInclude(closed.cause as ConnectionError.TransportError, { code: "ECONNRESET" })
      }))
  }

  it.live("ends with UnexpectedEof if the client ends the stream without a close frame", () =>
    Effect.gen(function*() {
      const { ended, peer } = yield* opened()
      peer.data(1, "", flags.END_STREAM)
      assert.deepStrictEqual(causeOf(yield* ended), [1006, false, "UnexpectedEof"])
      yield* peer.untilFrame(isEnd)
    }))

  it.live("ends with a TransportError that names another error code of the client's reset", () =>
    Effect.gen(function*() {
      const { ended, peer } = yield* opened()
      peer.reset(1, codes.INTERNAL_ERROR)
      const closed = yield* ended
      assert.deepStrictEqual(causeOf(closed), [1006, false, "TransportError"])
      assert.match(closed.cause!.message, /NGHTTP2_INTERNAL_ERROR/)
    }))

  it.live("fails on invalid frames with a close frame and END_STREAM", () =>
    Effect.gen(function*() {
      const { ended, peer } = yield* opened()
      // A text frame without a mask.
      peer.data(1, Uint8Array.of(0x81, 0x00))
      yield* peer.untilFrame(isEnd)
      const [close, end] = streamEvents(peer)
      // A close frame with the code 1002 and a reason.
      assert.match(close, /^data 88..03ea/)
      assert.strictEqual(end, "end")
      assert.strictEqual((yield* ended).code, 1002)
    }))

  it.live("terminate ends the stream without a close frame, and waits for nothing", () =>
    Effect.gen(function*() {
      const { peer } = yield* opened({}, Effect.flatMap(Connection.Connection, ({ terminate }) => terminate))
      yield* peer.untilFrame(({ type }) => type === RST_STREAM)
      assert.deepStrictEqual(streamEvents(peer), ["end", `reset ${codes.NO_ERROR}`])
    }))

  it.live("a connection is closed with 1001 when the server stops, and its session with GOAWAY after that", () =>
    Effect.gen(function*() {
      const { ended, peer, stop } = yield* opened()
      peer.headers(3)
      yield* peer.untilFrame(({ stream, type }) => type === HEADERS && stream === 3)
      const stopping = yield* Effect.forkChild(stop, { startImmediately: true })
      for (const stream of [1, 3]) {
        yield* peer.untilFrame((frame) => frame.stream === stream && frame.type === DATA)
        peer.data(stream, masked(Frame.close(1001)), flags.END_STREAM)
      }
      yield* peer.ended
      yield* Fiber.join(stopping)
      const order = peer.frames().flatMap(({ stream, type }) =>
        type === DATA ? [`data ${stream}`] : type === GOAWAY ? ["goaway"] : []
      )
      assert.strictEqual(order.at(-1), "goaway")
      assert.include(order, "data 1")
      assert.include(order, "data 3")
      assert.deepStrictEqual(streamEvents(peer), ["data 880203e9", "end"])
      assert.deepStrictEqual(causeOf(yield* ended), [1001, true, undefined])
    }))

  const losses: Readonly<Record<string, (peer: Http2Peer) => void>> = {
    "the client ends its socket": ({ socket }) => socket.end(),
    "the client's socket is reset": ({ socket }) => socket.resetAndDestroy(),
    "the client sends GOAWAY with an error": (peer) => peer.goAway(codes.INTERNAL_ERROR)
  }
  for (const [name, lose] of Object.entries(losses)) {
    it.live(`ends with a TransportError, as all of its session, when ${name}`, () =>
      Effect.gen(function*() {
        const ends: Array<ConnectionError.ConnectionClosed> = []
        const done = yield* Deferred.make<void>()
        const handler = Effect.flatMap(Connection.Connection, ({ closed }) =>
          Effect.flatMap(closed, (end) => {
            ends.push(end)
            return ends.length === 3 ? Deferred.succeed(done, undefined) : Effect.void
          }))
        const { port } = yield* serve(handler, { cleartextHttp2: true })
        const peer = yield* http2Peer(port)
        for (const stream of [1, 3, 5]) peer.headers(stream)
        yield* peer.untilFrame(({ stream, type }) => type === HEADERS && stream === 5)
        lose(peer)
        yield* Deferred.await(done)
        for (const end of ends) assert.deepStrictEqual(causeOf(end), [1006, false, "TransportError"])
      }))
  }
})
