/** Events of channels as this process keeps them: each once, with its encodings. */
import type * as Broker from "../../Broker.ts"
import type { Position } from "../../Topic.ts"
import { type Payload, SharedMessage } from "../connection/sharedMessage.ts"
import type { Node } from "../runtime/linkedList.ts"
import type { Segment } from "./segment.ts"

/** Messages after `from`, up to and including `to`, are lost. */
export interface GapEvent {
  readonly _tag: "Gap"
  readonly from: Position
  readonly to: Position
  /** No message is lost: the epoch of `from` continues under the name of `to`. Default false. */
  readonly isLossless?: boolean | undefined
}

/** The beginning of a subscription, or presence anew. */
export interface SubscribedEvent {
  readonly _tag: "Subscribed"
  readonly position: Position
  readonly members: ReadonlyArray<Broker.Member>
}

export type PublicationEvent = Extract<Broker.Event, { readonly _tag: "Publication" }>
export type PresenceEvent = Extract<Broker.Event, { readonly _tag: "Joined" | "Left" }>

/** What a subscriber can be told. */
export type ChannelEvent = PublicationEvent | PresenceEvent | GapEvent | SubscribedEvent

/**
 * A form in which connections receive events. Each event is encoded once per format,
 * so that all connections of a format share frames.
 */
export interface Format {
  /** Returns the message for an event, or undefined if this format does not tell of it. */
  readonly encode: (channel: string, event: ChannelEvent) => Payload | undefined
}

/** The memory of an entry beside its bytes, and of each of its encodings: an estimate. */
const overhead = 256

/** Stands for an event that a format does not tell of. */
const untold = "untold"

const sizeOf = (event: ChannelEvent): number => {
  if (event._tag === "Publication") return overhead + event.data.length + (event.info?.length ?? 0)
  if (event._tag === "Joined" || event._tag === "Left") return overhead + event.info.length
  return overhead
}

/** An event with its encodings. */
export class Entry implements Node<Entry> {
  /** Among all entries that the byte budget has. */
  previous: Entry | undefined
  next: Entry | undefined
  readonly channel: string
  readonly event: ChannelEvent
  /** The number of the event in this process, counted for each channel. NaN outside its log. */
  readonly seq: number
  /** Bytes of the event and of its encodings. */
  size: number
  /** What keeps the entry, if anything does. */
  segment: Segment | undefined
  /** A newer message has the same key, so that subscribers that are behind do not need this one. */
  isSuperseded = false
  /** Nearly always, all subscribers have one format. */
  private format: Format | undefined
  private encoding: SharedMessage | typeof untold = untold
  private others: Map<Format, SharedMessage | typeof untold> | undefined

  constructor(channel: string, event: ChannelEvent, seq: number) {
    this.channel = channel
    this.event = event
    this.seq = seq
    this.size = sizeOf(event)
  }

  /** Returns the message for a format, or undefined if the format does not tell of this event. */
  encodedFor(format: Format): SharedMessage | undefined {
    let encoding = this.encoding
    if (this.format !== format) encoding = this.encodeFor(format)
    return encoding === untold ? undefined : encoding
  }

  private encodeFor(format: Format): SharedMessage | typeof untold {
    const known = this.others?.get(format)
    if (known !== undefined) return known
    const encoding = this.encode(format)
    if (this.format === undefined) {
      this.format = format
      this.encoding = encoding
    } else {
      this.others ??= new Map()
      this.others.set(format, encoding)
    }
    return encoding
  }

  private encode(format: Format): SharedMessage | typeof untold {
    const payload = format.encode(this.channel, this.event)
    if (payload === undefined) return untold
    const shared = SharedMessage.of(payload)
    this.segment?.grow(this, shared.withoutExtensions.bytes.length + overhead)
    return shared
  }
}
