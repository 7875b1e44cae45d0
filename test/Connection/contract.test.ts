import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Result, Schema, Scope, Stream } from "effect"
import { Connection, Frame, Message, MessageConnection, Socket, TypedConnection } from "effect-ws"
import { ConnectionClosed, InvalidMessage, KeepaliveTimeout, SlowConsumer } from "effect-ws/ConnectionError"
import type * as EffectSocket from "effect/socket/Socket"
import { beforeAll, vi } from "vitest"
import { broadcastTarget, stopReceiving } from "../../src/internal/connection/hooks.ts"
import { contentOf, makeRaw, settle } from "../support/memory.ts"

type Connection = Connection.Connection

let otherCopy: typeof Connection

beforeAll(async () => {
  vi.resetModules()
  otherCopy = await import("effect-ws/Connection")
})

const memberNames = Object.keys(Connection.decorate({} as Connection, {}))

/** A connection with the members of the interface and no others. */
const plain = (connection: Connection): Connection =>
  Object.fromEntries(memberNames.map((name) => [name, connection[name as keyof Connection]])) as unknown as Connection

/** What a program can have in place of a connection that this package has made. */
const implementations: Record<string, (connection: Connection) => Connection> = {
  "made by make": (connection) => connection,
  "decorated": (connection) => Connection.decorate(connection, {}),
  "decorated twice": (connection) =>
    Connection.decorate(Connection.decorate(connection, {}), { receive: connection.receive }),
  "spread from a decorated one": (connection) => ({ ...Connection.decorate(connection, {}), send: connection.send }),
  "derived by Object.create": (connection) => Object.create(connection) as Connection,
  "of another implementation": plain,
  "of another copy of the package": (connection) => connection,
  "decorated by another copy of the package": (connection) => otherCopy.decorate(connection, {})
}

const Numbered = Schema.Struct({ n: Schema.Int })
const numbered = (n: number) => Frame.text(JSON.stringify({ n }))
const both = { receives: Numbered, sends: Numbered }

const isText = (message: Message.Message): Result.Result<string, InvalidMessage> =>
  message._tag === "Text"
    ? Result.succeed(message.text)
    : Result.fail(new InvalidMessage({ reason: "Type", problem: "Expected text", received: message, cause: undefined }))

