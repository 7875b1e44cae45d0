import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Exit, Fiber, Logger, References, Scope, Stream } from "effect"
import { Socket as EffectSocket } from "effect/socket"
import { Connection, Frame, Socket } from "effect-ws"
import { makePair, makeRaw, settle } from "../support/memory.ts"
import { rawHandshake, type RawSocket } from "../support/net.ts"
import { eventually as untilTrue } from "../support/resources.ts"
import { type Handler, ways } from "../support/serverKinds.ts"

describe("Socket.fromConnection", () => {
  const makeSockets = Effect.map(makePair(), ({ client, server }) => ({
    client,
    server,
    socket: Socket.fromConnection(client),
    peer: Socket.fromConnection(server)
  }))

  it.effect("carries text and bytes in both directions, several in one write", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* makeSockets
      const { pull } = yield* peer.reader
      const writer = yield* socket.writer
      yield* writer.write("text")
      assert.deepStrictEqual(yield* pull, ["text"])
      yield* writer.writeAll(["a", Uint8Array.of(1, 2), "b"])
      const got = yield* pull
      assert.deepStrictEqual(got.map((one) => typeof one === "string" ? one : one.join()), ["a", "1,2", "b"])
    }))

  it.effect("a pull fails with the code and the reason of the close frame", () =>
    Effect.gen(function*() {
      const { peer, socket } = yield* makeSockets
      const { pull } = yield* peer.reader
      const writer = yield* socket.writer
      yield* writer.write(new EffectSocket.CloseEvent(4001, "enough"))
      const { reason } = yield* Effect.flip(pull)
      assert.deepInclude(reason, { _tag: "SocketCloseError", code: 4001, closeReason: "enough" })
      const after = yield* Effect.flip(writer.write("too late"))
      assert.deepInclude(after.reason, { _tag: "SocketCloseError", code: 4001 })
    }))

  it.effect("a normal closure is a SocketError with the ConnectionClosed as cause", () =>
    Effect.gen(function*() {
      const { client, peer, server } = yield* makeSockets
      const { pull } = yield* peer.reader
      const { write } = yield* peer.writer
      yield* client.close()
      const closed = yield* server.closed
      for (const ended of [pull, pull, write("late")]) {
        const error = yield* Effect.flip<unknown, EffectSocket.SocketError, never>(ended)
        assert.deepInclude(error.reason, { _tag: "SocketCloseError", code: 1000 })
        assert.strictEqual(error.cause, closed)
        assert.strictEqual((error.reason as Error).cause, closed)
      }
    }))

  it.effect("closes with 1011 if the Scope of its reader closes with a failure, otherwise with 1000", () =>
    Effect.gen(function*() {
      for (
        const [exit, code] of [
          [Exit.void, 1000],
          [Exit.interrupt(), 1000],
          [Exit.fail("broken"), 1011],
          [Exit.die("a bug"), 1011]
        ] as const
      ) {
        const { server, socket } = yield* makeSockets
        const scope = yield* Scope.make()
        yield* Scope.provide(socket.reader, scope)
        yield* Scope.close(scope, exit)
        assert.strictEqual((yield* server.closed).code, code)
      }
    }))

  it.effect("the reason of an abnormal end names its cause", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", keepalive: false })
      const { pull } = yield* Socket.fromConnection(connection).reader
      peer.transport.destroy()
      const { reason } = yield* Effect.flip(pull)
      assert.deepInclude(reason, {
        _tag: "SocketCloseError",
        code: 1006,
        closeReason: "the peer ended the connection without a close frame"
      })
    }))

  it.effect("a write of an invalid close frame fails with SocketWriteError", () =>
    Effect.gen(function*() {
      const { socket } = yield* makeSockets
      const writer = yield* socket.writer
      const { reason } = yield* Effect.flip(writer.write(new EffectSocket.CloseEvent(1006)))
      assert.strictEqual(reason._tag, "SocketWriteError")
    }))

  it.effect("a waiting pull fails when its reader is released, even if the peer does not reply", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", keepalive: false })
      const scope = yield* Scope.make()
      const { pull } = yield* Scope.provide(Socket.fromConnection(connection).reader, scope)
      const pulling = yield* Effect.forkChild(Effect.flip(pull), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      const { reason } = yield* Fiber.join(pulling)
      assert.strictEqual(reason._tag, "SocketCloseError")
      yield* settle
      assert.deepStrictEqual(peer.received.map(({ opcode }) => opcode), [Frame.Opcode.Close])
    }))
})

