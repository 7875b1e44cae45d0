import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Queue, Schedule, Scheduler, Scope, Stream } from "effect"
import { Socket as EffectSocket } from "effect/socket"
import { Connection, HandshakeError, Socket, Transport, WebSocketClient } from "effect-ws"
import { contentOf, makePair, settle, type Shape } from "../support/memory.ts"
import { rawServer, serve } from "../support/net.ts"
import { countingFibers, eventually as untilTrue } from "../support/resources.ts"
import { interruptAtEachStep } from "../support/interruptAtEachStep.ts"

describe("Socket.make", () => {
  it.live("a failed connect is a SocketOpenError with the cause", () =>
    Effect.gen(function*() {
      const socket = yield* Socket.make(WebSocketClient.connect("ws://127.0.0.1:1/"))
      const { reason } = yield* Effect.flip(Effect.scoped(socket.reader))
      assert.deepInclude(reason, { _tag: "SocketOpenError", kind: "Unknown" })
      assert.strictEqual(reason._tag === "SocketOpenError" && (reason.cause as { _tag: string })._tag, "ConnectFailed")
    }))

  it.live("a handshake timeout is a SocketOpenError of the kind Timeout", () =>
    Effect.gen(function*() {
      const { port } = yield* rawServer(() => {})
      const socket = yield* Socket.make(WebSocketClient.connect(`ws://127.0.0.1:${port}/`, { handshakeTimeout: 10 }))
      const { reason } = yield* Effect.flip(Effect.scoped(socket.reader))
      assert.deepInclude(reason, { _tag: "SocketOpenError", kind: "Timeout" })
    }))

  it.live("a write while there is no connection goes to the next one", () =>
    Effect.gen(function*() {
      const { url } = yield* serve(
        Effect.flatMap(Connection.Connection, (connection) => Stream.runForEach(connection.messages, connection.send))
      )
      const socket = yield* Socket.make(WebSocketClient.connect(url, { keepalive: false }))
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

  it.live("a write after the end of a connection goes to the next one", () =>
    Effect.gen(function*() {
      const { url } = yield* serve(
        Effect.flatMap(Connection.Connection, (connection) => Effect.flatMap(connection.receive, connection.send))
      )
      const socket = yield* Socket.make(WebSocketClient.connect(url, { keepalive: false }))
      const writer = yield* socket.writer
      const first = yield* Scope.make()
      const { pull } = yield* Scope.provide(socket.reader, first)
      yield* writer.write("one")
      assert.deepStrictEqual(yield* pull, ["one"])
      // The server has closed after its reply, which no pull has received yet.
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
 * Dials without a network; the first `failures` dials fail. `held` is the number
 * of dials with unreleased resources, `sends` the number of sends, failed or not.
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
          // The server runs with a scheduler of its own, so that a test that steps the client does not step it.
          Effect.provideService(Scheduler.Scheduler, new Scheduler.MixedScheduler())
        )
        servers.push({ connection, transport })
        const client = yield* Connection.make(left, { keepalive: false, ...options, role: "client" })
        const send: Shape["send"] = (...sent) => Effect.suspend(() => (counts.sends++, client.send(...sent)))
        return Object.create(client, { send: { value: send } }) as Shape
      }).pipe(Effect.uninterruptible)
    const socket = yield* Socket.make(WebSocketClient.connect("ws://there/")).pipe(
      Effect.provideService(WebSocketClient.WebSocketClient, { connect })
    )
    return { counts, servers, socket, writer: yield* socket.writer }
  })

/** Opens a reader in a new Scope. */
const readIn = (socket: EffectSocket.Socket) =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (opened, exit) => Scope.close(opened, exit))
    const { pull } = yield* Scope.provide(socket.reader, scope)
    return { pull, release: Scope.close(scope, Exit.void) }
  })

describe("writes to a Socket", () => {
  it.effect("a write to a Socket of one connection fails after the end instead of suspending", () =>
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

  for (const how of ["has received the end", "is released"]) {
    it.effect(`a write waits for the next connection when the reader ${how}`, () =>
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

  it.effect("a write is tried once on a connection that has ended unnoticed, then waits for the next", () =>
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

  it.effect("a reader that writes between two pulls receives the end, and what it wrote after the end is lost", () =>
    Effect.gen(function*() {
      const { counts, servers, socket, writer } = yield* dialling()
      const { pull } = yield* readIn(socket)
      yield* servers[0].connection.send("a")
      yield* settle
      servers[0].transport.destroy()
      yield* settle
      const reading = yield* Effect.forkChild(
        Effect.flip(Effect.forever(Effect.andThen(pull, writer.write("b")))),
        { startImmediately: true }
      )
      yield* settle
      assert.isDefined(reading.pollUnsafe())
      assert.strictEqual((yield* Fiber.join(reading)).reason._tag, "SocketCloseError")
      assert.strictEqual(counts.sends, 1)
    }))

  it.effect("a write uses the connection of the latest reader after an earlier one is released or ends", () =>
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

describe("the resources of a dial", () => {
  it.effect("the resources of a failed dial are released before the next one", () =>
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

  it.effect("the resources of an interrupted dial are released", () =>
    Effect.gen(function*() {
      let held = 0
      const connect = () =>
        Effect.andThen(
          Effect.acquireRelease(Effect.sync(() => held++), () => Effect.sync(() => held--)),
          Effect.never
        )
      const socket = yield* Socket.make(WebSocketClient.connect("ws://there/")).pipe(
        Effect.provideService(WebSocketClient.WebSocketClient, { connect })
      )
      const reading = yield* Effect.forkChild(Effect.scoped(socket.reader), { startImmediately: true })
      assert.strictEqual(held, 1)
      yield* Fiber.interrupt(reading)
      assert.strictEqual(held, 0)
    }))

  it.effect("the resources of a dial are kept until its connection is closed", () =>
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
    "interrupting a reader at any step releases all resources, connections and fibers",
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

  it.live("interrupting a write at any step sends it or not, and leaves no fiber", () =>
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

describe("Socket.make without a reader", () => {
  it.live("a write after the end of a connection that was not read goes to the next one", () =>
    Effect.gen(function*() {
      const over = yield* Queue.unbounded<boolean>()
      const { url } = yield* serve(Effect.gen(function*() {
        const connection = yield* Connection.Connection
        yield* connection.send(yield* connection.receive)
        yield* Effect.forkDetach(Effect.flatMap(connection.closed, ({ clean }) => Queue.offer(over, clean)))
      }))
      const socket = yield* Socket.make(WebSocketClient.connect(url, { keepalive: false }))
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
