/**
 * The port between processes that share topics: publish, subscribe, history and
 * presence of channels, in bytes. `layerMemory` is the broker of a single process.
 *
 * **Example** (Publish bytes)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Broker } from "effect-ws"
 *
 * const program = Effect.gen(function*() {
 *   const broker = yield* Broker.Broker
 *   const { offset } = yield* broker.publish("room/lobby", { data: new TextEncoder().encode("hi") })
 *   return offset
 * }).pipe(Effect.provide(Broker.layerMemory()))
 *
 * await Effect.runPromise(program) // => 1
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { InvalidOption } from "./HandshakeError.ts"
import { reasonOf } from "./internal/runtime/describe.ts"
import { makeMemoryBroker } from "./internal/topics/memoryBroker.ts"
import type { History, Position } from "./Topic.ts"

// -----------------------------------------------------------------------------
// Errors
// -----------------------------------------------------------------------------

/**
 * The broker is unavailable, and the operation had no effect. Except for `leave`:
 * see there.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class BrokerUnavailable extends Data.TaggedError("BrokerUnavailable")<{
  readonly operation: "publish" | "subscribe" | "history" | "join" | "leave" | "members"
  readonly channel: string
  readonly cause: unknown
}> {
  override get message(): string {
    return `${this.operation} ${JSON.stringify(this.channel)}: expected an available broker, got: ${
      reasonOf(this.cause)
    }; nothing was sent, repeat it when the broker is up`
  }
}

/**
 * The connection to the broker was lost after a message was sent, so that it is
 * unknown whether the message was published.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class PublishUnknown extends Data.TaggedError("PublishUnknown")<{
  readonly channel: string
  readonly idempotencyKey: string | undefined
  readonly cause: unknown
}> {
  override get message(): string {
    const advice = this.idempotencyKey === undefined
      ? "publish with an idempotencyKey, so that a repetition publishes it once"
      : `publish it again with the same idempotencyKey, ${JSON.stringify(this.idempotencyKey)}`
    return `publish ${JSON.stringify(this.channel)}: expected a reply of the broker, got: ${
      reasonOf(this.cause)
    }; the message may be published, ${advice}`
  }
}

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * A message as a broker transports it.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Payload {
  /** The message, as the publisher has encoded it. */
  readonly data: Uint8Array
  /** Further bytes that travel with the message, such as the publisher's identity. Default: none. */
  readonly info?: Uint8Array | undefined
}

/**
 * A message with its position.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Publication extends Payload, Position {}

/**
 * A member of a channel.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Member {
  readonly id: string
  readonly info: Uint8Array
}

/**
 * What a subscription receives. Messages and changes of presence have one order;
 * `version` counts the changes of presence from 1, without holes.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type Event =
  | Publication & { readonly _tag: "Publication" }
  | PresenceChange & { readonly _tag: "Joined" }
  | PresenceChange & { readonly _tag: "Left" }
  /** The subscription may have missed events. It has none of them if it is a new one. */
  | { readonly _tag: "Lost" }

/**
 * A change of presence: its epoch and offset are the position of the newest message
 * before it.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface PresenceChange extends Member, Position {
  readonly version: number
}

/**
 * The options of `publish`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface PublishOptions {
  /** The history that the channel has from now on. Default: none; the message is not kept, nor are those before it. */
  readonly history?: History | undefined
  /**
   * Publishes once: while a broker remembers the key, for 5 minutes, it returns the
   * position of the first message with this key. Default: no key.
   */
  readonly idempotencyKey?: string | undefined
}

/**
 * The options of `history`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface HistoryOptions {
  /**
   * Returns messages after this position (with `reverse`, before it). If the
   * channel has another epoch that does not continue the one of the position, all
   * messages count as after it. Default: all messages.
   */
  readonly since?: Position | undefined
  /**
   * The maximum number of messages, 0 for the position alone. Default: no limit. A
   * whole number, 0 or more, or Infinity.
   */
  readonly limit?: number | undefined
  /** Returns the newest messages first. Default: the oldest first. */
  readonly reverse?: boolean | undefined
}

/**
 * A part of the history, read in one step.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface HistoryPage {
  /** The position of the newest message in the channel, whether it is kept or not. */
  readonly position: Position
  readonly publications: ReadonlyArray<Publication>
  /**
   * Whether no message between `since` and the first of `publications` is missing; or
   * if there are no publications, between `since` and `position`. With a `limit` of
   * 0: whether the epoch of the channel has `since`. Without `since`: whether the
   * history begins with the first message.
   */
  readonly complete: boolean
}

/**
 * The members of a channel, read in one step.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Members {
  readonly position: Position
  /** The number of the newest change that `members` includes. */
  readonly version: number
  readonly members: ReadonlyArray<Member>
}

/**
 * Whether a broker is available.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type Status =
  | { readonly _tag: "Up" }
  | { readonly _tag: "Down"; readonly cause: unknown }

// -----------------------------------------------------------------------------
// The service
// -----------------------------------------------------------------------------

/**
 * A broker. No operation waits for the broker to be up, and none is retried: each
 * fails at once, or after a timeout of the implementation. All can be interrupted.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export interface Broker {
  /**
   * Publishes a message: assigns the next offset, stores the message in the history
   * and delivers it to all subscriptions, in one step. Returns its position.
   */
  readonly publish: (
    channel: string,
    payload: Payload,
    options?: PublishOptions
  ) => Effect.Effect<Position, BrokerUnavailable | PublishUnknown>
  /**
   * Subscribes to a channel until the Scope closes. When it succeeds, the listener
   * receives each further event. Events come in the order of the broker, one at a
   * time. A listener must not throw. Several subscriptions to a channel are independent.
   */
  readonly subscribe: (
    channel: string,
    listener: (event: Event) => void
  ) => Effect.Effect<void, BrokerUnavailable, Scope.Scope>
  /** Reads the history of a channel, and its position. */
  readonly history: (channel: string, options?: HistoryOptions) => Effect.Effect<HistoryPage, BrokerUnavailable>
  /** Adds a member, or changes the info of the member with this id. It stays until `leave`, or until this process dies. */
  readonly join: (channel: string, member: Member) => Effect.Effect<void, BrokerUnavailable>
  /**
   * Removes a member. If it fails, the broker no longer renews the lease of the
   * member, so that the member leaves when the lease ends.
   */
  readonly leave: (channel: string, id: string) => Effect.Effect<void, BrokerUnavailable>
  /** Reads the members of a channel. */
  readonly members: (channel: string) => Effect.Effect<Members, BrokerUnavailable>
  /** The current status, and its changes. */
  readonly status: Stream.Stream<Status>
}

/**
 * Service tag of `Broker`.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export const Broker: Context.Service<Broker, Broker> = Context.Service<Broker>("effect-ws/Broker")

/**
 * The options of `layerMemory`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface MemoryOptions {
  /**
   * The maximum number of channels that are remembered without subscriptions and
   * members. A forgotten channel begins with another epoch. Default 100,000. A
   * whole number, 1 or more.
   */
  readonly maxIdleChannels?: number | undefined
  /** The maximum number of idempotency keys that are remembered. Default 100,000. A whole number, 1 or more. */
  readonly maxIdempotencyKeys?: number | undefined
}

/**
 * A broker in the memory of this process. It is always up, and loses its history
 * when the process ends.
 *
 * Deliveries happen within `publish`, before it returns.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerMemory = (options: MemoryOptions = {}): Layer.Layer<Broker, InvalidOption> =>
  Layer.effect(Broker)(makeMemoryBroker(options))
