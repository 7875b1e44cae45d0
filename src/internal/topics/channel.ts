/**
 * A channel that this process subscribes to, and its subscribers. Those that keep up
 * are in an array, and receive each event in one loop. The others are cursors that
 * are fed from memory and from the history.
 */
import type * as Effect from "effect/Effect"
import type * as Broker from "../../Broker.ts"
import type { Position, SlowConsumer } from "../../Topic.ts"
import { LinkedList } from "../runtime/linkedList.ts"
import { Cursor, type Feeder, type Outlet, unlocated } from "./cursor.ts"
import { type ChannelEvent, Entry, type Format, type GapEvent } from "./entry.ts"
import { Epochs } from "./epochs.ts"
import { Inbox } from "./inbox.ts"
import { Log } from "./log.ts"
import { NewestByKey } from "./newestByKey.ts"
import { Pages } from "./pages.ts"
import type { Budget } from "./segment.ts"

/** What the topic of a channel says about it. */
export interface ChannelOptions {
  /** The number of messages that the broker keeps, 0 for none. */
  readonly historySize: number
  readonly hasPresence: boolean
  readonly slowConsumer: SlowConsumer
  /** With `slowConsumer: "latest"`, the key of a message. */
  readonly key: (data: Uint8Array) => string
}

/** Counters of all channels. */
export interface Counters {
  /** Messages that this process has published. */
  published: number
  /** Messages that brokers delivered to this process. */
  received: number
  /** Messages that were handed to subscribers. */
  delivered: number
  /** Messages that subscribers were told to have missed, and the number of times. */
  missed: number
  gaps: number
  /** Subscribers that are behind. */
  behind: number
  historyReads: number
}

/** What a channel needs of the hub. */
export interface ChannelHost {
  readonly budget: Budget
  readonly counters: Counters
  readonly maxBacklog: number
  readonly readHistory: (
    channel: string,
    options: Broker.HistoryOptions
  ) => Effect.Effect<Broker.HistoryPage, Broker.BrokerUnavailable>
  readonly readMembers: (channel: string) => Effect.Effect<Broker.Members, Broker.BrokerUnavailable>
  readonly delay: (failures: number) => Effect.Effect<void>
  /** Runs an effect until the channel is closed. */
  readonly fork: (channel: Channel, effect: Effect.Effect<void>) => void
  readonly onHealing: (isHealing: boolean) => void
}

/** A wait for the history, in place of an event. */
export const waiting = "waiting"

export class Channel implements Feeder {
  readonly name: string
  readonly options: ChannelOptions
  private readonly host: ChannelHost
  readonly inbox: Inbox
  private readonly log: Log
  private readonly pages: Pages
  /** The subscribers that keep up, in no order. */
  private readonly live: Array<Cursor> = []
  /** All others, those that fell behind first at the beginning. */
  private readonly behind = new LinkedList<Cursor>()
  /** Of these, those that wait for events that they know already. */
  private readonly ahead = new Set<Cursor>()
  /** Used while a cursor is behind. */
  private readonly newest: NewestByKey
  readonly epochs: Epochs

  constructor(name: string, options: ChannelOptions, host: ChannelHost) {
    this.name = name
    this.options = options
    this.host = host
    const readHistory = (history: Broker.HistoryOptions) => host.readHistory(name, history)
    const fork = (effect: Effect.Effect<void>) => host.fork(this, effect)
    const newest = new NewestByKey(options.key)
    this.newest = newest
    this.log = new Log(name, host.budget, (entry) => newest.remove(entry))
    const { log } = this
    const shared = { name, readHistory, fork, delay: host.delay }
    this.epochs = new Epochs({
      readHistory,
      get epoch() {
        return log.epoch
      }
    })
    this.pages = new Pages({
      ...shared,
      historySize: options.historySize,
      get epoch() {
        return log.epoch
      }
    }, host.budget)
    this.inbox = new Inbox({
      ...shared,
      get position() {
        return log.position
      },
      begin: (position) => log.reset(position),
      append: (event) => this.append(event),
      readMembers: host.readMembers(name),
      onHealing: host.onHealing
    }, options.hasPresence)
  }

