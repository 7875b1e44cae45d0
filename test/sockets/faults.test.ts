/** Networks that fail: both ends end in time, with one outcome, and receive a prefix of the messages that were sent. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Stream } from "effect"
import { Connection, ConnectionError, WebSocketClient } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { TestClock } from "effect/testing"
import { contentOf, type Shape } from "../support/memory.ts"
import { serve } from "../support/net.ts"
import { type Fault, proxy } from "../support/proxy.ts"
import { eventually } from "../support/resources.ts"

const deadlines = {
  closeTimeout: "150 millis",
  writeTimeout: "400 millis",
  keepalive: { interval: "100 millis", timeout: "150 millis" }
} as const

const messages = ["hello", "in fragments", "x".repeat(200)]

/** The deadlines for a fault: only a silent network makes a handshake wait for its own. */
const deadlinesFor = ({ how }: Fault) =>
  how === "silence" ? { handshakeTimeout: "600 millis", ...deadlines } as const : deadlines

/** The client of a conversation: it sends, receives the echoes into `got`, and closes. */
const converseAsClient = (client: Shape, got: Array<string>) =>
  Effect.gen(function*() {
    yield* client.send(messages[0])
    yield* client.sendFragments(Stream.make("in ", "fragments"))
    yield* client.ping("?")
    yield* client.send(messages[2])
    for (const _ of messages) got.push(String(contentOf(yield* client.receive)))
    return yield* client.close(1000, "done")
  })

/** The server of a conversation: it echoes, and records what it received in `heard`. */
const converseAsServer = (connection: Shape, heard: Array<string>) =>
  Stream.runForEach(connection.messages, (message) => {
    heard.push(String(contentOf(message)))
    return connection.send(message)
  }).pipe(Effect.exit, Effect.andThen(connection.closed))

const converse = (port: number, got: Array<string>, options?: WebSocketClient.ConnectOptions) =>
  Effect.scoped(
    Effect.flatMap(
      WebSocketClient.connect(`ws://127.0.0.1:${port}/`, options),
      (client) => converseAsClient(client, got)
    )
  )

/** A server that records what it received, and how its connections ended. */
const listen = Effect.fnUntraced(function*(options?: ReturnType<typeof deadlinesFor>) {
  const heard: Array<string> = []
  const ends: Array<ConnectionError.ConnectionClosed> = []
  let running = 0
  const server = yield* serve(
    Effect.gen(function*() {
      const connection = yield* Connection.Connection
      running++
      yield* converseAsServer(connection, heard).pipe(
        Effect.map((end) => void ends.push(end)),
        Effect.ensuring(Effect.sync(() => running--))
      )
    }),
    { ...options, serve: { ...options } }
  )
  const allEnded = Effect.gen(function*() {
    yield* eventually(() => running === 0)
    while ((yield* server.connections).length > 0) yield* Effect.sleep(2)
  })
  return { ...server, heard, ends, allEnded }
})

const isPrefix = (some: ReadonlyArray<string>, all: ReadonlyArray<string>) =>
  assert.deepStrictEqual(some, all.slice(0, some.length))

