import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream, SubscriptionRef } from "effect"
import { ConnectionClosed, UnexpectedEof } from "../../../src/ConnectionError.ts"
import { InvalidOption } from "../../../src/HandshakeError.ts"
import { LogicalConnection } from "../../../src/internal/reconnecting/logicalConnection.ts"
import type { MessageConnection } from "../../../src/MessageConnection.ts"
import type { Options, State } from "../../../src/Reconnecting.ts"
import { contentOf, makePair, settle } from "../../support/memory.ts"

const lost = new ConnectionClosed({
  sent: undefined,
  received: undefined,
  closedBy: undefined,
  cause: new UnexpectedEof()
})

const make = (options: Options<never> = {}) =>
  Effect.map(
    SubscriptionRef.make<State<never, MessageConnection>>({ _tag: "Connecting", attempt: 1 }),
    (state) => new LogicalConnection<MessageConnection, never>(options, () => 0, state)
  )

const stateOf = (connection: LogicalConnection<MessageConnection, never>) => SubscriptionRef.getUnsafe(connection.state)

describe("LogicalConnection", () => {
  it.effect("sends and receives over the connection that it was opened with, and counts connections", () =>
    Effect.gen(function*() {
      const logical = yield* make()
      const { receive, send } = logical.operations
      for (const number of [1, 2]) {
        const { client, server } = yield* makePair()
        yield* logical.open(client)
        assert.deepStrictEqual(stateOf(logical), { _tag: "Open", connection: client, number })
        yield* send("to the peer")
        assert.strictEqual(contentOf(yield* server.receive), "to the peer")
        yield* server.send("from the peer")
        assert.strictEqual(contentOf(yield* receive), "from the peer")
        yield* server.close()
        logical.lose(lost)
      }
    }))

  it.effect("suspends senders after it has lost the connection, and keeps what is unread", () =>
    Effect.gen(function*() {
      const logical = yield* make()
      const { client, server } = yield* makePair()
      yield* logical.open(client)
      yield* server.send("unread")
      yield* settle
      logical.lose(lost)
      const sending = yield* Effect.forkChild(logical.operations.send("later"))
      yield* settle
      assert.isUndefined(sending.pollUnsafe())
      assert.strictEqual(contentOf(yield* logical.operations.receive), "unread")
    }))

  it.effect("ends all operations once, with the first exit", () =>
    Effect.gen(function*() {
      const logical = yield* make()
      const sending = yield* Effect.forkChild(Effect.flip(logical.operations.send("never")))
      const reading = yield* Effect.forkChild(Stream.runCollect(logical.operations.messages))
      yield* settle
      yield* logical.finish(Exit.void)
      yield* logical.finish(Exit.fail(lost))
      assert.isTrue((yield* Fiber.join(sending)).final)
      assert.deepStrictEqual(yield* Fiber.join(reading), [])
      yield* logical.operations.closed
      assert.deepStrictEqual(stateOf(logical), { _tag: "Closed", exit: Exit.void })
    }))

  it.effect("gives an invalid option to senders as the cause", () =>
    Effect.gen(function*() {
      const logical = yield* make()
      const problem = new InvalidOption({ option: "resetAfter", problem: "expected a duration" })
      yield* logical.finish(yield* Effect.exit(logical.rejectOption(problem)))
      assert.strictEqual((yield* Effect.flip(logical.operations.send("x"))).cause, problem)
      assert.strictEqual(yield* Effect.flip(logical.operations.closed), problem)
    }))

  it.effect("watches what its options ask for, and nothing otherwise", () =>
    Effect.gen(function*() {
      const { client } = yield* makePair()
      const watched = (options: Options<never>) =>
        Effect.map(make(options), (logical) => logical.watches(client).length)
      assert.strictEqual(yield* watched({}), 0)
      assert.strictEqual(yield* watched({ whileHidden: "pause" }), 0)
      assert.strictEqual(yield* watched({ whileHidden: { closeAfter: "1 minute" } }), 1)
      assert.strictEqual(yield* watched({ whileHidden: { closeAfter: "1 minute" }, heartbeat: { message: "ping" } }), 2)
    }))
})
