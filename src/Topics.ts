/**
 * Publish and subscribe with order, history and presence. Subscribers get each
 * message of a channel once and in the order of its offsets, or a `Gap`.
 *
 * **Example** (A chat)
 *
 * ```ts
 * import { Effect, Layer, Schema, Stream } from "effect"
 * import { Broker, Topic, Topics } from "effect-ws"
 *
 * const Room = Topic.make("room/:name", {
 *   message: Schema.Struct({ by: Schema.String, text: Schema.String }),
 *   history: { size: 256, ttl: "5 minutes" }
 * })
 *
 * const program = Effect.gen(function*() {
 *   yield* Topics.publish(Room, { name: "lobby" }, { by: "Ada", text: "hi" })
 *   const { position } = yield* Topics.history(Room, { name: "lobby" })
 *   return position.offset
 * })
 *
 * const TopicsLive = Topics.layer({ topics: [Room] }).pipe(Layer.provide(Broker.layerMemory()))
 *
 * await Effect.runPromise(Effect.provide(program, TopicsLive)) // => 1
 * ```
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Broker, type BrokerUnavailable, type PublishUnknown, type Status as BrokerStatus } from "./Broker.ts"
import type { InvalidValue } from "./ConnectionError.ts"
import type { InvalidOption } from "./HandshakeError.ts"
import {
  assertValid,
  atLeast,
  historyLimit,
  invalidOption,
  nonNegativeDuration
} from "./internal/runtime/optionChecks.ts"
import { codecOf, encodeSubscribed, jsonFormat } from "./internal/topics/codec.ts"
import { outletOf } from "./internal/topics/connectionOutlet.ts"
import { bindHub, Hub, hubOf } from "./internal/topics/hub.ts"
import { collectMetrics } from "./internal/topics/metrics.ts"
import { StreamOutlet } from "./internal/topics/streamOutlet.ts"
import { toEvents, toMembers } from "./internal/topics/values.ts"
import type { MessageConnection } from "./MessageConnection.ts"
import * as Topic from "./Topic.ts"

// -----------------------------------------------------------------------------
// The service
// -----------------------------------------------------------------------------

/**
 * The channels of a process. The functions of this module use it.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export interface Topics {
  readonly "~effect-ws/Topics": "~effect-ws/Topics"
}

/**
 * Service tag of `Topics`.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export const Topics: Context.Service<Topics, Topics> = Context.Service<Topics>("effect-ws/Topics")

/**
 * The options of `layer`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * The topics of the program. If two of them share a channel, the layer fails with
   * `InvalidOption`. Topics that are not listed work as well, without this check. Default: none.
   */
  readonly topics?: Iterable<Topic.Any> | undefined
  /**
   * Bytes of events that all channels together keep in memory, for subscribers that are
   * behind or resume. Above that, the oldest events are dropped; the history of the
   * broker may still have them. Default 32 MiB. 0 or more, or Infinity.
   */
  readonly memory?: number | undefined
  /**
   * How long a channel stays subscribed after its last subscriber, so that one that
   * reconnects finds its events in memory. Default 10 seconds. 0 or more, or Infinity.
   */
  readonly linger?: Duration.Input | undefined
  /**
   * With `slowConsumer: "close"`, by how many bytes of events a subscriber may be
   * behind before its connection is closed. An event counts at least 256. Default 1 MiB. 0 or more, or Infinity.
   */
  readonly maxBacklog?: number | undefined
}

