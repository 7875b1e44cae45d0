/**
 * A WebSocket client for browsers, over the global `WebSocket`. It imports nothing of Node. It also runs in workers, and
 * in other programs with that class: Deno, Bun, Node from version 22.
 *
 * **Example** (A page that talks to its own server)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import * as BrowserClient from "effect-ws/BrowserClient"
 *
 * const program = Effect.gen(function*() {
 *   const connection = yield* BrowserClient.connect("/feed")
 *   yield* connection.send("hello")
 *   yield* Stream.runForEach(connection.messages, (message) => Effect.log(message))
 * }).pipe(
 *   Effect.scoped,
 *   Effect.catchTag("ConnectFailed", (error) => Effect.logError(error.message))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type ConnectError, InvalidOption } from "./HandshakeError.ts"
import { connect as open } from "./internal/browser/connect.ts"
import { separateOptions } from "./internal/client/attemptOptions.ts"
import { attemptTo } from "./internal/client/attempts.ts"
import * as MessageClient from "./MessageClient.ts"
import type { MessageConnection } from "./MessageConnection.ts"
import * as Reconnecting from "./Reconnecting.ts"

// -----------------------------------------------------------------------------
// WebSocket
// -----------------------------------------------------------------------------

/**
 * The close event of a WebSocket.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface CloseEventLike {
  readonly code: number
  readonly reason: string
  readonly wasClean: boolean
}

/**
 * The events of a WebSocket, by their names.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface WebSocketEvents {
  readonly open: unknown
  readonly message: { readonly data: unknown }
  /** A browser gives no reason. Other programs may put one into `error`. */
  readonly error: { readonly error?: unknown }
  readonly close: CloseEventLike
}

/**
 * What `connect` needs of a WebSocket object.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface WebSocketLike {
  binaryType: string
  readonly readyState: number
  readonly bufferedAmount: number
  readonly protocol: string
  readonly send: (data: string | Uint8Array<ArrayBuffer>) => void
  readonly close: (code?: number, reason?: string) => void
  readonly addEventListener: <T extends keyof WebSocketEvents>(
    type: T,
    listener: (event: WebSocketEvents[T]) => void
  ) => void
  readonly removeEventListener: <T extends keyof WebSocketEvents>(
    type: T,
    listener: (event: WebSocketEvents[T]) => void
  ) => void
}

/**
 * Makes a WebSocket object, which begins to connect.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type WebSocketConstructor = (url: string, protocols: ReadonlyArray<string>) => WebSocketLike

/**
 * How WebSocket objects are made. Default: `new globalThis.WebSocket`.
 *
 * **Example** (Another implementation)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { BrowserClient } from "effect-ws"
 * import { WebSocket } from "undici"
 *
 * const Undici = Layer.succeed(
 *   BrowserClient.WebSocketConstructor,
 *   (url, protocols) => new WebSocket(url, [...protocols])
 * )
 * ```
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export const WebSocketConstructor: Context.Reference<WebSocketConstructor> = Context.Reference<WebSocketConstructor>(
  "effect-ws/BrowserClient/WebSocketConstructor",
  {
    defaultValue: () => (url, protocols) => {
      const { WebSocket } = globalThis as unknown as {
        readonly WebSocket: undefined | (new(url: string, protocols: Array<string>) => WebSocketLike)
      }
      if (WebSocket === undefined) {
        const problem = "expected a global WebSocket, got undefined; provide BrowserClient.WebSocketConstructor"
        throw new InvalidOption({ option: "WebSocketConstructor", problem })
      }
      return new WebSocket(url, [...protocols])
    }
  }
)

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * Options of `connect`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface ConnectOptions extends MessageClient.ConnectOptions {
  /**
   * How much may be unread: bytes of binary messages and characters of text, with
   * an overhead of 64 for each message. A browser cannot hold the peer back. If a
   * message arrives while more is unread, the connection fails with the cause
   * `ReceiveQueueFull`. Default 16 MiB. 0 or more, or Infinity.
   */
  readonly maxUnreadAmount?: number | undefined
  /**
   * The number of buffered bytes above which `send` suspends. A browser does not
   * report when it has room again: the connection looks every 20 milliseconds while
   * a `send` waits. Default 1 MiB. 0 or more, or Infinity.
   */
  readonly outboundHighWaterMark?: number | undefined
}

