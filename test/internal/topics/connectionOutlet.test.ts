import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { ConnectionError, MessageConnection } from "effect-ws"
import { type BroadcastTarget, broadcastTarget } from "../../../src/internal/connection/hooks.ts"
import { jsonFormat } from "../../../src/internal/topics/codec.ts"
import { outletOf } from "../../../src/internal/topics/connectionOutlet.ts"
import { Cursor } from "../../../src/internal/topics/cursor.ts"
import { Entry } from "../../../src/internal/topics/entry.ts"
import { settle, turn } from "../../support/memory.ts"
import { makeFakeConnection } from "../../support/messageConnection.ts"

const publication = (offset: number) =>
  new Entry("c", { _tag: "Publication", epoch: "e", offset, data: new TextEncoder().encode(`${offset}`) }, offset)

/** A cursor with a number of events to feed, which records each turn: its name, and how many events it could write. */
const cursorOf = (
  name: string,
  connection: MessageConnection.MessageConnection,
  available: number,
  log: Array<string>
) => {
  const outlet = outletOf(connection)
  let next = 1
  const cursor: Cursor = new Cursor(
    {
      name,
      feed: (_, limit) => {
        let written = 0
        let isFull = false
        while (written < limit && next <= available) {
          isFull = !outlet.write(cursor, publication(next))
          if (isFull) break
          next++
          written++
        }
        log.push(`${name} ${written}`)
        return isFull ? "full" : next <= available ? "more" : "done"
      }
    },
    outlet,
    jsonFormat,
    undefined,
    { epoch: "e", offset: 0 },
    0
  )
  return cursor
}

/** A connection of this library that takes everything, while `isWritable` is set. */
const makeTarget = (members: Partial<BroadcastTarget> = {}) => {
  const listeners: Array<() => void> = []
  const target = {
    isBehind: () => false,
    closeSlowConsumer: () => {},
    skip: () => {},
    isWritable: true,
    onWritable: (listener: () => void) => void listeners.push(listener),
    writeShared: () => true,
    sendShared: () => Effect.die("not expected"),
    ...members
  }
  return { connection: Object.assign(makeFakeConnection({}), { [broadcastTarget]: target }), listeners, target }
}

describe("outletOf", () => {
  it("returns one outlet for each connection", () => {
    const [one, other] = [makeFakeConnection({}), makeFakeConnection({})]
    assert.strictEqual(outletOf(one), outletOf(one))
    assert.notStrictEqual(outletOf(one), outletOf(other))
  })
})

describe("the outlet of a connection of this library", () => {
  it.effect("feeds its cursors in turns of 16 events, and at most 16 times in a turn of the event loop", () =>
    Effect.gen(function*() {
      const { connection } = makeTarget()
      const log: Array<string> = []
      const [a, b] = ["a", "b"].map((name) => cursorOf(name, connection, 160, log))
      a.outlet.ready(a)
      assert.deepStrictEqual(log, Array.from({ length: 10 }, () => "a 16"))
      log.length = 0
      const c = cursorOf("c", connection, 160, log)
      a.outlet.ready(c)
      b.outlet.ready(b)
      yield* turn
      yield* turn
      assert.deepStrictEqual(log.slice(0, 10), Array.from({ length: 10 }, () => "c 16"))
      assert.lengthOf(log, 20)
    }))

  it.effect("lets cursors that are behind take turns", () =>
    Effect.gen(function*() {
      const { connection, listeners, target } = makeTarget({ isWritable: false })
      const log: Array<string> = []
      for (const name of ["a", "b"]) {
        const cursor = cursorOf(name, connection, 20 * 16, log)
        for (let i = 0; i < 3; i++) cursor.outlet.ready(cursor)
      }
      assert.deepStrictEqual([log, listeners.length], [[], 1])
      Object.assign(target, { isWritable: true })
      listeners[0]()
      assert.deepStrictEqual(log, Array.from({ length: 16 }, (_, i) => i % 2 === 0 ? "a 16" : "b 16"))
      for (let i = 0; i < 5; i++) yield* turn
      assert.lengthOf(log, 40)
    }))

  it.effect("encodes apart what the connection does not take, in the same order", () =>
    Effect.gen(function*() {
      const sent: Array<unknown> = []
      const { connection } = makeTarget({
        writeShared: () => false,
        sendShared: (shared) => Effect.sync(() => void sent.push(...shared.messages))
      })
      const log: Array<string> = []
      const cursor = cursorOf("a", connection, 40, log)
      cursor.outlet.ready(cursor)
      yield* settle
      assert.lengthOf(sent, 40)
      assert.deepStrictEqual(log, ["a 0", "a 16", "a 16", "a 8"])
    }))

  it("closes a slow consumer", () => {
    let closed = 0
    const { connection } = makeTarget({ closeSlowConsumer: () => void closed++ })
    outletOf(connection).closeSlow?.()
    assert.strictEqual(closed, 1)
  })
})

describe("the outlet of another connection", () => {
  it.effect("sends up to 16 events at once, and those that arrive meanwhile behind them", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const batches: Array<number> = []
      const connection = makeFakeConnection({
        sendAll: (messages) =>
          Effect.suspend(() => {
            batches.push([...messages].length)
            if (batches.length === 1) assert.isFalse(outletOf(connection).write(late, publication(1)))
            return Effect.void
          })
      })
      const late = cursorOf("late", connection, 1, log)
      const cursor = cursorOf("a", connection, 20, log)
      assert.isFalse(outletOf(connection).write(cursor, publication(1)))
      cursor.outlet.ready(cursor)
      yield* settle
      assert.deepStrictEqual(batches, [16, 4])
    }))

  it.effect("fails the connection of a slow consumer", () =>
    Effect.gen(function*() {
      const failures: Array<unknown> = []
      const connection = makeFakeConnection({
        bufferedAmount: Effect.succeed(7),
        fail: (cause) => Effect.sync(() => void failures.push(cause)) as Effect.Effect<never>
      })
      outletOf(connection).closeSlow?.()
      yield* settle
      assert.deepInclude(failures[0] as ConnectionError.SlowConsumer, { _tag: "SlowConsumer", bufferedAmount: 7 })
    }))
})