/**
 * The service over a `Broker`. Fails with `InvalidOption` for invalid options. Closing
 * the layer ends all subscriptions, and removes the members that this process has added.
 *
 * **Example** (A program of one process)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Broker, Topics } from "effect-ws"
 *
 * const TopicsLive = Topics.layer({ linger: "30 seconds" }).pipe(Layer.provide(Broker.layerMemory()))
 * ```
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Topics, InvalidOption, Broker> =>
  Layer.effect(Topics)(Effect.gen(function*() {
    const { linger = "10 seconds", maxBacklog = 1024 * 1024, memory = 32 * 1024 * 1024, topics = [] } = options
    const problem = atLeast(0, "memory", memory) ?? nonNegativeDuration("linger", linger) ??
      atLeast(0, "maxBacklog", maxBacklog) ?? checkOverlap(topics)
    if (problem !== undefined) return yield* problem
    const hub = yield* Hub.make(yield* Broker, {
      memory,
      linger: Duration.toMillis(Duration.fromInputUnsafe(linger)),
      maxBacklog
    })
    yield* collectMetrics(hub)
    const service: Topics = { "~effect-ws/Topics": "~effect-ws/Topics" }
    bindHub(service, hub)
    return service
  }))

const checkOverlap = (topics: Iterable<Topic.Any>): InvalidOption | undefined => {
  const overlap = Option.getOrUndefined(Topic.findOverlap(topics))
  return overlap && invalidOption("topics", "topics without common channels", overlap.map(({ path }) => path))
}

const hub: Effect.Effect<Hub, never, Topics> = Effect.map(Topics, hubOf)

type AnyParams = Readonly<Record<string, string>>

// -----------------------------------------------------------------------------
// Publishing
// -----------------------------------------------------------------------------

/**
 * The options of `publish`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface PublishOptions {
  /**
   * Publishes once: while the broker remembers the key, for 5 minutes, publishing in
   * this channel with the same key returns the position of the first message.
   * Default: each call publishes.
   */
  readonly idempotencyKey?: string | undefined
}

/**
 * Publishes a message, and returns its position once the broker has it. Subscribers
 * of all processes receive it, those of this one through the broker as well.
 *
 * Fails with `BrokerUnavailable` if nothing was sent, with `PublishUnknown` if the
 * message may be published, and with `InvalidValue` if the schema cannot encode it.
 *
 * **Example** (Publish once, and repeat if the result is unknown)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Topic, Topics } from "effect-ws"
 *
 * const Orders = Topic.make("orders/:shop", { message: Schema.Struct({ id: Schema.String }) })
 *
 * const announce = (shop: string, id: string) =>
 *   Topics.publish(Orders, { shop }, { id }, { idempotencyKey: id }).pipe(
 *     Effect.retry({ times: 3, while: ({ _tag }) => _tag === "PublishUnknown" })
 *   )
 * ```
 *
 * @stability unstable
 * @category operations
 * @since 0.1.0
 */
export const publish = <Args extends AnyParams, M, P>(
  topic: Topic.Topic<Args, M, P>,
  params: NoInfer<Args>,
  message: NoInfer<M>,
  options: PublishOptions = {}
): Effect.Effect<Topic.Position, BrokerUnavailable | PublishUnknown | InvalidValue, Topics> =>
  Effect.flatMap(
    Topics,
    (service): Effect.Effect<Topic.Position, BrokerUnavailable | PublishUnknown | InvalidValue> => {
      const data = codecOf(topic).message.encode(message)
      if (Result.isFailure(data)) return Effect.fail(data.failure)
      const { history } = topic
      return hubOf(service).publish(Topic.channel(topic, params), { data: data.success }, { history, ...options })
    }
  )

// -----------------------------------------------------------------------------
// Subscribing
// -----------------------------------------------------------------------------

/**
 * The options of `subscribe` and `deliver`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface SubscribeOptions {
  /**
   * Resumes behind this position: first the messages that were missed, then those that
   * arrive. What is lost is a `Gap`. Default: begins with the next message.
   */
  readonly since?: Topic.Position | undefined
}

/**
 * The events of a channel, as a stream: `Subscribed` first, when the subscription is
 * confirmed. The stream reads from memory that all subscribers share: one that does not
 * pull keeps 16 events at most. `slowConsumer` of the topic says what it gets beyond
 * them, except that "close" is "catchUp". A message that the schema cannot decode is a `Gap`.
 *
 * Fails with `BrokerUnavailable` if it cannot subscribe. Later on, it does not: it
 * reads what it missed when the broker is up again.
 *
 * **Example** (Store what a channel tells, and resume after a restart)
 *
 * ```ts
 * import { Effect, Schema, Stream } from "effect"
 * import { Topic, Topics } from "effect-ws"
 *
 * const Orders = Topic.make("orders/:shop", {
 *   message: Schema.Struct({ id: Schema.String }),
 *   history: { size: 1000, ttl: "1 hour" }
 * })
 *
 * const follow = (shop: string, since: Topic.Position) =>
 *   Topics.subscribe(Orders, { shop }, { since }).pipe(
 *     Stream.runForEach((event) =>
 *       event._tag === "Message"
 *         ? Effect.log(event.position.offset, event.message.id)
 *         : event._tag === "Gap"
 *         ? Effect.logWarning(`${event.missed} messages are lost`)
 *         : Effect.void
 *     )
 *   )
 * ```
 *
 * @stability unstable
 * @category operations
 * @since 0.1.0
 */
