/** Makes a client of topics: its options, its commands and its streams. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { NotConnected } from "../../ConnectionError.ts"
import type { MessageConnection } from "../../MessageConnection.ts"
import * as Reconnecting from "../../Reconnecting.ts"
import * as Topic from "../../Topic.ts"
import type { HistoryOptions, Options, SubscribeOptions, TopicClient } from "../../TopicClient.ts"
import { Code, Rejected, Unanswered } from "../../TopicError.ts"
import { decodeText } from "../protocol/message.ts"
import { assertValid, historyLimit, integerBetween, positiveDuration } from "../runtime/optionChecks.ts"
import { codecOf } from "../topics/codec.ts"
import { ClientSession, type ClientSettings } from "./clientSession.ts"
import { type AnyEvent, ClientSubscription, type SubscriptionError } from "./clientSubscription.ts"
import type { Link } from "./clientLink.ts"
import { jsonCodec } from "./jsonCodec.ts"
import { randomId } from "./randomId.ts"
import { type Command, JsonText, type Reply } from "./schema.ts"

// oxlint-disable-next-line typescript/no-explicit-any
type AnyClient<C> = TopicClient<any, C>

export const makeClient = Effect.fnUntraced(function*<C extends MessageConnection, E, R, E2, R2, E3, R3>(
  connect: (attempt: number) => Effect.Effect<C, E, R>,
  options: Options<C, E, E2, R2, E3, R3>
): Effect.fn.Return<AnyClient<C>, never, Scope.Scope | R | R2 | R3> {
  assertValid(
    positiveDuration("timeout", options.timeout) ?? positiveDuration("pingDelay", options.pingDelay) ??
      integerBetween(16, 2 ** 31 - 1, "queueSize", options.queueSize)
  )
  const run = yield* FiberSet.makeRuntime<never, unknown, unknown>()
  const context = yield* Effect.context<R2>()
  const session = new ClientSession<E2>(
    settingsOf(options, (token) => Effect.provideContext(token, context), (effect) => {
      run(Effect.ignore(effect))
    })
  )
  yield* Effect.addFinalizer(() => Effect.sync(() => session.finish(undefined)))
  const connection = yield* Reconnecting.make(connect, {
    resetAfter: options.resetAfter,
    schedule: options.schedule as never,
    onOpen: (opened) => session.open(opened),
    isFinal: session.isFinal
  })
  session.settings.spawn(
    Effect.onExit(
      connection.closed,
      (exit) => Effect.sync(() => session.finish(Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined))
    )
  )
  return {
    subscribe: (topic, params, subscribeOptions) =>
      subscribe(session, topic, Topic.channel(topic, params), subscribeOptions),
    publish: (topic, params, message, { idempotencyKey = randomId() } = {}) =>
      publish(session, topic, Topic.channel(topic, params), message, idempotencyKey),
    history: (topic, params, historyOptions) => history(session, topic, Topic.channel(topic, params), historyOptions),
    members: (topic, params) => members(session, topic, Topic.channel(topic, params)),
    rpc: (method, data) => rpc(session, method, data),
    send: (data) => send(session, data),
    connection
  } as AnyClient<C>
})

const settingsOf = <E, R>(
  // oxlint-disable-next-line typescript/no-explicit-any
  options: Options<any, any, E, R, any, any>,
  provide: (token: Effect.Effect<string, E, R>) => Effect.Effect<string, E>,
  spawn: ClientSettings<E>["spawn"]
): ClientSettings<E> => {
  const { data, format, name = "effect-ws", onMessage = () => {}, token = "", version = "" } = options
  return {
    codec: format?.codec ?? jsonCodec,
    token: typeof token === "string" ? Effect.succeed(token) : provide(token),
    hasNewTokens: typeof token !== "string",
    data: data === undefined ? undefined : JsonText.of(data),
    name,
    version,
    timeout: Duration.fromInputUnsafe(options.timeout ?? "5 seconds"),
    pingDelay: Duration.fromInputUnsafe(options.pingDelay ?? "10 seconds"),
    queueSize: options.queueSize ?? 1024,
    onMessage,
    spawn
  }
}

// -----------------------------------------------------------------------------
// Subscriptions
// -----------------------------------------------------------------------------

type StreamError<E> = SubscriptionError | NotConnected<E>

const subscribe = <E, R = never>(
  session: ClientSession<E>,
  topic: Topic.Any,
  channel: string,
  { since, token }: SubscribeOptions<R> = {}
): Stream.Stream<AnyEvent, StreamError<E>, R> =>
  Stream.unwrap(Effect.gen(function*() {
    if (session.subscriptions.has(channel)) return yield* new Rejected({ code: Code.AlreadySubscribed })
    if (session.ended !== undefined) return yield* session.ended
    const { queueSize, spawn: detached } = session.settings
    const queue = yield* Queue.bounded<AnyEvent, StreamError<E>>(queueSize)
    const run = yield* FiberSet.makeRuntime<R, unknown, unknown>()
    const fail = (error: StreamError<E>) => void Queue.failCauseUnsafe(queue, Cause.fail(error))
    const subscription = new ClientSubscription(channel, topic, {
      link: () => session.current,
      spawn: (effect) => void run(Effect.ignore(effect)),
      detached,
      token: tokenOf(yield* Effect.context<R>(), token),
      timeout: session.settings.timeout,
      delay: (failures) => Effect.sleep(Math.min(500 * 2 ** failures, 20_000) * (0.5 + Math.random() / 2)),
      offer: (event) => Queue.offerUnsafe(queue, event),
      fail,
      abandon: () => fail(session.ended!)
    }, since)
    yield* Effect.acquireRelease(
      Effect.sync(() => session.subscriptions.set(channel, subscription)),
      () =>
        Effect.sync(() => {
          session.subscriptions.delete(channel)
          subscription.end()
        })
    )
    subscription.begin()
    return Stream.fromPull(
      Effect.succeed(Effect.tap(Queue.takeAll(queue), () => Effect.sync(() => subscription.drained())))
    )
  }))

/** A token is kept until the server says that it has expired. */
const tokenOf = <R>(context: Context.Context<R>, token: Effect.Effect<string, Rejected, R> | undefined) => {
  let kept: string | undefined
  return (renew: boolean): Effect.Effect<string, Rejected> => {
    if (token === undefined) return Effect.succeed("")
    if (kept !== undefined && !renew) return Effect.succeed(kept)
    return Effect.tap(Effect.provideContext(token, context), (text) =>
      Effect.sync(() => {
        kept = text
      }))
  }
}

