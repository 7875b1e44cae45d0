/** A subscriber's place in a channel: a few numbers, whether the subscriber keeps up or not. */
import type * as Broker from "../../Broker.ts"
import type { Position } from "../../Topic.ts"
import type { Node } from "../runtime/linkedList.ts"
import type { Entry, Format, GapEvent } from "./entry.ts"

/** Where a cursor delivers to. Cursors of one connection share an outlet. */
export interface Outlet {
  /** Delivers an event. Returns false if there is no room: then nothing was delivered. */
  readonly write: (cursor: Cursor, entry: Entry) => boolean
  /** A cursor that is behind can be fed: `channel.feed`, as soon as there is room. */
  readonly ready: (cursor: Cursor) => void
  /** The history cannot be read. Without this, reading is repeated until it succeeds. */
  readonly failed?: ((cursor: Cursor, error: Broker.BrokerUnavailable) => void) | undefined
  /** Ends the connection as a slow consumer. Without this, its cursors catch up. */
  readonly closeSlow?: (() => void) | undefined
}

/** What a cursor needs of its channel. */
export interface Feeder {
  readonly name: string
  /**
   * Delivers at most `limit` events to a cursor that is behind. "full": the outlet has no
   * room. "more": there are more events. "done": the cursor keeps up again, or waits
   * for the history, after which its outlet is told `ready`.
   */
  readonly feed: (cursor: Cursor, limit: number) => "full" | "more" | "done"
}

/** Not in the log: the cursor is found by its position. */
export const unlocated = -1

/** It has more fields than most classes, because there is one object for each subscriber. */
export class Cursor implements Node<Cursor> {
  /** Among the cursors of the channel that are behind. */
  previous: Cursor | undefined
  next: Cursor | undefined
  readonly channel: Feeder
  readonly format: Format
  outlet: Outlet
  /** Told instead of the outlet, if it is set. */
  readonly onGap: ((gap: GapEvent) => void) | undefined
  /**
   * "held": not started. "live": receives each event when it arrives. "behind": is fed.
   * "ended": receives nothing more.
   */
  state: "held" | "live" | "behind" | "ended" = "held"
  /** Among the live cursors of the channel. */
  index = -1
  /** The number of the last event that was delivered, or `unlocated`. */
  seq: number
  /** The position of the last message that was delivered. */
  epoch: string
  offset: number
  /** The number of the last event up to which the subscriber knows presence. */
  presenceSeq: number
  /** Changes of presence were left out, so that the subscriber needs all members again. */
  isStale = false
  /** Began behind the newest message, and has not reached it. It is fed with all that there is. */
  isResuming = false
  /** The page of history that was read for the position of this cursor. What it lacks, nothing has. */
  pageRead = 0
  /** Bytes of the channel's events when the cursor fell behind. */
  bytesBefore = 0

  constructor(
    channel: Feeder,
    outlet: Outlet,
    format: Format,
    onGap: ((gap: GapEvent) => void) | undefined,
    { epoch, offset }: Position,
    seq: number
  ) {
    this.channel = channel
    this.outlet = outlet
    this.format = format
    this.onGap = onGap
    this.epoch = epoch
    this.offset = offset
    this.seq = seq
    this.presenceSeq = seq
  }

  get position(): Position {
    return { epoch: this.epoch, offset: this.offset }
  }

  /** Delivers an event. Returns false if the outlet has no room. */
  write(entry: Entry): boolean {
    if (this.onGap !== undefined && entry.event._tag === "Gap") {
      this.onGap(entry.event)
      return true
    }
    return this.outlet.write(this, entry)
  }

  /** Goes on behind an event that was delivered, or that the subscriber does not need. */
  advance({ event, seq }: Entry): void {
    if (event._tag === "Publication") {
      this.epoch = event.epoch
      this.offset = event.offset
    } else if (event._tag === "Gap") {
      this.epoch = event.to.epoch
      this.offset = event.to.offset
    }
    this.seq = Number.isNaN(seq) ? unlocated : seq
    this.pageRead = 0
  }
}