export const subscribe = <Args extends AnyParams, M, P>(
  topic: Topic.Topic<Args, M, P>,
  params: NoInfer<Args>,
  { since }: SubscribeOptions = {}
): Stream.Stream<Topic.Event<M, P>, BrokerUnavailable, Topics> =>
  Stream.unwrap(Effect.gen(function*() {
    const codec = codecOf(topic)
    const outlet = new StreamOutlet()
    const attached = yield* (yield* hub).attach(Topic.channel(topic, params), {
      outlet,
      format: jsonFormat,
      channel: codec.channel,
      since
    })
    const first: Topic.Event<M, P> = subscribed(codec, attached.position, attached.members)
    attached.start()
    const pull: Effect.Effect<Arr.NonEmptyReadonlyArray<Topic.Event<M, P>>> = Effect.flatMap(
      outlet.pull(attached.cursor),
      (pulled) => {
        const events = pulled.flatMap((event) => toEvents(codec, event))
        return Arr.isArrayNonEmpty(events) ? Effect.succeed(events) : pull
      }
    )
    return Stream.concat(Stream.succeed(first), Stream.fromPull(Effect.succeed(pull)))
  }))

const subscribed = <M, P>(
  codec: ReturnType<typeof codecOf<AnyParams, M, P>>,
  position: Topic.Position,
  members: Parameters<typeof toMembers>[1] | undefined
): Topic.Subscribed<P> => ({ _tag: "Subscribed", position, members: toMembers(codec, members ?? []) })

/**
 * Delivers the events of a channel to a connection until the Scope closes. They are
 * text messages with the JSON of `Topic.event`, encoded once for all connections;
 * `Subscribed` is sent first, and returned. The topic's `slowConsumer` says what
 * happens to a peer that reads too slowly; nothing waits for it.
 *
 * Fails with `BrokerUnavailable` if it cannot subscribe. If the connection ends, it
 * delivers nothing more.
 *
 * **Example** (A handler)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Connection, Topic, Topics } from "effect-ws"
 *
 * const News = Topic.make("news/:section", { message: Schema.String })
 *
 * const handler = Effect.gen(function*() {
 *   const connection = yield* Connection.Connection
 *   yield* Topics.deliver(connection, News, { section: "sports" })
 *   yield* connection.discard
 * }).pipe(Effect.scoped)
 * ```
 *
 * @stability unstable
 * @category operations
 * @since 0.1.0
 */
export const deliver = <Args extends AnyParams, M, P>(
  connection: MessageConnection,
  topic: Topic.Topic<Args, M, P>,
  params: NoInfer<Args>,
  { since }: SubscribeOptions = {}
): Effect.Effect<Topic.Subscribed<P>, BrokerUnavailable, Topics | Scope.Scope> =>
  Effect.gen(function*() {
    const codec = codecOf(topic)
    const channel = Topic.channel(topic, params)
    const { members = [], position, start } = yield* (yield* hub).attach(channel, {
      outlet: outletOf(connection),
      format: jsonFormat,
      channel: codec.channel,
      since
    })
    yield* Effect.ignore(connection.send(encodeSubscribed({ position, members })))
    start()
    return subscribed(codec, position, members)
  })

// -----------------------------------------------------------------------------
// History and presence
// -----------------------------------------------------------------------------

/**
 * The options of `history`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface HistoryOptions {
  /** Returns messages after this position; with `reverse`, before it. Default: all messages. */
  readonly since?: Topic.Position | undefined
  /**
   * The maximum number of messages, 0 for the position alone. Default: no limit. A
   * whole number, 0 or more, or Infinity.
   */
  readonly limit?: number | undefined
  /** Returns the newest messages first. Default: the oldest first. */
  readonly reverse?: boolean | undefined
}

/**
 * A part of the history of a channel.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface History<out M> {
  /** The position of the newest message in the channel. `subscribe` with it as `since` continues without a hole. */
  readonly position: Topic.Position
  readonly messages: ReadonlyArray<Topic.Message<M>>
  /** Whether no message is missing between `since`, or the first message of the channel, and `messages`. */
  readonly complete: boolean
}

