import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { ConnectionClosed, InvalidMessage } from "effect-ws/ConnectionError"
import { Inbox } from "../../../src/internal/browser/inbox.ts"
import { Binary, Text } from "../../../src/internal/protocol/message.ts"
import { contentOf } from "../../support/memory.ts"

const closed = new ConnectionClosed({
  sent: undefined,
  received: { code: 1000, reason: "" },
  closedBy: "remote",
  cause: undefined
})

const filled = (...texts: ReadonlyArray<string>) => {
  const inbox = new Inbox(1000)
  for (const text of texts) inbox.push(new Text(text))
  return inbox
}

const read = (inbox: Inbox) => Effect.map(inbox.readMessage(Effect.fail), contentOf)

describe("Inbox", () => {
  it("counts bytes and characters, with an overhead for each message", () => {
    const inbox = filled("€uro")
    assert.strictEqual(inbox.unreadAmount, 68)
    inbox.push(new Binary(new Uint8Array(10)))
    assert.strictEqual(inbox.unreadAmount, 142)
    inbox.takeAll()
    assert.strictEqual(inbox.unreadAmount, 0)
  })

  it("rejects a message above its limit, and accepts one of any size below", () => {
    const inbox = new Inbox(100)
    assert.isTrue(inbox.push(new Binary(new Uint8Array(36))))
    assert.isTrue(inbox.push(new Binary(new Uint8Array(10_000))))
    assert.isFalse(inbox.push(new Text("")))
    assert.strictEqual(inbox.unreadAmount, 10_164)
    inbox.dropReady()
    assert.strictEqual(inbox.unreadAmount, 10_064)
    assert.isFalse(inbox.push(new Text("")))
    inbox.dropReady()
    assert.strictEqual(inbox.unreadAmount, 0)
    assert.isTrue(inbox.push(new Text("")))
  })

  it.effect("reads thousands of messages in order while others arrive", () =>
    Effect.gen(function*() {
      const inbox = new Inbox(Number.POSITIVE_INFINITY)
      for (let i = 0; i < 3000; i++) inbox.push(new Text(String(i)))
      for (let i = 0; i < 3000; i++) {
        assert.strictEqual(yield* read(inbox), String(i))
        inbox.push(new Text(String(3000 + i)))
      }
      assert.deepStrictEqual(
        (yield* inbox.readMessages(Effect.fail)).map(contentOf),
        Array.from({ length: 3000 }, (_, i) => String(3000 + i))
      )
      assert.strictEqual(inbox.unreadAmount, 0)
    }))

  it.effect("wakes one reader for each message, and skips an interrupted one", () =>
    Effect.gen(function*() {
      const inbox = filled()
      const fibers = yield* Effect.forEach(
        [1, 2, 3],
        () => Effect.forkChild(read(inbox), { startImmediately: true })
      )
      yield* Fiber.interrupt(fibers[0])
      inbox.push(new Text("a"))
      inbox.push(new Text("b"))
      assert.deepStrictEqual(yield* Effect.forEach(fibers.slice(1), Fiber.join), ["a", "b"])
    }))

  it.effect("delivers what it has before it fails with the end", () =>
    Effect.gen(function*() {
      const inbox = filled("a")
      inbox.close(closed)
      assert.strictEqual(yield* read(inbox), "a")
      assert.strictEqual(yield* Effect.flip(read(inbox)), closed)
    }))

  it.effect("drops what is unread when a message is invalid, also after the end", () =>
    Effect.gen(function*() {
      const inbox = filled("a", "b")
      const error = new InvalidMessage({ reason: "Type", problem: "no", received: new Text("a"), cause: undefined })
      const failed = inbox.fail(closed, error)
      assert.deepStrictEqual([failed.cause, failed.code], [error, 1000])
      assert.strictEqual(yield* Effect.flip(read(inbox)), failed)
    }))

  it.effect("drops all messages once it discards", () =>
    Effect.gen(function*() {
      const inbox = filled("a")
      inbox.discard()
      for (let i = 0; i < 100; i++) assert.isTrue(inbox.push(new Binary(new Uint8Array(1000))))
      assert.strictEqual(inbox.unreadAmount, 0)
      inbox.close(closed)
      assert.strictEqual(yield* Effect.flip(read(inbox)), closed)
    }))
})
