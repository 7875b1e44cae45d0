/** Peers that read slowly: the keepalive and the slow-consumer policy tell them from dead peers. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber } from "effect"
import { Connection, type ConnectionError, Frame } from "effect-ws"
import { TestClock } from "effect/testing"
import { makeNetwork } from "../fuzz/transport.ts"
import { turn } from "../support/memory.ts"
import { rawHandshake } from "../support/net.ts"
import { among, integer } from "../support/properties.ts"
import { ways } from "../support/serverKinds.ts"

const kibi = 1024
const mebi = 1024 * 1024

/**
 * A peer that reads a number of bytes per second and answers pings, behind kernels
 * that buffer a number of bytes. As Linux does, they take more only when a third of
 * their room is free.
 */
const makeReader = (kernels: number, highWaterMark = 64 * kibi) => {
  const network = makeNetwork(highWaterMark)
  const decoder = Frame.makeDecoder({ role: "client", maxFrameSize: Number.MAX_SAFE_INTEGER })
  const written: Array<Uint8Array> = []
  let unread = 0
  /** Moves bytes from the transport to the kernels, as far as they have room. */
  const take = () => {
    written.push(...network.writes.splice(0))
    const free = kernels - unread
    if (free < kernels / 3) return
    const taken = Math.min(free, network.buffered())
    unread += taken
    network.drain(taken)
  }
  /** The peer reads at most `count` bytes. */
  const read = (count: number) => {
    take()
    for (let left = Math.floor(count); left > 0 && unread > 0; take()) {
      const chunk = written[0].subarray(0, Math.min(left, unread))
      if (chunk.length === written[0].length) written.shift()
      else written[0] = written[0].subarray(chunk.length)
      left -= chunk.length
      unread -= chunk.length
      for (const { opcode, payload } of decoder.decode(chunk).frames) {
        if (opcode === Frame.Opcode.Ping) network.deliver(Frame.encode(Frame.pong(payload), 7))
      }
    }
  }
  return { network, take, read, idle: () => unread === 0 && network.buffered() === 0 }
}

describe("the keepalive", () => {
  it.effect.prop(
    "keeps peers that read at any steady speed, and detects dead peers within the documented time",
    {
      speed: among(8 * kibi, 10_000, 100_000, mebi, 10 * mebi),
      kernels: among(16 * kibi, 64 * kibi, mebi, 10 * mebi),
      messages: integer(1, 20),
      timeouts: integer(0, 50),
      timeout: among(200, 2000, 20_000),
      last: among(0, 1000, mebi)
    },
    ({ kernels, last, messages, speed, timeout, timeouts }) =>
      Effect.gen(function*() {
        const { idle, network, read, take } = makeReader(kernels)
        const connection = yield* Connection.make(network.transport, {
          role: "server",
          keepalive: { interval: timeout / 2, timeout },
          writeTimeout: Duration.infinity,
          closeTimeout: 0
        })
        const size = Math.ceil(Math.min(10 * mebi, speed * timeout / 1000 * timeouts) / messages)
        yield* Effect.forkScoped(connection.sendAll(Array.from({ length: messages }, () => new Uint8Array(size))))
        const step = timeout / 4
        for (let after = 0; after < 8; after += after > 0 || idle() ? 1 : 0) {
          read(speed * step / 1000)
          yield* TestClock.adjust(step)
          yield* turn
          assert.isFalse(network.gone())
        }
        // The peer is dead, and its kernel still takes bytes until it is full.
        yield* Effect.forkScoped(Effect.exit(connection.send(new Uint8Array(last))))
        yield* turn
        take()
        yield* TestClock.adjust(timeout / 2 + 1.25 * (timeout + (last + 200) * 1000 / (8 * kibi)) + step)
        yield* turn
        assert.strictEqual((yield* connection.closed).cause?._tag, "KeepaliveTimeout")
      }).pipe(Effect.scoped),
    { arbitrary: { runs: 60 }, timeout: 60_000 }
  )

  for (const [way, serveBy] of Object.entries(ways)) {
    it.live(`does not time out a client whose pings wait behind data in kernel buffers: ${way}`, () =>
      Effect.gen(function*() {
        const size = 3 * mebi
        const ended = yield* Deferred.make<ConnectionError.ConnectionClosed>()
        const handler = Effect.gen(function*() {
          const connection = yield* Connection.Connection
          yield* connection.send(new Uint8Array(size))
          yield* Deferred.succeed(ended, yield* connection.discard)
        })
        const port = yield* serveBy(handler, { keepalive: { interval: 50, timeout: 100 } })
        const { socket, ...peer } = yield* rawHandshake(port)
        socket.on("data", () => {
          socket.pause()
          setTimeout(() => socket.resume(), 10)
        })
        yield* Effect.raceFirst(peer.until(({ length }) => length > size), Deferred.await(ended))
        peer.send(Frame.close(1000))
        assert.isTrue((yield* Deferred.await(ended)).clean)
      }))
  }
})

