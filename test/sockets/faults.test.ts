/** Networks that fail, processes that die: each end has one outcome, in time, and what was received is what was sent. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Stream } from "effect"
import { Connection, ConnectionError, WebSocketClient } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { TestClock } from "effect/testing"
import { contentOf, type Shape } from "../support/memory.ts"
import { handingOut, rawHandshake, serve } from "../support/net.ts"
import { runExample, runProgram } from "../support/process.ts"
import { type Fault, proxy } from "../support/proxy.ts"
import { eventually } from "../support/resources.ts"

const deadlines = {
  closeTimeout: "150 millis",
  writeTimeout: "400 millis",
  keepalive: { interval: "100 millis", timeout: "150 millis" }
} as const

const said = ["hello", "in fragments", "x".repeat(200)]

const early = { handshakeTimeout: "300 millis", ...deadlines } as const

/** What a client does in the conversation: it sends, is answered, and closes. */
const speak = (client: Shape, got: Array<string>) =>
  Effect.gen(function*() {
    yield* client.send(said[0])
    yield* client.sendFragments(Stream.make("in ", "fragments"))
    yield* client.ping("?")
    yield* client.send(said[2])
    for (const _ of said) got.push(String(contentOf(yield* client.receive)))
    return yield* client.close(1000, "done")
  })

/** What a server does: it hears, and answers. */
const answer = (connection: Shape, heard: Array<string>) =>
  Stream.runForEach(connection.messages, (message) => {
    heard.push(String(contentOf(message)))
    return connection.send(message)
  }).pipe(Effect.exit, Effect.andThen(connection.closed))

const converse = (port: number, got: Array<string>, options?: WebSocketClient.ConnectOptions) =>
  Effect.scoped(
    Effect.flatMap(WebSocketClient.connect(`ws://127.0.0.1:${port}/`, options), (client) => speak(client, got))
  )

/** A server that keeps what it heard, and how it ended. */
const listen = Effect.fnUntraced(function*(options?: typeof early) {
  const heard: Array<string> = []
  const ends: Array<ConnectionError.ConnectionClosed> = []
  let running = 0
  const server = yield* serve(
    Effect.gen(function*() {
      const connection = yield* Connection.Connection
      running++
      yield* answer(connection, heard).pipe(
        Effect.map((end) => void ends.push(end)),
        Effect.ensuring(Effect.sync(() => running--))
      )
    }),
    { ...options, serve: { ...options } }
  )
  const over = Effect.gen(function*() {
    yield* eventually(() => running === 0)
    while ((yield* server.connections).length > 0) yield* Effect.sleep(2)
  })
  return { ...server, heard, ends, over }
})

const isPrefix = (some: ReadonlyArray<string>, all: ReadonlyArray<string>) =>
  assert.deepStrictEqual(some, all.slice(0, some.length))

describe("a conversation", () => {
  const unharmed = (how: Parameters<typeof proxy>[1]) =>
    Effect.gen(function*() {
      const server = yield* listen()
      const { passed, port } = yield* proxy(server.port, how)
      const got: Array<string> = []
      const end = yield* converse(port, got)
      yield* server.over
      assert.isTrue(end.clean, end.message)
      assert.deepStrictEqual([got, server.heard], [said, said])
      assert.deepStrictEqual(server.ends.map(({ clean, reason }) => [clean, reason]), [[true, "done"]])
      return passed
    }).pipe(Effect.scoped)

  it.live("a conversation has the same result in one piece, byte by byte, or late", () =>
    Effect.gen(function*() {
      yield* unharmed({})
      yield* unharmed({ tear: true })
      yield* unharmed({ delay: 10 })
    }))

  it.live("a conversation whose beginning reaches the server twice makes two whole ones", () =>
    Effect.gen(function*() {
      const server = yield* listen()
      const { port } = yield* proxy(server.port, { double: true })
      const got: Array<string> = []
      assert.isTrue((yield* converse(port, got)).clean)
      yield* eventually(() => server.ends.length === 2)
      yield* server.over
      assert.deepStrictEqual(got, said)
      assert.deepStrictEqual(server.heard.toSorted(), [...said, ...said].toSorted())
      assert.deepStrictEqual(server.ends.map(({ clean, reason }) => [clean, reason]), [[true, "done"], [true, "done"]])
    }))

  const outcomes = (fault: Fault) =>
    Effect.gen(function*() {
      const where = JSON.stringify(fault)
      const server = yield* listen(early)
      const { port } = yield* proxy(server.port, { fault })
      const got: Array<string> = []
      const exit = yield* Effect.exit(converse(port, got, early).pipe(Effect.timeout("3 seconds")))
      yield* server.over.pipe(Effect.timeout("3 seconds"))
      isPrefix(got, said)
      isPrefix(server.heard, said)
      isPrefix(got, server.heard)
      assert.isAtMost(server.ends.length, 1, where)
      if (Exit.isSuccess(exit)) return `client ${exit.value.cause?._tag ?? exit.value.code}`
      const [reason] = exit.cause.reasons
      assert.isTrue(exit.cause.reasons.length === 1 && reason._tag === "Fail", `${where}: ${String(exit.cause)}`)
      const error = reason._tag === "Fail" ? reason.error : undefined
      assert.isFalse(error === undefined || error._tag === "TimeoutError", where)
      return error instanceof ConnectionError.ConnectionClosed ? `client ${error.cause?._tag ?? error.code}` : "connect"
    }).pipe(Effect.scoped)

  for (const how of ["end", "reset", "silence"] as const) {
    for (const towards of ["server", "client"] as const) {
      it.live(`that is cut at each byte on its way to the ${towards}: ${how}`, () =>
        Effect.gen(function*() {
          const length = (yield* unharmed({}))[towards]
          assert.isAbove(length, 300)
          const points = Array.from({ length }, (_, after): Fault => ({ towards, after, how }))
          const found = new Set(yield* Effect.forEach(points, outcomes, { concurrency: 32 }))
          assert.isAtLeast(found.size, 2, [...found].join())
        }), 60_000)
    }
  }
})

