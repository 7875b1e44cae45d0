import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import { ConnectionClosed, InvalidMessage } from "effect-ws/ConnectionError"
import { Inbox } from "../../../src/internal/browser/inbox.ts"
import { failedWith, readAllDecoded, readDecoded, sizeOf } from "../../../src/internal/connection/decodedReader.ts"
import { Binary, Text } from "../../../src/internal/protocol/message.ts"

const queueOf = (...texts: ReadonlyArray<string>) => {
  const queue = new Inbox(Number.POSITIVE_INFINITY)
  for (const text of texts) queue.push(new Text(text))
  return queue
}

/** Decodes digits. */
const number = (message: { readonly bytes: Uint8Array }): Result.Result<number, string> => {
  const text = new TextDecoder().decode(message.bytes)
  return /^\d+$/.test(text) ? Result.succeed(Number(text)) : Result.fail(text)
}

const one = (queue: Inbox) => readDecoded(queue, number, Effect.fail, Effect.fail)
const all = (queue: Inbox, maxBytes = Number.POSITIVE_INFINITY) =>
  readAllDecoded(queue, maxBytes, number, Effect.fail, Effect.fail)

describe("readDecoded", () => {
  it.effect("removes a message together with its error, and goes on behind it", () =>
    Effect.gen(function*() {
      const queue = queueOf("1", "x", "2")
      assert.strictEqual(yield* one(queue), 1)
      assert.strictEqual(yield* Effect.flip(one(queue)), "x")
      assert.strictEqual(yield* one(queue), 2)
    }))

  it.effect("gives an invalid message to one of several fibers", () =>
    Effect.gen(function*() {
      const queue = queueOf()
      const fibers = yield* Effect.forEach(
        [1, 2],
        () => Effect.forkChild(Effect.result(one(queue)), { startImmediately: true })
      )
      queue.push(new Text("x"))
      queue.push(new Text("1"))
      const results = yield* Effect.forEach(fibers, Fiber.join)
      assert.sameDeepMembers([...results], [Result.fail("x"), Result.succeed(1)])
    }))

  it.effect("dies with the defect of a decoder that throws", () =>
    Effect.gen(function*() {
      const thrown = new Error("on purpose")
      const reading = readDecoded(
        queueOf("1"),
        () => {
          throw thrown
        },
        Effect.fail,
        Effect.fail
      )
      const defect = yield* Effect.catchDefect(Effect.asVoid(reading), Effect.succeed)
      assert.strictEqual(defect, thrown)
    }))
})

describe("readAllDecoded", () => {
  it.effect("stops before an invalid message, which the next read gets", () =>
    Effect.gen(function*() {
      const queue = queueOf("1", "2", "x", "3")
      assert.deepStrictEqual(yield* all(queue), [1, 2])
      assert.strictEqual(yield* Effect.flip(all(queue)), "x")
      assert.deepStrictEqual(yield* all(queue), [3])
    }))

  it.effect("ends a batch above maxBytes, with 64 for each message", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* all(queueOf("1", "2", "3"), 65), [1])
      assert.deepStrictEqual(yield* all(queueOf("1", "2", "3"), 66), [1, 2])
    }))
})

describe("sizeOf", () => {
  it("counts the form in which a message is held", () => {
    assert.strictEqual(sizeOf(new Text("€")), 1)
    assert.strictEqual(sizeOf(new Text(new TextEncoder().encode("€"))), 3)
    assert.strictEqual(sizeOf(new Binary(new Uint8Array(5))), 5)
  })
})

describe("failedWith", () => {
  it("adds a cause to an end without one, and keeps another", () => {
    const cause = new InvalidMessage({ reason: "Type", problem: "no", received: new Text("a"), cause: undefined })
    const closed = new ConnectionClosed({ sent: undefined, received: undefined, closedBy: undefined, cause: undefined })
    const failed = failedWith(closed, cause)
    assert.strictEqual(failed.cause, cause)
    const other = new InvalidMessage({ reason: "Value", problem: "no", received: new Text("b"), cause: undefined })
    assert.strictEqual(failedWith(failed, other), failed)
  })
})