describe("a conversation over sockets", () => {
  const unharmed = (how: Parameters<typeof proxy>[1]) =>
    Effect.gen(function*() {
      const server = yield* listen()
      const { passed, port } = yield* proxy(server.port, how)
      const got: Array<string> = []
      const end = yield* converse(port, got)
      yield* server.allEnded
      assert.isTrue(end.clean, end.message)
      assert.deepStrictEqual([got, server.heard], [messages, messages])
      assert.deepStrictEqual(server.ends.map(({ clean, reason }) => [clean, reason]), [[true, "done"]])
      return passed
    }).pipe(Effect.scoped)

  it.live("ends the same way whole, byte by byte, or delayed", () =>
    Effect.gen(function*() {
      yield* unharmed({})
      yield* unharmed({ tear: true })
      yield* unharmed({ delay: 10 })
    }))

  it.live("reaches the server twice, whole, behind a proxy that repeats it", () =>
    Effect.gen(function*() {
      const server = yield* listen()
      const { port } = yield* proxy(server.port, { double: true })
      const got: Array<string> = []
      assert.isTrue((yield* converse(port, got)).clean)
      yield* eventually(() => server.ends.length === 2)
      yield* server.allEnded
      assert.deepStrictEqual(got, messages)
      assert.deepStrictEqual(server.heard.toSorted(), [...messages, ...messages].toSorted())
      assert.deepStrictEqual(server.ends.map(({ clean, reason }) => [clean, reason]), [[true, "done"], [true, "done"]])
    }))

  const outcomes = (fault: Fault) =>
    Effect.gen(function*() {
      const where = JSON.stringify(fault)
      const server = yield* listen(deadlinesFor(fault))
      const { port } = yield* proxy(server.port, { fault })
      const got: Array<string> = []
      const exit = yield* Effect.exit(converse(port, got, deadlinesFor(fault)).pipe(Effect.timeout("3 seconds")))
      yield* server.allEnded.pipe(Effect.timeout("3 seconds"))
      isPrefix(got, messages)
      isPrefix(server.heard, messages)
      isPrefix(got, server.heard)
      assert.isAtMost(server.ends.length, 1, where)
      if (Exit.isSuccess(exit)) return `client ${exit.value.cause?._tag ?? exit.value.code}`
      const [reason] = exit.cause.reasons
      assert.isTrue(exit.cause.reasons.length === 1 && reason._tag === "Fail", `${where}: ${String(exit.cause)}`)
      const error = reason._tag === "Fail" ? reason.error : undefined
      assert.isFalse(error === undefined || error._tag === "TimeoutError", where)
      return error instanceof ConnectionError.ConnectionClosed ? `client ${error.cause?._tag ?? error.code}` : "connect"
    }).pipe(Effect.scoped)

  const faults = ["end", "reset", "silence"] as const

  // Each byte is cut in one of three ways; the in-memory links below are cut at each byte.
  for (const [offset, how] of faults.entries()) {
    for (const towards of ["server", "client"] as const) {
      it.live(
        `has a single outcome, in time, when the bytes to the ${towards} stop at any third byte: ${how}`,
        () =>
          Effect.gen(function*() {
            const length = (yield* unharmed({}))[towards]
            assert.isAbove(length, 300)
            const points = Array.from({ length }, (_, after): Fault => ({ towards, after, how }))
              .filter(({ after }) => after % faults.length === offset)
            const found = new Set(yield* Effect.forEach(points, outcomes, { concurrency: 32 }))
            assert.isAtLeast(found.size, 2, [...found].join())
          }),
        60_000
      )
    }
  }
})

describe("a conversation in memory", () => {
  /** Returns how both ends of a conversation over a link ended, and how many bytes it took. */
  const outcomes = (link: Testing.LinkOptions) =>
    Effect.gen(function*() {
      const { client, server } = yield* Testing.makePair({ link, client: deadlines, server: deadlines })
      const [got, heard]: [Array<string>, Array<string>] = [[], []]
      const ends = yield* Effect.forkChild(
        Effect.all([Effect.exit(converseAsClient(client, got)), converseAsServer(server, heard)], { concurrency: 2 }),
        { startImmediately: true }
      )
      // The deadlines of both ends pass.
      for (let i = 0; i < 10 && ends.pollUnsafe() === undefined; i++) {
        yield* Testing.settle
        yield* TestClock.adjust("100 millis")
      }
      assert.isDefined(ends.pollUnsafe())
      const [here, there] = yield* Fiber.join(ends)
      isPrefix(got, messages)
      isPrefix(heard, messages)
      isPrefix(got, heard)
      const error = Exit.isFailure(here) ? Cause.squash(here.cause) : undefined
      assert.isTrue(error === undefined || error instanceof ConnectionError.ConnectionClosed, String(error))
      const { bytesIn, bytesOut } = yield* client.stats
      return { here: yield* client.closed, there, toServer: bytesOut, toClient: bytesIn }
    }).pipe(Effect.scoped)

  for (const direction of ["toServer", "toClient"] as const) {
    it.effect(`ends at both ends when the link breaks after any byte: ${direction}`, () =>
      Effect.gen(function*() {
        const whole = yield* outcomes({})
        assert.isTrue(whole.here.clean && whole.there.clean)
        for (let resetAfterBytes = 0; resetAfterBytes < whole[direction]; resetAfterBytes++) {
          const { here, there } = yield* outcomes({ [direction]: { resetAfterBytes } })
          const where = `${resetAfterBytes}: ${here.message}; ${there.message}`
          assert.isFalse(here.clean && there.clean, where)
        }
      }))
  }
})
