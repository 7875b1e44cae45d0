/** Processes that die, block, run out of file descriptors or compare secrets: the built examples, and programs of a line. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Stream } from "effect"
import { Connection, Frame, WebSocketClient } from "effect-ws"
import { fileURLToPath } from "node:url"
import { contentOf } from "../support/memory.ts"
import { handingOut, headEnd, rawConnect, rawHandshake, requestText, serve } from "../support/net.ts"
import { runExample, runProgram } from "../support/process.ts"
import { eventually } from "../support/resources.ts"

/** A program that opens a connection, prints "open", and answers pings. */
const puppet = (port: number, path: string) => `
import { connect } from "node:net"
const socket = connect(${port}, "127.0.0.1")
socket.write("GET ${path} HTTP/1.1\\r\\nHost: a\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n")
let bytes = Buffer.alloc(0), open = false
socket.on("data", (chunk) => {
  bytes = Buffer.concat([bytes, chunk])
  if (!open && bytes.includes("\\r\\n\\r\\n")) {
    open = true
    bytes = bytes.subarray(bytes.indexOf("\\r\\n\\r\\n") + 4)
    console.log("open")
  }
  while (open && bytes.length >= 2 && bytes.length >= 2 + bytes[1]) {
    if (bytes[0] === 0x89) socket.write(Buffer.concat([Buffer.from([0x8a, 0x80 | bytes[1], 0, 0, 0, 0]), bytes.subarray(2, 2 + bytes[1])]))
    bytes = bytes.subarray(2 + bytes[1])
  }
})`

describe("a process that is killed", () => {
  it.live("ends the connections of its clients after whole messages in order, if it is the server", () =>
    Effect.gen(function*() {
      const program = yield* runExample("echo-server.js", { PORT: "0" })
      const port = Number((yield* program.printed(/LISTENING (\d+)/))[1])
      const client = yield* WebSocketClient.connect(`ws://127.0.0.1:${port}/`, { keepalive: false })
      let sent = 0
      const sending = yield* Effect.forkChild(
        Effect.exit(Effect.forever(Effect.suspend(() => client.send(`${sent++}`))))
      )
      let received = 0
      const receiving = yield* Effect.forkChild(Effect.flip(Effect.forever(
        Effect.map(client.receive, (message) => assert.strictEqual(contentOf(message), String(received++)))
      )))
      yield* eventually(() => received >= 1000)
      program.child.kill("SIGKILL")
      const end = yield* Fiber.join(receiving)
      assert.include(["UnexpectedEof", "TransportError"], end.cause?._tag)
      assert.isTrue(Exit.isFailure(yield* Fiber.join(sending)))
      assert.isAtMost(received, sent)
    }))

  it.live("ends its own connection only, if it is a client", () =>
    Effect.gen(function*() {
      const held = yield* Deferred.make<Connection.Connection>()
      const server = yield* serve(Effect.gen(function*() {
        const connection = yield* Connection.Connection
        if (connection.request.path === "/dies") yield* Deferred.succeed(held, connection)
        yield* Stream.runForEach(connection.messages, connection.send)
      }))
      const other = yield* WebSocketClient.connect(server.url)
      const program = yield* runProgram(process.execPath, ["--input-type=module", "-e", puppet(server.port, "/dies")])
      const connection = yield* Deferred.await(held)
      yield* program.printed(/open/)
      program.child.kill("SIGKILL")
      assert.include(["UnexpectedEof", "TransportError"], (yield* connection.closed).cause?._tag)
      yield* other.send("still here")
      assert.strictEqual(contentOf(yield* other.receive), "still here")
    }))
})

describe("a process that is blocked", () => {
  const impatient = { keepalive: { interval: "50 millis", timeout: "100 millis" }, closeTimeout: 0 } as const

  it.live("does not time out a peer whose pong it has not read", () =>
    Effect.gen(function*() {
      const { connection: opened, handler } = yield* handingOut
      const server = yield* serve(handler, { serve: impatient })
      const program = yield* runProgram(process.execPath, ["--input-type=module", "-e", puppet(server.port, "/")])
      yield* program.printed(/open/)
      const connection = yield* opened
      const stats = () => Effect.runSync(connection.stats)
      for (let i = 0; i < 3; i++) {
        // A ping has just left. Its pong arrives while the process is blocked.
        const { framesOut } = stats()
        yield* eventually(() => stats().framesOut > framesOut)
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500)
        const { framesIn } = stats()
        yield* eventually(() => stats().framesIn > framesIn)
      }
      assert.strictEqual((yield* server.connections).length, 1)
    }))

  it.live("still times out a silent peer", () =>
    Effect.gen(function*() {
      const { connection: opened, handler } = yield* handingOut
      const server = yield* serve(handler, { serve: impatient })
      yield* rawHandshake(server.port)
      const connection = yield* opened
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500)
      assert.strictEqual((yield* connection.closed).cause?._tag, "KeepaliveTimeout")
    }))
})

describe("a process without file descriptors (EMFILE)", () => {
  it.live("logs an error, serves open connections, and later accepts new ones", () =>
    Effect.gen(function*() {
      const server = fileURLToPath(new URL("../../build/examples/echo-server.js", import.meta.url))
      const program = yield* runProgram("sh", ["-c", `ulimit -n 300 && exec "$0" "$1"`, process.execPath, server], {
        PORT: "0"
      })
      const port = Number((yield* program.printed(/LISTENING (\d+)/))[1])
      const first = yield* rawHandshake(port)
      yield* Effect.scoped(Effect.gen(function*() {
        const many = yield* Effect.replicateEffect(rawConnect(port), 400)
        for (const { socket } of many) socket.on("error", () => {})
        yield* program.printed(/drops new connections.*EMFILE/s)
        first.send(Frame.text("still here"))
        yield* first.untilFrames(1)
      }))
      for (;;) {
        const again = yield* rawConnect(port)
        again.socket.on("error", () => {})
        again.write(requestText())
        const response = yield* again.until((received) => received.includes(headEnd)).pipe(
          Effect.raceFirst(again.ended)
        )
        if (response.includes("101 Switching Protocols")) break
      }
      yield* program.printed(/accepts connections again/)
    }), 30_000)
})

describe("the example subprotocol-auth", () => {
  /** Prints each comparison in constant time, in the process of the example. */
  const listener = `
    import crypto from "node:crypto"
    import { syncBuiltinESMExports } from "node:module"
    const { timingSafeEqual } = crypto
    crypto.timingSafeEqual = (one, other) => {
      console.log("COMPARED " + one.length + " " + other.length)
      return timingSafeEqual(one, other)
    }
    syncBuiltinESMExports()`

  it.live("compares secrets in constant time (CVE-2021-33880)", () =>
    Effect.gen(function*() {
      const program = yield* runExample("subprotocol-auth.js", {
        PORT: "0",
        TOKENS: "s3cret:Ada,hunter2:Grace",
        NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(listener)}`
      })
      const [, url] = yield* program.printed(/LISTENING (\S+)/)
      let expected = 0
      // Each token is compared with all known tokens, at the same length, whatever prefix is right.
      for (const token of ["x", "s3cre", "s3creT", "s3cret5", "hunter", "x".repeat(1000)]) {
        const error = yield* Effect.flip(
          WebSocketClient.connect(url, { headers: { Authorization: `Bearer ${token}` } })
        )
        assert.deepInclude(error, { _tag: "HandshakeRejected", status: 401 })
        expected += 2
        yield* program.printed(new RegExp(`(?:COMPARED 32 32\\n){${expected}}`))
      }
    }))
})
