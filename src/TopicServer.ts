/**
 * Serves topics to clients over the client protocol of Centrifuge, version 2, so that
 * `TopicClient` and the clients of Centrifuge for other languages work unchanged.
 *
 * **Example** (Rooms that every client may join)
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Broker, Topic, Topics, TopicServer, WebSocketServer } from "effect-ws"
 *
 * const Room = Topic.make("room::name", {
 *   message: Schema.Struct({ text: Schema.String }),
 *   member: Schema.Struct({ name: Schema.String }),
 *   history: { size: 100, ttl: "1 minute" }
 * })
 *
 * const handler = TopicServer.handler({
 *   topics: [Room],
 *   connect: ({ token }) => Effect.succeed({ user: token }),
 *   subscribe: ({ client }) => Effect.succeed({ member: { name: client.user } }),
 *   publish: () => Effect.void
 * })
 *
 * const Main = WebSocketServer.serve(handler).pipe(
 *   Layer.provide(WebSocketServer.layer({ port: 8080 })),
 *   Layer.provide(Topics.layer()),
 *   Layer.provide(Broker.layerMemory())
 * )
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type { Connection } from "./Connection.ts"
import type { ConnectionClosed } from "./ConnectionError.ts"
import type * as Handshake from "./Handshake.ts"
import { readOptions } from "./internal/centrifuge/serverOptions.ts"
import { serveClient } from "./internal/centrifuge/serverSession.ts"
import type { Codec } from "./internal/centrifuge/codec.ts"
import type * as Topic from "./Topic.ts"
import type { Disconnect, Rejected } from "./TopicError.ts"
import type { Topics } from "./Topics.ts"

// -----------------------------------------------------------------------------
// Clients
// -----------------------------------------------------------------------------

/**
 * A connected client.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Client {
  /** The id of this connection, a random one. */
  readonly id: string
  /** The user that `connect` returned. */
  readonly user: string
  /** What other clients see of this connection: the `info` that `connect` returned. */
  readonly info: Schema.Json | undefined
  /** The request of the opening handshake. */
  readonly request: Handshake.Request
  /** Sends data that belongs to no channel. Suspends while the connection has no room for it. */
  readonly send: (data: Schema.Json) => Effect.Effect<void, ConnectionClosed>
  /** Ends a subscription. Clients subscribe again if the code is 2500 or above. Default code 2000. */
  readonly unsubscribe: (channel: string, code?: number) => Effect.Effect<void>
  /** Ends the connection. Default: 3503, after which clients do not reconnect. */
  readonly disconnect: (disconnect?: Disconnect) => Effect.Effect<void>
}

/**
 * A format of the protocol besides JSON: see `TopicProtobuf`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Format {
  /** The WebSocket subprotocol that selects the format. Name it in `protocols` of the server too. */
  readonly protocol: string
  /** @internal */
  readonly codec: Codec
}

// -----------------------------------------------------------------------------
// Requests and grants
// -----------------------------------------------------------------------------

/**
 * A client asks to connect, or sends a new token before the old one expires.
 *
 * @stability unstable
 * @category requests
 * @since 0.1.0
 */
export interface ConnectRequest {
  /** The token of the client, or "". */
  readonly token: string
  /** Data of the client, a JSON value; undefined without one. */
  readonly data: unknown
  /** The name and the version of the program, as the client tells them. */
  readonly name: string
  readonly version: string
  /** Headers that the client cannot set on the opening handshake, as the client tells them. */
  readonly headers: Readonly<Record<string, string>>
  /** The connected client that sends a new token; undefined for a new connection. */
  readonly client: Client | undefined
  /** The request of the opening handshake. */
  readonly request: Handshake.Request
}

/**
 * The server's decision on a connection.
 *
 * @stability unstable
 * @category requests
 * @since 0.1.0
 */
