/** `Reconnecting.make` over connections that are not `Connection`s: all it needs is a `MessageConnection`. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Queue, Schedule, Stream, SubscriptionRef } from "effect"
import { ConnectionError, HandshakeError, Message, type MessageConnection, Reconnecting } from "effect-ws"
import { TestClock } from "effect/testing"
import { settle } from "../support/memory.ts"
import { makeFakeConnection } from "../support/messageConnection.ts"

/** A connection that keeps what is sent, as that of another platform would send it. */
interface Fake extends MessageConnection.MessageConnection {
  readonly name: string
  readonly sent: Array<Message.Input>
  readonly deliver: (message: string) => Effect.Effect<void>
  readonly end: Effect.Effect<void>
}

const lost = new ConnectionError.ConnectionClosed({
  sent: undefined,
  received: undefined,
  closedBy: undefined,
  cause: new ConnectionError.UnexpectedEof()
})

const makeFake = (name: string): Effect.Effect<Fake> =>
  Effect.gen(function*() {
    const sent: Array<Message.Input> = []
    const received = yield* Queue.unbounded<Message.Message, ConnectionError.ConnectionClosed>()
    const closed = yield* Deferred.make<ConnectionError.ConnectionClosed>()
    const sendAll = (messages: ReadonlyArray<Message.Input>) => Effect.sync(() => void sent.push(...messages))
    const connection = makeFakeConnection({
      messages: Stream.fromQueue(received),
      send: (message) => sendAll([message]),
      sendAll,
      closed: Deferred.await(closed)
    })
    return {
      ...connection,
      name,
      sent,
      deliver: (message) => Effect.asVoid(Queue.offer(received, Message.text(new TextEncoder().encode(message)))),
      end: Effect.andThen(Queue.fail(received, lost), Deferred.succeed(closed, lost)).pipe(Effect.asVoid)
    }
  })

const refused = new HandshakeError.HandshakeRejected({ status: 503, headers: {}, rawHeaders: [], body: "" })

describe("make", () => {
  it.effect("gives connect the number of each attempt, and each connection a Scope of its own", () =>
    Effect.gen(function*() {
      const fakes: Array<Fake> = []
      const attempts: Array<number> = []
      const released: Array<string> = []
      const client = yield* Reconnecting.make((attempt) =>
        Effect.gen(function*() {
          attempts.push(attempt)
          if (attempt === 2) return yield* Effect.fail(refused)
          const fake = yield* makeFake(`connection ${attempt}`)
          yield* Effect.addFinalizer(() => Effect.sync(() => released.push(fake.name)))
          fakes.push(fake)
          return fake
        }), { schedule: Schedule.spaced("1 second") })
      yield* settle
      yield* client.send("a")
      yield* fakes[0].deliver("from the first")
      yield* fakes[0].end
      yield* settle
      assert.deepStrictEqual(released, ["connection 1"])
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      yield* client.sendAll(["b", "c"])
      yield* fakes[1].deliver("from the second")
      assert.deepStrictEqual(fakes.map(({ sent }) => sent), [["a"], ["b", "c"]])
      assert.deepStrictEqual(attempts, [1, 2, 3])
      const texts = yield* client.messages.pipe(
        Stream.take(2),
        Stream.map((message) => message._tag === "Text" ? message.text : ""),
        Stream.runCollect
      )
      assert.deepStrictEqual(texts, ["from the first", "from the second"])
    }))

  it.effect("gives onOpen, connection and state the connections that connect makes", () =>
    Effect.gen(function*() {
      const opened: Array<string> = []
      const client = yield* Reconnecting.make(() => makeFake("mine"), {
        onOpen: (connection) => Effect.sync(() => opened.push(connection.name))
      })
      // That these compile is a part of the test: the connection is a Fake, and no error is the program's own.
      const typed: Reconnecting.Reconnecting<never, Fake> = client
      const connection: Fake = yield* typed.connection
      yield* settle
      const state = yield* SubscriptionRef.get(client.state)
      assert.deepStrictEqual([opened, connection.name], [["mine"], "mine"])
      assert.strictEqual(state._tag === "Open" && state.connection, connection)
    }))

  it.effect("keeps the errors of connect in the types, without those that every client has", () =>
    Effect.gen(function*() {
      const client: Reconnecting.Reconnecting<"no token", Fake> = yield* Reconnecting.make(
        (attempt) =>
          Effect.gen(function*() {
            if (attempt === 1) return yield* Effect.fail(refused)
            if (attempt === 2) return yield* Effect.fail("no token" as const)
            return yield* makeFake("never made")
          }),
        { schedule: Schedule.recurs(5), isFinal: (failure) => failure === "no token" }
      )
      assert.strictEqual(yield* Effect.flip(client.closed), "no token")
    }))
})
