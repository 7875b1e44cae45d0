/**
 * The channels of a process. Each has one subscription of the broker, however many
 * subscribers it has, and keeps it for some seconds after the last one, because
 * subscribers that reconnect come back soon.
 */
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type * as Stream from "effect/Stream"
import type * as Broker from "../../Broker.ts"
import type { Position } from "../../Topic.ts"
import { type Timer, Timers } from "../runtime/timers.ts"
import { Availability, type Status } from "./availability.ts"
import { Channel, type ChannelHost, type ChannelOptions, type Counters } from "./channel.ts"
import type { Cursor, Outlet } from "./cursor.ts"
import type { Format, GapEvent, PublicationEvent } from "./entry.ts"
import { Presence } from "./presence.ts"
import { recover } from "./recover.ts"
import { Budget } from "./segment.ts"

/** The maximum number of reads of history that run at once. */
const maxReads = 8

export interface HubOptions {
  /** Bytes of events that all channels keep in memory. */
  readonly memory: number
  /** How long a channel stays subscribed without subscribers, in milliseconds. */
  readonly linger: number
  /** Bytes of events by which a subscriber may be behind, with `slowConsumer: "close"`. */
  readonly maxBacklog: number
}

export interface AttachOptions {
  readonly outlet: Outlet
  readonly format: Format
  readonly channel: ChannelOptions
  /** Resumes behind this position. Default: begins with the next event. */
  readonly since?: Position | undefined
  /**
   * How messages after `since` are delivered: by the outlet, like all others ("feed"); or as `publications`,
   * at most this many. If there are more, or if some are lost, `isRecovered` is false.
   */
  readonly recover?: "feed" | number | undefined
  /** Told of gaps in place of the outlet, which then does not get the event. */
  readonly onGap?: ((gap: GapEvent) => void) | undefined
}

export interface Attached {
  /** The position before the next message that the outlet is given. */
  readonly position: Position
  /** The messages between `since`, or the last gap behind it, and `position`, without holes. */
  readonly publications: ReadonlyArray<PublicationEvent>
  /** Whether nothing between `since` and `position` is lost; true without `since`. */
  readonly isRecovered: boolean
  /** The members at `position`; undefined without presence. */
  readonly members: ReadonlyArray<Broker.Member> | undefined
  readonly cursor: Cursor
  /** Begins to deliver: the caller has written its confirmation. */
  readonly start: () => void
  /** Ends the subscription before its Scope closes. */
  readonly detach: () => void
}

const hubs = new WeakMap<object, Hub>()

/** Lets `hubOf` find the hub of a service. */
export const bindHub = (service: object, hub: Hub): void => void hubs.set(service, hub)

/** Returns the hub of a `Topics` service. */
export const hubOf = (service: object): Hub => {
  const hub = hubs.get(service)
  if (hub === undefined) throw new TypeError("Topics: expected a service of Topics.layer, got another object")
  return hub
}

/** A channel with the count of its users. */
class Slot {
  readonly channel: Channel
  readonly scope = Scope.makeUnsafe()
  /** The subscription is confirmed, and its position known. */
  readonly ready = Deferred.makeUnsafe<void, Broker.BrokerUnavailable>()
  users = 0
  lingering: Timer | undefined

  constructor(channel: Channel) {
    this.channel = channel
  }
}

/** What a subscription holds until its Scope closes. */
class Use {
  readonly slot: Slot
  cursor: Cursor | undefined
  isEnded = false

  constructor(slot: Slot) {
    this.slot = slot
  }
}

export class Hub {
  private readonly broker: Broker.Broker
  private readonly options: HubOptions
  private readonly timers: Timers
  private readonly run: <A, E>(effect: Effect.Effect<A, E>) => void
  private readonly slots = new Map<string, Slot>()
  private readonly availability: Availability
  private readonly presence: Presence
  private readonly host: ChannelHost
  readonly budget: Budget
  readonly counters: Counters = {
    published: 0,
    received: 0,
    delivered: 0,
    missed: 0,
    gaps: 0,
    behind: 0,
    historyReads: 0
  }

  /** Makes a hub that ends its channels when the Scope closes. */
  static make(broker: Broker.Broker, options: HubOptions): Effect.Effect<Hub, never, Scope.Scope> {
    return Effect.gen(function*() {
      const availability = yield* Availability.make(broker.status)
      const context = yield* Effect.context<never>()
      const hub = yield* Effect.acquireRelease(
        Effect.sync(() => new Hub(broker, options, availability, context)),
        (open) => open.shutdown
      )
      yield* Effect.forkScoped(availability.watch)
      return hub
    })
  }

  private constructor(
    broker: Broker.Broker,
    options: HubOptions,
    availability: Availability,
    context: Context.Context<never>
  ) {
    this.broker = broker
    this.options = options
    this.timers = Timers.of(context)
    const runFork = Effect.runForkWith(context)
    this.run = (effect) => void runFork(effect)
    this.budget = new Budget(options.memory)
    this.availability = availability
    this.presence = new Presence(broker)
    const reads = Semaphore.makeUnsafe(maxReads)
    this.host = {
      budget: this.budget,
      counters: this.counters,
      maxBacklog: options.maxBacklog,
      readHistory: (channel, history) =>
        Semaphore.withPermit(
          reads,
          Effect.suspend(() => {
            this.counters.historyReads++
            return broker.history(channel, history)
          })
        ),
      readMembers: (channel) => Semaphore.withPermit(reads, broker.members(channel)),
      delay: availability.delay,
      fork: (channel, effect) => {
        const slot = this.slots.get(channel.name)
        if (slot?.channel === channel) this.run(Effect.forkIn(effect, slot.scope))
      },
      onHealing: (isHealing) => this.run(availability.onHealing(isHealing))
    }
  }

