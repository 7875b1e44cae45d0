/** Against `ws`, in both roles. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, type Scope, Stream } from "effect"
import { Connection, Frame, type HandshakeError, WebSocketClient } from "effect-ws"
import { createRequire } from "node:module"
import type { AddressInfo } from "node:net"
import { type RawData, WebSocket, WebSocketServer } from "ws"
import { contentOf } from "../support/memory.ts"
import { serve } from "../support/net.ts"

const { version } = createRequire(import.meta.url)("ws/package.json") as { version: string }

const echo = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  yield* Stream.runForEach(connection.messages, connection.send)
})

const idle = Effect.flatMap(Connection.Connection, (connection) => connection.closed)

const closeWhenAsked = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  const message = contentOf(yield* connection.receive)
  if (message === "close") yield* connection.close(4000, "as you wish")
  yield* connection.receive
})

const megabyte = new Uint8Array(1024 * 1024).map((_, i) => i % 251)
const megatext = "añ€😀".repeat(100_000)

/** A `ws` client, open, with what it has heard. */
const open = (url: string, protocols: ReadonlyArray<string> = []) =>
  Effect.acquireRelease(
    Effect.callback<WebSocket, Error>((resume) => {
      const socket = new WebSocket(url, [...protocols], { perMessageDeflate: false })
      socket.on("open", () => resume(Effect.succeed(socket)))
      socket.on("error", (error) => resume(Effect.fail(error)))
    }),
    (socket) => Effect.sync(() => socket.terminate())
  )

const next = (socket: WebSocket, event: string) =>
  Effect.callback<ReadonlyArray<unknown>>((resume) => {
    socket.once(event, (...values: ReadonlyArray<unknown>) => resume(Effect.succeed(values)))
  })

/** What comes back when something is sent. */
const exchanged = (socket: WebSocket, send: () => void) =>
  Effect.map(
    Effect.zipWith(next(socket, "message"), Effect.sync(send), (got) => got, { concurrent: true }),
    ([data, binary]) => binary === true ? Uint8Array.from(data as Buffer) : (data as RawData).toString()
  )

describe(`our server, a client of ws ${version}`, () => {
  it.live("exchanges text, binary, empty messages and a megabyte of each", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const socket = yield* open(server.url)
      for (const data of ["hello", "", "añ€😀", Uint8Array.of(0, 255), new Uint8Array(0), megabyte, megatext]) {
        assert.deepStrictEqual(yield* exchanged(socket, () => socket.send(data)), data)
      }
    }))

  it.live("exchanges fragments", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const socket = yield* open(server.url)
      const got = yield* exchanged(socket, () => {
        socket.send("a", { fin: false })
        socket.ping()
        socket.send("b", { fin: false })
        socket.send("c", { fin: true })
      })
      assert.strictEqual(got, "abc")

      const sender = yield* serve(Effect.gen(function*() {
        const connection = yield* Connection.Connection
        yield* connection.sendFragments(Stream.make("x", "y", "z"))
        yield* connection.closed
      }))
      const receiver = yield* open(sender.url)
      const [data] = yield* next(receiver, "message")
      assert.strictEqual(String(data), "xyz")
    }))

  it.live("pings and is pinged", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const socket = yield* open(server.url)
      const pong = yield* Effect.forkChild(next(socket, "pong"), { startImmediately: true })
      socket.ping("payload")
      assert.deepStrictEqual((yield* Fiber.join(pong)).map(String), ["payload"])
      const [connection] = yield* server.connections
      yield* connection.ping()
    }))

  it.live("agrees on a subprotocol", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { serve: { protocols: ["two", "one"] } })
      const socket = yield* open(server.url, ["one", "two"])
      assert.strictEqual(socket.protocol, "two")
    }))

  it.live("is closed by the client: with a code, with none, and by being cut", () =>
    Effect.gen(function*() {
      const server = yield* serve(idle)
      const ways: ReadonlyArray<readonly [(socket: WebSocket) => void, number, string, boolean]> = [
        [(socket) => socket.close(1000, "done"), 1000, "done", true],
        [(socket) => socket.close(4321), 4321, "", true],
        [(socket) => socket.close(), 1005, "", true],
        [(socket) => socket.terminate(), 1006, "", false]
      ]
      for (const [close, code, reason, clean] of ways) {
        const socket = yield* open(server.url)
        const [connection] = yield* server.connections
        const gone = yield* Effect.forkChild(next(socket, "close"), { startImmediately: true })
        close(socket)
        const ended = yield* connection.closed
        assert.deepStrictEqual([ended.code, ended.reason, ended.clean], [code, reason, clean])
        yield* Fiber.join(gone)
      }
    }))

  it.live("closes the client: with its own code, and when it breaks a rule", () =>
    Effect.gen(function*() {
      const server = yield* serve(closeWhenAsked)
      const polite = yield* open(server.url)
      polite.send("close")
      assert.deepStrictEqual((yield* next(polite, "close")).map(String), ["4000", "as you wish"])

      const rude = yield* open(server.url)
      rude.send("hello")
      rude.send(Buffer.from([0xff, 0xfe]), { binary: false })
      assert.deepStrictEqual((yield* next(rude, "close")).map(String), ["1007", "InvalidUtf8"])
    }))

  it.live("says why it refuses", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { path: "/chat" })
      const error = yield* Effect.flip(open(`${server.url}/other`))
      assert.strictEqual(error.message, "Unexpected server response: 404")
    }))
})

