/**
 * Implementations of `effect/socket` over the WebSockets of this library, for
 * clients and servers of `effect/rpc`, runners of `effect/cluster`, DevTools, and
 * other users of a `Socket`, a `SocketServer` or a `WebSocketConstructor`.
 *
 * **Example** (An RPC client)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { RpcClient, RpcSerialization } from "effect/rpc"
 * import { Socket } from "effect-ws"
 *
 * const Protocol = RpcClient.layerProtocolSocket().pipe(
 *   Layer.provide([Socket.layer("ws://127.0.0.1:8080/rpc"), RpcSerialization.layerJson])
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as EffectSocket from "effect/socket/Socket"
import { SocketServer } from "effect/socket/SocketServer"
import { Connection } from "./Connection.ts"
import type { ConnectError, InvalidOption } from "./HandshakeError.ts"
import * as internal from "./internal/effectSocket/socket.ts"
import { WebSocketAdapter } from "./internal/effectSocket/webSocketAdapter.ts"
import * as WebSocketClient from "./WebSocketClient.ts"
import * as WebSocketServer from "./WebSocketServer.ts"

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Makes a Socket of a connection. It can be read once. When its reader is
 * released, the connection is closed in the background.
 *
 * The end of the connection is a `SocketError` with a `SocketCloseError`, also
 * after a normal closure. Its `cause` is the `ConnectionClosed`. If a handler fails
 * with it, the server logs the end of the connection at debug level.
 *
 * Throws a TypeError if the value is not a connection.
 *
 * **Example** (In the handler of a server)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Connection, Socket, WebSocketServer } from "effect-ws"
 *
 * const Echo = WebSocketServer.serve(Effect.gen(function*() {
 *   const socket = Socket.fromConnection(yield* Connection.Connection)
 *   const { pull } = yield* socket.reader
 *   const { writeAll } = yield* socket.writer
 *   yield* Effect.forever(Effect.flatMap(pull, writeAll))
 * }))
 * ```
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const fromConnection = (connection: Connection): EffectSocket.Socket => internal.fromConnection(connection)

// -----------------------------------------------------------------------------
// Clients
// -----------------------------------------------------------------------------

/**
 * Makes a Socket that connects to a URL when its reader is acquired, and closes the
 * connection when the reader is released. It connects with the `WebSocketClient` of
 * the context. While there is no connection, writes suspend until the next one.
 *
 * @stability unstable
 * @category clients
 * @since 0.1.0
 */
export const make = (
  url: string | URL,
  options?: WebSocketClient.ConnectOptions
): Effect.Effect<EffectSocket.Socket> =>
  Effect.contextWith((context: Context.Context<never>) =>
    Effect.succeed(internal.fromDial(
      WebSocketClient.connect(url, options).pipe(
        Effect.mapError(openError),
        Effect.updateContext((scope: Context.Context<Scope.Scope>) => Context.merge(context, scope))
      )
    ))
  )

const openError = (cause: ConnectError): EffectSocket.SocketError =>
  new EffectSocket.SocketError({
    reason: new EffectSocket.SocketOpenError({
      kind: cause._tag === "HandshakeTimeout" ? "Timeout" : "Unknown",
      cause
    })
  })

/**
 * Provides the `Socket` of `make`.
 *
 * @stability unstable
 * @category clients
 * @since 0.1.0
 */
export const layer = (
  url: string | URL,
  options?: WebSocketClient.ConnectOptions
): Layer.Layer<EffectSocket.Socket> => Layer.effect(EffectSocket.Socket)(make(url, options))

/**
 * Provides a constructor of objects like the WebSocket of browsers, for
 * `Socket.layerWebSocket`, cluster runners over HTTP and DevTools. The objects can
 * be paused, which applies backpressure to the peer. They are closed with the layer.
 *
 * @stability unstable
 * @category clients
 * @since 0.1.0
 */
export const layerWebSocketConstructor = (
  options?: WebSocketClient.ConnectOptions
): Layer.Layer<EffectSocket.WebSocketConstructor> =>
  Layer.effect(EffectSocket.WebSocketConstructor)(
    Effect.contextWith((context: Context.Context<Scope.Scope>) =>
      Effect.succeed((url, given) => {
        const { headers, protocols } = typeof given === "string" || Array.isArray(given)
          ? { protocols: given, headers: undefined }
          : given ?? {}
        return new WebSocketAdapter(
          WebSocketClient.connect(url, {
            ...options,
            ...protocols === undefined ? {} : { protocols: typeof protocols === "string" ? [protocols] : protocols },
            ...headers === undefined ? {} : { headers: { ...options?.headers, ...headers } }
          }),
          (effect) => Fiber.runIn(Effect.runForkWith(context)(effect), Context.get(context, Scope.Scope))
        )
      })
    )
  )

// -----------------------------------------------------------------------------
// Servers
// -----------------------------------------------------------------------------

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
 * import { Socket, WebSocketServer } from "effect-ws"
 *
 * const Protocol = RpcServer.layerProtocolSocketServer.pipe(
 *   Layer.provide([Socket.layerServer(), RpcSerialization.layerJson]),
 *   Layer.provide(WebSocketServer.layer({ port: 8080 }))
 * )
 * ```
 *
 * @stability unstable
 * @category servers
 * @since 0.1.0
 */
export const layerServer = <Services = never, RD = never>(
  options?: WebSocketServer.ServeOptions<Services, RD>
): Layer.Layer<SocketServer, InvalidOption, WebSocketServer.WebSocketServer | Exclude<RD, Scope.Scope>> =>
  Layer.effect(SocketServer)(Effect.gen(function*() {
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
      run: <R, E, A>(onSocket: (socket: EffectSocket.Socket) => Effect.Effect<A, E, R>) =>
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
 * import { Socket } from "effect-ws"
 *
 * const Rpcs = RpcGroup.make(Rpc.make("Double", { payload: { n: Schema.Number }, success: Schema.Number }))
 *
 * const RpcRoute = HttpRouter.use((router) =>
 *   Effect.flatMap(RpcServer.toHttpEffectWebsocket(Rpcs), (rpcs) => router.add("GET", "/rpc", Socket.upgrade(rpcs)))
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
    Effect.flatMap(Connection, (connection) => {
      const socket = Effect.succeed(fromConnection(connection))
      return Effect.updateService(httpEffect, HttpServerRequest, (request) =>
        Object.create(request, {
          upgrade: { value: socket },
          upgradeWith: { value: () => socket }
        }))
    }),
    options
  )