for (const [name, implement] of Object.entries(implementations)) {
  describe(`a connection ${name}`, () => {
    const make = (options?: Connection.Options) =>
      Effect.suspend(() =>
        makeRaw(
          { ...options, role: "server" },
          undefined,
          name === "of another copy of the package" ? otherCopy.make : Connection.make
        )
      ).pipe(Effect.map(({ connection, peer }) => ({ connection: implement(connection), peer })))

    it.effect("passes isConnection and isMessageConnection", () =>
      Effect.gen(function*() {
        const { connection } = yield* make()
        assert.isTrue(Connection.isConnection(connection))
        assert.isTrue(MessageConnection.isMessageConnection(connection))
      }))

    it.effect("reports the bufferedAmount of its stats", () =>
      Effect.gen(function*() {
        const { connection } = yield* make()
        yield* connection.send("hello")
        const { bufferedAmount } = yield* connection.stats
        assert.strictEqual(yield* connection.bufferedAmount, bufferedAmount)
        assert.isAbove(bufferedAmount, 0)
      }))

    it.effect("reports in its activity what has arrived, and that a full receive queue pauses the transport", () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* make({ inboundHighWaterMark: 1000 })
        assert.deepStrictEqual(yield* connection.activity, { received: 0, isPaused: false })
        peer.send(numbered(1))
        yield* settle
        const { bytesIn } = yield* connection.stats
        assert.deepStrictEqual(yield* connection.activity, { received: bytesIn, isPaused: false })
        assert.isAbove(bytesIn, 0)
        peer.send(Frame.text("x".repeat(1000)))
        yield* settle
        assert.isTrue((yield* connection.activity).isPaused)
      }))

    it.effect("carries typed values", () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* make()
        const typed = TypedConnection.make(connection, both)
        peer.send(numbered(1), numbered(2), numbered(3))
        yield* settle
        assert.deepStrictEqual(yield* typed.receive, { n: 1 })
        assert.deepStrictEqual(yield* typed.messages.pipe(Stream.take(2), Stream.runCollect), [{ n: 2 }, { n: 3 }])
        yield* typed.send({ n: 4 })
        yield* settle
        assert.deepStrictEqual(peer.received.map(({ payload }) => Buffer.from(payload).toString()), [`{"n":4}`])
      }))

    it.effect("closes on an invalid value, which is the cause", () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* make()
        peer.send(Frame.binary(Uint8Array.of(1)), numbered(1))
        yield* settle
        const error = yield* Effect.flip(TypedConnection.make(connection, both).receive)
        assert.instanceOf(error.cause, InvalidMessage)
        assert.strictEqual(yield* connection.closed, error)
        yield* settle
        assert.deepInclude(Frame.readClose(peer.received.at(-1)!.payload), { code: 1003 })
      }))

    it.effect("gives an invalid value to its reader, and stays open, with onInvalid: \"fail\"", () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* make()
        const typed = TypedConnection.make(connection, { ...both, onInvalid: "fail" })
        peer.send(Frame.text("{"), numbered(1), Frame.text("{"), numbered(2))
        yield* settle
        assert.instanceOf(yield* Effect.flip(typed.receive), InvalidMessage)
        const got: Array<number> = []
        const run = Stream.runForEach(typed.messages, ({ n }) => Effect.sync(() => void got.push(n)))
        assert.instanceOf(yield* Effect.flip(run), InvalidMessage)
        assert.deepStrictEqual(got, [1])
        assert.deepStrictEqual(yield* typed.receive, { n: 2 })
      }))

    for (const side of ["left", "right"] as const) {
      for (const autoClose of [true, false]) {
        it.effect(`is relayed as the ${side} one, with autoClose: ${autoClose}`, () =>
          Effect.gen(function*() {
            const one = yield* make({ autoClose, autoPong: false })
            const two = yield* makeRaw({ role: "client" })
            const [left, right] = side === "left"
              ? [one.connection, two.connection]
              : [two.connection, one.connection]
            const relay = yield* Effect.forkChild(Connection.relay(left, right), { startImmediately: true })
            const sent = [
              Frame.text("one"),
              Frame.binary(Uint8Array.of(1), { fin: false }),
              Frame.continuation(Uint8Array.of(2)),
              Frame.text("")
            ]
            one.peer.send(...sent, Frame.ping(Uint8Array.of(7)))
            two.peer.send(...sent)
            yield* settle
            assert.deepStrictEqual(two.peer.received, sent)
            const [pongs, relayed] = [true, false].map((control) =>
              one.peer.received.filter((frame) => Frame.isControl(frame) === control)
            )
            assert.deepStrictEqual(relayed, sent)
            assert.deepStrictEqual(pongs, [Frame.pong(Uint8Array.of(7))])
            one.peer.send(Frame.close(4000, "done"))
            yield* settle
            assert.deepStrictEqual(two.peer.received.at(-1), Frame.close(4000, "done"))
            two.peer.send(Frame.close(4000))
            yield* settle
            assert.deepStrictEqual(one.peer.received.at(-1), Frame.close(4000))
            for (const { peer } of [one, two]) peer.transport.end()
            const ended = yield* Fiber.join(relay)
            assert.strictEqual(ended.endedBy, side)
            assert.deepStrictEqual([ended.left.clean, ended.right.clean], [true, true])
          }))
      }

      it.effect(`is lost as the ${side} one of a relay, within a message, and so the other one is`, () =>
        Effect.gen(function*() {
          const one = yield* make()
          const two = yield* makeRaw({ role: "client" })
          const [left, right] = side === "left" ? [one.connection, two.connection] : [two.connection, one.connection]
          const relay = yield* Effect.forkChild(Connection.relay(left, right), { startImmediately: true })
          two.peer.send(Frame.text("a", { fin: false }))
          one.peer.send(Frame.text("a", { fin: false }))
          yield* settle
          one.peer.transport.destroy()
          yield* settle
          two.peer.transport.end()
          const ended = yield* Fiber.join(relay)
          const other = side === "left" ? ended.right : ended.left
          assert.deepStrictEqual([ended.endedBy, ended[side].code, other.cause?._tag], [side, 1006, "Terminated"])
          assert.deepStrictEqual(two.peer.received, [Frame.text("a", { fin: false })])
        }))
    }

    it.effect("receives broadcasts", () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* make()
        for (const slowConsumer of ["wait", "skip", "close"] as const) {
          yield* Connection.broadcast([connection], ["a", Uint8Array.of(1)], { slowConsumer })
        }
        yield* settle
        const texts = peer.received.map(({ opcode, payload }) => `${opcode}:${payload.length}`)
        assert.deepStrictEqual(texts, ["1:1", "2:1", "1:1", "2:1", "1:1", "2:1"])
      }))

    it.effect("a broadcast skips it while its peer is a slow consumer", () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* make()
        peer.transport.pause()
        yield* connection.send("x".repeat(100_000))
        yield* settle
        const options = { slowConsumer: "skip", maxBufferedAmount: 0 } as const
        yield* Connection.broadcast([connection], "skipped", options)
        yield* settle
        yield* Connection.broadcast([connection], "skipped", options)
        yield* settle
        peer.transport.resume()
        yield* settle
        yield* Connection.broadcast([connection], "sent", options)
        yield* settle
        assert.strictEqual(Buffer.from(peer.received.at(-1)!.payload).toString(), "sent")
        assert.isAtMost(peer.received.length, 3)
      }))

    it.effect("a broadcast closes it with the cause SlowConsumer", () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* make()
        peer.transport.pause()
        yield* connection.send("x".repeat(100_000))
        const broadcast = Effect.andThen(
          Connection.broadcast([connection], "b", { slowConsumer: "close", maxBufferedAmount: 0 }),
          settle
        )
        yield* Effect.repeat(broadcast, { times: 2 })
        assert.strictEqual((yield* connection.closed).cause?._tag, "SlowConsumer")
      }))

    it.effect("ends its Socket with the code of the close frame, for reading and writing", () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* make()
        const socket = Socket.fromConnection(connection)
        const { pull } = yield* socket.reader
        const { write } = yield* socket.writer
        peer.send(Frame.close(4000, "enough"))
        for (const ended of [pull, write("late")]) {
          const { reason } = yield* Effect.flip<unknown, EffectSocket.SocketError, never>(ended)
          assert.deepInclude(reason, { _tag: "SocketCloseError", code: 4000, closeReason: "enough" })
        }
      }))

    it.effect("fails a waiting pull of its Socket when the reader is released", () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* make()
        const scope = yield* Scope.make()
        const { pull } = yield* Scope.provide(Socket.fromConnection(connection).reader, scope)
        peer.send(Frame.text("a"))
        assert.deepStrictEqual(yield* pull, ["a"])
        const pulling = yield* Effect.forkChild(Effect.flip(pull), { startImmediately: true })
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* Fiber.join(pulling)).reason._tag, "SocketCloseError")
      }))
  })
}

