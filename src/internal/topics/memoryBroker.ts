/**
 * The broker of a single process. Each operation is one synchronous step, so that the
 * laws of `Broker` hold without further means. A listener that publishes does not
 * change the order: its message is delivered after the current one.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { fillRandom } from "#platform"
import type * as Broker from "../../Broker.ts"
import type { InvalidOption } from "../../HandshakeError.ts"
import type { Position } from "../../Topic.ts"
import { LinkedList, type Node } from "../runtime/linkedList.ts"
import { integerBetween } from "../runtime/optionChecks.ts"
import { type Timer, Timers } from "../runtime/timers.ts"

/** How long idempotency keys are remembered, in milliseconds. */
const keyLifetime = 5 * 60 * 1000

/** The time between two searches for histories that have expired, in milliseconds. */
const sweepInterval = 30_000

const makeEpoch = (): string => {
  const words = new Int32Array(2)
  fillRandom(words)
  return Array.from(words, (word) => (word >>> 0).toString(36)).join("")
}

interface Limits {
  readonly maxIdempotencyKeys: number
  readonly maxIdleChannels: number
}

export const withDefaults = (
  { maxIdempotencyKeys = 100_000, maxIdleChannels = 100_000 }: Broker.MemoryOptions
): Limits => ({
  maxIdempotencyKeys,
  maxIdleChannels
})

export const makeMemoryBroker = (
  options: Broker.MemoryOptions
): Effect.Effect<Broker.Broker, InvalidOption, Scope.Scope> =>
  Effect.suspend(() => {
    const limits = withDefaults(options)
    const problem = integerBetween(1, 2 ** 31 - 1, "maxIdleChannels", limits.maxIdleChannels) ??
      integerBetween(1, 2 ** 31 - 1, "maxIdempotencyKeys", limits.maxIdempotencyKeys)
    if (problem !== undefined) return Effect.fail(problem)
    return Effect.acquireRelease(
      Effect.contextWith((context: Context.Context<never>) =>
        Effect.sync(() => new MemoryBroker(Timers.of(context), limits))
      ),
      (broker) => Effect.sync(() => broker.stop())
    )
  })

class Subscription {
  readonly listener: (event: Broker.Event) => void
  active = true

  constructor(listener: (event: Broker.Event) => void) {
    this.listener = listener
  }
}

/** A channel is idle while it has neither subscriptions nor members. */
class Channel implements Node<Channel> {
  /** In the list of idle channels. */
  previous: Channel | undefined
  next: Channel | undefined
  readonly name: string
  readonly epoch = makeEpoch()
  offset = 0
  version = 0
  history: Array<Broker.Publication> = []
  /** The maximum number of messages in the history. */
  size = 1
  /** When the history expires, in milliseconds of the monotonic clock. */
  expires = 0
  readonly members = new Map<string, Broker.Member>()
  /** A new array for each change, so that a delivery is not disturbed. */
  subscriptions: ReadonlyArray<Subscription> = []
  /** Events that were caused by a listener, during a delivery. */
  private pending: Array<Broker.Event> | undefined

  constructor(name: string) {
    this.name = name
  }

  get position(): Position {
    return { epoch: this.epoch, offset: this.offset }
  }

  get isIdle(): boolean {
    return this.subscriptions.length === 0 && this.members.size === 0
  }

  deliver(event: Broker.Event): void {
    if (this.pending !== undefined) return void this.pending.push(event)
    this.pending = []
    for (let next: Broker.Event | undefined = event; next !== undefined; next = this.pending.shift()) {
      for (const subscription of this.subscriptions) if (subscription.active) subscription.listener(next)
    }
    this.pending = undefined
  }
}

class MemoryBroker implements Broker.Broker {
  private readonly timers: Timers
  private readonly maxIdleChannels: number
  private readonly channels = new Map<string, Channel>()
  /** Those that were used least recently come first. */
  private readonly idle = new LinkedList<Channel>()
  private readonly keys: IdempotencyKeys
  private sweepTimer: Timer | undefined

  constructor(timers: Timers, { maxIdempotencyKeys, maxIdleChannels }: Limits) {
    this.timers = timers
    this.maxIdleChannels = maxIdleChannels
    this.keys = new IdempotencyKeys(maxIdempotencyKeys)
  }

  readonly status: Stream.Stream<Broker.Status> = Stream.concat(Stream.succeed({ _tag: "Up" }), Stream.never)

  readonly publish: Broker.Broker["publish"] = (name, payload, options) =>
    Effect.sync(() => this.publishUnsafe(name, payload, options))

  private publishUnsafe(name: string, { data, info }: Broker.Payload, options: Broker.PublishOptions = {}): Position {
    const { history, idempotencyKey } = options
    const now = history === undefined && idempotencyKey === undefined ? 0 : this.timers.now()
    const key = idempotencyKey === undefined ? undefined : `${name}\0${idempotencyKey}`
    const published = key === undefined ? undefined : this.keys.get(key, now)
    if (published !== undefined) return published
    const channel = this.use(name)
    const { epoch } = channel
    const offset = ++channel.offset
    const publication: Broker.Event = { _tag: "Publication", epoch, offset, data, info }
    if (history === undefined) channel.history = []
    else this.store(channel, publication, history.size, Duration.toMillis(history.ttl), now)
    const position = { epoch, offset }
    if (key !== undefined) this.keys.set(key, position, now)
    channel.deliver(publication)
    return position
  }