  get position(): Position {
    return this.log.position
  }

  get subscribers(): number {
    return this.live.length + this.behind.size
  }

  // -- delivery --------------------------------------------------------------

  private append(event: ChannelEvent): void {
    const { behind, host: { counters }, log, options } = this
    if (event._tag === "Publication") counters.received++
    const isKept = behind.size > 0 || options.historySize > 0
    if (event._tag === "Gap" && event.to.epoch !== event.from.epoch) this.changeEpoch(event)
    const entry = log.append(event, isKept)
    if (behind.size === 0) log.trim(options.historySize)
    else if (options.slowConsumer === "latest") this.newest.add(entry)
    this.deliver(entry)
    if (options.slowConsumer === "close") this.closeSlow()
    if (this.ahead.size > 0) this.wakeAhead()
  }

  /** Positions of earlier epochs are of no use, unless the new one continues them. */
  private changeEpoch({ from, isLossless }: GapEvent): void {
    this.pages.forgetTop()
    if (isLossless === true) this.epochs.continue(from)
    else this.epochs.restart()
  }

  /**
   * The hot path: nothing is allocated for a subscriber that keeps up. Writing may add and remove
   * subscribers. Removing moves the last one to the free place, so that a place can come
   * twice: then the number tells that the subscriber has the event.
   */
  private deliver(entry: Entry): void {
    const { live } = this
    const { seq } = entry
    let delivered = 0
    for (let i = live.length - 1; i >= 0; i--) {
      const cursor = live[i]
      if (cursor === undefined || cursor.seq === seq) continue
      if (cursor.write(entry)) {
        cursor.advance(entry)
        delivered++
      } else this.fallBehind(cursor, entry)
    }
    this.count(entry.event, delivered)
  }

  private count(event: ChannelEvent, deliveries: number): void {
    const { counters } = this.host
    if (event._tag === "Publication") counters.delivered += deliveries
    else if (event._tag === "Gap" && event.isLossless !== true && deliveries > 0) {
      counters.gaps += deliveries
      counters.missed += deliveries * (missedBy(event) ?? 0)
    }
  }

  private fallBehind(cursor: Cursor, entry: Entry): void {
    this.removeLive(cursor)
    this.log.keep(entry)
    cursor.state = "behind"
    cursor.bytesBefore = this.log.bytes - entry.size
    this.addBehind(cursor)
    if (this.options.slowConsumer === "latest" && this.behind.size === 1) this.newest.add(entry)
    cursor.outlet.ready(cursor)
  }

  private addBehind(cursor: Cursor): void {
    this.behind.add(cursor)
    this.host.counters.behind++
  }

  private removeBehind(cursor: Cursor): void {
    this.behind.delete(cursor)
    this.host.counters.behind--
    if (this.behind.size > 0) return
    this.newest.clear()
    this.log.trim(this.options.historySize)
  }

  private removeLive(cursor: Cursor): void {
    const { live } = this
    const last = live.pop()!
    if (last !== cursor) {
      live[cursor.index] = last
      last.index = cursor.index
    }
    cursor.index = -1
  }

  // -- subscribers -----------------------------------------------------------

  /** Adds a subscriber that receives nothing before `start`. It begins at `since`, or with the next event. */
  hold(outlet: Outlet, format: Format, onGap: ((gap: GapEvent) => void) | undefined, since?: Position): Cursor {
    const { log } = this
    const cursor = new Cursor(this, outlet, format, onGap, since ?? log.position, log.seq)
    if (since !== undefined && (since.epoch !== log.epoch || since.offset !== log.offset)) {
      cursor.seq = unlocated
      cursor.isResuming = true
    }
    cursor.bytesBefore = log.bytes
    this.addBehind(cursor)
    return cursor
  }

