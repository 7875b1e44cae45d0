import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Result, Stream } from "effect"
import { ConnectionClosed, NotConnected, UnexpectedEof } from "../../../src/ConnectionError.ts"
import { UnreadConnections } from "../../../src/internal/reconnecting/unreadConnections.ts"
import * as Message from "../../../src/Message.ts"
import { contentOf, settle } from "../../support/memory.ts"
import { makeFakeConnection } from "../../support/messageConnection.ts"

const lost = new ConnectionClosed({
  sent: undefined,
  received: undefined,
  closedBy: undefined,
  cause: new UnexpectedEof()
})
const ended = new NotConnected({ final: true, cause: lost })

/** The reading members of a connection that received these messages and was lost. */
const lostAfter = (...received: ReadonlyArray<string>) => {
  const left = received.map((text) => Message.text(new TextEncoder().encode(text)))
  return makeFakeConnection({
    receive: Effect.suspend(() => {
      const message = left.shift()
      return message === undefined ? Effect.fail(lost) : Effect.succeed(message)
    }),
    messages: Stream.concat(Stream.fromIterable(left), Stream.fail(lost))
  })
}

const make = (...connections: ReadonlyArray<ReadonlyArray<string>>) => {
  const unread = new UnreadConnections<string, never>()
  for (const received of connections) unread.add(received.join(), lostAfter(...received))
  return unread
}

describe("UnreadConnections", () => {
  it.effect("reads one connection after the other, and waits for the next", () =>
    Effect.gen(function*() {
      const unread = make(["a", "b"], [], ["c"])
      const read = unread.read((reader) => reader.receive, Effect.fail(ended))
      const texts: Array<unknown> = []
      const reading = yield* Effect.forkChild(
        Effect.flip(Effect.forever(Effect.tap(read, (message) => Effect.sync(() => texts.push(contentOf(message))))))
      )
      yield* settle
      assert.deepStrictEqual(texts, ["a", "b", "c"])
      unread.add("d", lostAfter("d"))
      yield* settle
      assert.deepStrictEqual(texts, ["a", "b", "c", "d"])
      unread.close(Exit.void)
      assert.strictEqual(yield* Fiber.join(reading), ended)
    }))

  it.effect("passes on other errors, and leaves the connection", () =>
    Effect.gen(function*() {
      const unread = make(["a"])
      assert.strictEqual(yield* Effect.flip(unread.read(() => Effect.fail("invalid"), Effect.fail(ended))), "invalid")
      const streamed = unread.stream((_, connection) => Stream.fail(`${connection} is invalid`))
      assert.strictEqual(yield* Effect.flip(Stream.runDrain(streamed)), "a is invalid")
      assert.strictEqual(contentOf(yield* unread.read((reader) => reader.receive, Effect.fail(ended))), "a")
    }))

  it.effect("makes one stream of the last eight connections, which ends as the client does", () =>
    Effect.gen(function*() {
      for (const exit of [Exit.void, Exit.fail(lost)]) {
        const unread = make(...Array.from({ length: 10 }, (_, i) => [String(i)]))
        unread.close(exit)
        const texts: Array<unknown> = []
        const end = yield* Effect.result(
          Stream.runForEach(
            unread.stream((reader) => reader.messages),
            (message) => Effect.sync(() => texts.push(contentOf(message)))
          )
        )
        assert.deepStrictEqual(texts, ["2", "3", "4", "5", "6", "7", "8", "9"])
        assert.strictEqual(Result.isSuccess(end), Exit.isSuccess(exit))
      }
    }))
})