  private store(channel: Channel, publication: Broker.Publication, size: number, ttl: number, now: number): void {
    this.expire(channel, now)
    channel.history.push(publication)
    // Removes in batches, because removing the first element copies the others.
    if (channel.history.length >= 2 * size + 16) channel.history = channel.history.slice(-size)
    channel.size = size
    channel.expires = now + ttl
    this.sweepTimer ??= this.timers.schedule(sweepInterval, this.sweep)
  }

  readonly subscribe: Broker.Broker["subscribe"] = (name, listener) =>
    Effect.asVoid(Effect.acquireRelease(
      Effect.sync(() => {
        const subscription = new Subscription(listener)
        const channel = this.use(name)
        channel.subscriptions = [...channel.subscriptions, subscription]
        this.idle.delete(channel)
        return { channel, subscription }
      }),
      ({ channel, subscription }) =>
        Effect.sync(() => {
          subscription.active = false
          channel.subscriptions = channel.subscriptions.filter((other) => other !== subscription)
          this.use(name)
        })
    ))

  readonly history: Broker.Broker["history"] = (name, options) => Effect.sync(() => this.historyUnsafe(name, options))

  private historyUnsafe(
    name: string,
    { limit = Number.POSITIVE_INFINITY, reverse = false, since }: Broker.HistoryOptions = {}
  ): Broker.HistoryPage {
    const channel = this.use(name)
    this.expire(channel, this.timers.now())
    const { offset, position } = channel
    const kept = channel.history.slice(-channel.size)
    const first = kept[0]?.offset ?? offset + 1
    const from = since?.epoch === channel.epoch && since.offset <= offset ? since.offset : undefined
    const selected = from === undefined
      ? kept
      : kept.filter((publication) => reverse ? publication.offset < from : publication.offset > from)
    const publications = (reverse ? selected.toReversed() : selected).slice(0, limit)
    const complete = since === undefined ? first === 1 : from !== undefined && (limit === 0 || from + 1 >= first)
    return { position, publications, complete }
  }

  readonly join: Broker.Broker["join"] = (name, { id, info }) =>
    Effect.sync(() => {
      const channel = this.use(name)
      channel.members.set(id, { id, info })
      this.idle.delete(channel)
      channel.deliver({ _tag: "Joined", ...channel.position, version: ++channel.version, id, info })
    })

  readonly leave: Broker.Broker["leave"] = (name, id) =>
    Effect.sync(() => {
      const channel = this.channels.get(name)
      const member = channel?.members.get(id)
      if (channel === undefined || member === undefined) return
      channel.members.delete(id)
      this.use(name)
      channel.deliver({ _tag: "Left", ...channel.position, version: ++channel.version, id, info: member.info })
    })

  readonly members: Broker.Broker["members"] = (name) =>
    Effect.sync(() => {
      const { members, position, version } = this.use(name)
      return { position, version, members: [...members.values()] }
    })

  /** Returns a channel. If it is idle, it becomes the one that was used last. */
  private use(name: string): Channel {
    let channel = this.channels.get(name)
    if (channel === undefined) this.channels.set(name, channel = new Channel(name))
    if (!channel.isIdle) return channel
    this.idle.delete(channel)
    this.idle.add(channel)
    if (this.idle.size > this.maxIdleChannels) {
      const oldest = this.idle.first!
      this.idle.delete(oldest)
      this.channels.delete(oldest.name)
    }
    return channel
  }

  private expire(channel: Channel, now: number): void {
    if (channel.history.length > 0 && channel.expires <= now) channel.history = []
  }

  /** Removes histories that have expired, for channels that no operation touches. */
  private readonly sweep = (): void => {
    const now = this.timers.now()
    let kept = false
    for (const channel of this.channels.values()) {
      this.expire(channel, now)
      kept ||= channel.history.length > 0
    }
    this.sweepTimer = kept ? this.timers.schedule(sweepInterval, this.sweep) : undefined
  }

  stop(): void {
    this.timers.cancel(this.sweepTimer)
  }
}

/** The positions of messages that were published with a key. */
class IdempotencyKeys {
  private readonly limit: number
  /** The oldest first. */
  private readonly entries = new Map<string, { readonly position: Position; readonly expires: number }>()

  constructor(limit: number) {
    this.limit = limit
  }

  get(key: string, now: number): Position | undefined {
    this.expire(now)
    return this.entries.get(key)?.position
  }

  set(key: string, position: Position, now: number): void {
    this.entries.set(key, { position, expires: now + keyLifetime })
    for (const oldest of this.entries.keys()) {
      if (this.entries.size <= this.limit) return
      this.entries.delete(oldest)
    }
  }

  private expire(now: number): void {
    for (const [key, { expires }] of this.entries) {
      if (expires > now) return
      this.entries.delete(key)
    }
  }
}