  start(cursor: Cursor): void {
    if (cursor.state !== "held") return
    if (cursor.seq === this.log.seq) return this.goLive(cursor)
    cursor.state = "behind"
    cursor.outlet.ready(cursor)
  }

  /** The members at this moment. The subscriber is told of the changes from now on. */
  confirm(cursor: Cursor): ReadonlyArray<Broker.Member> | undefined {
    cursor.presenceSeq = this.log.seq
    cursor.isStale = false
    return this.inbox.members
  }

  /** Leaves out all events up to now. */
  jump(cursor: Cursor): void {
    const { log } = this
    cursor.seq = log.seq
    cursor.epoch = log.epoch
    cursor.offset = log.offset
  }

  remove(cursor: Cursor): void {
    if (cursor.state === "ended") return
    if (cursor.state === "live") this.removeLive(cursor)
    else {
      this.removeBehind(cursor)
      this.pages.forget(cursor)
      this.ahead.delete(cursor)
    }
    cursor.state = "ended"
  }

  private goLive(cursor: Cursor): void {
    this.removeBehind(cursor)
    cursor.isResuming = false
    cursor.state = "live"
    cursor.index = this.live.push(cursor) - 1
  }

  /** Ends the channel. Nothing refers to its cursors any more. */
  close(): void {
    this.inbox.close()
    this.log.clear()
    this.pages.close()
  }

  // -- feeding ---------------------------------------------------------------

  feed(cursor: Cursor, limit: number): "full" | "more" | "done" {
    for (let i = 0; i < limit; i++) {
      if (cursor.state !== "behind") return "done"
      const next = this.next(cursor)
      if (next === waiting) return "done"
      if (next === undefined) {
        if (cursor.isStale && !cursor.write(this.snapshot(cursor))) return "full"
        cursor.isStale = false
        cursor.presenceSeq = this.log.seq
        // Writing may have ended it.
        if (cursor.state === "behind") this.goLive(cursor)
        return "done"
      }
      if (!cursor.write(next)) return "full"
      cursor.advance(next)
      this.count(next.event, 1)
    }
    return "more"
  }

  /** Returns the next event of a cursor that is behind. Undefined if there are no more. */
  next(cursor: Cursor): Entry | typeof waiting | undefined {
    const { log } = this
    this.locate(cursor)
    if (this.options.slowConsumer === "skip" && !cursor.isResuming && cursor.seq !== log.seq) return this.skip(cursor)
    if (cursor.seq === unlocated) return this.renamed(cursor) ?? this.nextInHistory(cursor)
    for (let entry = log.after(cursor.seq); entry !== undefined; entry = log.after(cursor.seq)) {
      if (!this.isLeftOut(cursor, entry)) return this.adapted(cursor, entry)
      cursor.seq = entry.seq
    }
    return undefined
  }

  private isLeftOut(cursor: Cursor, { event, isSuperseded, seq }: Entry): boolean {
    if (event._tag === "Publication") return isSuperseded && !cursor.isResuming
    return event._tag !== "Gap" && (cursor.isStale || seq <= cursor.presenceSeq)
  }

  /** A gap begins where the cursor is: within the gap that the channel had, or before messages that were replaced. */
  private adapted(cursor: Cursor, entry: Entry): Entry {
    const { event, seq } = entry
    if (event._tag !== "Gap" || (event.from.epoch === cursor.epoch && event.from.offset === cursor.offset)) return entry
    return new Entry(this.name, { ...event, from: cursor.position }, seq)
  }

  /** Finds the place of a cursor in the log, if it has lost it. */
  private locate(cursor: Cursor): void {
    const { log } = this
    if (cursor.seq !== unlocated) {
      if (log.has(cursor.seq)) return
      cursor.presenceSeq = Math.max(cursor.presenceSeq, cursor.seq)
      cursor.seq = unlocated
    }
    const seq = log.locate(cursor.position)
    if (seq === undefined) return
    cursor.seq = seq
    if (log.presenceSeq > cursor.presenceSeq) this.markStale(cursor)
  }