/** A `ws` server that echoes. */
const listen = (
  onConnection: (socket: WebSocket) => void = (socket) => {
    socket.on("message", (data, binary) => socket.send(data, { binary }))
  },
  options: ConstructorParameters<typeof WebSocketServer>[0] = {}
): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<WebSocketServer>((resume) => {
        const server = new WebSocketServer({ port: 0, host: "127.0.0.1", ...options })
        server.on("listening", () => resume(Effect.succeed(server)))
        server.on("connection", onConnection)
      }),
      (server) =>
        Effect.callback<void>((resume) => {
          for (const client of server.clients) {
            client.terminate()
          }
          server.close(() => resume(Effect.void))
        })
    ),
    (server) => `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
  )

describe(`our client, a server of ws ${version}`, () => {
  it.live("exchanges text, binary, empty messages and a megabyte of each", () =>
    Effect.gen(function*() {
      const connection = yield* WebSocketClient.connect(yield* listen())
      for (const data of ["hello", "", "añ€😀", megatext]) {
        yield* connection.send(data)
        assert.strictEqual(contentOf(yield* connection.receive), data)
      }
      for (const data of [Uint8Array.of(0, 255), new Uint8Array(0), megabyte]) {
        yield* connection.send(data)
        const message = yield* connection.receive
        assert.strictEqual(message._tag, "Binary")
        assert.isTrue(Buffer.from(message.bytes).equals(data))
      }
    }))

  it.live("exchanges fragments", () =>
    Effect.gen(function*() {
      const connection = yield* WebSocketClient.connect(
        yield* listen((socket) => {
          socket.on("message", (data) => {
            socket.send("got ", { fin: false })
            socket.send(data.toString(), { fin: true })
          })
        })
      )
      yield* connection.sendFragments(Stream.make("a", "b"))
      assert.strictEqual(contentOf(yield* connection.receive), "got ab")
      const frames = yield* connection.frames.pipe(Stream.take(2), Stream.runCollect, Effect.forkChild)
      yield* connection.sendFrame(Frame.text("c", { fin: false }))
      yield* connection.sendFrame(Frame.continuation("d"))
      assert.deepStrictEqual((yield* Fiber.join(frames)).map((frame) => frame.fin), [false, true])
    }))

  it.live("pings and is pinged", () =>
    Effect.gen(function*() {
      const pongs: Array<string> = []
      const connection = yield* WebSocketClient.connect(
        yield* listen((socket) => {
          socket.on("pong", (data) => {
            pongs.push(data.toString())
            socket.send("pong seen")
          })
          socket.ping("from ws")
        })
      )
      yield* connection.ping()
      assert.strictEqual(contentOf(yield* connection.receive), "pong seen")
      assert.deepStrictEqual(pongs, ["from ws"])
    }))

  it.live("is closed by the server, and closes: every way", () =>
    Effect.gen(function*() {
      const ways: ReadonlyArray<readonly [(socket: WebSocket) => void, number, boolean]> = [
        [(socket) => socket.close(1001, "away"), 1001, true],
        [(socket) => socket.close(), 1005, true],
        [(socket) => socket.terminate(), 1006, false]
      ]
      for (const [close, code, clean] of ways) {
        const connection = yield* WebSocketClient.connect(yield* listen(close))
        const ended = yield* connection.closed
        assert.deepStrictEqual([ended.code, ended.clean], [code, clean])
      }
      const connection = yield* WebSocketClient.connect(yield* listen())
      const ended = yield* connection.close(4001, "mine")
      assert.deepStrictEqual(ended.received, { code: 4001, reason: "mine" })
      assert.isTrue(ended.clean)
    }))

  it.live("agrees on a subprotocol, and is told why it is refused", () =>
    Effect.gen(function*() {
      const url = yield* listen(undefined, { handleProtocols: (offered) => [...offered][1] })
      const connection = yield* WebSocketClient.connect(url, { protocols: ["a", "b"] })
      assert.strictEqual(connection.subprotocol, "b")
      const closed = yield* listen(undefined, { verifyClient: (_info, done) => done(false, 429, "slow down") })
      const error = yield* Effect.flip(WebSocketClient.connect(closed))
      assert.deepInclude(error as HandshakeError.HandshakeRejected, { status: 429, body: "slow down" })
    }))
})
