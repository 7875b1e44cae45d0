/**
 * Definitions of topics: the names of their channels, the schemas of messages and
 * members, history, and what to do about slow consumers. A definition is data: it
 * serves servers, clients and browsers alike.
 *
 * **Example** (A chat with rooms)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Topic } from "effect-ws"
 *
 * const Room = Topic.make("room/:name", {
 *   message: Schema.Struct({ by: Schema.String, text: Schema.String }),
 *   member: Schema.Struct({ name: Schema.String }),
 *   history: { size: 256, ttl: "5 minutes" }
 * })
 *
 * Topic.channel(Room, { name: "lobby" }) // => "room/lobby"
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { assertValid, integerBetween, invalidOption, positiveDuration } from "./internal/runtime/optionChecks.ts"
import { formatPath, matchPath, overlap, parsePath, type Path as ParsedPath } from "./internal/topics/path.ts"

// -----------------------------------------------------------------------------
// Positions
// -----------------------------------------------------------------------------

/**
 * The place of a message in its channel. Offsets count messages from 1 without
 * holes; the epoch changes when the count starts anew.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Position {
  readonly epoch: string
  /** The number of the message. 0 is the position before the first message. */
  readonly offset: number
}

/**
 * The schema of positions, for programs that store them or send them.
 *
 * @stability unstable
 * @category schemas
 * @since 0.1.0
 */
export const Position: Schema.Codec<Position> = Schema.Struct({
  epoch: Schema.String,
  offset: Schema.Int
})

// -----------------------------------------------------------------------------
// Events
// -----------------------------------------------------------------------------

/**
 * A member of a channel: the id that it joined with, and its value.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Member<out A> {
  readonly id: string
  readonly member: A
}

/**
 * What a subscriber receives, in this order: `Subscribed` first, then the events of
 * the channel. A subscriber that stores the newest `position` (of a `Gap`: `to`) can
 * resume from it with `since`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type Event<M, P = never> = Subscribed<P> | Message<M> | Gap | Joined<P> | Left<P>

/**
 * The subscription is confirmed: each event after it is delivered. It is repeated
 * if presence changes were not kept for a slow consumer: `members` then replaces
 * all that the subscriber knew about members.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Subscribed<out P> {
  readonly _tag: "Subscribed"
  /** The position before the next message. */
  readonly position: Position
  /** The members at this moment. Empty if the topic has no presence. */
  readonly members: ReadonlyArray<Member<P>>
}

/**
 * A message. With `slowConsumer: "latest"`, offsets of messages that a newer one
 * has replaced are left out without a `Gap`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Message<out M> {
  readonly _tag: "Message"
  readonly position: Position
  readonly message: M
}

/**
 * Messages after `from`, up to and including `to`, are lost to this subscriber: they
 * are no longer in the history, or it was a slow consumer.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Gap {
  readonly _tag: "Gap"
  readonly from: Position
  readonly to: Position
  /** The number of lost messages; undefined if the epoch has changed, because it is unknown then. */
  readonly missed?: number | undefined
}

/**
 * A member has joined, or has changed its value.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Joined<out P> extends Member<P> {
  readonly _tag: "Joined"
}

/**
 * A member has left.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Left<out P> extends Member<P> {
  readonly _tag: "Left"
}

// -----------------------------------------------------------------------------
// Definitions
// -----------------------------------------------------------------------------

/**
 * What happens when a subscriber reads more slowly than messages arrive. Each costs
 * a position per subscriber, never a copy of messages:
 *
 * - "catchUp": it continues where it was once it has room, from memory or the
 *   history. Messages that neither has are a `Gap`.
 * - "latest": once it has room, it receives the newest message of each `key`.
 * - "skip": once it has room, it receives a `Gap` and continues with new messages.
 * - "close": it catches up; when it is more than `maxBacklog` bytes of messages
 *   behind (see `Topics.layer`), its connection is closed with 1008.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type SlowConsumer = "catchUp" | "latest" | "skip" | "close"

/**
 * How many messages of a channel a broker keeps for subscribers that resume.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface History {
  /** The maximum number of messages. */
  readonly size: number
  /** How long they are kept after the newest message. */
  readonly ttl: Duration.Duration
}

