/** Unmodified users of effect/socket, over connections of this library. */
import { assert, describe, it } from "@effect/vitest"
import {
  Context,
  Data,
  Effect,
  Exit,
  Fiber,
  Latch,
  Layer,
  Logger,
  Option,
  Queue,
  Ref,
  References,
  Schedule,
  Scheduler,
  Schema,
  Scope,
  Stream
} from "effect"
import {
  Entity,
  HttpRunner,
  MessageStorage,
  RunnerAddress,
  RunnerHealth,
  RunnerStorage,
  ShardingConfig,
  SocketRunner
} from "effect/cluster"
import { DevTools, DevToolsServer } from "effect/devtools"
import { HttpRouter } from "effect/http"
import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
import { Socket as EffectSocket, SocketServer } from "effect/socket"
import {
  Connection,
  Frame,
  Handshake,
  HandshakeError,
  PerMessageDeflate,
  Socket,
  Transport,
  WebSocketClient,
  WebSocketServer
} from "effect-ws"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { application } from "./support/application.ts"
import { contentOf, makePair, makeRaw, settle, type Shape } from "./support/memory.ts"
import { type Cut, rawHandshake, rawServer, type RawSocket, relay, serve } from "./support/net.ts"
import { countingFibers, eventually as untilTrue } from "./support/resources.ts"
import { interruptAtEachStep } from "./support/interruptAtEachStep.ts"
import { type Handler, ways } from "./support/serverKinds.ts"

class Calls extends RpcGroup.make(
  Rpc.make("Double", { payload: { n: Schema.Number }, success: Schema.Number }),
  Rpc.make("Count", { payload: { to: Schema.Number }, success: Schema.Number, stream: true }),
  Rpc.make("Refuse", { payload: { why: Schema.String }, error: Schema.String }),
  Rpc.make("Wait", { success: Schema.Void }),
  Rpc.make("WhoAmI", { success: Schema.String })
) {}

/** What the handlers see. */
class Seen extends Context.Service<Seen, {
  readonly waiting: Ref.Ref<number>
  readonly interrupted: Ref.Ref<number>
}>()("test/Seen") {}

const Handlers = Calls.toLayer(Effect.gen(function*() {
  const { interrupted, waiting } = yield* Seen
  return {
    Double: ({ n }) => Effect.succeed(2 * n),
    Count: ({ to }) => Stream.range(1, to).pipe(Stream.rechunk(10)),
    Refuse: ({ why }) => Effect.fail(why),
    Wait: () =>
      Effect.andThen(Ref.update(waiting, (n) => n + 1), Effect.never).pipe(
        Effect.onInterrupt(() => Ref.update(interrupted, (n) => n + 1))
      ),
    WhoAmI: (_, { headers }) => Effect.succeed(headers["x-user"] ?? "nobody")
  }
}))

const makeSeen = Effect.map(
  Effect.all([Ref.make(0), Ref.make(0)]),
  ([waiting, interrupted]) => Seen.of({ waiting, interrupted })
)

const eventually = <A>(ref: Ref.Ref<A>, condition: (value: A) => boolean) =>
  Effect.repeat(Effect.delay(Ref.get(ref), 1), { until: condition })

interface Serves {
  readonly url: string
  readonly port: number
  readonly seen: Seen["Service"]
}

type Server = (options?: WebSocketServer.ServeOptions) => Effect.Effect<Serves, unknown, Scope.Scope>

/** RpcServer over a SocketServer of its own. */
const standalone: Server = (options) =>
  Effect.gen(function*() {
    const seen = yield* makeSeen
    const context = yield* Layer.build(
      RpcServer.layer(Calls).pipe(
        Layer.provide([Handlers, RpcServer.layerProtocolSocketServer]),
        Layer.provideMerge(Socket.layerServer(options)),
        Layer.provide([
          WebSocketServer.layer({ host: "127.0.0.1" }),
          RpcSerialization.layerJson,
          Layer.succeed(Seen, seen)
        ])
      )
    )
    const { address } = Context.get(context, SocketServer.SocketServer)
    const port = address._tag === "UnixPathAddress" ? 0 : address.port
    return { url: `ws://127.0.0.1:${port}/`, port, seen }
  })

/** RpcServer at a route of an application. */
const routed: Server = (options) =>
  Effect.gen(function*() {
    const seen = yield* makeSeen
    const route = HttpRouter.use((router) =>
      Effect.flatMap(
        RpcServer.toHttpEffectWebsocket(Calls),
        (rpcs) => router.add("GET", "/rpc", Socket.upgrade(rpcs, options))
      )
    ).pipe(Layer.provide([Handlers, RpcSerialization.layerJson]), Layer.provide(Layer.succeed(Seen, seen)))
    const { port, url } = yield* application(route)
    return { url: `${url}/rpc`, port, seen }
  })

