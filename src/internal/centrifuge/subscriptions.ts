/** The subscriptions of one client: each with its cursor, its membership and its expiry, which end together. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { Position } from "../../Topic.ts"
import * as Topic from "../../Topic.ts"
import { Code, Disconnect, DisconnectCode, reasonOf, Rejected, UnsubscribeCode } from "../../TopicError.ts"
import type { ChannelRequest, Client, SubscribeGrant } from "../../TopicServer.ts"
import { utf8Length } from "#platform"

import type { Timer } from "../runtime/timers.ts"
import { codecOf } from "../topics/codec.ts"
import type { Attached } from "../topics/hub.ts"
import { memberOf } from "./clientInfo.ts"
import { decide, encoded, resolvePosition, unavailable } from "./decide.ts"
import { isExpired, ttlOf } from "./expiry.ts"
import { formatOf, toPublication } from "./pushes.ts"
import { JsonText, type SubscribeRequest, type SubscribeResult } from "./schema.ts"
import type { Session } from "./session.ts"

export interface Subscription {
  readonly request: ChannelRequest
  readonly scope: Scope.Closeable
  /** Whether the server subscribed the client, which then does not subscribe again by itself. */
  readonly serverSide: boolean
  /** The value of the member, encoded; undefined if the client did not become a member. */
  member: Uint8Array | undefined
  expiry: Timer | undefined
}

/** A subscription that is confirmed by `result`, and sends pushes from `start` on. */
export interface Confirmed {
  readonly result: SubscribeResult
  readonly start: () => void
}

/** Brokers carry names in UTF-8, which has no form for one half of a pair. */
const loneSurrogate = /\p{Surrogate}/u

/** How long a client that must subscribe again remains a member. */
const resubscribeTime = "10 seconds"

/** The flag of clients that prefer an error to a subscription that was not recovered. */
const rejectUnrecovered = 2

export class Subscriptions<R> {
  private readonly session: Session<R>
  private readonly byChannel = new Map<string, Subscription>()

  constructor(session: Session<R>) {
    this.session = session
  }

  get(channel: string): Subscription | undefined {
    return this.byChannel.get(channel)
  }

  /** Finds the topic of a channel. */
  find(client: Client, channel: string | undefined): Effect.Effect<ChannelRequest, Rejected | Disconnect> {
    const { maxChannelLength, topics } = this.session.environment.settings
    if (channel === undefined || channel === "") {
      return Effect.fail(new Disconnect({ code: DisconnectCode.BadRequest, reason: "channel required" }))
    }
    if (channel.length > maxChannelLength || utf8Length(channel) > maxChannelLength || loneSurrogate.test(channel)) {
      return Effect.fail(new Rejected({ code: Code.BadRequest }))
    }
    return Option.match(Topic.find(topics, channel), {
      onNone: () => Effect.fail(new Rejected({ code: Code.UnknownChannel })),
      onSome: ({ params, topic }) => Effect.succeed({ client, channel, topic, params })
    })
  }

  /** Subscribes the client. If it fails or is interrupted, nothing of the subscription is left. */
  subscribe(
    client: Client,
    request: SubscribeRequest,
    data: unknown,
    serverSide: boolean
  ): Effect.Effect<Confirmed, Rejected | Disconnect, R> {
    return Effect.flatMap(this.find(client, request.channel), (found) => {
      const { settings } = this.session.environment
      if (this.byChannel.has(found.channel)) return Effect.fail(new Rejected({ code: Code.AlreadySubscribed }))
      if (this.byChannel.size >= settings.maxChannels) return Effect.fail(new Rejected({ code: Code.LimitExceeded }))
      // Maps and polls of newer clients, and filters by tags.
      if ((request.type ?? 0) !== 0) return Effect.fail(new Rejected({ code: Code.NotAvailable }))
      if (request.tf !== undefined) return Effect.fail(new Rejected({ code: Code.BadRequest }))
      return Effect.flatMap(
        this.authorize(found, request.token ?? "", data, false),
        (grant) => this.open(found, request, grant, serverSide)
      )
    })
  }

  /** Asks the program again, with a new token. */
  refresh(
    client: Client,
    channel: string | undefined,
    token: string
  ): Effect.Effect<SubscribeResult, Rejected | Disconnect, R> {
    return Effect.flatMap(this.find(client, channel), (found) => {
      const subscription = this.byChannel.get(found.channel)
      if (subscription === undefined) return Effect.fail(new Rejected({ code: Code.PermissionDenied }))
      if (token === "") return Effect.fail(new Rejected({ code: Code.BadRequest }))
      return Effect.map(this.authorize(found, token, undefined, true), (grant) => this.expire(subscription, grant))
    })
  }