/**
 * A topic: a family of channels with the same schemas. `Args` are the parameters
 * of its path, `M` its messages, `P` its members.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Topic<in out Args extends Readonly<Record<string, string>>, in out M, out P = never> {
  readonly path: string
  readonly message: Schema.ConstraintCodec<M, unknown>
  /** The schema of members; undefined if the topic has no presence. */
  readonly member: Schema.ConstraintCodec<P, unknown> | undefined
  readonly history: History | undefined
  readonly slowConsumer: SlowConsumer
  /** With `slowConsumer: "latest"`, the key of a message. */
  readonly key: ((message: M) => string) | undefined
  /** Phantom: the parameters of the path. */
  readonly "~params"?: (params: Args) => Args
}

/**
 * Any topic.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Any extends Pick<Topic<any, any, any>, "path" | "history" | "slowConsumer" | "key"> {
  readonly message: Schema.ConstraintCodec<any, unknown>
  readonly member: Schema.ConstraintCodec<any, unknown> | Schema.ConstraintCodec<never, unknown> | undefined
}

/**
 * The names of the parameters in a path.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type ParamNames<Path extends string> = Path extends `${string}:${infer Rest}`
  ? Exclude<Identifier<Rest>, ""> | ParamNames<Rest>
  : never

/**
 * The parameters of a path: `room/:name` has `{ readonly name: string }`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type Params<Path extends string> = { readonly [Name in ParamNames<Path>]: string }

type Letter =
  | ("a" | "b" | "c" | "d" | "e" | "f" | "g" | "h" | "i" | "j" | "k" | "l" | "m")
  | ("n" | "o" | "p" | "q" | "r" | "s" | "t" | "u" | "v" | "w" | "x" | "y" | "z")
type Digit = "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"

/** The identifier at the beginning of a text, or "". */
type Identifier<Text extends string, Read extends string = ""> = Text extends `${infer First}${infer Rest}`
  ? First extends Letter | Uppercase<Letter> | "_" ? Identifier<Rest, `${Read}${First}`>
  : First extends Digit ? Read extends "" ? "" : Identifier<Rest, `${Read}${First}`>
  : Read
  : Read

/**
 * The options of `make`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Options<M, P> {
  /** The schema of messages. They are sent as JSON: see `Schema.toCodecJson`. */
  readonly message: Schema.ConstraintCodec<M, unknown>
  /** The schema of members. Default: the topic has no presence. */
  readonly member?: Schema.ConstraintCodec<P, unknown> | undefined
  /**
   * The messages that the broker keeps in each channel: at most `size`, until `ttl`
   * has passed since the newest. Default: none.
   */
  readonly history?: { readonly size: number; readonly ttl: Duration.Input } | undefined
  /** What happens to slow consumers. Default "catchUp". */
  readonly slowConsumer?: SlowConsumer | undefined
  /** With `slowConsumer: "latest"`, the key of a message. Default: all messages have the same key. */
  readonly key?: ((message: NoInfer<M>) => string) | undefined
}

/**
 * Defines a topic. In its path, a colon and an identifier are a parameter; `room::name`
 * is the literal `room:` and the parameter `name`.
 *
 * Throws `InvalidOption` if two parameters have the same name or no literal between
 * them, if that literal begins with `%`, or if a value of the options is invalid.
 *
 * **Example** (Prices, of which a slow consumer needs only the newest)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Topic } from "effect-ws"
 *
 * const Prices = Topic.make("prices/:market", {
 *   message: Schema.Struct({ symbol: Schema.String, price: Schema.Finite }),
 *   slowConsumer: "latest",
 *   key: ({ symbol }) => symbol
 * })
 * ```
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make = <const Path extends string, M, P = never>(
  path: Path,
  { history, key, member, message, slowConsumer = "catchUp" }: Options<M, P>
): Topic<Params<Path>, M, P> => {
  const parsed = parsePath(path)
  assertValid(
    checkSchema("message", message) ?? (member === undefined ? undefined : checkSchema("member", member)) ??
      (history === undefined ? undefined : integerBetween(1, 2 ** 31 - 1, "history.size", history.size)) ??
      (history === undefined ? undefined : positiveDuration("history.ttl", history.ttl)) ??
      (policies.has(slowConsumer)
        ? undefined
        : invalidOption("slowConsumer", [...policies].join(", "), slowConsumer)) ??
      (key === undefined || slowConsumer === "latest"
        ? undefined
        : invalidOption("key", "no key, or slowConsumer: \"latest\"", key))
  )
  const topic: Topic<Params<Path>, M, P> = {
    path,
    message,
    member,
    history: history && { size: history.size, ttl: Duration.fromInputUnsafe(history.ttl) },
    slowConsumer,
    key
  }
  paths.set(topic, parsed)
  return topic
}

const policies: ReadonlySet<string> = new Set<SlowConsumer>(["catchUp", "latest", "skip", "close"])

const checkSchema = (option: string, schema: unknown) =>
  Schema.isSchema(schema) ? undefined : invalidOption(option, "a Schema", schema)

/** Parsed paths, by topic. */
const paths = new WeakMap<object, ParsedPath>()

