import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { ConnectionClosed, UnexpectedEof } from "../../../src/ConnectionError.ts"
import { ConnectionSlot, type WhileDisconnected } from "../../../src/internal/reconnecting/connectionSlot.ts"
import type * as Message from "../../../src/Message.ts"
import type { MessageConnection } from "../../../src/MessageConnection.ts"
import { settle } from "../../support/memory.ts"
import { makeFakeConnection } from "../../support/messageConnection.ts"

const lost = new ConnectionClosed({
  sent: undefined,
  received: undefined,
  closedBy: undefined,
  cause: new UnexpectedEof()
})

/** A connection that fails to send once it is lost. */
const makeFake = () => {
  const sent: Array<Message.Input> = []
  const fake = { isLost: false, sent }
  const sendAll: MessageConnection["sendAll"] = (messages) =>
    Effect.suspend(() => fake.isLost ? Effect.fail(lost) : Effect.sync(() => void sent.push(...messages)))
  const connection = makeFakeConnection({
    send: (message: Message.Input) => sendAll([message]),
    sendAll,
    closed: Effect.never
  })
  return Object.assign(fake, connection)
}

const makeSlot = (whileDisconnected: WhileDisconnected = "suspend") =>
  new ConnectionSlot<ReturnType<typeof makeFake>, never>(whileDisconnected)

describe("ConnectionSlot", () => {
  it.effect("suspends sends and connection until it is set", () =>
    Effect.gen(function*() {
      const slot = makeSlot()
      const waiting = yield* Effect.forkChild(Effect.andThen(slot.sendAll(["a"], undefined), slot.connection))
      yield* settle
      assert.isUndefined(waiting.pollUnsafe())
      const fake = makeFake()
      yield* slot.set(fake)
      assert.strictEqual(yield* Fiber.join(waiting), fake)
      assert.deepStrictEqual(fake.sent, ["a"])
    }))

  it.effect("sends over the next connection if the current one is lost", () =>
    Effect.gen(function*() {
      const slot = makeSlot()
      const [first, second] = [makeFake(), makeFake()]
      yield* slot.set(first)
      first.isLost = true
      const sending = yield* Effect.forkChild(slot.sendAll(["a"], undefined))
      yield* settle
      yield* slot.set(second)
      yield* Fiber.join(sending)
      assert.deepStrictEqual([first.sent, second.sent], [[], ["a"]])
    }))

  it.effect("keeps a newer connection when an older one is cleared", () =>
    Effect.gen(function*() {
      const slot = makeSlot()
      const [first, second] = [makeFake(), makeFake()]
      yield* slot.set(first)
      yield* slot.set(second)
      slot.clear(lost, first)
      assert.strictEqual(yield* slot.connection, second)
    }))

  it.effect("keeps buffered sends in order if the next connection is lost while they are sent", () =>
    Effect.gen(function*() {
      const slot = makeSlot({ buffer: { messages: 3 } })
      yield* slot.sendAll(["a"], undefined)
      yield* slot.sendAll(["b", "c"], undefined)
      const [first, second] = [makeFake(), makeFake()]
      first.isLost = true
      assert.strictEqual(yield* Effect.flip(slot.set(first)), lost)
      yield* slot.set(second)
      assert.deepStrictEqual(second.sent, ["a", "b", "c"])
    }))

  it.effect("fails sends with the last failure, with \"fail\"", () =>
    Effect.gen(function*() {
      const slot = makeSlot("fail")
      const fake = makeFake()
      yield* slot.set(fake)
      slot.clear(lost)
      const error = yield* Effect.flip(slot.sendAll(["a"], undefined))
      assert.deepStrictEqual([error.final, error.cause], [false, lost])
    }))

  it.effect("wakes all waiting fibers when it is closed", () =>
    Effect.gen(function*() {
      const slot = makeSlot()
      const sending = yield* Effect.forkChild(Effect.flip(slot.sendAll(["a"], undefined)))
      const connecting = yield* Effect.forkChild(Effect.flip(slot.connection))
      yield* settle
      slot.close(Exit.fail(lost))
      assert.deepStrictEqual([(yield* Fiber.join(sending)).final, (yield* Fiber.join(connecting)).final], [true, true])
    }))
})
