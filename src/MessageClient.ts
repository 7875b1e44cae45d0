/**
 * Opens connections on any platform: the service that a program uses if it runs on Node and in browsers.
 * `BrowserClient.layer` and `WebSocketClient.layerMessageClient` provide it.
 *
 * **Example** (One program for both)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { MessageClient } from "effect-ws"
 *
 * export const program = Effect.gen(function*() {
 *   const feed = yield* MessageClient.reconnecting("wss://example.com/feed", { protocols: ["v2"] })
 *   yield* Stream.runForEach(feed.messages, (message) => Effect.log(message))
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ConnectError } from "./HandshakeError.ts"
import { separateOptions } from "./internal/client/attemptOptions.ts"
import { attemptTo } from "./internal/client/attempts.ts"
import type { MessageConnection } from "./MessageConnection.ts"
import * as Reconnecting from "./Reconnecting.ts"

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * The options of `connect` that have the same meaning on every platform.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface ConnectOptions {
  /**
   * Subprotocols to offer, in order of preference. The negotiated one is the connection's `subprotocol`: undefined if
   * the server selected none. A browser fails the handshake then, unless none was offered. Default none.
   */
  readonly protocols?: ReadonlyArray<string> | undefined
  /** The time limit for connecting. Default 10 seconds. More than 0, or Infinity. */
  readonly handshakeTimeout?: Duration.Input | undefined
  /** The time limit for the closing handshake. Default 10 seconds. 0 or more, or Infinity. */
  readonly closeTimeout?: Duration.Input | undefined
  /**
   * The maximum size of a message in bytes, after decompression. A larger one
   * fails the connection with the cause `MessageTooLarge`; a browser holds it in
   * memory before. Default 16 MiB. 0 or more, or Infinity.
   */
  readonly maxMessageSize?: number | undefined
}

/**
 * Options of `reconnecting`: how to connect, and when.
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
> extends Omit<ConnectOptions, "protocols">, Reconnecting.Options<MessageConnection, E | E1, E2, R2, E3, R3, E4, R4> {
  /**
   * The subprotocols to offer, or an effect that runs for each attempt, to get a
   * fresh token: a browser can send no headers.
   */
  readonly protocols?: ReadonlyArray<string> | Effect.Effect<ReadonlyArray<string>, E1, R1> | undefined
}

// -----------------------------------------------------------------------------
// Service
// -----------------------------------------------------------------------------

/**
 * Opens connections that send and receive whole messages.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface MessageClient {
  readonly connect: (
    url: string | URL,
    options?: ConnectOptions
  ) => Effect.Effect<MessageConnection, ConnectError, Scope.Scope>
}

/**
 * Service tag of `MessageClient`.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export const MessageClient: Context.Service<MessageClient, MessageClient> = Context.Service<MessageClient>(
  "effect-ws/MessageClient"
)

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Connects to a server with the client of the context. Closing the Scope closes the
 * connection.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const connect = (
  url: string | URL,
  options?: ConnectOptions
): Effect.Effect<MessageConnection, ConnectError, MessageClient | Scope.Scope> =>
  Effect.flatMap(MessageClient, (client) => client.connect(url, options))

/**
 * Connects to a server with the client of the context, and again whenever the
 * connection is lost: `Reconnecting.make` with `connect`. It ends when its Scope
 * closes or a failure is final. URL and subprotocols may be effects, which
 * run for each attempt.
 *
 * @stability unstable
 * @category constructors
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
  MessageClient | Scope.Scope | R | R1 | R2 | R3 | R4
> => {
  const [own, others] = separateOptions(options)
  return Reconnecting.make(() => attemptTo(connect, url, others), own)
}
