/** What calls of effect/rpc promise, over any server and client. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, type Layer, Ref, Schedule, Stream } from "effect"
import type { Socket } from "effect/socket"
import { PerMessageDeflate } from "effect-ws"
import { type Cut, relay } from "./net.ts"
import { clientOver, complaints, eventually, type Server } from "./rpc.ts"

/** Tests a server with clients over a socket. */
export const rpcSuite = (
  title: string,
  makeServer: Server,
  layer: (url: string) => Layer.Layer<Socket.Socket>
): void => {
  describe(title, () => {
    it.live("1,000 calls succeed, in sequence and concurrently", () =>
      Effect.gen(function*() {
        const { url } = yield* makeServer()
        const client = yield* clientOver(layer(url))
        for (let n = 0; n < 100; n++) assert.strictEqual(yield* client.Double({ n }), 2 * n)
        const numbers = Array.from({ length: 900 }, (_, n) => n)
        const doubled = yield* Effect.forEach(numbers, (n) => client.Double({ n }), { concurrency: 100 })
        assert.deepStrictEqual(doubled, numbers.map((n) => 2 * n))
      }), 30_000)

    it.live("streams, failures and interruptions pass in both directions", () =>
      Effect.gen(function*() {
        const { seen, url } = yield* makeServer({ extensions: [PerMessageDeflate.make()] })
        const client = yield* clientOver(layer(url))
        const counts = yield* Effect.forEach(
          [1, 10, 1000],
          (to) => Stream.runCollect(client.Count({ to })),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(counts.map((all) => [all.length, all[all.length - 1]]), [[1, 1], [10, 10], [
          1000,
          1000
        ]])
        assert.deepStrictEqual(
          yield* Stream.runCollect(Stream.take(client.Count({ to: 1_000_000 }), 15)),
          Array.from({ length: 15 }, (_, i) => i + 1)
        )
        assert.strictEqual(yield* Effect.flip(client.Refuse({ why: "no" })), "no")
        const waiting = yield* Effect.forkScoped(client.Wait())
        yield* eventually(seen.waiting, (n) => n === 1)
        yield* Fiber.interrupt(waiting)
        yield* eventually(seen.interrupted, (n) => n === 1)
        assert.strictEqual(yield* client.Double({ n: 21 }), 42)
      }))

    it.live("nothing is logged above Info when a client closes, with and without pending calls and streams", () =>
      Effect.gen(function*() {
        const { layer: logger, seen: logged } = yield* complaints
        yield* Effect.gen(function*() {
          const { seen, url } = yield* makeServer()
          for (let round = 1; round <= 3; round++) {
            yield* Effect.scoped(Effect.gen(function*() {
              const client = yield* clientOver(layer(url))
              assert.strictEqual(yield* client.Double({ n: round }), 2 * round)
              if (round === 1) return
              yield* Effect.forkScoped(client.Wait())
              yield* Effect.forkScoped(Stream.runDrain(client.Count({ to: 1e9 })))
              yield* eventually(seen.waiting, (n) => n === round - 1)
            }))
            yield* eventually(seen.interrupted, (n) => n === round - 1)
          }
        }).pipe(Effect.scoped, Effect.provide(logger))
        assert.deepStrictEqual(yield* Ref.get(logged), [])
      }))

    for (const cut of ["end", "reset"] satisfies ReadonlyArray<Cut>) {
      it.live(`a client continues after the network was cut with ${cut === "end" ? "a FIN" : "a RST"}`, () =>
        Effect.gen(function*() {
          const { layer: logger, seen: logged } = yield* complaints
          yield* Effect.gen(function*() {
            const { port, seen, url } = yield* makeServer()
            const between = yield* relay(port)
            const client = yield* clientOver(layer(url.replace(String(port), String(between.port))))
            for (let round = 1; round <= 3; round++) {
              const pending = yield* Effect.forkScoped(Effect.exit(client.Wait()))
              const streaming = yield* Effect.forkScoped(Effect.exit(Stream.runDrain(client.Count({ to: 1e9 }))))
              yield* eventually(seen.waiting, (n) => n === round)
              assert.strictEqual(yield* client.Double({ n: round }), 2 * round)
              yield* between.cut(cut)
              assert.isTrue(Exit.isFailure(yield* Fiber.join(pending)))
              assert.isTrue(Exit.isFailure(yield* Fiber.join(streaming)))
              // What the server did for it is over, too.
              yield* eventually(seen.interrupted, (n) => n === round)
              assert.strictEqual(
                yield* Effect.retry(client.Double({ n: 7 }), { schedule: Schedule.spaced(5) }),
                14
              )
            }
          }).pipe(Effect.scoped, Effect.provide(logger))
          assert.deepStrictEqual(yield* Ref.get(logged), [])
        }))
    }
  })
}
