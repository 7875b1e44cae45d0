/**
 * Puts the events of a broker into the order that the laws promise: each offset
 * once, or a gap. If events are missing, doubled, or of another epoch, it reads what
 * was missed from the history. Meanwhile, events wait in a bounded buffer.
 */
import * as Effect from "effect/Effect"
import type * as Broker from "../../Broker.ts"
import type { Position } from "../../Topic.ts"
import type { ChannelEvent, PresenceEvent, PublicationEvent } from "./entry.ts"
import { Members } from "./members.ts"

/** The maximum number of messages that are read at once. */
const readSize = 512

/** Bounds of the buffer. Above them, its events are dropped and read again from the history. */
const maxPending = 1024
const maxPendingBytes = 1024 * 1024

/** What an inbox needs of its channel. */
export interface InboxHost {
  /** The position of the newest message that subscribers were told of. */
  readonly position: Position
  /** Begins at a position. */
  readonly begin: (position: Position) => void
  /** Tells all subscribers of an event. */
  readonly append: (event: ChannelEvent) => void
  readonly readHistory: (options: Broker.HistoryOptions) => Effect.Effect<Broker.HistoryPage, Broker.BrokerUnavailable>
  readonly readMembers: Effect.Effect<Broker.Members, Broker.BrokerUnavailable>
  readonly delay: (failures: number) => Effect.Effect<void>
  readonly fork: (effect: Effect.Effect<void>) => void
  /** Healing has begun or ended. */
  readonly onHealing: (isHealing: boolean) => void
}

export class Inbox {
  private readonly host: InboxHost
  private readonly presence: Members | undefined
  private state: "starting" | "active" | "healing" | "closed" = "starting"
  private pending: Array<PublicationEvent | PresenceEvent> = []
  private pendingBytes = 0
  /** The buffer has overflowed, or an event says that others were lost. */
  private hasLost = false

  constructor(host: InboxHost, hasPresence: boolean) {
    this.host = host
    this.presence = hasPresence ? new Members() : undefined
  }

  get members(): ReadonlyArray<Broker.Member> | undefined {
    return this.presence?.all
  }

  /** Receives the events of the broker, from before `start` on. */
  readonly receive = (event: Broker.Event): void => {
    if (this.state === "closed") return
    if (this.state === "active" && this.apply(event)) return
    this.buffer(event)
    if (this.state === "active") this.heal()
  }

  /** Begins at the current position, once the subscription is confirmed. */
  readonly start: Effect.Effect<void, Broker.BrokerUnavailable> = Effect.gen({ self: this }, function*() {
    const { position } = yield* this.host.readHistory({ limit: 0 })
    const members = this.presence && (yield* this.host.readMembers)
    if (this.state === "closed") return
    this.host.begin(position)
    if (members !== undefined) this.presence!.replace(members, position)
    if (this.drain()) this.state = "active"
    else this.heal()
  })

  /** Ends it. Its fiber is interrupted by the channel, but may take one more step. */
  close(): void {
    if (this.state === "healing") this.host.onHealing(false)
    this.state = "closed"
  }

  private append(event: ChannelEvent): void {
    if (this.state !== "closed") this.host.append(event)
  }

  private buffer(event: Broker.Event): void {
    if (event._tag === "Lost") {
      this.hasLost = true
      return
    }
    this.pending.push(event)
    this.pendingBytes += event._tag === "Publication" ? event.data.length : event.info.length
    if (this.pending.length <= maxPending && this.pendingBytes <= maxPendingBytes) return
    this.pending = []
    this.pendingBytes = 0
    this.hasLost = true
  }

  /** Passes on an event. Returns false if something is missing before it. */
  private apply(event: Broker.Event): boolean {
    if (event._tag === "Lost") return false
    const { epoch, offset } = this.host.position
    if (event.epoch !== epoch) return false
    if (event._tag === "Publication") {
      if (event.offset > offset + 1) return false
      if (event.offset === offset + 1) this.append(event)
      return true
    }
    if (this.presence === undefined) return true
    if (event.offset > offset) return false
    const outcome = this.presence.apply(event)
    if (outcome === "applied") this.append(event)
    return outcome !== "missing"
  }

