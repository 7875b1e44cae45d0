/** The first command of a client, and the new tokens that it sends later. */
import * as Effect from "effect/Effect"
import { Code, Disconnect, DisconnectCode, Rejected } from "../../TopicError.ts"
import type { Client, ConnectGrant } from "../../TopicServer.ts"
import type { Answer, Handled } from "./commands.ts"
import { decide } from "./decide.ts"
import { isExpired, ttlOf } from "./expiry.ts"
import { serverVersion } from "./extensions.ts"
import { type ConnectRequest, type ConnectResult, JsonText } from "./schema.ts"
import { randomId } from "./randomId.ts"
import type { Session } from "./session.ts"
import type { Confirmed } from "./subscriptions.ts"

export const connect = <R>(session: Session<R>, request: ConnectRequest, data: unknown): Handled<R> =>
  Effect.gen(function*() {
    session.phase = "connecting"
    const grant = yield* authorize(session, request, data, undefined)
    if (isExpired(grant.expiresIn)) return yield* new Rejected({ code: Code.TokenExpired })
    // The time to connect may be over.
    if (session.phase !== "connecting") return { reply: undefined }
    const client = makeClient(session, grant)
    const confirmed = yield* subscribeAll(session, client, request, grant.channels ?? [])
    if (session.phase !== "connecting") return { reply: undefined }
    session.client = client
    session.phase = "connected"
    return answer(session, client, grant, confirmed)
  }).pipe(Effect.onError(() => reject(session)))

const reject = <R>(session: Session<R>): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (session.phase === "connecting") session.phase = "rejected"
    return session.subscriptions.unsubscribeAll
  })

/** Decides on a new token. */
export const refresh = <R>(
  session: Session<R>,
  client: Client,
  { token = "" }: { readonly token?: string | undefined }
): Handled<R> => {
  if (session.environment.settings.decisions.connect === undefined) {
    return Effect.fail(new Rejected({ code: Code.NotAvailable }))
  }
  if (token === "") return Effect.fail(new Disconnect({ code: DisconnectCode.BadRequest, reason: "token required" }))
  return Effect.flatMap(authorize(session, { token }, undefined, client), (grant): Handled<R> => {
    if ((grant.user ?? "") !== client.user) return Effect.fail(new Disconnect({ code: DisconnectCode.InvalidToken }))
    if (isExpired(grant.expiresIn)) return Effect.fail(new Rejected({ code: Code.Expired }))
    const result = { client: client.id, version: serverVersion, ...expire(session, grant) }
    return Effect.succeed({ reply: { refresh: result } })
  })
}

const authorize = <R>(
  { environment: { connection, settings } }: Session<R>,
  { headers = {}, name = "", token = "", version = "" }: ConnectRequest,
  data: unknown,
  client: Client | undefined
): Effect.Effect<ConnectGrant, Rejected | Disconnect, R> => {
  const { connect: decision } = settings.decisions
  return decision === undefined
    ? Effect.succeed({})
    : decide(() => decision({ token, data, name, version, headers, client, request: connection.request }))
}

const makeClient = <R>(session: Session<R>, { info, user = "" }: ConnectGrant): Client => ({
  id: randomId(),
  user,
  info,
  request: session.environment.connection.request,
  send: (data) => session.send({ push: { message: { data: JsonText.of(data) } } }),
  unsubscribe: (channel, code = 2000) => session.subscriptions.end(channel, code),
  disconnect: (disconnect = new Disconnect({ code: DisconnectCode.ForceDisconnect })) =>
    Effect.sync(() => session.end(disconnect))
})

/** Subscribes the client to the channels that the server chose, from the positions that the client knows. */
const subscribeAll = <R>(
  session: Session<R>,
  client: Client,
  { subs = {} }: ConnectRequest,
  channels: ReadonlyArray<string>
) =>
  Effect.forEach(channels, (channel) => {
    const known = Object.hasOwn(subs, channel) ? subs[channel] : {}
    const { epoch, offset, recover } = known
    return Effect.map(
      session.subscriptions.subscribe(client, { channel, recover, epoch, offset }, undefined, true),
      (confirmed) => [channel, confirmed] as const
    )
  })

const answer = <R>(
  session: Session<R>,
  client: Client,
  grant: ConnectGrant,
  confirmed: ReadonlyArray<readonly [channel: string, confirmed: Confirmed]>
): Answer => {
  const { pingInterval } = session.environment.settings
  const pings = Number.isFinite(pingInterval)
  const accepted: ConnectResult = {
    client: client.id,
    version: serverVersion,
    ...expire(session, grant),
    data: grant.data === undefined ? undefined : JsonText.of(grant.data),
    subs: confirmed.length === 0
      ? undefined
      : Object.fromEntries(confirmed.map(([channel, { result }]) => [channel, result])),
    ping: pings ? Math.ceil(pingInterval / 1000) : undefined,
    pong: pings || undefined
  }
  return {
    reply: { connect: accepted },
    after: () => {
      for (const [, { start }] of confirmed) start()
      if (pings) session.heartbeat.start()
    }
  }
}

/** Begins the time until the client must send a new token. */
const expire = <R>(session: Session<R>, { expiresIn }: ConnectGrant) => {
  const { settings, timers } = session.environment
  timers.cancel(session.deadline)
  const ttl = ttlOf(expiresIn)
  if (ttl === undefined) return {}
  session.deadline = timers.schedule(ttl.millis + settings.refreshTimeout, () => {
    session.end(new Disconnect({ code: DisconnectCode.Expired }))
  })
  return { expires: true, ttl: ttl.seconds }
}