describe("a handler that fails with the end of its connection over a Socket", () => {
  const socketOf = Effect.map(Connection.Connection, Socket.fromConnection)
  const pulling = Effect.flatMap(
    socketOf,
    (socket) => Effect.flatMap(socket.reader, ({ pull }) => Effect.forever(pull))
  )
  class FeedFailed extends Data.TaggedError("FeedFailed")<{ readonly cause: unknown }> {}

  const handlers: Record<string, Handler> = {
    "fails in a pull": pulling,
    "fails in a pull of a reader with a Scope of its own": Effect.scoped(pulling),
    "dies in a pull": Effect.orDie(pulling),
    "fails with the reason of a pull": Effect.mapError(pulling, ({ reason }) => reason),
    "fails with an error of its own that a pull caused": Effect.mapError(pulling, (cause) => new FeedFailed({ cause })),
    "fails in a write": Effect.gen(function*() {
      const connection = yield* Connection.Connection
      const { write } = yield* Socket.fromConnection(connection).writer
      yield* connection.closed
      yield* write("late")
    }),
    "fails in a stream": Effect.flatMap(socketOf, (socket) => Stream.runDrain(EffectSocket.toStream(socket))),
    "fails in a channel": Effect.flatMap(socketOf, (socket) =>
      Stream.never.pipe(
        Stream.pipeThroughChannel(EffectSocket.toChannelString<never>(socket)),
        Stream.runDrain
      ))
  }

  const ends: ReadonlyArray<(peer: RawSocket, close: (code?: number) => void) => void> = [
    (_, close) => close(1000),
    (_, close) => close(1001),
    (_, close) => close(),
    (_, close) => close(4001),
    ({ socket }) => socket.end(),
    ({ socket }) => socket.resetAndDestroy()
  ]

  /** Serves a handler, and keeps the levels of what is logged. */
  const logged = (serving: (handler: Handler) => Effect.Effect<number, unknown, Scope.Scope>, handler: Handler) =>
    Effect.gen(function*() {
      const levels: Array<string> = []
      const logger = Logger.make(({ logLevel }) => void levels.push(logLevel))
      const port = yield* serving(handler).pipe(
        Effect.provide(Logger.layer([logger])),
        Effect.provideService(References.MinimumLogLevel, "All")
      )
      return { levels, port, untilLogged: (count: number) => untilTrue(() => levels.length >= count) }
    })

  for (const [way, serving] of Object.entries(ways)) {
    for (const [name, handler] of Object.entries(handlers)) {
      it.live(`no failure is logged on ${way} if the handler ${name}`, () =>
        Effect.gen(function*() {
          const { levels, port, untilLogged } = yield* logged(serving, handler)
          for (const end of ends) {
            const peer = yield* rawHandshake(port)
            end(peer, (code) => peer.send(Frame.close(code)))
          }
          yield* untilLogged(ends.length)
          assert.deepStrictEqual(levels, ends.map(() => "Debug"))
        }))
    }

    it.live(`no failure is logged on ${way} if the handler closes the connection`, () =>
      Effect.gen(function*() {
        const closing = Effect.gen(function*() {
          const socket = yield* socketOf
          const { pull } = yield* socket.reader
          const { write } = yield* socket.writer
          yield* write(new EffectSocket.CloseEvent(4000, "enough"))
          return yield* Effect.forever(pull)
        })
        const { levels, port, untilLogged } = yield* logged(serving, closing)
        const peer = yield* rawHandshake(port)
        yield* peer.untilFrames(1)
        peer.send(Frame.close(4000))
        yield* peer.ended
        peer.socket.end()
        yield* untilLogged(1)
        assert.deepStrictEqual(levels, ["Debug"])
      }))

    it.live(`a failure is logged on ${way} if another connection ended`, () =>
      Effect.gen(function*() {
        const { client } = yield* makePair()
        yield* Effect.forkScoped(client.close())
        const other = Effect.flatMap(Socket.fromConnection(client).reader, ({ pull }) => Effect.forever(pull))
        const { levels, port, untilLogged } = yield* logged(serving, other)
        yield* rawHandshake(port)
        yield* untilLogged(1)
        assert.deepStrictEqual(levels, ["Error"])
      }))
  }

  it.live("a failure is logged if the errors form a circle of causes", () =>
    Effect.gen(function*() {
      const first = new Error("first")
      first.cause = new Error("second", { cause: first })
      const { levels, port, untilLogged } = yield* logged(ways["a server"], Effect.fail(first))
      yield* rawHandshake(port)
      yield* untilLogged(1)
      assert.deepStrictEqual(levels, ["Error"])
    }))
})