export interface ConnectGrant {
  /** The user, which other clients see. Default "". A new token must be of the same user. */
  readonly user?: string | undefined
  /** What other clients see of this connection. Default: nothing. */
  readonly info?: Schema.Json | undefined
  /** Data for the client. Default: none. */
  readonly data?: Schema.Json | undefined
  /** The time until the client must send a new token. 0 or less rejects the client: its token has expired. Default: no limit. */
  readonly expiresIn?: Duration.Input | undefined
  /** Channels that the server subscribes the client to. `subscribe` decides on each. Default: none. */
  readonly channels?: ReadonlyArray<string> | undefined
}

/**
 * A channel that a client wants to use.
 *
 * @stability unstable
 * @category requests
 * @since 0.1.0
 */
export interface ChannelRequest {
  readonly client: Client
  readonly channel: string
  readonly topic: Topic.Any
  /** The parameters of the topic's path. */
  readonly params: Readonly<Record<string, string>>
}

/**
 * A client asks to subscribe, or sends a new token before the old one expires.
 *
 * @stability unstable
 * @category requests
 * @since 0.1.0
 */
export interface SubscribeRequest extends ChannelRequest {
  /** The token for this channel, or "". */
  readonly token: string
  /** Data of the client, a JSON value; undefined without one. */
  readonly data: unknown
  /** Whether the client is subscribed, and sends a new token. */
  readonly refresh: boolean
}

/**
 * The server's decision on a subscription.
 *
 * @stability unstable
 * @category requests
 * @since 0.1.0
 */
export interface SubscribeGrant {
  /** The value with which the client becomes a member of the channel, of the topic's `member`. Default: it does not. */
  readonly member?: unknown
  /** Data for the client. Default: none. */
  readonly data?: Schema.Json | undefined
  /** The time until the client must send a new token. 0 or less rejects the client: its token has expired. Default: no limit. */
  readonly expiresIn?: Duration.Input | undefined
}

/**
 * A client asks to publish.
 *
 * @stability unstable
 * @category requests
 * @since 0.1.0
 */
export interface PublishRequest extends ChannelRequest {
  /** The message, decoded with the topic's `message`. */
  readonly message: unknown
  /** Whether the client is subscribed to the channel. */
  readonly subscribed: boolean
}

/**
 * The server's decision on a publication.
 *
 * @stability unstable
 * @category requests
 * @since 0.1.0
 */
export interface PublishGrant {
  /** The message to publish instead, of the topic's `message`. Default: the client's. */
  readonly message?: unknown
}

/**
 * A client asks for the history, the members, or the number of members of a channel.
 *
 * @stability unstable
 * @category requests
 * @since 0.1.0
 */
export interface ReadRequest extends ChannelRequest {
  readonly kind: "history" | "presence"
  /** Whether the client is subscribed to the channel. */
  readonly subscribed: boolean
}

/**
 * A call of a client, or data that expects no reply.
 *
 * @stability unstable
 * @category requests
 * @since 0.1.0
 */
export interface ClientData {
  readonly client: Client
  /** A JSON value; undefined without one. */
  readonly data: unknown
}

/**
 * A call of a client.
 *
 * @stability unstable
 * @category requests
 * @since 0.1.0
 */