describe("a conversation in memory", () => {
  /** What it comes to over a link, and how many bytes it takes. */
  const outcomes = (link: Testing.LinkOptions) =>
    Effect.gen(function*() {
      const { client, server } = yield* Testing.makePair({ link, client: deadlines, server: deadlines })
      const [got, heard]: [Array<string>, Array<string>] = [[], []]
      const ends = yield* Effect.forkChild(
        Effect.all([Effect.exit(speak(client, got)), answer(server, heard)], { concurrency: 2 }),
        { startImmediately: true }
      )
      // Each has its deadline.
      for (let i = 0; i < 10 && ends.pollUnsafe() === undefined; i++) {
        yield* Testing.settle
        yield* TestClock.adjust("100 millis")
      }
      assert.isDefined(ends.pollUnsafe())
      const [here, there] = yield* Fiber.join(ends)
      isPrefix(got, said)
      isPrefix(heard, said)
      isPrefix(got, heard)
      const error = Exit.isFailure(here) ? Cause.squash(here.cause) : undefined
      assert.isTrue(error === undefined || error instanceof ConnectionError.ConnectionClosed, String(error))
      const { bytesIn, bytesOut } = yield* client.stats
      return { here: yield* client.closed, there, toServer: bytesOut, toClient: bytesIn }
    }).pipe(Effect.scoped)

  for (const way of ["toServer", "toClient"] as const) {
    it.effect(`that breaks after each byte, ${way}`, () =>
      Effect.gen(function*() {
        const whole = yield* outcomes({})
        assert.isTrue(whole.here.clean && whole.there.clean)
        for (let resetAfterBytes = 0; resetAfterBytes < whole[way]; resetAfterBytes++) {
          const { here, there } = yield* outcomes({ [way]: { resetAfterBytes } })
          const where = `${resetAfterBytes}: ${here.message}; ${there.message}`
          assert.isFalse(here.clean && there.clean, where)
        }
      }))
  }
})

describe("a process that dies", () => {
  it.live("the server: its clients are told, and each message before was whole and in order", () =>
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

  it.live("a client: the server is told, and its other clients do not notice", () =>
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

  it.live("does not take what it has not read for silence", () =>
    Effect.gen(function*() {
      const held = yield* handingOut
      const server = yield* serve(held.handler, { serve: impatient })
      const program = yield* runProgram(process.execPath, ["--input-type=module", "-e", puppet(server.port, "/")])
      yield* program.printed(/open/)
      const connection = yield* held.connection
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

  it.live("a silent peer is still detected", () =>
    Effect.gen(function*() {
      const held = yield* handingOut
      const server = yield* serve(held.handler, { serve: impatient })
      yield* rawHandshake(server.port)
      const connection = yield* held.connection
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500)
      assert.strictEqual((yield* connection.closed).cause?._tag, "KeepaliveTimeout")
    }))
})

/** A program that opens a connection, and answers pings. */
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
