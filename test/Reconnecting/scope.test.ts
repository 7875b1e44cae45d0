/** The end of a reconnecting client, by its Scope or by an interruption at each step. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Layer, Schedule, Scheduler, Scope, Stream } from "effect"
import { Reconnecting, WebSocketClient } from "effect-ws"
import { interruptAtEachStep } from "../support/interruptAtEachStep.ts"
import { contentOf, settle } from "../support/memory.ts"
import { collect, everySecond, network, receive, refused, stateOf } from "../support/reconnecting.ts"
import { countingFibers, eventually } from "../support/resources.ts"

describe("the Scope", () => {
  it.effect("closing the Scope closes the connection with 1000, ends the streams, and resumes all that wait", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const scope = yield* Scope.make()
      const client = yield* WebSocketClient.reconnecting("ws://there/").pipe(
        Effect.provide(layer),
        Scope.provide(scope)
      )
      const { fiber, messages } = yield* collect(client)
      yield* settle
      yield* servers[0].connection.send("last")
      yield* Scope.close(scope, Exit.void)
      const end = yield* servers[0].connection.closed
      assert.deepStrictEqual([end.code, end.clean], [1000, true])
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(messages, ["last"])
      yield* client.closed
      assert.deepStrictEqual(stateOf(client), { _tag: "Closed", exit: Exit.void })
      assert.deepInclude(yield* Effect.flip(client.send("x")), { _tag: "NotConnected", final: true })
    }))

  it.effect("closing the Scope ends a client that waits or connects at once", () =>
    Effect.gen(function*() {
      const connecting = Layer.succeed(WebSocketClient.WebSocketClient, { connect: () => Effect.never })
      const waiting = (yield* network(refused)).layer
      for (const layer of [connecting, waiting]) {
        const scope = yield* Scope.make()
        const client = yield* WebSocketClient.reconnecting("ws://there/").pipe(
          Effect.provide(layer),
          Scope.provide(scope)
        )
        const sending = yield* Effect.forkChild(Effect.flip(client.send("x")))
        yield* settle
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* Fiber.join(sending))._tag, "NotConnected")
        yield* Stream.runDrain(client.messages)
      }
    }))

  it.effect("a Scope that closes slowly releases the resources of a connection that is lost meanwhile", () =>
    Effect.gen(function*() {
      const { layer, servers } = yield* network()
      const scope = yield* Scope.make()
      const released: Array<string> = []
      const client = yield* WebSocketClient.reconnecting("ws://there/", {
        schedule: everySecond,
        onOpen: () => Effect.addFinalizer(() => Effect.sync(() => released.push("connection")))
      }).pipe(Effect.provide(layer), Scope.provide(scope))
      const slow = Latch.makeUnsafe(false)
      yield* Scope.addFinalizer(scope, slow.await)
      yield* settle
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* settle
      assert.strictEqual(stateOf(client)._tag, "Open")
      servers[0].transport.destroy()
      yield* settle
      slow.openUnsafe()
      yield* Fiber.join(closing)
      assert.deepStrictEqual(released, ["connection"])
    }))

  it.live(
    "a client interrupted at each step leaves no connection, fiber or acquired resource behind",
    () =>
      Effect.gen(function*() {
        yield* interruptAtEachStep(Effect.gen(function*() {
          const { layer, servers } = yield* network()
          const greet = Effect.suspend(() => servers.at(-1)!.connection.send("welcome"))
          const fibers = countingFibers()
          let held = 0
          let made: Reconnecting.Reconnecting | undefined
          return {
            effect: fibers.counted(
              Effect.scoped(Effect.gen(function*() {
                const client = made = yield* WebSocketClient.reconnecting("ws://there/", {
                  schedule: Schedule.spaced("1 milli"),
                  onOpen: (connection) =>
                    Effect.acquireRelease(Effect.sync(() => held++), () => Effect.sync(() => held--)).pipe(
                      Effect.andThen(connection.send("login")),
                      Effect.andThen(greet)
                    )
                })
                yield* client.send("a")
                yield* Stream.runForEach(Stream.take(client.messages, 1), () => Effect.void)
              })).pipe(Effect.provide(layer))
            ),
            events: [() => servers[0]?.transport.destroy()],
            waits: true,
            verify: () =>
              Effect.gen(function*() {
                yield* Effect.forEach(servers, (server) => server.connection.closed, { discard: true })
                yield* eventually(() => fibers.running() === 0)
                assert.strictEqual(held, 0)
                if (made === undefined) return
                assert.strictEqual(stateOf(made)._tag, "Closed")
                assert.strictEqual((yield* Effect.flip(made.connection))._tag, "NotConnected")
                assert.strictEqual((yield* Effect.flip(made.send("late")))._tag, "NotConnected")
              })
          }
        }))
      }),
    60_000
  )
})

describe("operations of a client, interrupted at each step", () => {
  it.live(
    "operations interrupted at each step leave no fiber and a usable client; no message is doubled or reordered",
    () =>
      Effect.gen(function*() {
        const points = yield* interruptAtEachStep(Effect.gen(function*() {
          const { layer, servers } = yield* network()
          const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: Schedule.spaced(0) }).pipe(
            Effect.provide(layer),
            Effect.provideService(Scheduler.Scheduler, new Scheduler.MixedScheduler())
          )
          yield* client.connection
          yield* servers[0].connection.sendAll(["0", "1"])
          const fibers = countingFibers()
          const got: Array<unknown> = []
          const take = (count: number) =>
            Stream.runForEach(
              Stream.take(client.messages, count),
              (message) => Effect.sync(() => got.push(contentOf(message)))
            )
          return {
            effect: fibers.counted(Effect.gen(function*() {
              yield* client.send("a")
              yield* take(2)
              // The first connection is lost meanwhile.
              yield* take(1)
              yield* client.connection
              yield* client.sendAll(["b", "c"])
            })),
            events: [
              () => servers[0].transport.destroy(),
              () => void servers.slice(1).map(({ connection }) => Effect.runFork(connection.send("2")))
            ],
            waits: true,
            verify: () =>
              Effect.gen(function*() {
                yield* eventually(() => servers.length === 2 && stateOf(client)._tag === "Open")
                assert.strictEqual(fibers.running(), 0)
                yield* client.send("last")
                const sent: Array<unknown> = []
                while (sent.at(-1) !== "last") sent.push(yield* receive(servers[1]))
                assert.include(["last", "a,last", "b,c,last"], sent.join())
                yield* servers[1].connection.send("3")
                yield* Stream.runForEach(
                  Stream.takeUntil(client.messages, (message) => contentOf(message) === "3"),
                  (message) => Effect.sync(() => got.push(contentOf(message)))
                )
                const read = got.map(Number)
                assert.deepStrictEqual(read, [...new Set(read)].toSorted((a, b) => a - b))
              })
          }
        }))
        assert.isAbove(points, 10)
      }),
    60_000
  )
})
