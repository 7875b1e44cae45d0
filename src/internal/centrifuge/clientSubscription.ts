/**
 * A client's subscription to a channel, over many connections. Its position is that of the last event in the queue of the
 * program: each new subscription at a server resumes from there.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Topic from "../../Topic.ts"
import { Code, isTemporary, type Rejected, Unsubscribed } from "../../TopicError.ts"
import { codecOf } from "../topics/codec.ts"
import { type Callback, type Link, rejectionOf } from "./clientLink.ts"
import type { ClientInfo, Command, Publication, Push, Reply, SubscribeResult } from "./schema.ts"

export type AnyEvent = Topic.Event<unknown, unknown>

/** Why a subscription has ended, beside the end of the client. */
export type SubscriptionError = Rejected | Unsubscribed

/** What a subscription needs of its client and its program. */
export interface SubscriptionHost {
  /** The connection that is open, if there is one. */
  readonly link: () => Link | undefined
  /** Runs an effect until the subscription ends. */
  readonly spawn: (effect: Effect.Effect<unknown, unknown>) => void
  /** Runs an effect until the client is closed. */
  readonly detached: (effect: Effect.Effect<unknown, unknown>) => void
  /** Returns a token for the channel: a new one if the server has rejected the last one. */
  readonly token: (renew: boolean) => Effect.Effect<string, Rejected>
  /** The time that a server has to confirm a subscription. */
  readonly timeout: Duration.Duration
  /** The delay before the next attempt after failures. */
  readonly delay: (failures: number) => Effect.Effect<void>
  /** Adds an event to the program's queue. Returns false if the queue is full. */
  readonly offer: (event: AnyEvent) => boolean
  readonly fail: (error: SubscriptionError) => void
  /** Ends the program's stream because there are no further connections. */
  readonly abandon: () => void
}

/**
 * "waiting": for a connection, or to repeat. "subscribing": for the server's confirmation. "listing": for the members.
 * "full": the queue was full, and the server was told to stop, until the program has taken the events in it.
 */
type State = "waiting" | "subscribing" | "listing" | "subscribed" | "full" | "ended"

export class ClientSubscription {
  readonly channel: string
  private readonly topic: Topic.Any
  private readonly host: SubscriptionHost
  private position: Topic.Position | undefined
  private state: State = "waiting"
  /** Grows with each attempt, so that replies to earlier ones are ignored. */
  private attempt = 0
  private failures = 0
  /** The members, by id, with their values in JSON. */
  private readonly presence = new Map<string, { readonly member: unknown; readonly json: string | undefined }>()
  /** The server's confirmation, while its members are missing. */
  private confirmed: SubscribeResult = {}
  /** Pushes that arrived before the members. */
  private held: Array<Push> = []

  constructor(channel: string, topic: Topic.Any, host: SubscriptionHost, since: Topic.Position | undefined) {
    this.channel = channel
    this.topic = topic
    this.host = host
    this.position = since
  }

  // -- the program -----------------------------------------------------------

  /** The program has taken all events. */
  drained(): void {
    if (this.state !== "full") return
    this.state = "waiting"
    this.begin()
  }

  end(): void {
    const wasActive = this.isActive || this.state === "subscribing"
    this.state = "ended"
    this.attempt++
    this.held = []
    if (wasActive) this.leave()
  }

  /** There are no further connections. */
  abandon(): void {
    if (this.state === "ended") return
    this.end()
    this.host.abandon()
  }

  // -- the connection --------------------------------------------------------

  /** Subscribes at the server, if there is a connection. */
  begin(renew = false): void {
    const link = this.host.link()
    if (link === undefined || this.state !== "waiting") return
    this.state = "subscribing"
    const attempt = ++this.attempt
    const current = (callback: (reply: Reply) => void): Callback => (reply) => {
      if (reply !== undefined && this.attempt === attempt) callback(reply)
    }
    this.host.spawn(Effect.matchEffect(this.host.token(renew), {
      onFailure: (error) => Effect.sync(() => this.fail(error)),
      onSuccess: (token) =>
        Effect.suspend(() =>
          this.attempt === attempt
            ? Effect.andThen(
              link.submit([
                [{ subscribe: this.request(token) }, current((reply) => this.onSubscribed(link, reply))],
                ...this.topic.member === undefined ? [] : [
                  [{ presence: { channel: this.channel } }, current((reply) => this.onMembers(link, reply))] as const
                ]
              ]),
              this.watch(link, attempt)
            )
            : Effect.void
        )
    }))
  }