  /** Ends a subscription, if there is one. No push follows. */
  unsubscribe(channel: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      const subscription = this.byChannel.get(channel)
      return subscription === undefined ? Effect.void : Scope.close(subscription.scope, Exit.void)
    })
  }

  readonly unsubscribeAll: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach([...this.byChannel.keys()], (channel) => this.unsubscribe(channel), { discard: true })
  )

  /** Ends a subscription, and tells the client, which subscribes again if the code is 2500 or above. */
  end(channel: string, code: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!this.byChannel.has(channel)) return Effect.void
      const push = { channel, unsubscribe: { code, reason: reasonOf(code) } }
      return Effect.andThen(
        this.unsubscribe(channel),
        Effect.sync(() => this.session.environment.spawn(this.session.send({ push })))
      )
    })
  }

  private authorize(
    found: ChannelRequest,
    token: string,
    data: unknown,
    refresh: boolean
  ): Effect.Effect<SubscribeGrant, Rejected | Disconnect, R> {
    const { subscribe } = this.session.environment.settings.decisions
    if (subscribe === undefined) return Effect.succeed({})
    return Effect.flatMap(
      decide(() => subscribe({ ...found, token, data, refresh })),
      (granted) => {
        const grant = granted ?? {}
        return isExpired(grant.expiresIn) ? Effect.fail(new Rejected({ code: Code.Expired })) : Effect.succeed(grant)
      }
    )
  }

  /** Each step adds what undoes it to the Scope of the subscription before it can be interrupted. */
  private open(
    found: ChannelRequest,
    request: SubscribeRequest,
    grant: SubscribeGrant,
    serverSide: boolean
  ): Effect.Effect<Confirmed, Rejected> {
    return Effect.gen({ self: this }, function*() {
      const scope = yield* Scope.fork(this.session.environment.scope)
      const subscription: Subscription = { request: found, scope, serverSide, member: undefined, expiry: undefined }
      this.byChannel.set(found.channel, subscription)
      yield* Scope.addFinalizer(scope, Effect.sync(() => this.forget(subscription)))
      return yield* this.attach(subscription, request, grant)
    }).pipe(Effect.onError(() => this.unsubscribe(found.channel)))
  }

  private attach(
    subscription: Subscription,
    request: SubscribeRequest,
    grant: SubscribeGrant
  ): Effect.Effect<Confirmed, Rejected> {
    const { codec, hub, outlet, settings } = this.session.environment
    const { request: { channel, client, topic }, scope } = subscription
    return Effect.gen({ self: this }, function*() {
      const values = codecOf(topic)
      if (values.member !== undefined && grant.member !== undefined) {
        subscription.member = yield* encoded(values.member.encode(grant.member))
      }
      const since = request.recover === true ? yield* resolvePosition(hub, channel, request) : undefined
      const attaching = hub.attach(channel, {
        outlet,
        format: formatOf(codec),
        channel: values.channel,
        since,
        recover: settings.maxHistory,
        onGap: () => this.onGap(subscription)
      })
      const attached = yield* unavailable(Scope.provide(attaching, scope))
      if (since !== undefined && !attached.isRecovered && ((request.flag ?? 0) & rejectUnrecovered) !== 0) {
        return yield* new Rejected({ code: Code.UnrecoverablePosition })
      }
      if (subscription.member !== undefined) {
        const joining = hub.join(channel, memberOf(client, subscription.member))
        yield* unavailable(Scope.provide(joining, scope))
        // A client does not see itself leave.
        yield* Scope.addFinalizer(scope, Effect.sync(() => attached.detach()))
      }
      const recoverable = topic.history !== undefined || request.recoverable === true
      return { result: this.confirm(subscription, grant, attached, since, recoverable), start: () => attached.start() }
    })
  }

  private confirm(
    subscription: Subscription,
    grant: SubscribeGrant,
    { isRecovered, position, publications }: Attached,
    since: Position | undefined,
    recoverable: boolean
  ): SubscribeResult {
    return {
      ...this.expire(subscription, grant),
      positioned: true,
      recoverable: recoverable || undefined,
      epoch: position.epoch,
      // Clients count on from here with the recovered publications.
      offset: isRecovered && since !== undefined ? since.offset : position.offset,
      recovered: (since !== undefined && isRecovered) || undefined,
      was_recovering: since !== undefined || undefined,
      publications: isRecovered && publications.length > 0 ? publications.map(toPublication) : undefined,
      data: grant.data === undefined ? undefined : JsonText.of(grant.data)
    }
  }

  /**
   * Publications are missing, or the epoch has another name: the client subscribes
   * again, and learns whether they can be recovered. Meanwhile it stays a member.
   */
  private onGap(subscription: Subscription): void {
    const { request: { channel }, serverSide } = subscription
    const { session } = this
    if (serverSide) return session.end(new Disconnect({ code: DisconnectCode.InsufficientState }))
    const { spawn } = session.environment
    const end = this.end(channel, UnsubscribeCode.InsufficientState)
    spawn(
      Effect.scoped(Effect.andThen(this.keepMember(subscription), Effect.andThen(end, Effect.sleep(resubscribeTime))))
    )
  }

  /** Keeps a member until the Scope closes. The broker has it, so that nothing is sent. */
  private keepMember({ member, request: { channel, client } }: Subscription): Effect.Effect<void, never, Scope.Scope> {
    return member === undefined
      ? Effect.void
      : Effect.ignore(this.session.environment.hub.join(channel, memberOf(client, member)))
  }

  /** Begins the time until the client must send a new token. */
  private expire(subscription: Subscription, { expiresIn }: SubscribeGrant): SubscribeResult {
    const { settings, spawn, timers } = this.session.environment
    timers.cancel(subscription.expiry)
    const ttl = ttlOf(expiresIn)
    if (ttl === undefined) return {}
    subscription.expiry = timers.schedule(ttl.millis + settings.refreshTimeout, () => {
      spawn(this.end(subscription.request.channel, UnsubscribeCode.Expired))
    })
    return { expires: true, ttl: ttl.seconds }
  }

  private forget(subscription: Subscription): void {
    this.session.environment.timers.cancel(subscription.expiry)
    this.byChannel.delete(subscription.request.channel)
  }
}