  private markStale(cursor: Cursor): void {
    cursor.isStale = this.options.hasPresence
  }

  /** Tells a cursor of an earlier epoch, the rest of which is no longer in memory, that it was continued. */
  private renamed(cursor: Cursor): Entry | undefined {
    const to = this.epochs.translate(cursor.position)
    if (to === undefined || to.epoch === cursor.epoch) return undefined
    return new Entry(this.name, { _tag: "Gap", from: cursor.position, to, isLossless: true }, Number.NaN)
  }

  private nextInHistory(cursor: Cursor): Entry | typeof waiting | undefined {
    const { log, options, pages } = this
    const hasHistory = options.historySize > 0 && (cursor.isResuming || options.slowConsumer !== "latest")
    let found = hasHistory || this.isAhead(cursor) ? pages.after(cursor) : log.base
    if (found === undefined) {
      pages.request(cursor)
      // The page may be there at once, and must be used before others need its memory.
      found = pages.after(cursor)
    }
    if (found === undefined) return waiting
    if (found instanceof Entry) return found
    if (this.isAhead(cursor) && pages.confirms(cursor)) return this.awaitLog(cursor)
    // No message behind the position is in the history.
    const to = found.epoch === "" ? log.base : found
    return this.gap(cursor, to)
  }

  /** Whether a cursor knows more than this process: it has read history, or comes from another process. */
  private isAhead(cursor: Cursor): boolean {
    const { log, pages } = this
    return cursor.epoch === log.epoch ? cursor.offset > log.offset : pages.confirms(cursor)
  }

  /** The broker has told others what it has not told this process: perhaps that was lost. */
  private awaitLog(cursor: Cursor): typeof waiting {
    this.ahead.add(cursor)
    this.inbox.receive({ _tag: "Lost" })
    return waiting
  }

  private wakeAhead(): void {
    const waitingCursors = [...this.ahead]
    this.ahead.clear()
    for (const cursor of waitingCursors) cursor.outlet.ready(cursor)
  }

  private gap(cursor: Cursor, to: Position): Entry {
    return new Entry(this.name, { _tag: "Gap", from: cursor.position, to }, Number.NaN)
  }

  /** All that a cursor missed as one gap, after which it keeps up. */
  private skip(cursor: Cursor): Entry | undefined {
    const { log } = this
    if (log.presenceSeq > Math.max(cursor.seq, cursor.presenceSeq)) this.markStale(cursor)
    const isLossless = this.epochs.translate(cursor.position)?.offset === log.offset
    if (isLossless && cursor.epoch === log.epoch) {
      cursor.seq = log.seq
      return undefined
    }
    return new Entry(this.name, { _tag: "Gap", from: cursor.position, to: log.position, isLossless }, log.seq)
  }

  private snapshot(cursor: Cursor): Entry {
    const members = this.inbox.members ?? []
    return new Entry(this.name, { _tag: "Subscribed", position: cursor.position, members }, Number.NaN)
  }

  // -- slow consumers --------------------------------------------------------

  /** Closes those that are too far behind. They fell behind in order, so the first is the furthest. */
  private closeSlow(): void {
    const { behind, host: { maxBacklog }, log: { bytes } } = this
    for (let cursor = behind.first; cursor !== undefined && bytes - cursor.bytesBefore > maxBacklog;) {
      const { next } = cursor
      if (cursor.state === "behind" && cursor.outlet.closeSlow !== undefined) {
        this.remove(cursor)
        cursor.outlet.closeSlow()
      }
      cursor = next
    }
  }
}

/** The number of messages in a gap; undefined across epochs. */
export const missedBy = ({ from, to }: Pick<GapEvent, "from" | "to">): number | undefined =>
  from.epoch === to.epoch && to.offset >= from.offset ? to.offset - from.offset : undefined
