/**
 * Sockets of `effect/socket` over the connections of this library, on Node and in
 * browsers: for clients of `effect/rpc`, runners of `effect/cluster`, DevTools, and
 * other users of a `Socket` or a `WebSocketConstructor`. `SocketServer` is the other
 * end.
 *
 * **Example** (An RPC client)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { RpcClient, RpcSerialization } from "effect/rpc"
 * import { Socket, WebSocketClient } from "effect-ws"
 *
 * const Protocol = RpcClient.layerProtocolSocket().pipe(
 *   Layer.provide([Socket.layer(WebSocketClient.connect("ws://127.0.0.1:8080/rpc")), RpcSerialization.layerJson])
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as EffectSocket from "effect/socket/Socket"
import type { ConnectError } from "./HandshakeError.ts"
import * as internal from "./internal/effectSocket/socket.ts"
import { WebSocketAdapter } from "./internal/effectSocket/webSocketAdapter.ts"
import type { MessageConnection } from "./MessageConnection.ts"

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
export const fromConnection = (connection: MessageConnection): EffectSocket.Socket =>
  internal.fromConnection(connection)

// -----------------------------------------------------------------------------
// Clients
// -----------------------------------------------------------------------------

/**
 * Makes a Socket that connects when its reader is acquired, and closes the
 * connection when the reader is released. While there is no connection, writes
 * suspend until the next one.
 *
 * `connect` is how to connect: `WebSocketClient.connect` or `BrowserClient.connect`
 * with a URL, or an effect that gets a token first. It runs each time the reader is
 * acquired.
 *
 * @stability unstable
 * @category clients
 * @since 0.1.0
 */
export const make = <R>(
  connect: Effect.Effect<MessageConnection, ConnectError, R>
): Effect.Effect<EffectSocket.Socket, never, Exclude<R, Scope.Scope>> =>
  Effect.contextWith((context: Context.Context<Exclude<R, Scope.Scope>>) =>
    Effect.succeed(internal.fromDial(Effect.mapError(withServices(connect, context), openError)))
  )

/** Leaves nothing to be provided but the Scope. */
const withServices = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  services: Context.Context<Exclude<R, Scope.Scope>>
): Effect.Effect<A, E, Scope.Scope> =>
  Effect.contextWith((scope: Context.Context<Scope.Scope>) =>
    Effect.provideContext(effect, Context.merge(services, scope) as Context.Context<R>)
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
export const layer = <R>(
  connect: Effect.Effect<MessageConnection, ConnectError, R>
): Layer.Layer<EffectSocket.Socket, never, Exclude<R, Scope.Scope>> => Layer.effect(EffectSocket.Socket)(make(connect))

/**
 * What a program asks a `WebSocketConstructor` for, beside the URL.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface ConstructorOptions {
  readonly protocols?: ReadonlyArray<string>
  readonly headers?: Readonly<Record<string, string>>
}

/**
 * Provides a constructor of objects like the WebSocket of browsers, for
 * `Socket.layerWebSocket`, cluster runners over HTTP and DevTools. The objects can
 * be paused, which applies backpressure to the peer. They are closed with the layer.
 *
 * **Example** (With compression)
 *
 * ```ts
 * import { PerMessageDeflate, Socket, WebSocketClient } from "effect-ws"
 *
 * const extensions = [PerMessageDeflate.make()]
 *
 * const Constructor = Socket.layerWebSocketConstructor((url, options) =>
 *   WebSocketClient.connect(url, { ...options, extensions })
 * )
 * ```
 *
 * @stability unstable
 * @category clients
 * @since 0.1.0
 */
export const layerWebSocketConstructor = <R>(
  connect: (url: string, options: ConstructorOptions) => Effect.Effect<MessageConnection, ConnectError, R>
): Layer.Layer<EffectSocket.WebSocketConstructor, never, Exclude<R, Scope.Scope>> =>
  Layer.effect(EffectSocket.WebSocketConstructor)(
    Effect.contextWith((context: Context.Context<Exclude<R, Scope.Scope> | Scope.Scope>) =>
      Effect.succeed((url, given) => {
        const { headers, protocols } = typeof given === "string" || Array.isArray(given)
          ? { protocols: given, headers: undefined }
          : given ?? {}
        const connecting = connect(url, {
          ...protocols === undefined ? {} : { protocols: typeof protocols === "string" ? [protocols] : protocols },
          ...headers === undefined ? {} : { headers }
        })
        return new WebSocketAdapter(
          withServices(connecting, context),
          (effect) => Fiber.runIn(Effect.runForkWith(context)(effect), Context.get(context, Scope.Scope))
        )
      })
    )
  )
