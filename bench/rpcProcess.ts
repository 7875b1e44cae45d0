/**
 * One end of calls of effect/rpc, a process of its own: `rpcProcess.js server SYSTEM`, or
 * `rpcProcess.js client SYSTEM PORT SOCKETS CALLS`, where CALLS are in flight on each socket and 0 stands for a stream. It
 * sends its port, or that it is connected, and then a sample whenever it is asked.
 */
import { NodeHttpServer, NodeWS } from "@effect/platform-node"
import { Context, Effect, Layer, Schema, Scope, Stream } from "effect"
import { Socket, WebSocketClient, WebSocketServer } from "effect-ws"
import * as RpcServerProtocol from "effect-ws/RpcServerProtocol"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
import * as EffectSocket from "effect/socket/Socket"
import { createServer } from "node:http"

export type RpcSystem = "ours" | "effect"

export interface RpcSample {
  /** Calls that were replied to, or values that have arrived, since the last sample. */
  readonly count: number
  /** CPU time since the last sample, in microseconds. */
  readonly cpu: number
}

class Calls extends RpcGroup.make(
  Rpc.make("Double", { payload: { value: Schema.Finite }, success: Schema.Finite }),
  Rpc.make("Count", { success: Schema.Finite, stream: true })
) {}

const Handlers = Calls.toLayer({
  Double: ({ value }) => Effect.succeed(value * 2),
  Count: () => Stream.range(1, Number.MAX_SAFE_INTEGER)
})

const host = "127.0.0.1"

const Service = RpcServer.layer(Calls).pipe(Layer.provide(Handlers))

const oursServer = Effect.gen(function*() {
  const context = yield* Layer.build(
    Service.pipe(
      Layer.provide(RpcServerProtocol.layer()),
      Layer.provide(RpcSerialization.layerJson),
      Layer.provideMerge(WebSocketServer.layer({ port: 0, host }))
    )
  )
  const { address } = Context.get(context, WebSocketServer.WebSocketServer)
  return address._tag === "Tcp" ? address.port : 0
})

const effectServer = Effect.gen(function*() {
  const protocol = RpcServer.layerProtocolWebsocket({ path: "/" }).pipe(Layer.provide(RpcSerialization.layerJson))
  const context = yield* Layer.build(
    HttpRouter.serve(Layer.provide(Service, protocol), { disableLogger: true, disableListenLog: true }).pipe(
      Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host }))
    )
  )
  const { address } = Context.get(context, HttpServer.HttpServer)
  return address._tag === "UnixPathAddress" ? 0 : address.port
})

const sockets = {
  ours: (url: string) => Socket.layer(WebSocketClient.connect(url)),
  effect: (url: string) => Layer.provide(EffectSocket.layerWebSocket(url), NodeWS.layerWebSocketConstructor)
}

let count = 0

const runClient = (system: RpcSystem, port: number, calls: number) =>
  Effect.gen(function*() {
    const protocol = RpcClient.layerProtocolSocket().pipe(
      Layer.provide([sockets[system](`ws://${host}:${port}/`), RpcSerialization.layerJson])
    )
    const client = yield* Effect.provide(RpcClient.make(Calls), yield* Layer.build(protocol))
    const counted = Effect.sync(() => void count++)
    yield* client.Double({ value: 1 })
    if (calls === 0) yield* Effect.forkScoped(Stream.runForEach(client.Count(), () => counted))
    for (let i = 0; i < calls; i++) {
      yield* Effect.forkScoped(Effect.forever(Effect.andThen(client.Double({ value: i }), counted)))
    }
  })

const main = Effect.gen(function*() {
  const [end, system, port, socketCount, calls] = process.argv.slice(2)
  const scope = yield* Scope.make()
  if (end === "server") {
    process.send!(
      yield* Scope.provide(system === "ours" ? Effect.orDie(oursServer) : Effect.orDie(effectServer), scope)
    )
    return
  }
  for (let i = 0; i < Number(socketCount); i++) {
    yield* Scope.provide(runClient(system as RpcSystem, Number(port), Number(calls)), scope)
  }
  process.send!("connected")
})

let last = process.cpuUsage()

process.on("message", () => {
  const { system, user } = process.cpuUsage(last)
  last = process.cpuUsage()
  process.send!({ count, cpu: system + user } satisfies RpcSample)
  count = 0
})

void Effect.runPromise(main)
