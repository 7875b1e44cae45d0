/** Runners of a cluster and DevTools, unmodified, over connections of this library. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, Queue, Ref, Schema } from "effect"
import {
  Entity,
  HttpRunner,
  MessageStorage,
  RunnerAddress,
  RunnerHealth,
  RunnerStorage,
  ShardingConfig,
  SocketRunner
} from "effect/cluster"
import { DevTools, DevToolsServer } from "effect/devtools"
import { Rpc, RpcSerialization } from "effect/rpc"
import { Socket, SocketServer, WebSocketClient, WebSocketServer } from "effect-ws"

describe("DevTools", () => {
  it.live("spans reach a DevTools server", () =>
    Effect.gen(function*() {
      const names = yield* Queue.unbounded<string>()
      const server = yield* Layer.build(
        SocketServer.layer().pipe(Layer.provideMerge(WebSocketServer.layer({ host: "127.0.0.1" })))
      )
      yield* Effect.forkScoped(Effect.provideContext(
        DevToolsServer.run((client) =>
          Effect.forever(Effect.flatMap(Queue.take(client.queue), (request) =>
            request._tag === "Span" ? Queue.offer(names, request.name) : Effect.void))
        ),
        server
      ))
      const { url } = Context.get(server, WebSocketServer.WebSocketServer)
      yield* Effect.void.pipe(
        Effect.withSpan("watched"),
        Effect.andThen(Queue.take(names)),
        Effect.tap((name) =>
          Effect.sync(() => assert.strictEqual(name, "watched"))
        ),
        Effect.provide(
          DevTools.layerWebSocket(url).pipe(Layer.provide(Socket.layerWebSocketConstructor(WebSocketClient.connect)))
        )
      )
    }))
})

describe("a cluster", () => {
  const Counter = Entity.make("Counter", [
    Rpc.make("Add", { payload: { n: Schema.Number }, success: Schema.Number })
  ])

  it.live("a client calls the entities of a runner on another node", () =>
    Effect.gen(function*() {
      const listening = yield* Layer.build(
        SocketServer.layer().pipe(Layer.provideMerge(WebSocketServer.layer({ host: "127.0.0.1" })))
      )
      const { address } = Context.get(listening, WebSocketServer.WebSocketServer)
      const port = address._tag === "Tcp" ? address.port : 0
      const storage = yield* Layer.build(RunnerStorage.layerMemory)
      const runnerAddress = RunnerAddress.make("127.0.0.1", port)
      const shared = (options: Partial<ShardingConfig.ShardingConfig["Service"]>) =>
        Layer.mergeAll(
          Layer.succeedContext(storage),
          Layer.succeedContext(listening),
          MessageStorage.layerNoop,
          RunnerHealth.layerNoop,
          RpcSerialization.layerNdjson,
          Layer.provide(HttpRunner.layerClientProtocolWebsocketDefault, [
            Socket.layerWebSocketConstructor(WebSocketClient.connect),
            RpcSerialization.layerNdjson
          ]),
          ShardingConfig.layer({
            shardsPerGroup: 10,
            entityMailboxCapacity: 100,
            refreshAssignmentsInterval: 50,
            sendRetryInterval: 20,
            ...options
          })
        )
      const runner = Counter.toLayer(Effect.gen(function*() {
        const total = yield* Ref.make(0)
        return { Add: ({ payload }) => Ref.updateAndGet(total, (sum) => sum + payload.n) }
      })).pipe(
        Layer.provideMerge(SocketRunner.layer),
        Layer.provide(shared({ runnerAddress: Option.some(runnerAddress) }))
      )
      yield* Layer.build(runner)
      yield* Effect.gen(function*() {
        const client = yield* Counter.client
        for (const id of ["a", "b"]) {
          yield* Effect.forEach(Array.from({ length: 100 }), () => client(id).Add({ n: 1 }), { concurrency: 10 })
          assert.strictEqual(yield* client(id).Add({ n: 0 }), 100)
        }
      }).pipe(
        Effect.provide(SocketRunner.layerClientOnly.pipe(Layer.provide(shared({ runnerAddress: Option.none() }))))
      )
    }), 30_000)
})
