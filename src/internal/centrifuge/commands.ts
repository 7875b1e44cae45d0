/** The commands of clients: each is a function of the session and the request, and returns the reply. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { Code, Disconnect, DisconnectCode, Rejected } from "../../TopicError.ts"
import type { ChannelRequest, Client, ReadRequest } from "../../TopicServer.ts"
import { codecOf } from "../topics/codec.ts"
import { decodeMember, publisherOf } from "./clientInfo.ts"
import { decide, encoded, resolvePosition, unavailable } from "./decide.ts"
import { toPublication } from "./pushes.ts"
import { type Command, JsonText, type Reply } from "./schema.ts"
import type { Session } from "./session.ts"

/** The reply, and what follows once it was sent. */
export interface Answer {
  readonly reply: Reply | undefined
  readonly after?: (() => void) | undefined
}

export type Handled<R> = Effect.Effect<Answer, Rejected | Disconnect, R>

type Request<Kind extends keyof Command> = NonNullable<Command[Kind]>

const reject = (code: number) => Effect.fail(new Rejected({ code }))

/** A payload that is not JSON is a mistake of the program, unlike one that is not a payload. */
const payloadOf = <R>({ environment: { codec } }: Session<R>, data: unknown): Effect.Effect<unknown, Rejected> => {
  const payload = codec.payload(data)
  return Result.isSuccess(payload) ? Effect.succeed(payload.success) : reject(Code.BadRequest)
}

export const subscribe = <R>(session: Session<R>, client: Client, request: Request<"subscribe">): Handled<R> =>
  Effect.flatMap(payloadOf(session, request.data), (data) =>
    Effect.map(
      session.subscriptions.subscribe(client, request, data, false),
      ({ result, start }) => ({ reply: { subscribe: result }, after: start })
    ))

export const unsubscribe = <R>(session: Session<R>, _client: Client, request: Request<"unsubscribe">): Handled<R> => {
  const { channel = "" } = request
  if (channel === "") return Effect.fail(new Disconnect({ code: DisconnectCode.BadRequest }))
  return Effect.as(session.subscriptions.unsubscribe(channel), { reply: { unsubscribe: {} } })
}

export const subRefresh = <R>(session: Session<R>, client: Client, request: Request<"sub_refresh">): Handled<R> => {
  // Keys of polls of newer clients.
  if ((request.type ?? 0) !== 0) return reject(Code.NotAvailable)
  return Effect.map(
    session.subscriptions.refresh(client, request.channel, request.token ?? ""),
    ({ expires, ttl }) => ({ reply: { sub_refresh: { expires, ttl } } })
  )
}

export const publish = <R>(session: Session<R>, client: Client, request: Request<"publish">): Handled<R> => {
  const { publish: decision } = session.environment.settings.decisions
  // Keys of maps of newer clients.
  if (decision === undefined || (request.type ?? 0) !== 0) return reject(Code.NotAvailable)
  return Effect.gen(function*() {
    const found = yield* session.subscriptions.find(client, request.channel)
    const { decodeJson, encode } = codecOf(found.topic).message
    const message = decodeJson(yield* payloadOf(session, request.data))
    if (request.data === undefined || Option.isNone(message)) {
      return yield* new Rejected({ code: Code.BadRequest, reason: "invalid message" })
    }
    const subscription = session.subscriptions.get(found.channel)
    const grant = yield* decide(() =>
      decision({ ...found, message: message.value, subscribed: subscription !== undefined })
    )
    const data = yield* encoded(encode(grant?.message ?? message.value))
    const { epoch, offset } = yield* unavailable(session.environment.hub.publish(
      found.channel,
      { data, info: publisherOf(client, subscription?.member) },
      { history: found.topic.history, idempotencyKey: keyOf(client, request.idempotency_key) }
    ))
    return { reply: { publish: { offset, epoch } } }
  })
}

/** Keys of different users must not meet. */
const keyOf = ({ user }: Client, key: string | undefined): string | undefined =>
  key === undefined || key === "" ? undefined : `${JSON.stringify(user)} ${key}`

