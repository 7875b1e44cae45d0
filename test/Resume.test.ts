/** A resumed feed over real connections in memory. `test/fuzz/resume.ts` does the same at random. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Schema, Stream } from "effect"
import { Resume, TypedConnection, WebSocketClient } from "effect-ws"
import { settle } from "./support/memory.ts"
import { everySecond, network, receive, second } from "./support/reconnecting.ts"

const Tick = Schema.Struct({ n: Schema.Int })
const Since = Schema.Struct({ since: Schema.Int })
const protocol = { receives: Tick, sends: Since }

const tick = (n: number) => JSON.stringify({ n })

const make = Effect.gen(function*() {
  const { layer, servers } = yield* network()
  const resume = Resume.make({ position: (value: typeof Tick.Type) => Option.some(value.n) })
  const feed = yield* WebSocketClient.reconnecting("ws://there/", {
    schedule: everySecond,
    onOpen: resume.onOpen((connection, position) =>
      TypedConnection.make(connection, protocol).send({ since: Option.getOrElse(position, () => 0) })
    )
  }).pipe(Effect.provide(layer), Effect.map(TypedConnection.makeReconnecting(protocol)))
  yield* settle
  const handled: Array<number> = []
  const run = resume.runForEach(feed, ({ n }) => Effect.sync(() => handled.push(n)))
  return { feed, handled, resume, run, servers }
})

describe("Resume", () => {
  it.effect("handles messages of a lost connection, and drops their replays", () =>
    Effect.gen(function*() {
      const { handled, run, servers } = yield* make
      assert.strictEqual(yield* receive(servers[0]), `{"since":0}`)
      yield* servers[0].connection.sendAll([1, 2, 3].map(tick))
      yield* settle
      servers[0].transport.destroy()
      yield* second
      // The program has not read anything yet: the server replays all.
      assert.strictEqual(yield* receive(servers[1]), `{"since":0}`)
      yield* servers[1].connection.sendAll([1, 2].map(tick))
      yield* settle
      servers[1].transport.destroy()
      yield* second
      yield* Effect.forkScoped(run)
      yield* settle
      assert.deepStrictEqual(handled, [1, 2, 3])
      yield* servers[2].connection.sendAll([1, 2, 3, 4].map(tick))
      yield* settle
      assert.deepStrictEqual(handled, [1, 2, 3, 4])
      servers[2].transport.destroy()
      yield* second
      assert.strictEqual(yield* receive(servers[3]), `{"since":4}`)
    }))

  it.effect("loses nothing of more unread connections than a client keeps", () =>
    Effect.gen(function*() {
      const { handled, run, servers } = yield* make
      for (let i = 0; i < 12; i++) {
        yield* servers[i].connection.sendAll(Array.from({ length: i + 1 }, (_, n) => tick(n + 1)))
        yield* settle
        servers[i].transport.destroy()
        yield* second
      }
      yield* Effect.forkScoped(run)
      yield* Effect.repeat(settle, { until: () => handled.length >= 12 })
      assert.deepStrictEqual(handled, Array.from({ length: 12 }, (_, n) => n + 1))
    }))

  it.effect("ends normally when the server has finished", () =>
    Effect.gen(function*() {
      const { feed, handled, resume, run, servers } = yield* make
      yield* servers[0].connection.send(tick(1))
      yield* Effect.forkScoped(servers[0].connection.close())
      yield* run
      assert.deepStrictEqual([handled, yield* resume.position], [[1], Option.some(1)])
      assert.deepStrictEqual(yield* Stream.runCollect(feed.messages), [])
    }))
})