describe("decorate", () => {
  it("each member that is not overridden is that of the connection", () => {
    const connection = Object.fromEntries(memberNames.map((name) => [name, { name }])) as unknown as Connection
    const decorated = Connection.decorate(connection, {})
    for (const name of memberNames) {
      assert.strictEqual(decorated[name as keyof Connection], connection[name as keyof Connection], name)
    }
  })

  it.effect("a broadcast and a typed view use overridden members", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const sent: Array<unknown> = []
      const overrides: Partial<Connection> = {
        send: (message, options) => Effect.suspend(() => (sent.push(message), connection.send(message, options))),
        sendAll: (messages, options) =>
          Effect.suspend(() => (sent.push(messages), connection.sendAll(messages, options)))
      }
      const derived = Object.create(connection, Object.getOwnPropertyDescriptors(overrides)) as Connection
      for (const decorated of [Connection.decorate(connection, overrides), derived]) {
        sent.length = 0
        yield* Connection.broadcast([decorated], "broadcast")
        yield* TypedConnection.make(decorated, both).send({ n: 1 })
        yield* TypedConnection.make(decorated, both).sendAll([{ n: 2 }])
        assert.deepStrictEqual(sent, [["broadcast"], `{"n":1}`, [`{"n":2}`]])
      }
      yield* settle
      assert.strictEqual(peer.received.length, 6)
    }))

  it.effect("a connection with its own sending has no shared encoding, others have", () =>
    Effect.gen(function*() {
      const { connection } = yield* makeRaw({ role: "server" })
      const { receive, send, sendAll } = connection
      const hook = (overrides: Partial<Connection>) =>
        Reflect.get(Connection.decorate(connection, overrides), broadcastTarget)
      assert.strictEqual(hook({ receive }), connection)
      assert.isUndefined(hook({ send }))
      assert.isUndefined(hook({ sendAll }))
      assert.isFunction(Reflect.get(Connection.decorate(connection, { send }), stopReceiving))
    }))

  it.effect("members are read when they are used, from the connection or a getter", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      let reads = 0
      const decorated = Connection.decorate(connection, {
        get receive() {
          reads++
          return connection.receive
        }
      })
      assert.strictEqual(reads, 0)
      peer.send(Frame.text("a"))
      assert.strictEqual(contentOf(yield* decorated.receive), "a")
      assert.strictEqual(reads, 1)
      const closing = yield* Effect.forkChild(decorated.close(4000, "bye"), { startImmediately: true })
      peer.send(Frame.close(4000, "bye"))
      peer.transport.end()
      assert.strictEqual((yield* Fiber.join(closing)).code, 4000)
      assert.strictEqual(yield* decorated.closed, yield* connection.closed)
    }))
})

