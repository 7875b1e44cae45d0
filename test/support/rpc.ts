/** RPC servers and clients of Effect over the sockets of this library. */
import { NodeWS } from "@effect/platform-node"
import { Context, Effect, Layer, Logger, Ref, Schedule, Schema, Scope, Stream } from "effect"
import { HttpRouter } from "effect/http"
import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
import { Socket as EffectSocket } from "effect/socket"
import { Socket, SocketServer, WebSocketClient, WebSocketServer } from "effect-ws"
import * as RpcServerProtocol from "effect-ws/RpcServerProtocol"
import { application } from "./application.ts"

export class Calls extends RpcGroup.make(
  Rpc.make("Double", { payload: { n: Schema.Number }, success: Schema.Number }),
  Rpc.make("Count", { payload: { to: Schema.Number }, success: Schema.Number, stream: true }),
  Rpc.make("Refuse", { payload: { why: Schema.String }, error: Schema.String }),
  Rpc.make("Wait", { success: Schema.Void }),
  Rpc.make("WhoAmI", { success: Schema.String })
) {}

/** The counters of the handlers. */
export class Seen extends Context.Service<Seen, {
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

export const eventually = <A>(ref: Ref.Ref<A>, condition: (value: A) => boolean) =>
  Effect.repeat(Effect.delay(Ref.get(ref), 1), { until: condition })

export interface RpcEndpoint {
  readonly url: string
  readonly port: number
  readonly seen: Seen["Service"]
}

export type Server = (options?: WebSocketServer.ServeOptions) => Effect.Effect<RpcEndpoint, unknown, Scope.Scope>

const portOf = (address: WebSocketServer.Address): number => address._tag === "Tcp" ? address.port : 0

/** RpcServer over a WebSocketServer of its own. */
const standaloneOver =
  (protocol: (options?: WebSocketServer.ServeOptions) => Layer.Layer<RpcServer.Protocol, unknown, Needs>): Server =>
  (options) =>
    Effect.gen(function*() {
      const seen = yield* makeSeen
      const context = yield* Layer.build(
        RpcServer.layer(Calls).pipe(
          Layer.provide([Handlers, protocol(options)]),
          Layer.provideMerge(WebSocketServer.layer({ host: "127.0.0.1" })),
          Layer.provide([RpcSerialization.layerJson, Layer.succeed(Seen, seen)])
        )
      )
      const port = portOf(Context.get(context, WebSocketServer.WebSocketServer).address)
      return { url: `ws://127.0.0.1:${port}/`, port, seen }
    })

type Needs = RpcSerialization.RpcSerialization | WebSocketServer.WebSocketServer

/** RpcServer over a SocketServer. */
export const standalone = standaloneOver((options) =>
  Layer.provide(RpcServer.layerProtocolSocketServer, SocketServer.layer(options))
)

/** RpcServer over the connections of a WebSocketServer. */
export const direct = standaloneOver((options) => RpcServerProtocol.layer(options))

/** RpcServer at a route of an application. */
const routedOver = (
  route: (
    options?: WebSocketServer.UpgradeOptions
  ) => Layer.Layer<never, unknown, HttpRouter.HttpRouter | RpcSerialization.RpcSerialization | Handled>
): Server =>
(options) =>
  Effect.gen(function*() {
    const seen = yield* makeSeen
    const { port, url } = yield* application(
      route(options).pipe(
        Layer.provide([Handlers, RpcSerialization.layerJson]),
        Layer.provide(Layer.succeed(Seen, seen)),
        Layer.orDie
      )
    )
    return { url: `${url}/rpc`, port, seen }
  })

type Handled = Layer.Success<typeof Handlers>

/** RpcServer at a route that upgrades a request to a Socket. */
export const routed = routedOver((options) =>
  HttpRouter.use((router) =>
    Effect.flatMap(
      RpcServer.toHttpEffectWebsocket(Calls),
      (rpcs) => router.add("GET", "/rpc", SocketServer.upgrade(rpcs, options))
    )
  )
)

/** RpcServer over the connections of a route. */
export const directRouted = routedOver((options) =>
  Layer.provide(RpcServer.layer(Calls), RpcServerProtocol.layerRoute({ path: "/rpc", ...options }))
)

export const clientOver = (socket: Layer.Layer<EffectSocket.Socket>) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      RpcClient.layerProtocolSocket({ retryPolicy: Schedule.spaced(10), pingInterval: 1000 }).pipe(
        Layer.provide([socket, RpcSerialization.layerJson])
      )
    )
    return yield* Effect.provideContext(RpcClient.make(Calls), context)
  })

/** Effect's own client, over ws. */
export const ownClient = (url: string) =>
  Layer.provide(EffectSocket.layerWebSocket(url), NodeWS.layerWebSocketConstructor)

export const clients = {
  "Socket.layer": (url: string) => Socket.layer(WebSocketClient.connect(url, { keepalive: false })),
  "Socket.layerWebSocketConstructor": (url: string) =>
    EffectSocket.layerWebSocket(url).pipe(
      Layer.provide(Socket.layerWebSocketConstructor((target, options) =>
        WebSocketClient.connect(target, { ...options, keepalive: false })
      ))
    )
}

/** Collects what a program logs at the levels Warn, Error and Fatal. */
export const complaints = Effect.map(Ref.make<ReadonlyArray<unknown>>([]), (seen) => ({
  seen,
  layer: Logger.layer([Logger.make(({ logLevel, message }) => {
    if (logLevel === "Error" || logLevel === "Fatal" || logLevel === "Warn") {
      Effect.runSync(Ref.update(seen, (all) => [...all, message]))
    }
  })])
}))
