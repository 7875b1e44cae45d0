/**
 * Implementations of the `SocketServer` of `effect/socket` over a
 * `WebSocketServer`, for servers of `effect/rpc`, runners of `effect/cluster`, and
 * DevTools. `Socket` is the other end.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import type { Socket } from "effect/socket/Socket"
import { SocketServer as EffectSocketServer } from "effect/socket/SocketServer"
import { Connection } from "./Connection.ts"
import type { InvalidOption } from "./HandshakeError.ts"
import { fromConnection } from "./internal/effectSocket/socket.ts"
import { loadOnce } from "./internal/runtime/loadOnce.ts"
import * as WebSocketServer from "./WebSocketServer.ts"

/**
 * Provides a `SocketServer` that accepts connections with a `WebSocketServer`.
 * Connections wait until a program runs the `SocketServer`. Fails with `InvalidOption`
 * if an option is invalid.
 *
 * **Example** (An RPC server)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { RpcSerialization, RpcServer } from "effect/rpc"
 * import { SocketServer, WebSocketServer } from "effect-ws"
 *
 * const Protocol = RpcServer.layerProtocolSocketServer.pipe(
 *   Layer.provide([SocketServer.layer(), RpcSerialization.layerJson]),
 *   Layer.provide(WebSocketServer.layer({ port: 8080 }))
 * )
 * ```
 *
 * @stability unstable
 * @category servers
 * @since 0.1.0
 */
export const layer = <Services = never, RD = never>(
  options?: WebSocketServer.ServeOptions<Services, RD>
): Layer.Layer<EffectSocketServer, InvalidOption, WebSocketServer.WebSocketServer | Exclude<RD, Scope.Scope>> =>
  Layer.effect(EffectSocketServer)(Effect.gen(function*() {
    const server = yield* WebSocketServer.WebSocketServer
    const runs: Array<(connection: Connection) => Effect.Effect<unknown, unknown, Scope.Scope>> = []
    const running = Latch.makeUnsafe(false)
    // The latest `run` gets new connections.
    yield* server.serve(
      Effect.flatMap(
        Connection,
        (connection) => running.whenOpen(Effect.suspend(() => runs[runs.length - 1](connection)))
      ),
      options
    )
    const { address } = server
    return {
      address: address._tag === "Unix"
        ? NetAddress.unixPathAddress(address.path)
        : NetAddress.inetAddressFromIpStringUnsafe(address.host, address.port),
      run: <R, E, A>(onSocket: (socket: Socket) => Effect.Effect<A, E, R>) =>
        Effect.contextWith((context: Context.Context<R>) => {
          const stopped = Deferred.makeUnsafe<void>()
          const run = (connection: Connection) =>
            Effect.raceFirst(
              Effect.updateContext(
                onSocket(fromConnection(connection)),
                (session: Context.Context<Scope.Scope>) =>
                  Context.add(
                    Context.add(context, Connection, connection),
                    Scope.Scope,
                    Context.get(session, Scope.Scope)
                  ) as Context.Context<R>
              ),
              Deferred.await(stopped)
            )
          runs.push(run)
          running.openUnsafe()
          return Effect.ensuring(
            Effect.never,
            Effect.sync(() => {
              runs.splice(runs.indexOf(run), 1)
              if (runs.length === 0) running.closeUnsafe()
              Deferred.doneUnsafe(stopped, Exit.void)
            })
          )
        })
    }
  }))

/**
 * Makes a route of an HTTP effect that calls `upgrade` of its request, such as that
 * of `RpcServer.toHttpEffectWebsocket`. The effect gets the `Socket` of an accepted
 * connection. The options are those of `WebSocketServer.upgrade`.
 *
 * **Example** (An RPC server at a route)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { Rpc, RpcGroup, RpcServer } from "effect/rpc"
 * import { SocketServer } from "effect-ws"
 *
 * const Rpcs = RpcGroup.make(Rpc.make("Double", { payload: { n: Schema.Number }, success: Schema.Number }))
 *
 * const RpcRoute = HttpRouter.use((router) =>
 *   Effect.flatMap(RpcServer.toHttpEffectWebsocket(Rpcs), (rpcs) => router.add("GET", "/rpc", SocketServer.upgrade(rpcs)))
 * )
 * ```
 *
 * @stability unstable
 * @category servers
 * @since 0.1.0
 */
export const upgrade = <E, R, Services = never, RD = never>(
  httpEffect: Effect.Effect<HttpServerResponse, E, R>,
  options?: WebSocketServer.UpgradeOptions<Services, RD>
): Effect.Effect<
  HttpServerResponse,
  never,
  HttpServerRequest | Exclude<RD, Scope.Scope> | Exclude<R, Connection | Scope.Scope | Services>
> =>
  WebSocketServer.upgrade(
    Effect.gen(function*() {
      const socket = Effect.succeed(fromConnection(yield* Connection))
      const { HttpServerRequest } = yield* httpServerRequest
      return yield* Effect.updateService(httpEffect, HttpServerRequest, (request) =>
        Object.create(request, {
          upgrade: { value: socket },
          upgradeWith: { value: () => socket }
        }))
    }),
    options
  )

/** The first connection of a route loads it, because it loads much of `effect/http`. */
const httpServerRequest = loadOnce(() => import("effect/http/HttpServerRequest"))