  get status(): Stream.Stream<Status> {
    return this.availability.changes
  }

  /** The number of channels that this process subscribes to. */
  get size(): number {
    return this.slots.size
  }

  get subscribers(): number {
    let count = 0
    for (const { channel } of this.slots.values()) count += channel.subscribers
    return count
  }

  // -- publishing ------------------------------------------------------------

  publish(
    channel: string,
    payload: Broker.Payload,
    options: Broker.PublishOptions
  ): Effect.Effect<Position, Broker.BrokerUnavailable | Broker.PublishUnknown> {
    return Effect.map(this.broker.publish(channel, payload, options), (position) => {
      this.counters.published++
      return position
    })
  }

  get history(): Broker.Broker["history"] {
    return this.broker.history
  }

  get members(): Broker.Broker["members"] {
    return this.broker.members
  }

  /** Adds a member until the Scope closes. */
  join(channel: string, member: Broker.Member): Effect.Effect<void, Broker.BrokerUnavailable, Scope.Scope> {
    return this.presence.join(channel, member)
  }

  // -- subscribing -----------------------------------------------------------

  /** Subscribes until the Scope closes. Events are delivered from `start` on. */
  attach(name: string, options: AttachOptions): Effect.Effect<Attached, Broker.BrokerUnavailable, Scope.Scope> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Scope.Scope, (scope) => {
        const use = new Use(this.acquire(name, options.channel))
        return Effect.andThen(Scope.addFinalizer(scope, this.ending(use)), restore(this.hold(use, options)))
      })
    )
  }

  /** Waits until the channel is subscribed to, and adds a subscriber. */
  private hold(use: Use, options: AttachOptions): Effect.Effect<Attached, Broker.BrokerUnavailable> {
    const { channel, ready } = use.slot
    const since = options.since === undefined ? Effect.undefined : channel.epochs.resolve(options.since)
    return Effect.flatMap(Effect.andThen(Deferred.await(ready), since), (position) => {
      const cursor = channel.hold(options.outlet, options.format, options.onGap, position)
      use.cursor = cursor
      // The Scope was closed before.
      if (use.isEnded) channel.remove(cursor)
      return this.confirm(channel, cursor, options)
    })
  }

  /** A function of its own, so that it retains nothing but the use. */
  private ending(use: Use): Effect.Effect<void> {
    return Effect.sync(() => this.end(use))
  }

  private end(use: Use): void {
    const { cursor, slot } = use
    use.isEnded = true
    if (cursor !== undefined) slot.channel.remove(cursor)
    this.release(slot)
  }

  private confirm(
    channel: Channel,
    cursor: Cursor,
    { outlet, recover: mode = "feed", since }: AttachOptions
  ): Effect.Effect<Attached, Broker.BrokerUnavailable> {
    const attached = (publications: ReadonlyArray<PublicationEvent>, isRecovered: boolean): Attached => ({
      position: cursor.position,
      publications,
      isRecovered,
      members: channel.confirm(cursor),
      cursor,
      start: () => channel.start(cursor),
      detach: () => channel.remove(cursor)
    })
    if (since === undefined || mode === "feed") return Effect.sync(() => attached([], true))
    return Effect.map(recover(channel, cursor, mode), ({ isRecovered, publications }) => {
      cursor.outlet = outlet
      return attached(publications, isRecovered)
    })
  }

  private acquire(name: string, options: ChannelOptions): Slot {
    let slot = this.slots.get(name)
    if (slot === undefined) {
      slot = new Slot(new Channel(name, options, this.host))
      this.slots.set(name, slot)
      this.run(this.open(slot))
    }
    slot.users++
    this.timers.cancel(slot.lingering)
    slot.lingering = undefined
    return slot
  }

  private release(slot: Slot): void {
    if (--slot.users > 0 || this.slots.get(slot.channel.name) !== slot) return
    slot.lingering = this.timers.schedule(this.options.linger, () => this.run(this.close(slot)))
  }

  /** Subscribes. If that fails, the next user begins anew. */
  private open(slot: Slot): Effect.Effect<unknown> {
    const { channel: { inbox, name }, ready, scope } = slot
    const opening = Effect.andThen(Scope.provide(this.broker.subscribe(name, inbox.receive), scope), inbox.start)
    return Effect.forkIn(
      Effect.onExit(opening, (exit) =>
        Effect.sync(() => {
          if (Exit.isFailure(exit)) this.run(this.close(slot, exit))
          else Deferred.doneUnsafe(ready, exit)
        })),
      scope
    )
  }

  /**
   * Ends a channel at once, and returns the effect that ends its subscription and its fibers. The fiber that
   * subscribes may not have begun: `exit` is for those that wait for it.
   */
  private close(
    { channel, lingering, ready, scope }: Slot,
    exit: Exit.Exit<void, Broker.BrokerUnavailable> = Exit.interrupt()
  ): Effect.Effect<void> {
    if (this.slots.get(channel.name)?.channel === channel) this.slots.delete(channel.name)
    this.timers.cancel(lingering)
    channel.close()
    Deferred.doneUnsafe(ready, exit)
    return Scope.close(scope, Exit.void)
  }

  /** Ends all channels. */
  get shutdown(): Effect.Effect<void> {
    return Effect.suspend(() =>
      Effect.forEach([...this.slots.values()], (slot) => this.close(slot), { concurrency: "unbounded", discard: true })
    )
  }
}
