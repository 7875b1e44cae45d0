/** The memory of subscribers on real sockets that do not read. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, type Scope } from "effect"
import { Connection, Topic, Topics } from "effect-ws"
import * as Net from "node:net"
import { requestText, serve } from "../support/net.ts"
import { eventually, memoryInUse } from "../support/resources.ts"
import { makeProcess } from "../support/topics.ts"

const Feed = Topic.make("feed/:name", { message: Schema.String })

const params = { name: "a" }

const stalledReaders = 64

/** A client that reads nothing more once its connection is open. */
const stalledClient = (port: number): Effect.Effect<Net.Socket, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Net.Socket>((resume) => {
      const socket = Net.connect(port, "127.0.0.1", () => socket.write(requestText()))
      socket.once("data", () => resume(Effect.succeed(socket.pause())))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

describe("subscribers on sockets", () => {
  it.live(
    "law 5: a stalled reader costs at most 1 KiB beyond its socket, whatever is published",
    () =>
      Effect.gen(function*() {
        const { hub, run } = yield* makeProcess({ memory: 1024 * 1024 })
        const connections: Array<Connection.Connection> = []
        const handler = Effect.gen(function*() {
          const connection = yield* Connection.Connection
          yield* run(Topics.deliver(connection, Feed, params))
          connections.push(connection)
          return yield* connection.closed
        })
        const { port } = yield* serve(handler, { backlog: 1024, serve: { keepalive: false, writeTimeout: "1 hour" } })
        yield* Effect.replicateEffect(stalledClient(port), stalledReaders)
        yield* eventually(() => connections.length === stalledReaders)
        const publish = (messages: number) =>
          Effect.replicateEffect(
            Effect.andThen(run(Topics.publish(Feed, params, "x".repeat(16_000))), Effect.yieldNow),
            messages,
            { discard: true }
          )
        /** Beside the events in memory, and what the sockets have not sent. */
        const memory = Effect.gen(function*() {
          const buffered = yield* Effect.forEach(connections, (connection) => connection.bufferedAmount)
          const inUse = yield* memoryInUse
          return { inUse: inUse - hub.budget.used, buffered: buffered.reduce((sum, amount) => sum + amount, 0) }
        })
        // The kernel takes megabytes of each.
        while (hub.counters.behind < stalledReaders) yield* publish(20)
        // What the engine compiles and remembers grows as well, but not in each round.
        let growth = Number.POSITIVE_INFINITY
        let last = yield* memory
        const { buffered } = last
        for (let round = 0; round < 4; round++) {
          yield* publish(500)
          const now = yield* memory
          growth = Math.min(growth, now.inUse - last.inUse)
          last = now
        }
        assert.strictEqual(hub.counters.behind, stalledReaders)
        assert.strictEqual(last.buffered, buffered)
        assert.isBelow(growth / stalledReaders, 1024)
        // All of them stopped within the same messages, which they share.
        assert.isBelow(buffered, stalledReaders * 128 * 1024)
      }).pipe(Effect.scoped),
    60_000
  )
})