  /** A server that does not confirm is not there any more: the next connection may have another one. */
  private watch(link: Link, attempt: number): Effect.Effect<void> {
    return Effect.andThen(
      Effect.sleep(this.host.timeout),
      Effect.suspend(() =>
        this.attempt === attempt && this.state !== "subscribed" ? link.fail(this.host.timeout) : Effect.void
      )
    )
  }

  /** The connection is lost. */
  lost(): void {
    if (this.state === "ended" || this.state === "full") return
    this.state = "waiting"
    this.attempt++
    this.held = []
  }

  onPush(link: Link, push: Push): void {
    if (push.unsubscribe !== undefined) {
      const { code = 0, reason = "" } = push.unsubscribe
      this.onUnsubscribed(code, reason)
    } else if (this.state === "listing") this.hold(push)
    else if (this.state === "subscribed") this.deliver(link, push)
  }

  private hold(push: Push): void {
    if (this.held.push(push) <= maxHeld) return
    this.leave()
    this.retry(false)
  }

  private get isActive(): boolean {
    return this.state === "subscribed" || this.state === "listing"
  }

  private request(token: string): NonNullable<Command["subscribe"]> {
    const { position } = this
    return {
      channel: this.channel,
      token: token === "" ? undefined : token,
      positioned: true,
      recoverable: true,
      join_leave: this.topic.member === undefined ? undefined : true,
      ...position === undefined ? {} : { recover: true, epoch: position.epoch, offset: position.offset }
    }
  }

  private leave(): void {
    const link = this.host.link()
    if (link !== undefined) this.host.detached(link.submit([[{ unsubscribe: { channel: this.channel } }, () => {}]]))
  }

  /** From 2500 on, the client subscribes again. */
  private onUnsubscribed(code: number, reason: string): void {
    if (!this.isActive && this.state !== "subscribing") return
    this.lost()
    if (code < 2500) this.fail(new Unsubscribed({ channel: this.channel, code, reason }))
    else this.begin()
  }

  private retry(renew: boolean): void {
    this.lost()
    const { attempt } = this
    this.host.spawn(Effect.andThen(
      this.host.delay(this.failures++),
      Effect.sync(() => {
        if (this.attempt === attempt) this.begin(renew)
      })
    ))
  }

  private fail(error: SubscriptionError): void {
    if (this.state === "ended") return
    this.end()
    this.host.fail(error)
  }

  // -- the server's confirmation ----------------------------------------------

  private onSubscribed(link: Link, reply: Reply): void {
    const rejection = rejectionOf(reply)
    if (rejection !== undefined) {
      const isExpired = rejection.code === Code.TokenExpired
      return isExpired || isTemporary(rejection) ? this.retry(isExpired) : this.fail(rejection)
    }
    const { subscribe: result = {} } = reply
    this.failures = 0
    this.state = "listing"
    this.confirmed = result
    this.held = (result.publications ?? []).map((pub) => ({ pub }))
    if (result.expires === true) this.refreshAfter(link, result.ttl ?? 1)
    if (this.topic.member === undefined) this.confirm(link, [])
  }

  private onMembers(link: Link, reply: Reply): void {
    if (this.state !== "listing") return
    const rejection = rejectionOf(reply)
    if (rejection === undefined) this.confirm(link, Object.values(reply.presence?.presence ?? {}))
    else if (isTemporary(rejection)) this.retry(false)
    else this.fail(rejection)
  }

  private confirm(link: Link, infos: ReadonlyArray<ClientInfo>): void {
    const { epoch = "", offset = 0, recovered = false } = this.confirmed
    const to = { epoch, offset }
    // The channel may continue under another epoch.
    const from = recovered && this.position !== undefined
      ? { epoch, offset: this.position.offset }
      : this.position ?? to
    this.presence.clear()
    const members = infos.flatMap((info) => {
      const member = this.learn(link, info)
      return member === undefined ? [] : [member]
    })
    const isResumed = this.position === undefined || recovered
    if (!this.emit({ _tag: "Subscribed", position: from, members }, from)) return
    if (!isResumed && !this.emit(gapOf(from, to), to)) return
    this.state = "subscribed"
    const pushes = this.held
    this.held = []
    for (const push of pushes) if (this.state === "subscribed") this.deliver(link, push)
  }