describe("a slow consumer", () => {
  const serveBy = ways["a server"]
  const all = (text: string, count: number) => Array.from({ length: count }, () => text)

  const bursts: ReadonlyArray<
    readonly [
      title: string,
      size: number,
      (connection: Connection.Connection) => Effect.Effect<unknown, unknown>
    ]
  > = [
    ["many sends in one turn", 100_000, ({ send }) => Effect.forEach(all("x".repeat(1000), 100), (text) => send(text))],
    ["a large message and a small one", 800_001, ({ send }) => Effect.andThen(send("x".repeat(800_000)), send("x"))],
    [
      "many messages and a broadcast of one",
      100_001,
      (connection) =>
        Effect.andThen(
          connection.sendAll(all("x".repeat(2000), 50)),
          Connection.broadcast([connection], "x", { slowConsumer: "close" })
        )
    ],
    [
      "a large message and broadcasts, in one turn",
      3_000_000 + 100 * 20_001,
      (connection) =>
        Effect.andThen(
          connection.send("x".repeat(3_000_000)),
          Effect.forEach(all("x".repeat(20_001), 100), (text) =>
            Connection.broadcast([connection], text, { slowConsumer: "close" }))
        )
    ]
  ]

  for (const [title, size, send] of bursts) {
    it.live(`does not include a peer that reads continuously: ${title}`, () =>
      Effect.gen(function*() {
        const ended = yield* Deferred.make<ConnectionError.ConnectionClosed>()
        const handler = Effect.gen(function*() {
          const connection = yield* Connection.Connection
          yield* connection.send("ready")
          yield* Effect.ignore(send(connection))
          yield* Effect.ignore(connection.send("the end"))
          yield* Deferred.succeed(ended, yield* connection.discard)
        })
        const port = yield* serveBy(handler, { slowConsumer: "close" })
        const peer = yield* rawHandshake(port)
        const end = peer.until((received) => received.subarray(-7).toString() === "the end")
        yield* Effect.raceFirst(end, Deferred.await(ended))
        peer.send(Frame.close(1000))
        assert.isTrue((yield* Deferred.await(ended)).clean)
        const received = peer.frames().filter(({ opcode }) => opcode === Frame.Opcode.Text).slice(1, -1)
        assert.strictEqual(received.reduce((sum, { payload }) => sum + payload.length, 0), size)
      }))
  }

  for (const slowConsumer of ["skip", "close"] as const) {
    it.live(`buffers at most maxBufferedAmount of its broadcasts: ${slowConsumer}`, () =>
      Effect.gen(function*() {
        const opened = yield* Deferred.make<Connection.Connection>()
        const handler = Effect.gen(function*() {
          const connection = yield* Connection.Connection
          yield* Deferred.succeed(opened, connection)
          yield* connection.discard
        })
        const peer = yield* rawHandshake(yield* serveBy(handler))
        peer.socket.pause()
        const connection = yield* Deferred.await(opened)
        const message = new Uint8Array(256 * kibi)
        const broadcastOne = Effect.gen(function*() {
          yield* Connection.broadcast([connection], message, { slowConsumer })
          yield* turn
          const { bufferedAmount, messagesSkipped } = yield* connection.stats
          // The limit counts the bytes of broadcasts. Bytes queued before, and the message that reaches the limit, come on top.
          assert.isAtMost(bufferedAmount, mebi + 3 * message.length)
          return messagesSkipped
        })
        if (slowConsumer === "skip") yield* Effect.repeat(broadcastOne, { until: (skipped) => skipped > 10 })
        else {
          const ended = yield* Effect.forkChild(connection.closed, { startImmediately: true })
          yield* Effect.repeat(broadcastOne, { until: () => ended.pollUnsafe() !== undefined })
          assert.strictEqual((yield* Fiber.join(ended)).cause?._tag, "SlowConsumer")
        }
        peer.socket.destroy()
      }))
  }
})