// -----------------------------------------------------------------------------
// Commands
// -----------------------------------------------------------------------------

/** Sends a command over the connection that is open. Suspends until there is one. */
const call = <E>(
  session: ClientSession<E>,
  command: Command
): Effect.Effect<readonly [Reply, Link], Rejected | Unanswered | NotConnected<E>> =>
  Effect.flatMap(
    session.link,
    (link) => Effect.map(link.call(command, session.settings.timeout), (reply) => [reply, link] as const)
  )

/** Servers remember keys for 5 minutes. */
const repeatFor = Duration.toMillis("4 minutes")

const publish = Effect.fnUntraced(function*<E>(
  session: ClientSession<E>,
  topic: Topic.Any,
  channel: string,
  message: unknown,
  idempotency_key: string
) {
  const data = new JsonText(decodeText(yield* Effect.fromResult(codecOf(topic).message.encode(message))))
  const command = { publish: { channel, data, idempotency_key } }
  const { currentTimeMillis } = Clock
  const until = (yield* currentTimeMillis) + repeatFor
  for (;;) {
    const link = yield* session.link
    const result = yield* Effect.result(link.call(command, session.settings.timeout))
    if (Result.isSuccess(result)) {
      const { epoch, offset } = result.success.publish ?? {}
      return epoch === undefined || offset === undefined ? undefined : { epoch, offset }
    }
    const isRepeatable = result.failure._tag === "Unanswered" && link.isOurs && (yield* currentTimeMillis) < until
    if (!isRepeatable) return yield* result.failure
  }
})

const history = Effect.fnUntraced(function*<E>(
  session: ClientSession<E>,
  topic: Topic.Any,
  channel: string,
  { limit = Infinity, reverse, since }: HistoryOptions = {}
) {
  assertValid(historyLimit(limit))
  const [{ history: page = {} }, link] = yield* call(session, {
    // The protocol tells no limit as a negative one.
    history: { channel, limit: limit === Infinity ? -1 : limit, since, reverse }
  })
  const { epoch = "", offset = 0, publications = [] } = page
  const messages = publications.flatMap((publication): ReadonlyArray<Topic.Message<unknown>> => {
    const message = link.decode(codecOf(topic).message, publication.data)
    const position = { epoch, offset: publication.offset ?? 0 }
    return Option.isNone(message) ? [] : [{ _tag: "Message", position, message: message.value }]
  })
  return { position: { epoch, offset }, messages, complete: messages.length === publications.length }
})

const members = Effect.fnUntraced(function*<E>(session: ClientSession<E>, topic: Topic.Any, channel: string) {
  const [{ presence = {} }, link] = yield* call(session, { presence: { channel } })
  const { member: codec } = codecOf(topic)
  return Object.entries(presence.presence ?? {}).flatMap(
    ([id, { chan_info }]): ReadonlyArray<Topic.Member<unknown>> => {
      const member = codec === undefined ? Option.none() : link.decode(codec, chan_info)
      return Option.isNone(member) ? [] : [{ id, member: member.value }]
    }
  )
})

const rpc = <E>(session: ClientSession<E>, method: string, data: Schema.Json | undefined) =>
  Effect.flatMap(
    call(session, { rpc: { method, data: data === undefined ? undefined : JsonText.of(data) } }),
    ([reply, link]) => Effect.succeed(Result.getOrUndefined(link.payload(reply.rpc?.data)))
  )

const send = <E>(session: ClientSession<E>, data: Schema.Json) =>
  Effect.flatMap(session.link, (link) =>
    Effect.mapError(
      link.send({ send: { data: JsonText.of(data) } }),
      () => new Unanswered({ command: "send", reason: "ConnectionLost" })
    ))