const clientOver = (socket: Layer.Layer<EffectSocket.Socket>) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      RpcClient.layerProtocolSocket({ retryPolicy: Schedule.spaced(10), pingInterval: 1000 }).pipe(
        Layer.provide([socket, RpcSerialization.layerJson])
      )
    )
    return yield* Effect.provideContext(RpcClient.make(Calls), context)
  })

const clients = {
  "Socket.layer": (url: string) => Socket.layer(url, { keepalive: false }),
  "Socket.layerWebSocketConstructor": (url: string) =>
    EffectSocket.layerWebSocket(url).pipe(Layer.provide(Socket.layerWebSocketConstructor({ keepalive: false })))
}

/** What a program that must not fail or die silently logs. */
const complaints = Effect.map(Ref.make<ReadonlyArray<unknown>>([]), (seen) => ({
  seen,
  layer: Logger.layer([Logger.make(({ logLevel, message }) => {
    if (logLevel === "Error" || logLevel === "Fatal" || logLevel === "Warn") {
      Effect.runSync(Ref.update(seen, (all) => [...all, message]))
    }
  })])
}))

for (const [server, makeServer] of [["Socket.layerServer", standalone], ["Socket.upgrade", routed]] as const) {
  for (const [name, layer] of Object.entries(clients)) {
    describe(`RPC over ${server} and ${name}`, () => {
      it.live("10,000 calls, in order and at once", () =>
        Effect.gen(function*() {
          const { url } = yield* makeServer()
          const client = yield* clientOver(layer(url))
          for (let n = 0; n < 100; n++) assert.strictEqual(yield* client.Double({ n }), 2 * n)
          const numbers = Array.from({ length: 9900 }, (_, n) => n)
          const doubled = yield* Effect.forEach(numbers, (n) => client.Double({ n }), { concurrency: 100 })
          assert.deepStrictEqual(doubled, numbers.map((n) => 2 * n))
        }), 30_000)

      it.live("streams, failures and interruption", () =>
        Effect.gen(function*() {
          const { seen, url } = yield* makeServer({ extensions: [PerMessageDeflate.make()] })
          const client = yield* clientOver(layer(url))
          const counts = yield* Effect.forEach(
            [1, 10, 1000],
            (to) => Stream.runCollect(client.Count({ to })),
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual(counts.map((all) => [all.length, all[all.length - 1]]), [[1, 1], [10, 10], [
            1000,
            1000
          ]])
          assert.deepStrictEqual(
            yield* Stream.runCollect(Stream.take(client.Count({ to: 1_000_000 }), 15)),
            Array.from({ length: 15 }, (_, i) => i + 1)
          )
          assert.strictEqual(yield* Effect.flip(client.Refuse({ why: "no" })), "no")
          const waiting = yield* Effect.forkScoped(client.Wait())
          yield* eventually(seen.waiting, (n) => n === 1)
          yield* Fiber.interrupt(waiting)
          yield* eventually(seen.interrupted, (n) => n === 1)
          assert.strictEqual(yield* client.Double({ n: 21 }), 42)
        }))

      it.live("a client that goes in order, calls and streams under way or not, makes nothing complain", () =>
        Effect.gen(function*() {
          const { layer: logger, seen: logged } = yield* complaints
          yield* Effect.gen(function*() {
            const { seen, url } = yield* makeServer()
            for (let round = 1; round <= 3; round++) {
              yield* Effect.scoped(Effect.gen(function*() {
                const client = yield* clientOver(layer(url))
                assert.strictEqual(yield* client.Double({ n: round }), 2 * round)
                if (round === 1) return
                yield* Effect.forkScoped(client.Wait())
                yield* Effect.forkScoped(Stream.runDrain(client.Count({ to: 1e9 })))
                yield* eventually(seen.waiting, (n) => n === round - 1)
              }))
              yield* eventually(seen.interrupted, (n) => n === round - 1)
            }
          }).pipe(Effect.scoped, Effect.provide(logger))
          assert.deepStrictEqual(yield* Ref.get(logged), [])
        }))

      for (const cut of ["end", "reset"] satisfies ReadonlyArray<Cut>) {
        it.live(`goes on after the network has gone with ${cut === "end" ? "a FIN" : "a RST"}`, () =>
          Effect.gen(function*() {
            const { layer: logger, seen: logged } = yield* complaints
            yield* Effect.gen(function*() {
              const { port, seen, url } = yield* makeServer()
              const between = yield* relay(port)
              const client = yield* clientOver(layer(url.replace(String(port), String(between.port))))
              for (let round = 1; round <= 3; round++) {
                const pending = yield* Effect.forkScoped(Effect.exit(client.Wait()))
                const streaming = yield* Effect.forkScoped(Effect.exit(Stream.runDrain(client.Count({ to: 1e9 }))))
                yield* eventually(seen.waiting, (n) => n === round)
                assert.strictEqual(yield* client.Double({ n: round }), 2 * round)
                yield* between.cut(cut)
                assert.isTrue(Exit.isFailure(yield* Fiber.join(pending)))
                assert.isTrue(Exit.isFailure(yield* Fiber.join(streaming)))
                // What the server did for it is over, too.
                yield* eventually(seen.interrupted, (n) => n === round)
                assert.strictEqual(
                  yield* Effect.retry(client.Double({ n: 7 }), { schedule: Schedule.spaced(5) }),
                  14
                )
              }
            }).pipe(Effect.scoped, Effect.provide(logger))
            assert.deepStrictEqual(yield* Ref.get(logged), [])
          }))
      }
    })
  }
}

describe("Socket.fromConnection", () => {
  const makeSockets = Effect.map(makePair(), ({ client, server }) => ({
    client,
    server,
    socket: Socket.fromConnection(client),
    peer: Socket.fromConnection(server)
  }))

  it.effect("carries text and bytes both ways, many in one write", () =>
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

  it.effect("ends with the code and the reason of the close frame", () =>
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

  it.effect("a clean end is an error like any other, caused by the end of the connection", () =>
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

  it.effect("says what cut it off", () =>
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

  it.effect("refuses a close frame that cannot be sent", () =>
    Effect.gen(function*() {
      const { socket } = yield* makeSockets
      const writer = yield* socket.writer
      const { reason } = yield* Effect.flip(writer.write(new EffectSocket.CloseEvent(1005)))
      assert.strictEqual(reason._tag, "SocketWriteError")
    }))

  it.effect("fails a pull that waits when its reader is released, though the peer does not answer", () =>
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

describe("a handler that ends with its connection over a Socket", () => {
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
      it.live(`is not logged as one that failed: on ${way}, it ${name}`, () =>
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

    it.live(`is not logged as one that failed: on ${way}, it closes the connection`, () =>
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

    it.live(`is logged as one that failed where another connection ended: on ${way}`, () =>
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

  it.live("is logged as one that failed where its errors are the causes of each other", () =>
    Effect.gen(function*() {
      const first = new Error("first")
      first.cause = new Error("second", { cause: first })
      const { levels, port, untilLogged } = yield* logged(ways["a server"], Effect.fail(first))
      yield* rawHandshake(port)
      yield* untilLogged(1)
      assert.deepStrictEqual(levels, ["Error"])
    }))
})

describe("Socket.make", () => {
  it.live("says why it cannot connect", () =>
    Effect.gen(function*() {
      const socket = yield* Socket.make("ws://127.0.0.1:1/")
      const { reason } = yield* Effect.flip(Effect.scoped(socket.reader))
      assert.deepInclude(reason, { _tag: "SocketOpenError", kind: "Unknown" })
      assert.strictEqual(reason._tag === "SocketOpenError" && (reason.cause as { _tag: string })._tag, "ConnectFailed")
    }))

  it.live("says when it took too long", () =>
    Effect.gen(function*() {
      const { port } = yield* rawServer(() => {})
      const socket = yield* Socket.make(`ws://127.0.0.1:${port}/`, { handshakeTimeout: 10 })
      const { reason } = yield* Effect.flip(Effect.scoped(socket.reader))
      assert.deepInclude(reason, { _tag: "SocketOpenError", kind: "Timeout" })
    }))

  it.live("what is written while there is no connection goes to the next", () =>
    Effect.gen(function*() {
      const { url } = yield* serve(
        Effect.flatMap(Connection.Connection, (connection) => Stream.runForEach(connection.messages, connection.send))
      )
      const socket = yield* Socket.make(url, { keepalive: false })
      const writer = yield* socket.writer
      for (const word of ["first", "second"]) {
        const writing = yield* Effect.forkChild(writer.write(word), { startImmediately: true })
        assert.isUndefined(writing.pollUnsafe())
        yield* Effect.scoped(Effect.gen(function*() {
          const { pull } = yield* socket.reader
          assert.deepStrictEqual(yield* pull, [word])
        }))
        yield* Fiber.join(writing)
      }
    }))

  it.live("what is written after the end of a connection, too", () =>
    Effect.gen(function*() {
      const { url } = yield* serve(
        Effect.flatMap(Connection.Connection, (connection) => Effect.flatMap(connection.receive, connection.send))
      )
      const socket = yield* Socket.make(url, { keepalive: false })
      const writer = yield* socket.writer
      const first = yield* Scope.make()
      const { pull } = yield* Scope.provide(socket.reader, first)
      yield* writer.write("one")
      assert.deepStrictEqual(yield* pull, ["one"])
      // The server has closed after its answer; nobody has looked yet.
      const { reason } = yield* Effect.flip(pull)
      assert.deepInclude(reason, { _tag: "SocketCloseError", code: 1000 })
      const writing = yield* Effect.forkChild(writer.write("two"), { startImmediately: true })
      yield* Scope.close(first, Exit.void)
      const again = yield* socket.reader
      assert.deepStrictEqual(yield* again.pull, ["two"])
      yield* Fiber.join(writing)
    }))
})

/**
 * Dials without a network: the first so many times in vain. `held` is how many
 * dials have not given back yet what they acquired; `sends` how often something
 * was sent, in vain or not.
 */
const dialling = (failures = 0) =>
  Effect.gen(function*() {
    const outer = yield* Effect.scope
    const servers: Array<{ readonly connection: Shape; readonly transport: Transport.Transport }> = []
    const counts = { dials: 0, held: 0, sends: 0 }
    const connect: WebSocketClient.WebSocketClient["connect"] = (_, options) =>
      Effect.gen(function*() {
        yield* Effect.acquireRelease(Effect.sync(() => counts.held++), () => Effect.sync(() => counts.held--))
        if (++counts.dials <= failures) {
          return yield* Effect.fail(
            new HandshakeError.InvalidUrl({ url: "ws://there/", problem: "dialled in vain" })
          )
        }
        const [left, transport] = yield* Transport.makePair()
        const connection = yield* Connection.make(transport, { keepalive: false, role: "server" }).pipe(
          Scope.provide(outer),
          // The server does not go step by step when the client does.
          Effect.provideService(Scheduler.Scheduler, new Scheduler.MixedScheduler())
        )
        servers.push({ connection, transport })
        const client = yield* Connection.make(left, { keepalive: false, ...options, role: "client" })
        const send: Shape["send"] = (...sent) => Effect.suspend(() => (counts.sends++, client.send(...sent)))
        return Object.create(client, { send: { value: send } }) as Shape
      }).pipe(Effect.uninterruptible)
    const socket = yield* Socket.make("ws://there/").pipe(
      Effect.provideService(WebSocketClient.WebSocketClient, { connect })
    )
    return { counts, servers, socket, writer: yield* socket.writer }
  })

/** Reads in a Scope of its own. */
const readIn = (socket: EffectSocket.Socket) =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (opened, exit) => Scope.close(opened, exit))
    const { pull } = yield* Scope.provide(socket.reader, scope)
    return { pull, release: Scope.close(scope, Exit.void) }
  })

describe("what is written to a Socket", () => {
  it.effect("of one connection fails once its reader has seen the end, and does not wait", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      const socket = Socket.fromConnection(server)
      const { pull } = yield* socket.reader
      const writer = yield* socket.writer
      yield* client.close(4000, "enough")
      yield* Effect.flip(pull)
      for (const late of [writer.write("a"), writer.writeAll(["b"])]) {
        const writing = yield* Effect.forkChild(Effect.flip(late), { startImmediately: true })
        yield* settle
        const exit = writing.pollUnsafe()
        assert.isTrue(exit !== undefined && Exit.isSuccess(exit))
        const { reason } = yield* Fiber.join(writing)
        assert.deepInclude(reason, { _tag: "SocketCloseError", code: 4000, closeReason: "enough" })
      }
    }))

  for (const how of ["has seen the end of one", "is released"]) {
    it.effect(`waits for the next connection when its reader ${how}`, () =>
      Effect.gen(function*() {
        const { counts, servers, socket, writer } = yield* dialling()
        const first = yield* readIn(socket)
        if (how === "is released") yield* first.release
        else {
          servers[0].transport.destroy()
          yield* Effect.flip(first.pull)
        }
        const writing = yield* Effect.forkChild(writer.write("a"), { startImmediately: true })
        yield* settle
        assert.isUndefined(writing.pollUnsafe())
        // It is known by then that it is of no use to try.
        assert.strictEqual(counts.sends, 0)
        yield* readIn(socket)
        yield* Fiber.join(writing)
        assert.strictEqual(contentOf(yield* servers[1].connection.receive), "a")
      }))
  }

  it.effect("is tried once on a connection that is over and that nobody reads, and then waits for the next", () =>
    Effect.gen(function*() {
      const { counts, servers, socket, writer } = yield* dialling()
      yield* readIn(socket)
      servers[0].transport.destroy()
      yield* settle
      const writing = yield* Effect.forkChild(writer.write("a"), { startImmediately: true })
      for (let i = 0; i < 3; i++) yield* settle
      assert.strictEqual(counts.sends, 1)
      assert.isUndefined(writing.pollUnsafe())
      yield* readIn(socket)
      yield* Fiber.join(writing)
      assert.strictEqual(contentOf(yield* servers[1].connection.receive), "a")
    }))

  it.effect("goes over the connection of the last reader, though one before it is released or ends later", () =>
    Effect.gen(function*() {
      for (const late of ["released", "ended"]) {
        const { servers, socket, writer } = yield* dialling()
        const first = yield* readIn(socket)
        const second = yield* readIn(socket)
        if (late === "released") yield* first.release
        else {
          servers[0].transport.destroy()
          yield* Effect.flip(first.pull)
        }
        const writing = yield* Effect.forkChild(writer.write("a"), { startImmediately: true })
        yield* settle
        assert.isDefined(writing.pollUnsafe())
        assert.strictEqual(contentOf(yield* servers[1].connection.receive), "a")
        yield* servers[1].connection.send("b")
        assert.deepStrictEqual(yield* second.pull, ["b"])
      }
    }))
})

describe("what a dial acquires", () => {
  it.effect("is given back after each that failed, before the next", () =>
    Effect.gen(function*() {
      const { counts, socket } = yield* dialling(5)
      const heldAtRetry: Array<number> = []
      yield* Effect.scoped(Effect.retry(
        Effect.tapError(socket.reader, () => Effect.sync(() => heldAtRetry.push(counts.held))),
        Schedule.recurs(4)
      )).pipe(Effect.flip)
      assert.strictEqual(counts.dials, 5)
      assert.deepStrictEqual(heldAtRetry, [0, 0, 0, 0, 0])
    }))

  it.effect("is given back when it is interrupted", () =>
    Effect.gen(function*() {
      let held = 0
      const connect = () =>
        Effect.andThen(
          Effect.acquireRelease(Effect.sync(() => held++), () => Effect.sync(() => held--)),
          Effect.never
        )
      const socket = yield* Socket.make("ws://there/").pipe(
        Effect.provideService(WebSocketClient.WebSocketClient, { connect })
      )
      const reading = yield* Effect.forkChild(Effect.scoped(socket.reader), { startImmediately: true })
      assert.strictEqual(held, 1)
      yield* Fiber.interrupt(reading)
      assert.strictEqual(held, 0)
    }))

  it.effect("is kept as long as its connection is read, and then until that is closed", () =>
    Effect.gen(function*() {
      const { counts, servers, socket } = yield* dialling(1)
      yield* Effect.flip(readIn(socket))
      const { release } = yield* readIn(socket)
      yield* settle
      assert.strictEqual(counts.held, 1)
      yield* release
      yield* servers[0].connection.closed
      yield* settle
      assert.strictEqual(counts.held, 0)
    }))

  it.live(
    "is given back wherever its reader is interrupted, with all connections and fibers",
    () =>
      Effect.gen(function*() {
        const points = yield* interruptAtEachStep(Effect.gen(function*() {
          const { counts, servers, socket, writer } = yield* dialling(1)
          const fibers = countingFibers()
          const got: Array<unknown> = []
          return {
            effect: fibers.counted(Effect.retry(
              Effect.scoped(Effect.gen(function*() {
                const { pull } = yield* socket.reader
                yield* writer.write("hello")
                for (;;) got.push(...yield* pull)
              })),
              Schedule.recurs(1)
            )),
            events: [
              () => void servers.map(({ connection }) => Effect.runFork(connection.send("welcome"))),
              () => void servers.map(({ connection }) => Effect.runFork(connection.close()))
            ],
            verify: (exit) =>
              Effect.gen(function*() {
                yield* Effect.forEach(servers, ({ connection }) => connection.closed, { discard: true })
                yield* untilTrue(() => counts.held === 0 && fibers.running() === 0)
                if (Exit.hasInterrupts(exit)) return
                assert.deepStrictEqual([counts.dials, servers.length, got], [2, 1, ["welcome"]])
              })
          }
        }))
        assert.isAbove(points, 20)
      }),
    60_000
  )

  it.live("a write that is interrupted at any step was sent or not, and leaves no fiber", () =>
    Effect.gen(function*() {
      yield* interruptAtEachStep(Effect.gen(function*() {
        const { servers, socket, writer } = yield* dialling()
        yield* readIn(socket)
        servers[0].transport.destroy()
        yield* settle
        const fibers = countingFibers()
        return {
          effect: fibers.counted(Effect.andThen(writer.write("a"), writer.writeAll(["b", "c"]))),
          events: [() => void Effect.runFork(Scope.provide(socket.reader, Scope.makeUnsafe()))],
          verify: (exit) =>
            Effect.gen(function*() {
              yield* untilTrue(() => fibers.running() === 0 && servers.length === 2)
              const { connection } = servers[1]
              yield* writer.write("last")
              const got: Array<unknown> = []
              while (got.at(-1) !== "last") got.push(contentOf(yield* connection.receive))
              const all = ["a", "b", "c", "last"]
              if (Exit.isSuccess(exit)) assert.deepStrictEqual(got, all)
              else assert.include([1, 2, 4], got.length)
              assert.deepStrictEqual(got, [...all.slice(0, got.length - 1), "last"])
            })
        }
      }))
    }), 60_000)
})

describe("Socket.make, when nobody reads", () => {
  it.live("what is written after the end of a connection goes to the next", () =>
    Effect.gen(function*() {
      const over = yield* Queue.unbounded<boolean>()
      const { url } = yield* serve(Effect.gen(function*() {
        const connection = yield* Connection.Connection
        yield* connection.send(yield* connection.receive)
        yield* Effect.forkDetach(Effect.flatMap(connection.closed, ({ clean }) => Queue.offer(over, clean)))
      }))
      const socket = yield* Socket.make(url, { keepalive: false })
      const writer = yield* socket.writer
      const first = yield* Scope.make()
      yield* Scope.provide(socket.reader, first)
      yield* writer.write("one")
      // The client has answered the close frame.
      assert.isTrue(yield* Queue.take(over))
      const writing = yield* Effect.forkChild(writer.writeAll(["two"]), { startImmediately: true })
      const second = yield* socket.reader
      yield* Scope.close(first, Exit.void)
      assert.deepStrictEqual(yield* second.pull, ["two"])
      yield* Fiber.join(writing)
    }))
})

describe("Socket.layerWebSocketConstructor", () => {
  const construct = Effect.map(
    Layer.build(Socket.layerWebSocketConstructor({ keepalive: false, headers: { "X-One": "1" } })),
    (context) => Context.get(context, EffectSocket.WebSocketConstructor)
  )

  const eventsOf = (socket: EffectSocket.WebSocketLike) => {
    const events: Array<EffectSocket.WebSocketEvent> = []
    for (const type of ["open", "message", "error", "close"] as const) {
      socket.addEventListener(type, (event) => events.push(event))
    }
    const until = (type: string) =>
      Effect.repeat(Effect.delay(Effect.sync(() => events.some((event) => event.type === type)), 1), {
        until: (seen) => seen
      })
    return { events, until }
  }

  it.live("makes what has the events and methods of a browser's WebSocket", () =>
    Effect.gen(function*() {
      const { url } = yield* serve(
        Effect.gen(function*() {
          const connection = yield* Connection.Connection
          const { headers } = connection.request
          yield* connection.send(`${headers["x-one"]} ${headers["x-two"]} ${connection.subprotocol}`)
          yield* Stream.runForEach(connection.messages, connection.send)
        }),
        { serve: { protocols: ["b"] } }
      )
      const make = yield* construct
      const socket = make(url, { protocols: ["a", "b"], headers: { "X-Two": "2" } })
      const { events, until } = eventsOf(socket)
      assert.strictEqual(socket.readyState, 0)
      assert.throws(() => socket.send("early"), /not open/)
      yield* until("open")
      assert.strictEqual(socket.readyState, 1)
      assert.throws(
        () => socket.send([1] as never),
        /expected a string, a Uint8Array or a Message, got \[object Array\]/
      )
      const binary = Uint8Array.of(1)
      socket.send("text")
      socket.send(binary)
      binary.fill(0)
      yield* Effect.repeat(Effect.delay(Effect.sync(() => events.length), 1), { until: (count) => count === 4 })
      // As long as it cannot be closed like this, it is open.
      assert.throws(() => socket.close(1005), /1005/)
      assert.throws(() => socket.close(1000, "x".repeat(124)), /124/)
      assert.strictEqual(socket.readyState, 1)
      socket.close(4000, "bye")
      socket.close()
      assert.strictEqual(socket.readyState, 2)
      yield* until("close")
      assert.strictEqual(socket.readyState, 3)
      assert.deepStrictEqual(
        events.map((
          event
        ) => [event.type, event.data instanceof Uint8Array ? [...event.data] : event.data, event.code, event.reason]),
        [
          ["open", undefined, undefined, undefined],
          ["message", "1 2 b", undefined, undefined],
          ["message", "text", undefined, undefined],
          ["message", [1], undefined, undefined],
          ["close", undefined, 4000, "bye"]
        ]
      )
    }))

  it.live("is closed behind what was sent before, though that waits for room, and sends nothing after", () =>
    Effect.gen(function*() {
      const reading = Latch.makeUnsafe(false)
      const read = Latch.makeUnsafe(false)
      const received: Array<number> = []
      const { url } = yield* serve(Effect.flatMap(Connection.Connection, (connection) =>
        Effect.andThen(
          reading.await,
          Effect.ensuring(
            Stream.runForEach(connection.messages, ({ bytes }) => Effect.sync(() => received.push(bytes[0]))),
            read.open
          )
        )))
      const socket = (yield* construct)(url)
      const { events, until } = eventsOf(socket)
      yield* until("open")
      for (let i = 0; i < 40; i++) socket.send(new Uint8Array(1 << 20).fill(i))
      socket.close(4000, "bye")
      socket.send(Uint8Array.of(99))
      assert.strictEqual(socket.readyState, 2)
      reading.openUnsafe()
      yield* until("close")
      yield* read.await
      assert.deepStrictEqual(received, Array.from({ length: 40 }, (_, i) => i))
      assert.deepInclude(events.at(-1), { type: "close", code: 4000, reason: "bye" })
    }))

  for (const [name, close] of [["closed while it connects", true], ["refused", false]] as const) {
    it.live(`${name}: an error, and 1006`, () =>
      Effect.gen(function*() {
        const { port } = yield* rawServer((peer) => {
          if (!close) peer.socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        })
        const socket = (yield* construct)(`ws://127.0.0.1:${port}/`, "chat")
        const { events, until } = eventsOf(socket)
        if (close) socket.close()
        yield* until("close")
        assert.deepStrictEqual(events.map(({ code, type }) => [type, code]), [["error", undefined], ["close", 1006]])
      }))
  }

  it.live("a listener goes when it is removed; once is once", () =>
    Effect.gen(function*() {
      const { url } = yield* serve(
        Effect.flatMap(Connection.Connection, (connection) => connection.sendAll(["a", "b"]))
      )
      const socket = (yield* construct)(url)
      const heard: Array<unknown> = []
      const removed = () => heard.push("removed")
      socket.addEventListener("message", removed)
      socket.removeEventListener("message", removed)
      socket.addEventListener("message", ({ data }) => heard.push(data), { once: true })
      const { until } = eventsOf(socket)
      yield* until("close")
      assert.deepStrictEqual(heard, ["a"])
    }))

  it.live("holds the peer back while nobody reads", () =>
    Effect.gen(function*() {
      const sent = yield* Ref.make(0)
      const total = 200
      const { url } = yield* serve(Effect.flatMap(Connection.Connection, (connection) =>
        Effect.repeat(
          Effect.andThen(connection.send(new Uint8Array(256 * 1024)), Ref.updateAndGet(sent, (n) => n + 1)),
          { until: (n) => n === total }
        )))
      const context = yield* Layer.build(
        EffectSocket.layerWebSocket(url).pipe(Layer.provide(Socket.layerWebSocketConstructor({ keepalive: false })))
      )
      const { pull } = yield* Context.get(context, EffectSocket.Socket).reader
      // What fits into the buffers between the two goes, and no more.
      const settled = yield* Effect.repeat(
        Effect.flatMap(Ref.get(sent), (before) =>
          Effect.map(Effect.delay(Ref.get(sent), 100), (after) => after > 0 && after === before)),
        {
          until: (still) =>
            still
        }
      )
      assert.isTrue(settled)
      assert.isBelow(yield* Ref.get(sent), total)
      let read = 0
      while (read < total) read += (yield* pull).length
      assert.strictEqual(yield* Ref.get(sent), total)
    }))
})

describe("Socket.layerServer", () => {
  it.live("connections wait for whoever runs it; the last run takes what comes, until it is interrupted", () =>
    Effect.gen(function*() {
      const context = yield* Layer.build(
        Socket.layerServer().pipe(Layer.provideMerge(WebSocketServer.layer({ host: "127.0.0.1" })))
      )
      const { url } = Context.get(context, WebSocketServer.WebSocketServer)
      const server = Context.get(context, SocketServer.SocketServer)
      const answer = (text: string) =>
        server.run((socket) =>
          Effect.scoped(Effect.gen(function*() {
            const writer = yield* socket.writer
            yield* writer.write(`${text} ${(yield* Connection.Connection).role}`)
            const { pull } = yield* socket.reader
            yield* pull
          })).pipe(Effect.ignore)
        )
      const first = yield* WebSocketClient.connect(url)
      const outer = yield* Effect.forkChild(Effect.provideService(answer("outer"), Connection.Connection, first))
      assert.strictEqual(contentOf(yield* first.receive), "outer server")
      const inner = yield* Effect.forkChild(Effect.provideService(answer("inner"), Connection.Connection, first), {
        startImmediately: true
      })
      const second = yield* WebSocketClient.connect(url)
      assert.strictEqual(contentOf(yield* second.receive), "inner server")
      yield* Fiber.interrupt(inner)
      yield* second.closed
      const third = yield* WebSocketClient.connect(url)
      assert.strictEqual(contentOf(yield* third.receive), "outer server")
      yield* Fiber.interrupt(outer)
      assert.isTrue((yield* first.closed).clean)
    }))

  it.live("on a Unix socket", () =>
    Effect.gen(function*() {
      const directory = mkdtempSync(join(tmpdir(), "effect-ws-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(directory, { recursive: true })))
      const socketPath = join(directory, "socket")
      const context = yield* Layer.build(
        Socket.layerServer().pipe(Layer.provide(WebSocketServer.layer({ socketPath })))
      )
      const { address } = Context.get(context, SocketServer.SocketServer)
      assert.deepInclude(address, { _tag: "UnixPathAddress", path: socketPath })
    }))
})

describe("Socket.upgrade", () => {
  it.live("calls have the headers of the request", () =>
    Effect.gen(function*() {
      const { url } = yield* routed()
      const client = yield* clientOver(Socket.layer(url, { headers: { "X-User": "Ada" } }))
      assert.strictEqual(yield* client.WhoAmI(), "Ada")
    }))

  it.live("refuses what its options refuse", () =>
    Effect.gen(function*() {
      const { url } = yield* routed({ decide: () => Effect.fail(Handshake.reject({ status: 401 })) })
      const error = yield* Effect.flip(WebSocketClient.connect(url))
      assert.deepInclude(error, { _tag: "HandshakeRejected", status: 401 })
    }))
})

describe("DevTools", () => {
  it.live("spans reach a DevTools server", () =>
    Effect.gen(function*() {
      const names = yield* Queue.unbounded<string>()
      const server = yield* Layer.build(
        Socket.layerServer().pipe(Layer.provideMerge(WebSocketServer.layer({ host: "127.0.0.1" })))
      )
      yield* Effect.forkScoped(Effect.provideContext(
        DevToolsServer.run((client) =>
          Effect.forever(Effect.flatMap(Queue.take(client.queue), (request) =>
            request._tag === "Span" ? Queue.offer(names, request.name) : Effect.void))
        ),
        server
      ))
      const { url } = Context.get(server, WebSocketServer.WebSocketServer)
      yield* Effect.void.pipe(
        Effect.withSpan("watched"),
        Effect.andThen(Queue.take(names)),
        Effect.tap((name) =>
          Effect.sync(() => assert.strictEqual(name, "watched"))
        ),
        Effect.provide(DevTools.layerWebSocket(url).pipe(Layer.provide(Socket.layerWebSocketConstructor())))
      )
    }))
})

describe("a cluster", () => {
  const Counter = Entity.make("Counter", [
    Rpc.make("Add", { payload: { n: Schema.Number }, success: Schema.Number })
  ])

  it.live("a runner serves its entities, and a client elsewhere calls them", () =>
    Effect.gen(function*() {
      const listening = yield* Layer.build(
        Socket.layerServer().pipe(Layer.provideMerge(WebSocketServer.layer({ host: "127.0.0.1" })))
      )
      const { address } = Context.get(listening, WebSocketServer.WebSocketServer)
      const port = address._tag === "Tcp" ? address.port : 0
      const storage = yield* Layer.build(RunnerStorage.layerMemory)
      const runnerAddress = RunnerAddress.make("127.0.0.1", port)
      const shared = (options: Partial<ShardingConfig.ShardingConfig["Service"]>) =>
        Layer.mergeAll(
          Layer.succeedContext(storage),
          Layer.succeedContext(listening),
          MessageStorage.layerNoop,
          RunnerHealth.layerNoop,
          RpcSerialization.layerNdjson,
          Layer.provide(HttpRunner.layerClientProtocolWebsocketDefault, [
            Socket.layerWebSocketConstructor(),
            RpcSerialization.layerNdjson
          ]),
          ShardingConfig.layer({
            shardsPerGroup: 10,
            entityMailboxCapacity: 100,
            refreshAssignmentsInterval: 50,
            sendRetryInterval: 20,
            ...options
          })
        )
      const runner = Counter.toLayer(Effect.gen(function*() {
        const total = yield* Ref.make(0)
        return { Add: ({ payload }) => Ref.updateAndGet(total, (sum) => sum + payload.n) }
      })).pipe(
        Layer.provideMerge(SocketRunner.layer),
        Layer.provide(shared({ runnerAddress: Option.some(runnerAddress) }))
      )
      yield* Layer.build(runner)
      yield* Effect.gen(function*() {
        const client = yield* Counter.client
        for (const id of ["a", "b"]) {
          yield* Effect.forEach(Array.from({ length: 100 }), () => client(id).Add({ n: 1 }), { concurrency: 10 })
          assert.strictEqual(yield* client(id).Add({ n: 0 }), 100)
        }
      }).pipe(
        Effect.provide(SocketRunner.layerClientOnly.pipe(Layer.provide(shared({ runnerAddress: Option.none() }))))
      )
    }), 30_000)
})
