/** Unmodified users of effect/socket, over connections of this library. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Logger, Ref, Schedule, Schema, Scope, Stream } from "effect"
import { DevToolsClient, DevToolsServer } from "effect/devtools"
import { HttpRouter } from "effect/http"
import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
import { Socket as EffectSocket, SocketServer } from "effect/socket"
import { Connection, PerMessageDeflate, Socket, WebSocketServer } from "effect-ws"
import { application } from "./support/application.ts"
import { makePair } from "./support/memory.ts"
import { type Cut, relay, serve } from "./support/net.ts"

class Calls extends RpcGroup.make(
  Rpc.make("Double", { payload: { n: Schema.Number }, success: Schema.Number }),
  Rpc.make("Count", { payload: { to: Schema.Number }, success: Schema.Number, stream: true }),
  Rpc.make("Refuse", { payload: { why: Schema.String }, error: Schema.String }),
  Rpc.make("Wait", { success: Schema.Void }),
  Rpc.make("WhoAmI", { success: Schema.String })
) {}

/** What the handlers see. */
class Seen extends Context.Service<Seen, {
  readonly waiting: Ref.Ref<number>
  readonly interrupted: Ref.Ref<number>
}>()("test/Seen") {}

const Handlers = Calls.toLayer(Effect.gen(function*() {
  const { interrupted, waiting } = yield* Seen
  return {
    Double: ({ n }) => Effect.succeed(2 * n),
    Count: ({ to }) => Stream.range(1, to).pipe(Stream.rechunk(10)),
    Refuse: ({ why }) => Effect.fail(why),
    Wait: () =>
      Effect.andThen(Ref.update(waiting, (n) => n + 1), Effect.never).pipe(
        Effect.onInterrupt(() => Ref.update(interrupted, (n) => n + 1))
      ),
    WhoAmI: (_, { headers }) => Effect.succeed(headers["x-user"] ?? "nobody")
  }
}))

const makeSeen = Effect.map(
  Effect.all([Ref.make(0), Ref.make(0)]),
  ([waiting, interrupted]) => Seen.of({ waiting, interrupted })
)

const until = <A>(ref: Ref.Ref<A>, condition: (value: A) => boolean) =>
  Effect.repeat(Effect.delay(Ref.get(ref), 1), { until: condition })

interface Serves {
  readonly url: string
  readonly port: number
  readonly seen: Seen["Service"]
}

type Server = (options?: WebSocketServer.ServeOptions) => Effect.Effect<Serves, unknown, Scope.Scope>

/** RpcServer over a SocketServer of its own. */
const standalone: Server = (options) =>
  Effect.gen(function*() {
    const seen = yield* makeSeen
    const context = yield* Layer.build(
      RpcServer.layer(Calls).pipe(
        Layer.provide([Handlers, RpcServer.layerProtocolSocketServer]),
        Layer.provideMerge(Socket.layerServer(options)),
        Layer.provide([
          WebSocketServer.layer({ host: "127.0.0.1" }),
          RpcSerialization.layerJson,
          Layer.succeed(Seen, seen)
        ])
      )
    )
    const { address } = Context.get(context, SocketServer.SocketServer)
    const port = address._tag === "UnixPathAddress" ? 0 : address.port
    return { url: `ws://127.0.0.1:${port}/`, port, seen }
  })

/** RpcServer at a route of an application. */
const routed: Server = (options) =>
  Effect.gen(function*() {
    const seen = yield* makeSeen
    const route = HttpRouter.use((router) =>
      Effect.flatMap(
        RpcServer.toHttpEffectWebsocket(Calls),
        (rpcs) => router.add("GET", "/rpc", Socket.upgrade(rpcs, options))
      )
    ).pipe(Layer.provide([Handlers, RpcSerialization.layerJson]), Layer.provide(Layer.succeed(Seen, seen)))
    const { port, url } = yield* application(route)
    return { url: `${url}/rpc`, port, seen }
  })

const clientOver = (socket: Layer.Layer<EffectSocket.Socket>) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      RpcClient.layerProtocolSocket({ retryPolicy: Schedule.spaced(10), pingInterval: 1000 }).pipe(
        Layer.provide([socket, RpcSerialization.layerJson])
      )
    )
    return yield* Effect.provideContext(RpcClient.make(Calls), context)
  })

const clients = {
  "Socket.layer": (url: string) => Socket.layer(url, { keepalive: false }),
  "Socket.layerWebSocketConstructor": (url: string) =>
    EffectSocket.layerWebSocket(url).pipe(Layer.provide(Socket.layerWebSocketConstructor({ keepalive: false })))
}

/** What a program that must not fail or die silently logs. */
const complaints = Effect.map(Ref.make<ReadonlyArray<unknown>>([]), (seen) => ({
  seen,
  layer: Logger.layer([Logger.make(({ logLevel, message }) => {
    if (logLevel === "Error" || logLevel === "Fatal" || logLevel === "Warn") {
      Effect.runSync(Ref.update(seen, (all) => [...all, message]))
    }
  })])
}))

for (const [server, makeServer] of [["Socket.layerServer", standalone], ["Socket.upgrade", routed]] as const) {
  for (const [name, layer] of Object.entries(clients)) {
    describe(`RPC over ${server} and ${name}`, () => {
      it.live("10,000 calls, in order and at once", () =>
        Effect.gen(function*() {
          const { url } = yield* makeServer()
          const client = yield* clientOver(layer(url))
          for (let n = 0; n < 100; n++) assert.strictEqual(yield* client.Double({ n }), 2 * n)
          const numbers = Array.from({ length: 9900 }, (_, n) => n)
          const doubled = yield* Effect.forEach(numbers, (n) => client.Double({ n }), { concurrency: 100 })
          assert.deepStrictEqual(doubled, numbers.map((n) => 2 * n))
        }), 30_000)

      it.live("streams, failures and interruption", () =>
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
          yield* until(seen.waiting, (n) => n === 1)
          yield* Fiber.interrupt(waiting)
          yield* until(seen.interrupted, (n) => n === 1)
          assert.strictEqual(yield* client.Double({ n: 21 }), 42)
        }))

      for (const cut of ["end", "reset"] satisfies ReadonlyArray<Cut>) {
        it.live(`goes on after the network has gone with ${cut === "end" ? "a FIN" : "a RST"}`, () =>
          Effect.gen(function*() {
            const { layer: logger, seen: logged } = yield* complaints
            yield* Effect.gen(function*() {
              const { port, seen, url } = yield* makeServer()
              const between = yield* relay(port)
              const client = yield* clientOver(layer(url.replace(String(port), String(between.port))))
              for (let round = 1; round <= 3; round++) {
                const pending = yield* Effect.forkScoped(Effect.exit(client.Wait()))
                const streaming = yield* Effect.forkScoped(Effect.exit(Stream.runDrain(client.Count({ to: 1e9 }))))
                yield* until(seen.waiting, (n) => n === round)
                assert.strictEqual(yield* client.Double({ n: round }), 2 * round)
                yield* between.cut(cut)
                assert.isTrue(Exit.isFailure(yield* Fiber.join(pending)))
                assert.isTrue(Exit.isFailure(yield* Fiber.join(streaming)))
                // What the server did for it is over, too.
                yield* until(seen.interrupted, (n) => n === round)
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
}
