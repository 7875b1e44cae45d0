import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option } from "effect"
import { Connection, Frame } from "effect-ws"
import { TestClock } from "effect/testing"
import { makeNetwork } from "../fuzz/transport.ts"
import { makeRaw, settle } from "../support/memory.ts"

const bytes = (...values: Array<number>) => Uint8Array.from(values)

describe("a peer that does not read", () => {
  const stalled = (options: Partial<Connection.MakeOptions>) =>
    Effect.gen(function*() {
      const network = makeNetwork(1000)
      const connection = yield* Connection.make(network.transport, {
        role: "server",
        keepalive: false,
        closeTimeout: 0,
        ...options
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => network.close()))
      yield* connection.send(new Uint8Array(5000))
      yield* settle
      return { connection, network }
    })

  it.effect("ends with WriteTimeout after writeTimeout", () =>
    Effect.gen(function*() {
      const { connection, network } = yield* stalled({ writeTimeout: "8 seconds" })
      const waiting = yield* Effect.forkChild(connection.send("later"), { startImmediately: true })
      yield* TestClock.adjust("7 seconds")
      yield* settle
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* settle
      const ended = yield* Effect.flip(Fiber.join(waiting))
      assert.deepInclude(ended.cause, { _tag: "WriteTimeout", bufferedAmount: 5004 })
      assert.isTrue(network.gone())
    }))

  it.effect("ends with WriteTimeout 30 seconds after the last byte that it accepted, by default", () =>
    Effect.gen(function*() {
      const { connection, network } = yield* stalled({})
      yield* TestClock.adjust("29 seconds")
      yield* settle
      network.drain(1)
      yield* TestClock.adjust("30 seconds")
      yield* settle
      assert.isFalse(network.gone())
      yield* TestClock.adjust("8 seconds")
      yield* settle
      assert.strictEqual((yield* connection.closed).cause?._tag, "WriteTimeout")
    }))

  it.effect("does not time out once it has read everything, and is watched again when it stops again", () =>
    Effect.gen(function*() {
      const { connection, network } = yield* stalled({ writeTimeout: "4 seconds" })
      network.drain(Number.POSITIVE_INFINITY)
      yield* TestClock.adjust("1 hour")
      yield* settle
      yield* connection.send(new Uint8Array(5000))
      yield* settle
      yield* TestClock.adjust("4 seconds")
      yield* settle
      assert.strictEqual((yield* connection.closed).cause?._tag, "WriteTimeout")
    }))

  it.effect("can be given up with Effect.timeout, and the interrupted send has sent nothing", () =>
    Effect.gen(function*() {
      const { connection, network } = yield* stalled({})
      const sending = yield* Effect.forkChild(Effect.timeoutOption(connection.send("late"), "1 second"))
      yield* settle
      yield* TestClock.adjust("1 second")
      assert.isTrue(Option.isNone(yield* Fiber.join(sending)))
      network.drain(Number.POSITIVE_INFINITY)
      yield* connection.send("next")
      yield* settle
      assert.deepStrictEqual(network.writes.at(-1), Buffer.from(Frame.encode(Frame.text("next"))))
      assert.strictEqual((yield* connection.stats).messagesOut, 2)
    }))

  it.effect("ends with 1008 and SlowConsumer when a send has waited for slowConsumerTimeout, with slowConsumer: \"close\"", () =>
    Effect.gen(function*() {
      const { connection, network } = yield* stalled({ slowConsumer: "close", slowConsumerTimeout: "4 seconds" })
      // Nothing waits for room.
      yield* TestClock.adjust("10 seconds")
      yield* settle
      const sending = yield* Effect.forkChild(connection.send("more"), { startImmediately: true })
      for (let i = 0; i < 3; i++) {
        yield* TestClock.adjust("1 second")
        yield* settle
        // Bytes leave, and there is no room yet.
        network.drain(1)
      }
      assert.isUndefined(sending.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* settle
      const ended = yield* Effect.flip(Fiber.join(sending))
      assert.deepInclude(ended.cause, { _tag: "SlowConsumer", bufferedAmount: 5001 })
      assert.deepStrictEqual(ended.sent, { code: 1008, reason: "SlowConsumer" })
    }))

  it.effect("does not count as a slow consumer once the transport has drained, until it stops again", () =>
    Effect.gen(function*() {
      const { connection, network } = yield* stalled({ slowConsumer: "close", slowConsumerTimeout: "4 seconds" })
      for (let i = 0; i < 5; i++) {
        const sending = yield* Effect.forkChild(connection.send(new Uint8Array(5000)), { startImmediately: true })
        yield* TestClock.adjust("3 seconds")
        yield* settle
        network.drain(Number.POSITIVE_INFINITY)
        yield* Fiber.join(sending)
        yield* settle
      }
      const late = yield* Effect.forkChild(Effect.flip(connection.send("late")), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      yield* settle
      assert.strictEqual((yield* Fiber.join(late)).cause?._tag, "SlowConsumer")
    }))

  it.effect("ends with SlowConsumer after 10 seconds by default, with slowConsumer: \"close\"", () =>
    Effect.gen(function*() {
      const { connection } = yield* stalled({ slowConsumer: "close" })
      const sending = yield* Effect.forkChild(Effect.flip(connection.send("more")), { startImmediately: true })
      yield* TestClock.adjust("9999 millis")
      yield* settle
      assert.isUndefined(sending.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* settle
      assert.strictEqual((yield* Fiber.join(sending)).cause?._tag, "SlowConsumer")
    }))
})

describe("idleTimeout", () => {
  const idle = { role: "server", idleTimeout: "40 seconds" } as const
  type Raw = Effect.Success<ReturnType<typeof makeRaw>>

  /** Does something each 5 seconds, and returns after how many seconds the connection was closed, if it was. */
  const closedAfter = (made: Raw, each: (made: Raw, seconds: number) => Effect.Effect<unknown, unknown>) =>
    Effect.gen(function*() {
      const closed = yield* Effect.forkChild(made.connection.closed, { startImmediately: true })
      for (let seconds = 0; seconds < 200; seconds += 5) {
        yield* each(made, seconds)
        yield* settle
        yield* TestClock.adjust("5 seconds")
        yield* settle
        if (closed.pollUnsafe() === undefined) continue
        const { cause, sent } = yield* Fiber.join(closed)
        assert.strictEqual(cause?._tag, "IdleTimeout")
        assert.deepStrictEqual(sent, { code: 1001, reason: "IdleTimeout" })
        return seconds + 5
      }
      return undefined
    })

  const uses: ReadonlyArray<readonly [string, (made: Raw) => Effect.Effect<unknown, unknown>]> = [
    ["messages that are sent", ({ connection }) => connection.send("in use")],
    ["messages that are received", ({ peer }) => Effect.sync(() => peer.send(Frame.text("in use")))],
    [
      "parts of a message",
      ({ peer }) => Effect.sync(() => peer.send(Frame.binary(bytes(1), { fin: false }), Frame.continuation(bytes(2))))
    ],
    ["broadcasts", ({ connection }) => Connection.broadcast([connection], "in use")]
  ]
  for (const [title, use] of uses) {
    it.effect(`does not close a connection in use: ${title}`, () =>
      Effect.gen(function*() {
        const made = yield* makeRaw(idle)
        // Each 20 seconds, in 200.
        assert.isUndefined(yield* closedAfter(made, (_, seconds) => seconds % 20 === 0 ? use(made) : Effect.void))
        // The last use was 20 seconds ago.
        const seconds = yield* closedAfter(made, () => Effect.void)
        assert.isTrue(seconds === 20 || seconds === 30, `after ${seconds} s`)
      }))
  }

  it.effect("does not close a connection on which one frame arrives byte by byte", () =>
    Effect.gen(function*() {
      const made = yield* makeRaw(idle)
      const frame = Frame.encode(Frame.binary(new Uint8Array(100)), 7)
      const byByte = closedAfter(made, ({ peer }, seconds) =>
        Effect.sync(() => peer.sendBytes(frame.slice(seconds / 5, seconds / 5 + 1))))
      assert.isUndefined(yield* byByte)
    }))

  const controls: ReadonlyArray<
    readonly [string, Partial<Connection.MakeOptions>, (made: Raw) => Effect.Effect<unknown, unknown>]
  > = [
    ["nothing", {}, () => Effect.void],
    ["pings of the peer, and their pongs", {}, ({ peer }) => Effect.sync(() => peer.send(Frame.ping(bytes(63))))],
    ["unsolicited pongs", {}, ({ peer }) => Effect.sync(() => peer.send(Frame.pong(bytes(1, 2, 3))))],
    ["pings of the program", {}, ({ connection }) => Effect.forkChild(Effect.exit(connection.ping()))],
    [
      "the keepalive, and its pongs",
      { keepalive: { interval: "5 seconds", timeout: "1 hour" } },
      ({ peer }) =>
        Effect.sync(() =>
          peer.send(...peer.received.filter(({ opcode }) => opcode === 9).map(({ payload }) => Frame.pong(payload)))
        )
    ]
  ]
  for (const [title, options, use] of controls) {
    it.effect(`closes a connection without messages: ${title}`, () =>
      Effect.gen(function*() {
        const made = yield* makeRaw({ ...idle, ...options })
        const seconds = yield* closedAfter(made, use)
        assert.isTrue(seconds === 40 || seconds === 50, `after ${seconds} s`)
      }))
  }
})
