import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { Connection, ConnectionError, Extension, Frame, Message, PerMessageDeflate, Transport } from "effect-ws"
import { makeNetwork } from "../fuzz/transport.ts"
import { decode } from "../support/deflate.ts"
import { makeRaw, settle, turn } from "../support/memory.ts"

const bytes = (...values: Array<number>) => Uint8Array.from(values)
const textOf = (frame: Frame.Frame) => Buffer.from(frame.payload).toString("utf8")

describe("broadcast", () => {
  const open = (count: number, options?: Partial<Connection.MakeOptions>, transport?: Transport.PairOptions) =>
    Effect.all(Array.from({ length: count }, () => makeRaw({ role: "server", ...options }, transport)))
  const connectionsOf = (all: ReadonlyArray<{ readonly connection: Connection.Connection }>) =>
    all.map(({ connection }) => connection)

  it.effect("sends with sendAll to connections of other implementations", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const sent: Array<unknown> = []
      const wrapped: Connection.Connection = {
        ...connection,
        sendAll: (messages, options) => {
          sent.push(messages)
          return connection.sendAll(messages, options)
        }
      }
      yield* Connection.broadcast([wrapped], "one")
      yield* settle
      assert.deepStrictEqual([sent, peer.received.map(textOf)], [[["one"]], ["one"]])
    }))

  it.effect("sends to all connections, and writes the messages of a turn in one write", () =>
    Effect.gen(function*() {
      const all = yield* open(3)
      yield* Connection.broadcast(connectionsOf(all), "one")
      yield* Connection.broadcast(connectionsOf(all), [bytes(2), Message.text("three")])
      yield* settle
      for (const { connection, peer } of all) {
        assert.deepStrictEqual(peer.received.map((frame) => [frame.opcode, textOf(frame)]), [
          [1, "one"],
          [2, "\u0002"],
          [1, "three"]
        ])
        assert.strictEqual(peer.reads.length, 1)
        const stats = yield* connection.stats
        assert.deepStrictEqual([stats.messagesOut, stats.framesOut, stats.bytesOut], [3, 3, 15])
      }
    }))

  it.effect("keeps the order with messages that are sent to one connection", () =>
    Effect.gen(function*() {
      const all = yield* open(2)
      yield* all[0].connection.send("before")
      yield* Connection.broadcast(connectionsOf(all), "to all")
      yield* all[0].connection.send("after")
      yield* settle
      assert.deepStrictEqual(all[0].peer.received.map(textOf), ["before", "to all", "after"])
      assert.deepStrictEqual(all[1].peer.received.map(textOf), ["to all"])
    }))

  it.effect("keeps the messages of connections apart that are sent others in the same turn", () =>
    Effect.gen(function*() {
      const all = yield* open(3, undefined, { highWaterMark: 100_000 })
      const [first, second, third] = connectionsOf(all)
      const large = "large".repeat(1000)
      yield* Connection.broadcast([first, second], "a")
      yield* Connection.broadcast([first, second, third], "b")
      yield* first.send("to the first")
      yield* second.send(large)
      yield* Connection.broadcast([first, third, second], "c")
      yield* Connection.broadcast([third, second], large)
      yield* Connection.broadcast([first, second, third], "d")
      yield* settle
      assert.deepStrictEqual(all.map(({ peer }) => peer.received.map(textOf)), [
        ["a", "b", "to the first", "c", "d"],
        ["a", "b", large, "c", large, "d"],
        ["b", "c", large, "d"]
      ])
    }))

  it.effect("ignores connections that have ended", () =>
    Effect.gen(function*() {
      const all = yield* open(2)
      all[0].peer.transport.destroy()
      yield* settle
      for (const slowConsumer of ["wait", "skip", "close"] as const) {
        yield* Connection.broadcast(connectionsOf(all), slowConsumer, { slowConsumer })
      }
      yield* settle
      assert.deepStrictEqual(all[1].peer.received.map(textOf), ["wait", "skip", "close"])
    }))

  describe("to many connections that compress on their own", () => {
    const count = 300
    const message = "x".repeat(1000)
    /** A session that does not share what it encodes. */
    const alone = (session: Extension.Session): Extension.Session => ({ ...session, shared: undefined })
    /** Many connections with context takeover, and what each has sent so far, as it would be inflated. */
    const openMany = Effect.gen(function*() {
      const deflate = PerMessageDeflate.make()
      const [{ entry, open: openSession, reservedBits }] = Extension.accept([deflate], Extension.offer([deflate]))
      const negotiated = [{ entry, reservedBits, open: Effect.map(openSession, alone) }]
      const all = yield* open(count, { negotiated }, { highWaterMark: 100_000 })
      const received = Effect.forEach(all, ({ peer }) =>
        Effect.gen(function*() {
          const { open: begin } = Extension.accept([deflate], Extension.offer([deflate]))[0]
          const session = yield* begin
          return yield* Effect.forEach(peer.received, (frame) =>
            Effect.map(frame.reserved === 0 ? Effect.succeed(frame) : decode(session, frame), textOf))
        }))
      return { all, received }
    })
    /** Answers how often the event loop turned meanwhile. */
    const turnsOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.suspend(() => {
        let turns = 0
        let over = false
        const tick = () => {
          turns++
          if (!over) setImmediate(tick)
        }
        setImmediate(tick)
        return Effect.map(effect, () => {
          over = true
          return turns
        })
      })

    it.effect(
      "lets the event loop turn, also for connections of the program's own making",
      () =>
        Effect.gen(function*() {
          const { all, received } = yield* openMany
          const own = connectionsOf(all)
          for (
            const connections of [
              own,
              own.map((connection) => Object.assign({}, connection, { sendAll: connection.sendAll }))
            ]
          ) {
            // 64 KiB of messages a turn, with 2 KiB more for each: 22 of these.
            assert.isAtLeast(yield* turnsOf(Connection.broadcast(connections, message)), count / 30)
            assert.isAtLeast(yield* turnsOf(Connection.broadcast(connections, message.repeat(70))), count - 1)
            assert.strictEqual(yield* turnsOf(Connection.broadcast(connections.slice(0, 20), message)), 0)
          }
          yield* settle
          const expected = [message, message.repeat(70)]
          for (const [i, texts] of (yield* received).entries()) {
            const small = i < 20 ? [message] : []
            assert.deepStrictEqual(texts, [...expected, ...small, ...expected, ...small])
          }
        }),
      60_000
    )

    it.effect("keeps the order with messages of other senders meanwhile", () =>
      Effect.gen(function*() {
        const { all, received } = yield* openMany
        const connections = connectionsOf(all)
        const fork = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })
        const fibers = [
          yield* fork(Connection.broadcast(connections, `1${message}`)),
          yield* fork(Connection.broadcast(connections.toReversed(), `2${message}`, { slowConsumer: "skip" })),
          yield* fork(Connection.broadcast(connections, `3${message}`)),
          yield* fork(Effect.forEach(connections, (connection) => connection.send("4"), { concurrency: "unbounded" }))
        ]
        for (const fiber of fibers) yield* Fiber.join<unknown, ConnectionError.ConnectionClosed>(fiber)
        yield* settle
        for (const texts of yield* received) {
          assert.deepStrictEqual(texts.map((text) => text[0]), ["1", "2", "3", "4"])
        }
      }))

    it.effect("sends all or nothing to each connection, which stays usable, when it is interrupted", () =>
      Effect.gen(function*() {
        const { all, received } = yield* openMany
        const fiber = yield* Effect.forkChild(Connection.broadcast(connectionsOf(all), [message, "end"]), {
          startImmediately: true
        })
        for (let step = 0; step < 3; step++) yield* Effect.yieldNow
        all[count - 1].peer.transport.destroy()
        yield* Fiber.interrupt(fiber)
        yield* Connection.broadcast(connectionsOf(all), "after")
        yield* settle
        const texts = (yield* received).slice(0, -1)
        const got = texts.filter(({ length }) => length === 3).length
        assert.isAbove(got, 0)
        assert.isBelow(got, count - 1)
        for (const [i, each] of texts.entries()) {
          assert.deepStrictEqual(each, i < got ? [message, "end", "after"] : ["after"])
        }
      }))
  })

  it.effect("masks the messages of each client", () =>
    Effect.gen(function*() {
      const all = yield* open(2, { role: "client" })
      yield* Connection.broadcast(connectionsOf(all), "masked")
      yield* settle
      for (const { peer } of all) assert.deepStrictEqual(peer.received.map(textOf), ["masked"])
    }))

  /** Three connections, of which the peer of the second reads nothing, until it is told to. */
  const openWithSlow = Effect.gen(function*() {
    const all = yield* open(3, undefined, { highWaterMark: 100 })
    all[1].peer.transport.pause()
    yield* Connection.broadcast(connectionsOf(all), new Uint8Array(200))
    yield* settle
    return all
  })

  it.effect("waits for slow consumers by default", () =>
    Effect.gen(function*() {
      const all = yield* openWithSlow
      const fiber = yield* Effect.forkChild(Connection.broadcast(connectionsOf(all), "x"), { startImmediately: true })
      yield* settle
      assert.isUndefined(fiber.pollUnsafe())
      assert.deepStrictEqual(all.map(({ peer }) => peer.received.length), [2, 0, 2])
      all[1].peer.transport.resume()
      yield* Fiber.join(fiber)
      yield* settle
      assert.deepStrictEqual(all.map(({ peer }) => peer.received.length), [2, 2, 2])
    }))

  const slowly = { maxBufferedAmount: 10 } as const

  it.effect("skips slow consumers with slowConsumer: \"skip\", and counts the messages", () =>
    Effect.gen(function*() {
      const all = yield* openWithSlow
      for (const text of ["first", "second", "third", "fourth"]) {
        yield* Connection.broadcast(connectionsOf(all), text, { ...slowly, slowConsumer: "skip" })
        yield* settle
      }
      const stats = yield* Effect.forEach(connectionsOf(all), (connection) => connection.stats)
      assert.deepStrictEqual(stats.map(({ messagesSkipped }) => messagesSkipped), [0, 2, 0])
      all[1].peer.transport.resume()
      yield* settle
      assert.deepStrictEqual(all[1].peer.received.slice(1).map(textOf), ["first", "second"])
      yield* Connection.broadcast(connectionsOf(all), "last", { ...slowly, slowConsumer: "skip" })
      yield* settle
      assert.deepStrictEqual(all.map(({ peer }) => peer.received.length), [6, 4, 6])
    }))

  it.effect("closes slow consumers with 1008, with slowConsumer: \"close\"", () =>
    Effect.gen(function*() {
      const all = yield* openWithSlow
      for (const text of ["first", "second", "third"]) {
        yield* Connection.broadcast(connectionsOf(all), text, { ...slowly, slowConsumer: "close" })
        yield* settle
      }
      const ended = yield* all[1].connection.closed
      assert.deepStrictEqual(ended.sent, { code: 1008, reason: "SlowConsumer" })
      assert.deepInclude({ ...ended.cause }, { _tag: "SlowConsumer", bufferedAmount: 204 + 7 + 8 })
      assert.deepStrictEqual([all[0].peer.received.length, all[2].peer.received.length], [4, 4])
    }))

  for (const slowConsumer of ["skip", "close"] as const) {
    const options = { ...slowly, slowConsumer }

    it.effect(`sends all messages of one turn, with slowConsumer: ${slowConsumer}`, () =>
      Effect.gen(function*() {
        const all = yield* open(2, undefined, { highWaterMark: 100 })
        // As many bytes as leave before the end of a turn.
        for (let i = 0; i < 5; i++) yield* Connection.broadcast(connectionsOf(all), "x".repeat(70_000), options)
        yield* settle
        yield* Connection.broadcast(connectionsOf(all), "x", options)
        yield* settle
        assert.deepStrictEqual(all.map(({ peer }) => peer.received.length), [6, 6])
      }))

    it.effect(`does not count bytes that were sent before, with slowConsumer: ${slowConsumer}`, () =>
      Effect.gen(function*() {
        const all = yield* openWithSlow
        for (const text of ["123", "4567"]) {
          yield* Connection.broadcast(connectionsOf(all), text, options)
          yield* settle
        }
        all[1].peer.transport.resume()
        yield* settle
        assert.deepStrictEqual(all.map(({ peer }) => peer.received.length), [3, 3, 3])
      }))

    it.effect(`waits for a message in fragments on one connection, with slowConsumer: ${slowConsumer}`, () =>
      Effect.gen(function*() {
        const all = yield* open(2)
        yield* all[0].connection.sendFrame(Frame.text("a", { fin: false }))
        const sending = yield* Effect.forkChild(Connection.broadcast(connectionsOf(all), "x", options), {
          startImmediately: true
        })
        yield* settle
        assert.isUndefined(sending.pollUnsafe())
        yield* all[0].connection.sendFrame(Frame.continuation("b"))
        yield* Fiber.join(sending)
        yield* settle
        assert.deepStrictEqual(all.map(({ peer }) => peer.received.map(textOf)), [["a", "b", "x"], ["x"]])
      }))
  }

  it.effect("does not skip a peer that reads as much as it is sent, though the transport never drains", () =>
    Effect.gen(function*() {
      const network = makeNetwork(1000)
      const connection = yield* Connection.make(network.transport, {
        role: "server",
        closeTimeout: 0,
        keepalive: false
      })
      yield* connection.send(new Uint8Array(2000))
      yield* settle
      for (let i = 0; i < 50; i++) {
        yield* Connection.broadcast([connection], new Uint8Array(398), {
          slowConsumer: "skip",
          maxBufferedAmount: 3000
        })
        yield* turn
        network.drain(400)
      }
      const { bufferedAmount, messagesOut, messagesSkipped } = yield* connection.stats
      assert.deepStrictEqual({ bufferedAmount, messagesOut, messagesSkipped }, {
        bufferedAmount: 2004 + 50 * 2,
        messagesOut: 51,
        messagesSkipped: 0
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => network.close()))
    }))

  it.effect("overtakes sends that wait, unless it waits for slow consumers itself, masked or not", () =>
    Effect.gen(function*() {
      const all = yield* open(1, { role: "client" }, { highWaterMark: 100 })
      all[0].peer.transport.pause()
      yield* all[0].connection.send(new Uint8Array(200))
      yield* settle
      const waiting = yield* Effect.forkChild(all[0].connection.send("waits"), { startImmediately: true })
      yield* Connection.broadcast(connectionsOf(all), "x", { slowConsumer: "skip" })
      all[0].peer.transport.resume()
      yield* Fiber.join(waiting)
      yield* settle
      assert.deepStrictEqual(all[0].peer.received.slice(1).map(textOf), ["x", "waits"])
    }))

  it.effect("dies with a maxBufferedAmount of NaN", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Connection.broadcast([], "x", { slowConsumer: "skip", maxBufferedAmount: NaN }))
      assert(Exit.hasDies(exit))
    }))
})