// -----------------------------------------------------------------------------
// Reading
// -----------------------------------------------------------------------------

/** Finds the topic of a channel that the client may read. */
const readable = <R>(
  session: Session<R>,
  client: Client,
  channel: string | undefined,
  kind: ReadRequest["kind"]
): Effect.Effect<ChannelRequest, Rejected | Disconnect, R> =>
  Effect.flatMap(session.subscriptions.find(client, channel), (found) => {
    const { read } = session.environment.settings.decisions
    const subscribed = session.subscriptions.get(found.channel) !== undefined
    const allowed = read !== undefined
      ? decide(() => read({ ...found, kind, subscribed }))
      : subscribed
      ? Effect.void
      : reject(Code.PermissionDenied)
    return Effect.as(allowed, found)
  })

const membersOf = <R>(session: Session<R>, client: Client, channel: string | undefined) =>
  Effect.flatMap(readable(session, client, channel, "presence"), (found) =>
    found.topic.member === undefined
      ? reject(Code.NotAvailable)
      : Effect.map(
        unavailable(session.environment.hub.members(found.channel)),
        ({ members }) => members.map(decodeMember)
      ))

export const presence = <R>(session: Session<R>, client: Client, { channel }: Request<"presence">): Handled<R> =>
  Effect.map(membersOf(session, client, channel), (members) => ({
    reply: { presence: { presence: Object.fromEntries(members.map((member) => [member.client, member])) } }
  }))

export const presenceStats = <R>(
  session: Session<R>,
  client: Client,
  { channel }: Request<"presence_stats">
): Handled<R> =>
  Effect.map(membersOf(session, client, channel), (members) => ({
    reply: {
      presence_stats: { num_clients: members.length, num_users: new Set(members.map(({ user }) => user)).size }
    }
  }))

export const history = <R>(session: Session<R>, client: Client, request: Request<"history">): Handled<R> => {
  const { hub, settings } = session.environment
  const { limit = 0, reverse = false } = request
  return Effect.gen(function*() {
    const { channel, topic } = yield* readable(session, client, request.channel, "history")
    if (topic.history === undefined) return yield* new Rejected({ code: Code.NotAvailable })
    const since = request.since === undefined ? undefined : yield* resolvePosition(hub, channel, request.since)
    const bounded = limit < 0 || limit > settings.maxHistory ? settings.maxHistory : limit
    const page = yield* unavailable(hub.history(channel, { since, limit: bounded, reverse }))
    if (since !== undefined && !reverse && bounded > 0 && (since.epoch !== page.position.epoch || !page.complete)) {
      return yield* new Rejected({ code: Code.UnrecoverablePosition })
    }
    const { epoch, offset } = page.position
    return { reply: { history: { publications: page.publications.map(toPublication), epoch, offset } } }
  })
}

// -----------------------------------------------------------------------------
// Calls and tokens
// -----------------------------------------------------------------------------

export const rpc = <R>(session: Session<R>, client: Client, { data, method = "" }: Request<"rpc">): Handled<R> => {
  const { rpc: call } = session.environment.settings.decisions
  if (call === undefined) return reject(Code.NotAvailable)
  return Effect.gen(function*() {
    const payload = yield* payloadOf(session, data)
    const result = yield* decide(() => call({ client, method, data: payload }))
    return { reply: { rpc: result === undefined ? {} : { data: JsonText.of(result) } } }
  })
}

export const send = <R>(session: Session<R>, client: Client, { data }: Request<"send">): Handled<R> => {
  const { message } = session.environment.settings.decisions
  if (message === undefined) return Effect.fail(new Disconnect({ code: DisconnectCode.NotAvailable }))
  const handled = Effect.flatMap(
    payloadOf(session, data),
    (payload) => decide(() => message({ client, data: payload }))
  )
  // There is no reply that could tell a rejection.
  return Effect.as(Effect.catchTag(handled, "Rejected", () => Effect.void), { reply: undefined })
}
