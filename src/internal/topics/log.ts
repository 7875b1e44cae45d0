/**
 * The events of a channel in the order in which this process received them, numbered
 * without holes (`seq`), and the latest of them in memory. Messages also have their
 * position; changes of presence and gaps have only the number.
 */
import type { Position } from "../../Topic.ts"
import { type ChannelEvent, Entry } from "./entry.ts"
import { type Budget, Segment } from "./segment.ts"

/** The position behind an event, or undefined if the event does not change it. */
const positionAfter = (event: ChannelEvent): Position | undefined =>
  event._tag === "Publication" ? event : event._tag === "Gap" ? event.to : undefined

export class Log {
  readonly channel: string
  /** The position of the newest message. */
  epoch = ""
  offset = 0
  /** The number of the newest event. */
  seq = 0
  /** The bytes of all events. */
  bytes = 0
  /** The number of the newest change of presence. */
  presenceSeq = 0
  /** The number of the first event of the current epoch. Within it, positions grow. */
  private epochSeq = 0
  /** The position and the number before the first event in memory. */
  private baseEpoch = ""
  private baseOffset = 0
  private baseSeq = 0
  private readonly kept: Segment
  private readonly onDrop: (entry: Entry) => void

  constructor(channel: string, budget: Budget, onDrop: (entry: Entry) => void) {
    this.channel = channel
    this.onDrop = onDrop
    this.kept = new Segment(budget, (entry) => this.dropped(entry))
  }

  get position(): Position {
    return { epoch: this.epoch, offset: this.offset }
  }

  /** The position before the first event in memory. */
  get base(): Position {
    return { epoch: this.baseEpoch, offset: this.baseOffset }
  }

  /** The number of events in memory. */
  get size(): number {
    return this.kept.size
  }

  /** Begins at a position. */
  reset({ epoch, offset }: Position): void {
    this.epoch = this.baseEpoch = epoch
    this.offset = this.baseOffset = offset
  }

  /** Adds an event. Only if `keep` is set, it stays in memory: `keep` below does it later. */
  append(event: ChannelEvent, keep: boolean): Entry {
    const entry = new Entry(this.channel, event, ++this.seq)
    this.bytes += entry.size
    if (keep) this.kept.push(entry)
    const position = positionAfter(event)
    if (position === undefined) this.presenceSeq = this.seq
    else {
      if (position.epoch !== this.epoch || position.offset < this.offset) this.epochSeq = this.seq
      this.epoch = position.epoch
      this.offset = position.offset
    }
    if (this.kept.size === 0) this.rebase()
    return entry
  }

  /** Keeps the newest event, if it is not in memory. */
  keep(entry: Entry): void {
    if (this.kept.size > 0 || entry.seq !== this.seq) return
    this.baseSeq = entry.seq - 1
    const { event } = entry
    // A change of presence has the position before it.
    if (event._tag === "Publication") {
      this.baseEpoch = event.epoch
      this.baseOffset = event.offset - 1
    } else if (event._tag === "Gap") {
      this.baseEpoch = event.from.epoch
      this.baseOffset = event.from.offset
    }
    this.kept.push(entry)
  }

  /** Drops all but the newest events. */
  trim(size: number): void {
    while (this.kept.size > size) this.kept.shift()
  }

  clear(): void {
    this.kept.clear()
  }

  private rebase(): void {
    this.baseSeq = this.seq
    this.baseEpoch = this.epoch
    this.baseOffset = this.offset
  }

  private dropped(entry: Entry): void {
    this.baseSeq = entry.seq
    const position = positionAfter(entry.event)
    if (position !== undefined) {
      this.baseEpoch = position.epoch
      this.baseOffset = position.offset
    }
    this.onDrop(entry)
  }

  // -- reading ---------------------------------------------------------------

  /** Whether the event behind this number is in memory, or is still to come. */
  has(seq: number): boolean {
    return seq >= this.baseSeq
  }

  /** The event behind a number for which `has` is true. Undefined at the end. */
  after(seq: number): Entry | undefined {
    return this.kept.at(seq - this.baseSeq)
  }

  /**
   * Returns the number of the event that a position ends with, so that `after` leads to
   * what follows the position, or undefined if that is not in memory.
   */
  locate({ epoch, offset }: Position): number | undefined {
    if (epoch !== this.epoch || offset > this.offset) return undefined
    let low = Math.max(this.baseSeq, this.epochSeq)
    if (low === this.baseSeq && (this.baseEpoch !== epoch || this.baseOffset > offset)) return undefined
    if (low === this.epochSeq && low > this.baseSeq) {
      const first = this.kept.at(low - this.baseSeq - 1)!
      if (positionAfter(first.event)!.offset > offset) return undefined
    }
    // The last event in (low, seq] that is not behind the position.
    let high = this.seq
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if (this.offsetOf(middle) <= offset) low = middle
      else high = middle - 1
    }
    return low
  }

  /** The offset behind the event with this number, in the current epoch. */
  private offsetOf(seq: number): number {
    const { event } = this.kept.at(seq - this.baseSeq - 1)!
    if (event._tag === "Gap") return event.to.offset
    return event._tag === "Subscribed" ? 0 : event.offset
  }
}