  /** Sends a new token before the old one expires. */
  private refreshAfter(link: Link, seconds: number): void {
    const { attempt, channel } = this
    const isCurrent = () => this.attempt === attempt
    const send = Effect.flatMap(
      this.host.token(true),
      (token) =>
        link.submit([[{ sub_refresh: { channel, token } }, (reply) => {
          if (reply === undefined || !isCurrent()) return
          const rejection = rejectionOf(reply)
          if (rejection === undefined) {
            if (reply.sub_refresh?.expires === true) this.refreshAfter(link, reply.sub_refresh.ttl ?? 1)
          } else if (isTemporary(rejection)) this.refreshAfter(link, retrySeconds)
          else this.fail(rejection)
        }]])
    )
    this.host.spawn(Effect.andThen(
      Effect.sleep(seconds * 1000),
      Effect.catchTag(
        Effect.suspend(() => isCurrent() ? send : Effect.void),
        "Rejected",
        (error) => Effect.sync(() => this.fail(error))
      )
    ))
  }

  // -- events ----------------------------------------------------------------

  /** Adds an event to the program's queue. If the queue is full, stops the subscription until it is empty. */
  private emit(event: AnyEvent, position: Topic.Position): boolean {
    if (this.host.offer(event)) {
      this.position = position
      return true
    }
    this.state = "full"
    this.attempt++
    this.held = []
    this.leave()
    return false
  }

  private deliver(link: Link, push: Push): void {
    if (push.pub !== undefined) this.deliverMessage(link, push.pub)
    else if (push.join?.info !== undefined) this.deliverJoin(link, push.join.info)
    else if (push.leave?.info !== undefined) this.deliverLeave(link, push.leave.info)
  }

  private deliverMessage(link: Link, { data, offset = 0 }: Publication): void {
    const last = this.position!
    // Servers of other implementations do not count messages without history.
    if (offset !== 0 && offset <= last.offset) return
    const position = { epoch: last.epoch, offset: offset === 0 ? last.offset : offset }
    const message = link.decode(codecOf(this.topic).message, data)
    this.emit(
      Option.isSome(message) ? { _tag: "Message", position, message: message.value } : gapOf(last, position),
      position
    )
  }

  /** A member that was listed may also be pushed. */
  private deliverJoin(link: Link, info: ClientInfo): void {
    const known = this.presence.get(info.client ?? "")
    const member = this.learn(link, info)
    if (member === undefined || known?.json === this.presence.get(member.id)?.json) return
    this.emit({ _tag: "Joined", ...member }, this.position!)
  }

  /** A server may leave out the value of a member that leaves. */
  private deliverLeave(link: Link, info: ClientInfo): void {
    const { client: id = "" } = info
    const known = this.presence.get(id)
    if (known === undefined) return
    const { member } = this.learn(link, info) ?? known
    this.presence.delete(id)
    this.emit({ _tag: "Left", id, member }, this.position!)
  }

  /** Remembers a member. A value that the schema cannot decode is not one of the topic. */
  private learn(link: Link, { chan_info, client: id = "" }: ClientInfo): Topic.Member<unknown> | undefined {
    const { member: codec } = codecOf(this.topic)
    const member = codec === undefined ? Option.none() : link.decode(codec, chan_info)
    if (Option.isNone(member)) return undefined
    const json: string | undefined = JSON.stringify(Result.getOrUndefined(link.payload(chan_info)))
    this.presence.set(id, { member: member.value, json })
    return { id, member: member.value }
  }
}

const retrySeconds = 5

/** The pushes that are kept until the members arrive. */
const maxHeld = 4096

const gapOf = (from: Topic.Position, to: Topic.Position): Topic.Gap => ({
  _tag: "Gap",
  from,
  to,
  ...from.epoch === to.epoch ? { missed: to.offset - from.offset } : {}
})