/**
 * Reads the history of a channel. Messages that the schema cannot decode are left
 * out, and `complete` is false then. An invalid `limit` is a defect.
 *
 * **Example** (The last ten messages, and all that follow)
 *
 * ```ts
 * import { Effect, Schema, Stream } from "effect"
 * import { Topic, Topics } from "effect-ws"
 *
 * const News = Topic.make("news/:section", { message: Schema.String, history: { size: 100, ttl: "1 day" } })
 *
 * const lastTen = Effect.gen(function*() {
 *   const { messages, position } = yield* Topics.history(News, { section: "sports" }, { limit: 10, reverse: true })
 *   const following = Topics.subscribe(News, { section: "sports" }, { since: position })
 *   return Stream.concat(Stream.fromIterable(messages.toReversed()), following)
 * })
 * ```
 *
 * @stability unstable
 * @category operations
 * @since 0.1.0
 */
export const history = <Args extends AnyParams, M, P>(
  topic: Topic.Topic<Args, M, P>,
  params: NoInfer<Args>,
  options: HistoryOptions = {}
): Effect.Effect<History<M>, BrokerUnavailable, Topics> =>
  Effect.flatMap(
    hub,
    (open) => {
      assertValid(historyLimit(options.limit))
      return Effect.map(open.history(Topic.channel(topic, params), options), ({ complete, position, publications }) => {
        const { message: { decode } } = codecOf(topic)
        const messages = publications.flatMap(({ data, epoch, offset }) =>
          Option.match(decode(data), {
            onNone: () => [],
            onSome: (message): ReadonlyArray<Topic.Message<M>> => [
              { _tag: "Message", position: { epoch, offset }, message }
            ]
          })
        )
        return { position, messages, complete: complete && messages.length === publications.length }
      })
    }
  )

/**
 * Reads the members of a channel.
 *
 * @stability unstable
 * @category operations
 * @since 0.1.0
 */
export const members = <Args extends AnyParams, M, P>(
  topic: Topic.Topic<Args, M, P>,
  params: NoInfer<Args>
): Effect.Effect<ReadonlyArray<Topic.Member<P>>, BrokerUnavailable, Topics> =>
  Effect.flatMap(
    hub,
    (open) => Effect.map(open.members(Topic.channel(topic, params)), (read) => toMembers(codecOf(topic), read.members))
  )

/**
 * Adds a member to a channel until the Scope closes, or until this process dies. The
 * id must be unique among the members of the channel: a connection, not a user,
 * because a user may be there twice. Joining again with the same id changes the value.
 *
 * Fails with `BrokerUnavailable`, and with `InvalidValue` if the schema cannot encode
 * the value.
 *
 * **Example** (Present while the connection lasts)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Connection, Topic, Topics } from "effect-ws"
 *
 * const Room = Topic.make("room/:name", {
 *   message: Schema.String,
 *   member: Schema.Struct({ name: Schema.String })
 * })
 *
 * const handler = Effect.gen(function*() {
 *   const connection = yield* Connection.Connection
 *   yield* Topics.deliver(connection, Room, { name: "lobby" })
 *   yield* Topics.join(Room, { name: "lobby" }, { id: connection.request.key, member: { name: "Ada" } })
 *   yield* connection.discard
 * }).pipe(Effect.scoped)
 * ```
 *
 * @stability unstable
 * @category operations
 * @since 0.1.0
 */
export const join = <Args extends AnyParams, M, P>(
  topic: Topic.Topic<Args, M, P>,
  params: NoInfer<Args>,
  { id, member }: Topic.Member<NoInfer<P>>
): Effect.Effect<void, BrokerUnavailable | InvalidValue, Topics | Scope.Scope> =>
  Effect.flatMap(hub, (open) => {
    const codec = codecOf(topic).member
    if (codec === undefined) return Effect.die(invalidOption("member", "a topic with a schema of members", topic.path))
    return Effect.flatMap(
      Effect.fromResult(codec.encode(member)),
      (info) => open.join(Topic.channel(topic, params), { id, info })
    )
  })

// -----------------------------------------------------------------------------
// Status
// -----------------------------------------------------------------------------

/**
 * Whether the broker is available. After `Down` and `Up` follows `Resynced`, when all
 * channels of this process have read what they missed.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type Status = BrokerStatus | { readonly _tag: "Resynced" }

/**
 * The current status, and its changes. A reader that is more than 16 statuses behind
 * misses the oldest.
 *
 * @stability unstable
 * @category operations
 * @since 0.1.0
 */
export const status: Stream.Stream<Status, never, Topics> = Stream.unwrap(Effect.map(hub, (open) => open.status))