describe("isConnection", () => {
  it.effect("rejects values that lack a member, and names it where a connection is required", () =>
    Effect.gen(function*() {
      const { connection } = yield* makeRaw({ role: "server" })
      const { messagesWith: _, ...partial } = plain(connection)
      for (const value of [undefined, null, 1, "a", {}, partial, { ...connection }]) {
        assert.isFalse(Connection.isConnection(value))
        assert.isFalse(MessageConnection.isMessageConnection(value))
        const expected = "expected a MessageConnection, got"
        assert.throws(() => TypedConnection.make(value as Connection, both), TypeError, expected)
        assert.throws(() => Socket.fromConnection(value as Connection), TypeError, expected)
      }
      assert.throws(
        () => Socket.fromConnection(partial as Connection),
        TypeError,
        "an object without messagesWith; to override members, use Connection.decorate"
      )
    }))
})

describe("receiveWith and messagesWith", () => {
  it.effect("an invalid message runs onInvalid with the error of decode", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.binary(Uint8Array.of(1)), Frame.text("a"), Frame.binary(Uint8Array.of(2)), Frame.text("b"))
      yield* settle
      const failing = connection.receiveWith(
        (message) => message._tag === "Text" ? Result.succeed(message.text) : Result.fail(message.bytes[0]),
        (byte) => Effect.fail(`byte ${byte}`)
      )
      assert.strictEqual(yield* Effect.flip(failing), "byte 1")
      assert.strictEqual(yield* failing, "a")
      const texts = connection.messagesWith(isText, Effect.fail)
      assert.instanceOf(yield* Effect.flip(Stream.runDrain(texts)), InvalidMessage)
      assert.deepStrictEqual(yield* texts.pipe(Stream.take(1), Stream.runCollect), ["b"])
    }))

  it.effect("a connection that has ended fails with its end", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.close(1000, ""))
      yield* settle
      assert.strictEqual(yield* Effect.flip(connection.receiveWith(isText, Effect.fail)), yield* connection.closed)
      assert.deepStrictEqual(yield* Stream.runCollect(connection.messagesWith(isText, Effect.fail)), [])
    }))
})

describe("fail", () => {
  const invalid = new InvalidMessage({
    reason: "Value",
    problem: "Expected a number",
    received: new Message.Text(Uint8Array.of(97)),
    cause: undefined
  })
  const causes = [
    [invalid, 1007, "Expected a number"],
    [new SlowConsumer({ bufferedAmount: 7 }), 1008, "SlowConsumer"],
    [new KeepaliveTimeout({ duration: Duration.seconds(1) }), 1011, "KeepaliveTimeout"]
  ] as const
  for (const [cause, code, reason] of causes) {
    it.effect(`closes the connection with the code of ${cause._tag}, without waiting for the peer`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server" })
        const closed = yield* connection.fail(cause)
        assert.strictEqual(closed.cause, cause)
        assert.strictEqual(yield* connection.closed, closed)
        assert.instanceOf(yield* Effect.flip(connection.send("late")), ConnectionClosed)
        yield* settle
        assert.deepStrictEqual(Frame.readClose(peer.received.at(-1)!.payload), { code, reason })
      }))
  }

  it.effect("a connection that has ended keeps its end", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.close(1000, ""))
      const closed = yield* connection.closed
      for (const [cause] of causes) yield* connection.fail(cause)
      assert.strictEqual(yield* connection.closed, closed)
      yield* settle
      assert.strictEqual(peer.received.filter(({ opcode }) => opcode === Frame.Opcode.Close).length, 1)
    }))

  it.effect("wakes fibers that wait for messages", () =>
    Effect.gen(function*() {
      const { connection } = yield* makeRaw({ role: "server" })
      const started = Deferred.makeUnsafe<void>()
      const waiting = yield* Effect.forkChild(
        Effect.andThen(Deferred.succeed(started, undefined), Effect.flip(connection.receive)),
        { startImmediately: true }
      )
      yield* Deferred.await(started)
      const closed = yield* connection.fail(invalid)
      assert.strictEqual(yield* Fiber.join(waiting), closed)
    }))
})