  /** Passes on the events that have waited. Returns false if something is missing before one of them. */
  private drain(): boolean {
    while (this.pending.length > 0) {
      const { pending } = this
      this.pending = []
      this.pendingBytes = 0
      for (let i = 0; i < pending.length; i++) {
        if (this.apply(pending[i])) continue
        // An event of another epoch is in the history, or is a gap before the new position.
        const rest = pending[i].epoch === this.host.position.epoch ? pending.slice(i) : pending.slice(i + 1)
        for (const event of rest) this.buffer(event)
        return false
      }
    }
    return !this.hasLost
  }

  private heal(): void {
    this.state = "healing"
    this.host.onHealing(true)
    this.host.fork(this.healing(0))
  }

  /** Reads what is missing until nothing is. Each round ends with one synchronous step. */
  private healing(rounds: number): Effect.Effect<void> {
    const since = this.host.position
    return Effect.gen({ self: this }, function*() {
      this.hasLost = false
      const page = yield* this.host.readHistory({ since, limit: readSize })
      const members = this.presence && (yield* this.host.readMembers)
      this.takePage(since, page)
      if (page.publications.length === readSize) return false
      if (members !== undefined) this.takeMembers(members)
      if (!this.drain() || !this.hasReached(page.position)) return false
      if (this.state === "closed") return true
      // In the same step, so that no event comes to the buffer in between.
      this.state = "active"
      this.host.onHealing(false)
      return true
    }).pipe(
      Effect.matchEffect({
        onFailure: () => Effect.andThen(this.host.delay(rounds), this.healing(rounds + 1)),
        onSuccess: (isHealed) => isHealed ? Effect.void : this.healFurther(since, rounds)
      })
    )
  }

  /** Whether the newest message that was read is not behind a loss that the history cannot fill. */
  private hasReached({ epoch, offset }: Position): boolean {
    const { position } = this.host
    return position.epoch !== epoch || position.offset >= offset
  }

  /** Reads on. It waits if the history does not have what the subscription has told of, again and again. */
  private healFurther({ epoch, offset }: Position, rounds: number): Effect.Effect<void> {
    const { position } = this.host
    if (position.epoch !== epoch || position.offset !== offset) return this.healing(0)
    const next = this.healing(rounds + 1)
    return rounds < 3 ? next : Effect.andThen(this.host.delay(rounds - 3), next)
  }

  private takePage(since: Position, { complete, position, publications }: Broker.HistoryPage): void {
    if (complete && position.epoch !== since.epoch) {
      const to = { epoch: position.epoch, offset: since.offset }
      this.append({ _tag: "Gap", from: since, to, isLossless: true })
    } else if (!complete) {
      const to = { epoch: position.epoch, offset: this.firstAvailable(position, publications) - 1 }
      // A broker must not go back within an epoch. If it does, subscribers are told.
      if (to.epoch !== since.epoch || to.offset !== since.offset) this.append({ _tag: "Gap", from: since, to })
    }
    for (const { data, epoch, info, offset } of publications) {
      const current = this.host.position
      if (epoch === current.epoch && offset === current.offset + 1) {
        this.append({ _tag: "Publication", epoch, offset, data, info })
      }
    }
  }

  /** The first offset behind the gap: of the history, or of the events that wait. */
  private firstAvailable({ epoch, offset }: Position, publications: ReadonlyArray<Broker.Publication>): number {
    if (publications.length > 0) return publications[0].offset
    const since = this.host.position
    const waiting = this.pending.find((event): event is PublicationEvent =>
      event._tag === "Publication" && event.epoch === epoch && (epoch !== since.epoch || event.offset > since.offset)
    )
    return Math.min(waiting?.offset ?? Number.POSITIVE_INFINITY, offset + 1)
  }

  private takeMembers(members: Broker.Members): void {
    const changes: ReadonlyArray<PresenceEvent> = this.presence!.replace(members, this.host.position)
    for (const change of changes) this.append(change)
  }
}