const pathOf = (topic: Any): ParsedPath => {
  let path = paths.get(topic)
  if (path === undefined) paths.set(topic, path = parsePath(topic.path))
  return path
}

// -----------------------------------------------------------------------------
// Channels
// -----------------------------------------------------------------------------

/**
 * Returns the name of a channel. The last parameter is written as it is; in an
 * earlier one, `%` and the first character of the literal behind it are
 * percent-encoded. So different parameters have different channels. Throws
 * `InvalidOption` if a parameter is not a text.
 *
 * **Example** (Two parameters)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Topic } from "effect-ws"
 *
 * const Files = Topic.make("files/:owner/:path", { message: Schema.String })
 *
 * Topic.channel(Files, { owner: "a/b", path: "x/y" }) // => "files/a%2Fb/x/y"
 * ```
 *
 * @stability unstable
 * @category channels
 * @since 0.1.0
 */
export const channel = <Args extends Readonly<Record<string, string>>, M, P>(
  topic: Topic<Args, M, P>,
  params: NoInfer<Args>
): string => formatPath(pathOf(topic), params)

/**
 * Returns the parameters of a channel, or None if the channel is not one of the
 * topic. It is the inverse of `channel`.
 *
 * @stability unstable
 * @category channels
 * @since 0.1.0
 */
export const parse = <Args extends Readonly<Record<string, string>>, M, P>(
  topic: Topic<Args, M, P>,
  name: string
): Option.Option<Args> => Option.fromUndefinedOr(matchPath(pathOf(topic), name) as Args | undefined)

/**
 * Returns the topic of a channel, with its parameters.
 *
 * @stability unstable
 * @category channels
 * @since 0.1.0
 */
export const find = <T extends Any>(
  topics: Iterable<T>,
  name: string
): Option.Option<{ readonly topic: T; readonly params: Readonly<Record<string, string>> }> => {
  for (const topic of topics) {
    const params = matchPath(pathOf(topic), name)
    if (params !== undefined) return Option.some({ topic, params })
  }
  return Option.none()
}

/**
 * Returns two different topics that share a channel, if there are any. Services that
 * register topics fail with `InvalidOption` then.
 *
 * @stability unstable
 * @category channels
 * @since 0.1.0
 */
export const findOverlap = (topics: Iterable<Any>): Option.Option<readonly [Any, Any]> => {
  const all = [...new Set(topics)]
  for (const [index, left] of all.entries()) {
    const right = all.slice(index + 1).find((other) => overlap(pathOf(left), pathOf(other)))
    if (right !== undefined) return Option.some([left, right])
  }
  return Option.none()
}

// -----------------------------------------------------------------------------
// Schemas
// -----------------------------------------------------------------------------

/**
 * Returns the schema of a topic's events. `Topics.deliver` sends them as text
 * messages in this form, which a `TypedConnection` at the other end receives.
 *
 * **Example** (A client of `Topics.deliver`)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Topic, TypedConnection } from "effect-ws"
 * import type { Connection } from "effect-ws"
 *
 * const News = Topic.make("news/:section", { message: Schema.String })
 *
 * const receiver = (connection: Connection.Connection) =>
 *   TypedConnection.make(connection, { receives: Topic.event(News), sends: Schema.Never })
 * ```
 *
 * @stability unstable
 * @category schemas
 * @since 0.1.0
 */
export const event = <Args extends Readonly<Record<string, string>>, M, P>(
  topic: Topic<Args, M, P>
): Schema.Codec<Event<M, P>, unknown> => {
  const member = topic.member ?? Schema.Never
  const fields = { id: Schema.String, member }
  const union = Schema.Union([
    Schema.TaggedStruct("Subscribed", { position: Position, members: Schema.Array(Schema.Struct(fields)) }),
    Schema.TaggedStruct("Message", { position: Position, message: topic.message }),
    Schema.TaggedStruct("Gap", { from: Position, to: Position, missed: Schema.optionalKey(Schema.Int) }),
    Schema.TaggedStruct("Joined", fields),
    Schema.TaggedStruct("Left", fields)
  ])
  return union as unknown as Schema.Codec<Event<M, P>, unknown>
}