/**
 * Options of `reconnecting`: those of `connect`, with subprotocols that may be an
 * effect, and those of `Reconnecting.make`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface ReconnectingOptions<
  E = never,
  E1 = never,
  R1 = never,
  E2 = never,
  R2 = never,
  E3 = never,
  R3 = never,
  E4 = never,
  R4 = never
> extends Omit<ConnectOptions, "protocols">, MessageClient.ReconnectingOptions<E, E1, R1, E2, R2, E3, R3, E4, R4> {}

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Connects to a server. The URL may be relative to that of the page, and http and
 * https stand for ws and wss. Closing the Scope closes the connection.
 *
 * Fails with `ConnectFailed` if the browser cannot connect, for whatever reason: it
 * reports no status. `InvalidUrl`, `InvalidProtocol` and `InvalidOption` are errors
 * of the values that the program gives; a URL that the page must not open is an
 * `InvalidUrl`. If `connect` fails or is interrupted, it closes the socket.
 *
 * A page can send the close codes 1000 and 3000 to 4999. Where a connection of Node
 * closes with another code on its own, this one adds 3000: 1007 is 4007, 1011 is
 * 4011; 1001 is 1000.
 *
 * **Example** (A token in a subprotocol, because a page can send no headers)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { BrowserClient } from "effect-ws"
 *
 * const program = Effect.gen(function*() {
 *   const connection = yield* BrowserClient.connect("wss://example.com/feed", {
 *     protocols: ["v2", "token.c2VjcmV0"],
 *     handshakeTimeout: "5 seconds"
 *   })
 *   return yield* connection.receive
 * }).pipe(Effect.scoped)
 * ```
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const connect = (
  url: string | URL,
  options?: ConnectOptions
): Effect.Effect<MessageConnection, ConnectError, Scope.Scope> =>
  Effect.flatMap(WebSocketConstructor, (construct) => open(construct, url, options))

/**
 * Connects to a server, and again whenever the connection is lost, until its Scope
 * closes or a failure is final: `Reconnecting.make` with `connect`. URL and
 * subprotocols may be effects, which run for each attempt.
 *
 * **Example** (A fresh token for each attempt)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { BrowserClient } from "effect-ws"
 *
 * const freshToken = Effect.promise(() => fetch("/token").then((response) => response.text()))
 *
 * const program = Effect.gen(function*() {
 *   const feed = yield* BrowserClient.reconnecting("/feed", {
 *     protocols: Effect.map(freshToken, (token) => ["v2", `token.${token}`]),
 *     onOpen: (connection) => connection.send("subscribe")
 *   })
 *   yield* Stream.runForEach(feed.messages, (message) => Effect.log(message))
 * }).pipe(Effect.scoped)
 * ```
 *
 * @stability unstable
 * @category reconnecting
 * @since 0.1.0
 */
export const reconnecting = <
  E = never,
  R = never,
  E1 = never,
  R1 = never,
  E2 = never,
  R2 = never,
  E3 = never,
  R3 = never,
  E4 = never,
  R4 = never
>(
  url: string | URL | Effect.Effect<string | URL, E, R>,
  options: ReconnectingOptions<E, E1, R1, E2, R2, E3, R3, E4, R4> = {}
): Effect.Effect<
  Reconnecting.Reconnecting<Reconnecting.OwnFailure<E | E1 | E2 | E3 | E4>, MessageConnection>,
  never,
  Scope.Scope | R | R1 | R2 | R3 | R4
> => {
  const [own, others] = separateOptions(options)
  return Reconnecting.make(() => attemptTo(connect, url, others), own)
}

// -----------------------------------------------------------------------------
// Layers
// -----------------------------------------------------------------------------

/**
 * Provides a `MessageClient` over the WebSocket of the browser, with options for all
 * its connections. The options of `connect` override them.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (defaults?: ConnectOptions): Layer.Layer<MessageClient.MessageClient> =>
  Layer.effect(MessageClient.MessageClient)(
    Effect.map(WebSocketConstructor, (construct) => ({
      connect: (url, options) => open(construct, url, { ...defaults, ...options })
    }))
  )
