/**
 * The protocol of servers of `effect/rpc` over the connections of this library, without a `Socket` in between: it costs
 * less for each call, and streams do not wait for each acknowledgement. The messages are those of `effect/rpc` over any
 * WebSocket, so clients need no change.
 *
 * Programs import it by its path, because it loads most of `effect/rpc` and `effect/http`.
 *
 * **Example** (An RPC server)
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Rpc, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
 * import { WebSocketServer } from "effect-ws"
 * import * as RpcServerProtocol from "effect-ws/RpcServerProtocol"
 *
 * const Calls = RpcGroup.make(Rpc.make("Double", { payload: { n: Schema.Number }, success: Schema.Number }))
 *
 * const Server = RpcServer.layer(Calls).pipe(
 *   Layer.provide(Calls.toLayer({ Double: ({ n }) => Effect.succeed(2 * n) })),
 *   Layer.provide(RpcServerProtocol.layer()),
 *   Layer.provide([RpcSerialization.layerJson, WebSocketServer.layer({ port: 8080 })])
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import { RpcSerialization } from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import type * as Scope from "effect/Scope"
import { Connection } from "./Connection.ts"
import type { ConnectionClosed } from "./ConnectionError.ts"
import type { InvalidOption } from "./HandshakeError.ts"
import { ServerProtocol } from "./internal/rpc/serverProtocol.ts"
import { atLeast } from "./internal/runtime/optionChecks.ts"
import * as WebSocketServer from "./WebSocketServer.ts"

/**
 * Options of the protocol.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * The number of bytes that a stream sends before it waits for its client to acknowledge a chunk. Characters count as
   * one byte. Default 64 KiB. 0 or more, or Infinity. 0 waits after each chunk, as `effect/rpc` does over a `Socket`; Infinity
   * relies on the backpressure of the connection alone.
   */
  readonly streamWindow?: number | undefined
}

/**
 * A protocol, and the handler that serves its connections.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface RpcServerProtocol {
  readonly protocol: RpcServer.Protocol["Service"]
  /**
   * Serves one connection until it ends. While no RPC server runs, the connection waits, unread. Fails with how the
   * connection ended, unless it was a normal closure.
   */
  readonly handler: Effect.Effect<void, ConnectionClosed, Connection>
}

const defaultStreamWindow = 64 * 1024

/**
 * Makes a protocol, and the handler for `WebSocketServer.serve` or `WebSocketServer.upgrade`. Fails with `InvalidOption` if
 * `streamWindow` is invalid.
 *
 * Each call has the headers of the handshake and its own; its own replace those of the same name. The end of a connection
 * interrupts the calls of its client. A message that is not one of the RPC protocol is answered with a `Defect`, which fails all
 * calls of that client.
 *
 * **Example** (A route that decides about its clients)
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { HttpRouter } from "effect/http"
 * import { Rpc, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
 * import { Handshake, WebSocketServer } from "effect-ws"
 * import * as RpcServerProtocol from "effect-ws/RpcServerProtocol"
 *
 * const Calls = RpcGroup.make(Rpc.make("WhoAmI", { success: Schema.String }))
 *
 * const Protocol = Layer.effect(RpcServer.Protocol)(Effect.gen(function*() {
 *   const { handler, protocol } = yield* RpcServerProtocol.make()
 *   const router = yield* HttpRouter.HttpRouter
 *   const route = WebSocketServer.upgrade(handler, {
 *     decide: (request) =>
 *       Effect.succeed(
 *         request.headers["authorization"] === "secret" ? Handshake.accept() : Handshake.reject({ status: 401 })
 *       )
 *   })
 *   yield* router.add("GET", "/rpc", route)
 *   return protocol
 * }))
 *
 * const Routes = RpcServer.layer(Calls).pipe(
 *   Layer.provide(Calls.toLayer({ WhoAmI: (_, { headers }) => Effect.succeed(headers["x-user"] ?? "unknown") })),
 *   Layer.provide(Protocol),
 *   Layer.provide(RpcSerialization.layerJson)
 * )
 * ```
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Effect.Effect<RpcServerProtocol, InvalidOption, RpcSerialization> =>
  Effect.gen(function*() {
    const problem = atLeast(0, "streamWindow", options.streamWindow)
    if (problem !== undefined) return yield* problem
    const protocol = new ServerProtocol(
      yield* RpcSerialization,
      options.streamWindow ?? defaultStreamWindow,
      yield* Queue.unbounded<number>()
    )
    return {
      protocol: protocol.service,
      handler: Effect.flatMap(Connection, (connection) => protocol.handle(connection))
    }
  })

/**
 * Provides the protocol of an RPC server over a `WebSocketServer`. Fails with `InvalidOption` if an option
 * is invalid.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = <Services = never, RD = never>(
  options?: WebSocketServer.ServeOptions<Services, RD> & Options
): Layer.Layer<
  RpcServer.Protocol,
  InvalidOption,
  RpcSerialization | WebSocketServer.WebSocketServer | Exclude<RD, Scope.Scope>
> =>
  Layer.effect(RpcServer.Protocol)(Effect.gen(function*() {
    const server = yield* WebSocketServer.WebSocketServer
    const { handler, protocol } = yield* make(options)
    yield* server.serve(handler, options)
    return protocol
  }))

/**
 * Provides the protocol of an RPC server at a route of an `HttpRouter`. Fails with `InvalidOption` if
 * `streamWindow` is invalid. The other options are those of `WebSocketServer.upgrade`; for a `decide` with services, use `make`.
 *
 * **Example** (An RPC server beside other routes)
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Rpc, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
 * import * as RpcServerProtocol from "effect-ws/RpcServerProtocol"
 *
 * const Calls = RpcGroup.make(Rpc.make("Double", { payload: { n: Schema.Number }, success: Schema.Number }))
 *
 * const Routes = RpcServer.layer(Calls).pipe(
 *   Layer.provide(Calls.toLayer({ Double: ({ n }) => Effect.succeed(2 * n) })),
 *   Layer.provide(RpcServerProtocol.layerRoute({ path: "/rpc", maxMessageSize: 1024 * 1024 })),
 *   Layer.provide(RpcSerialization.layerJson)
 * )
 * ```
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerRoute = (
  options: { readonly path: HttpRouter.PathInput } & WebSocketServer.UpgradeOptions & Options
): Layer.Layer<RpcServer.Protocol, InvalidOption, RpcSerialization | HttpRouter.HttpRouter> =>
  Layer.effect(RpcServer.Protocol)(Effect.gen(function*() {
    const router = yield* HttpRouter.HttpRouter
    const { handler, protocol } = yield* make(options)
    yield* router.add("GET", options.path, WebSocketServer.upgrade(handler, options))
    return protocol
  }))