export interface Call extends ClientData {
  readonly method: string
}

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * Limits on each client. All are on by default.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Limits {
  /** The maximum number of subscriptions. A further one is rejected with 106. Default 128. A whole number, 0 or more. */
  readonly maxChannels?: number | undefined
  /**
   * The maximum length of a channel's name, in bytes of UTF-8. A longer one is rejected
   * with 107. Default 255. A whole number, 1 or more.
   */
  readonly maxChannelLength?: number | undefined
  /**
   * The maximum size of a command in bytes. A larger one ends the connection with 1009.
   * Default 65,536. A whole number, 1 or more.
   */
  readonly maxCommandSize?: number | undefined
  /**
   * The maximum number of commands in a WebSocket message. More end the connection with
   * 3501. Default 1,000. A whole number, 1 or more.
   */
  readonly maxCommands?: number | undefined
  /**
   * The commands that a client may send: `burst` at once, and `perSecond` on average.
   * Further ones are rejected with 111; when `burst` of them were rejected, or if a
   * command takes no reply, the connection ends with 3013. Default 100 per second, in
   * bursts of 1,000. `{ perSecond: Infinity, burst: Infinity }` disables it.
   */
  readonly rate?: { readonly perSecond: number; readonly burst: number } | undefined
  /** The maximum number of calls that run at a time. Further commands wait. Default 16. A whole number, 1 or more. */
  readonly maxCalls?: number | undefined
  /** The maximum number of messages in a reply to `history`. Default 1,000. A whole number, 1 or more. */
  readonly maxHistory?: number | undefined
  /** The time that a client has to send its connect command, before 3502. Default 10 seconds. More than 0, or Infinity. */
  readonly connectTimeout?: Duration.Input | undefined
  /**
   * The time after which a client that sent no new token is disconnected (3005) or
   * unsubscribed (2501). Default 25 seconds. 0 or more, or Infinity.
   */
  readonly refreshTimeout?: Duration.Input | undefined
  /**
   * The time between pings of the protocol, which browsers can see. Default 25 seconds.
   * 1 second or more, or Infinity.
   */
  readonly pingInterval?: Duration.Input | undefined
  /** The time that a client has to answer a ping, before 3012. Default 10 seconds. More than 0, less than `pingInterval`. */
  readonly pongTimeout?: Duration.Input | undefined
}

/**
 * Options of `handler`. An effect that decides rejects a command by failing with
 * `Rejected`, and ends the connection by failing with `Disconnect`. If it dies, the
 * server logs the cause, and the command is rejected with 100.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Options<R1 = never, R2 = never, R3 = never, R4 = never, R5 = never, R6 = never> extends Limits {
  /** The topics that clients may use. Two topics must not share a channel. */
  readonly topics: ReadonlyArray<Topic.Any>
  /** Decides on connections, and on new tokens. Default: each client connects, as the user "". */
  readonly connect?: ((request: ConnectRequest) => Effect.Effect<ConnectGrant, Rejected | Disconnect, R1>) | undefined
  /** Decides on subscriptions, and on new tokens for them. Default: a client may subscribe to all channels of `topics`. */
  readonly subscribe?:
    | ((request: SubscribeRequest) => Effect.Effect<SubscribeGrant | void, Rejected | Disconnect, R2>)
    | undefined
  /** Decides on publications. Default: clients do not publish. */
  readonly publish?:
    | ((request: PublishRequest) => Effect.Effect<PublishGrant | void, Rejected | Disconnect, R3>)
    | undefined
  /** Decides on reading history and members. Default: a client may read the channels that it is subscribed to. */
  readonly read?: ((request: ReadRequest) => Effect.Effect<void, Rejected | Disconnect, R4>) | undefined
  /** Runs calls, several at a time. Default: calls are rejected with 108. */
  readonly rpc?: ((call: Call) => Effect.Effect<Schema.Json | void, Rejected | Disconnect, R5>) | undefined
  /** Handles data that expects no reply, one after the other. Default: it ends the connection with 3508. */
  readonly message?: ((message: ClientData) => Effect.Effect<void, Rejected | Disconnect, R6>) | undefined
  /** Formats besides JSON. Default: none. */
  readonly formats?: ReadonlyArray<Format> | undefined
}

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Returns a handler for `WebSocketServer.serve` and `WebSocketServer.upgrade`, which
 * serves topics to each connection until it ends. Subscriptions and members end with
 * the connection.
 *
 * Throws `InvalidOption` if an option is invalid.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const handler = <R1 = never, R2 = never, R3 = never, R4 = never, R5 = never, R6 = never>(
  options: Options<R1, R2, R3, R4, R5, R6>
): Effect.Effect<void, never, Connection | Topics | R1 | R2 | R3 | R4 | R5 | R6> => serveClient(readOptions(options))
