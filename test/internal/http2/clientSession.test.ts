import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { TestClock } from "effect/testing"
import type * as Http2 from "node:http2"
import * as Net from "node:net"
import { type ClientSession, startSession } from "../../../src/internal/http2/clientSession.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { flags, frameTypes } from "../../support/http2Frames.ts"
import { enableConnect, http2Server, maxStreams, rawHttp2, settings } from "../../support/http2ServerPeers.ts"
import { turn } from "../../support/memory.ts"
import { eventually } from "../../support/resources.ts"

const start = (port: number, idleMillis = 1000) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const timers = Timers.of(yield* Effect.context<never>())
    const session = yield* startSession(Net.connect(port, "127.0.0.1"), { idleMillis, scope, timers })
    yield* Effect.addFinalizer(() => session.destroy)
    return { scope, session }
  })

const headers: Http2.OutgoingHttpHeaders = {
  ":method": "CONNECT",
  ":protocol": "websocket",
  ":scheme": "http",
  ":path": "/",
  ":authority": "localhost"
}

const request = (session: ClientSession) => session.request(headers, () => {})

describe("ClientSession", () => {
  it.live("knows what the server allows, also when that changes", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({ open: settings(maxStreams(0)) })
      const { session } = yield* start(server.port)
      let changes = 0
      session.onChange = () => changes++
      assert.deepStrictEqual([session.supportsConnect, session.hasRoom, session.isBlocked], [false, false, true])
      settings(enableConnect, maxStreams(2))(server.peers[0])
      yield* eventually(() => changes > 0)
      assert.deepStrictEqual([session.supportsConnect, session.hasRoom, session.isBlocked], [true, true, false])
    }))

  it.live("announces windows of 256 KiB and 4 MiB, and no push", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({})
      yield* start(server.port)
      const announced = yield* server.peers[0].untilFrame(({ type }) => type === frameTypes.SETTINGS)
      const pairs = Buffer.from(announced.payload)
      const all = new Map(Array.from({ length: pairs.length / 6 }, (_, i) => [
        pairs.readUInt16BE(6 * i),
        pairs.readUInt32BE(6 * i + 2)
      ]))
      assert.deepStrictEqual([all.get(2), all.get(4)], [0, 256 * 1024])
      const update = yield* server.peers[0].untilFrame(({ type }) => type === frameTypes.WINDOW_UPDATE)
      assert.strictEqual(Buffer.from(update.payload).readUInt32BE() + 65_535, 4 * 1024 * 1024)
    }))

  it.live("fails a request without room or after its end, and sends nothing", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({
        open: settings(enableConnect, maxStreams(1)),
        request: (peer, stream) => peer.headers(stream, [[":status", "200"]])
      })
      const { session } = yield* start(server.port)
      yield* request(session)
      assert.strictEqual((yield* Effect.flip(request(session))).kind, "full")
      session.retire()
      assert.strictEqual((yield* Effect.flip(request(session))).kind, "refused")
      assert.strictEqual(server.peers[0].frames().filter(({ type }) => type === frameTypes.HEADERS).length, 1)
      assert.isFalse(session.isClosed)
    }))

  it.effect("closes when it was idle for a while, and its Scope after it", () =>
    Effect.gen(function*() {
      const server = yield* http2Server()
      const { scope, session } = yield* start(server.port)
      const { stream } = yield* request(session)
      yield* TestClock.adjust("10 seconds")
      yield* turn
      assert.isFalse(session.isOver)
      stream.destroy()
      yield* eventually(() => stream.closed)
      yield* turn
      yield* TestClock.adjust("1 second")
      yield* session.closed
      assert.strictEqual(scope.state._tag, "Closed")
    }))

  it.live("without an idle time, it closes with its last stream, and not before the first", () =>
    Effect.gen(function*() {
      const server = yield* http2Server()
      const { session } = yield* start(server.port, 0)
      yield* turn
      assert.isFalse(session.isOver)
      const { stream } = yield* request(session)
      stream.destroy()
      yield* session.closed
    }))

  it.live("a response after an interruption is not awaited, and the stream is reset", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({})
      const { session } = yield* start(server.port)
      const exit = yield* Effect.exit(Effect.raceFirst(
        request(session),
        Effect.andThen(
          eventually(() => server.peers[0].frames().some(({ type }) => type === frameTypes.HEADERS)),
          Effect.fail("enough")
        )
      ))
      assert.deepStrictEqual(exit, Exit.fail("enough"))
      yield* server.peers[0].untilFrame(({ type }) => type === frameTypes.RST_STREAM)
      assert.isTrue(session.hasRoom)
    }))

  it.live("a suspect session has no room until the server responds to a ping", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({})
      const { session } = yield* start(server.port)
      session.suspect()
      session.suspect()
      assert.deepStrictEqual([session.hasRoom, session.isBlocked], [false, false])
      const ping = yield* server.peers[0].untilFrame(({ type }) => type === frameTypes.PING)
      server.peers[0].frame(frameTypes.PING, flags.ACK, 0, ping.payload)
      yield* eventually(() => session.hasRoom)
      assert.strictEqual(server.peers[0].frames().filter(({ type }) => type === frameTypes.PING).length, 1)
    }))

  it.live("a socket that is destroyed or ends before the settings fails to start", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({ open: ({ socket }) => socket.end() })
      assert.match((yield* Effect.flip(start(server.port))).message, /HTTP\/2 settings/)
      const scope = yield* Scope.make()
      const timers = Timers.of(yield* Effect.context<never>())
      const socket = new Net.Socket().destroy()
      const error = yield* Effect.flip(startSession(socket, { idleMillis: 0, scope, timers }))
      assert.match(error.message, /HTTP\/2 settings/)
    }))
})
