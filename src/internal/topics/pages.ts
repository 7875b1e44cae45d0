/**
 * History for subscribers that are behind what is in memory. A page is read once and
 * serves all subscribers of the channel; at most one read at a time runs for a channel.
 */
import * as Effect from "effect/Effect"
import type * as Broker from "../../Broker.ts"
import type { Position } from "../../Topic.ts"
import type { Cursor } from "./cursor.ts"
import { Entry } from "./entry.ts"
import { type Budget, Segment } from "./segment.ts"

/** The maximum number of messages in a page. A history of at most this size is read as a whole. */
export const pageSize = 512

/** What the pages of a channel need of it. */
export interface PagesHost {
  readonly name: string
  /** The size of the channel's history, 0 without one. */
  readonly historySize: number
  readonly epoch: string
  readonly readHistory: (options: Broker.HistoryOptions) => Effect.Effect<Broker.HistoryPage, Broker.BrokerUnavailable>
  /** Waits before a failed read is repeated. */
  readonly delay: (failures: number) => Effect.Effect<void>
  /** Runs an effect until the channel is closed. */
  readonly fork: (effect: Effect.Effect<void>) => void
}

export class Pages {
  private readonly host: PagesHost
  private readonly page: Segment
  private readonly maxBytes: number
  /** The number of the page. A cursor for which no page was read has 0. */
  private generation = 1
  /** Of the page when it was read: its epoch, and the offset of its first message. */
  private epoch = ""
  private start = 0
  /** The position of the broker at the last read, until the channel has another epoch. */
  private top: Position | undefined
  /** Messages of the whole history take more bytes than a page may have. */
  private isLarge = false
  private readonly waiting = new Set<Cursor>()
  private isReading = false
  private isClosed = false

  constructor(host: PagesHost, budget: Budget) {
    this.host = host
    this.page = new Segment(budget)
    this.maxBytes = budget.limit / 4
  }

  /**
   * Returns the message behind the position of a cursor; or the position before the
   * next message that the history has, if messages are missing; or undefined if the
   * history must be read.
   */
  after(cursor: Cursor): Entry | Position | undefined {
    const first = offsetOf(this.page.first)
    const { epoch, offset, pageRead } = cursor
    if (first !== undefined && epoch === this.epoch && offset + 1 >= first) {
      const entry = this.page.at(offset + 1 - first)
      if (entry !== undefined) return entry
    }
    if (pageRead !== this.generation) return undefined
    // The history has nothing behind the position: what is missing is before the events in memory.
    if (this.start === 0 || (epoch === this.epoch && offset + 1 > this.start)) return { epoch: "", offset: 0 }
    // The budget has dropped the beginning.
    if (first !== this.start) return undefined
    return { epoch: this.epoch, offset: this.start - 1 }
  }

  /** Whether the broker was at least at this position when the history was last read. */
  confirms({ epoch, offset }: Position): boolean {
    return this.top?.epoch === epoch && this.top.offset >= offset
  }

  /** The channel has another epoch. */
  forgetTop(): void {
    this.top = undefined
  }

  /** Reads history for a cursor, and tells its outlet when there is something to feed. */
  request(cursor: Cursor): void {
    this.waiting.add(cursor)
    if (this.isReading) return
    this.isReading = true
    this.host.fork(this.read(0))
  }

  /** A cursor does not wait any more. */
  forget(cursor: Cursor): void {
    this.waiting.delete(cursor)
  }

  /** Ends it. Its fiber is interrupted by the channel, but may take one more step. */
  close(): void {
    this.isClosed = true
    this.page.clear()
    this.waiting.clear()
  }

  private read(failures: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const since = this.host.historySize <= pageSize && !this.isLarge ? undefined : this.oldest()
      const { epoch } = this.host
      const asked = new Set(this.waiting)
      return Effect.matchEffect(this.host.readHistory({ since, limit: pageSize }), {
        onFailure: (error) => this.onFailure(error, failures),
        onSuccess: (page) => {
          // The channel has got another epoch, and the page may be of the old one.
          if (this.host.epoch !== epoch && page.position.epoch !== this.host.epoch) return this.read(failures)
          this.onRead(page, since, asked)
          return Effect.void
        }
      })
    })
  }

  /** The oldest position that a cursor waits for. Positions of other epochs need the whole history. */
  private oldest(): Position | undefined {
    let oldest: Cursor | undefined
    for (const cursor of this.waiting) {
      if (cursor.epoch !== this.host.epoch) return undefined
      if (oldest === undefined || cursor.offset < oldest.offset) oldest = cursor
    }
    return oldest?.position
  }

  private onFailure(error: Broker.BrokerUnavailable, failures: number): Effect.Effect<void> {
    for (const cursor of this.waiting) {
      if (cursor.outlet.failed === undefined) continue
      this.waiting.delete(cursor)
      cursor.outlet.failed(cursor, error)
    }
    if (this.waiting.size > 0) return Effect.andThen(this.host.delay(failures), this.read(failures + 1))
    this.isReading = false
    return Effect.void
  }

  private onRead(page: Broker.HistoryPage, since: Position | undefined, asked: ReadonlySet<Cursor>): void {
    this.isReading = false
    if (this.isClosed) return
    const last = this.replace(page)
    const waiting = [...this.waiting]
    this.waiting.clear()
    for (const cursor of waiting) {
      // A cursor that is out of the range that was read waits for another page.
      const isCovered = cursor.epoch !== this.epoch ||
        ((since === undefined || cursor.offset >= since.offset) && cursor.offset < last)
      // The read may be older than a position that a cursor has brought meanwhile.
      const isOlder = !asked.has(cursor) && cursor.epoch === this.epoch && cursor.offset > page.position.offset
      if (isCovered && !isOlder) cursor.pageRead = this.generation
    }
    // Feeding one may read another page.
    for (const cursor of waiting) cursor.outlet.ready(cursor)
  }

  /** Returns the last offset of the new page; Infinity if the history has nothing behind the page. */
  private replace({ position, publications }: Broker.HistoryPage): number {
    this.page.clear()
    this.generation++
    this.epoch = position.epoch
    this.top = position
    this.start = publications[0]?.offset ?? 0
    let bytes = 0
    for (const { data, epoch, info, offset } of publications) {
      const entry = new Entry(this.host.name, { _tag: "Publication", epoch, offset, data, info }, Number.NaN)
      this.page.push(entry)
      bytes += entry.size
      if (bytes <= this.maxBytes) continue
      this.isLarge = true
      return offset
    }
    return publications.length < pageSize ? Number.POSITIVE_INFINITY : publications[publications.length - 1].offset
  }
}

const offsetOf = (entry: Entry | undefined): number | undefined =>
  entry?.event._tag === "Publication" ? entry.event.offset : undefined
