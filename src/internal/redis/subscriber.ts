/**
 * The connection to one server that receives events. It makes the subscriptions of
 * the server what the table wants: all of them on a new connection, and changes in
 * batches, one batch after the other.
 */
import * as Effect from "effect/Effect"
import { attempt, type Client } from "./client.ts"
import { Link, type LinkOptions } from "./link.ts"

/** The most channels in one command. */
const batchSize = 512

export interface SubscriberHost {
  /** The channels that this server should deliver. */
  readonly wanted: () => Iterable<string>
  /** Whether this server should deliver a channel. */
  readonly isWanted: (channel: string) => boolean
  /** The server has confirmed subscriptions. On a new connection, events before this may be lost. */
  readonly onSubscribed: (channels: ReadonlyArray<string>) => void
  /** The server refuses subscriptions. They are tried again when a channel is updated. */
  readonly onRefused: (channels: ReadonlyArray<string>, cause: unknown) => void
  readonly onMessage: (channel: string, message: Uint8Array) => void
  /** The server has ended a subscription, because the slot has moved. */
  readonly onMoved: (channel: string) => void
  readonly onDown: (cause: unknown) => void
  readonly onUp: () => void
}

export class Subscriber {
  readonly link: Link
  private readonly host: SubscriberHost
  private readonly isSharded: boolean
  /** The channels that the current connection is subscribed to, or has asked for. */
  private subscribed = new Set<string>()
  /** The channels among those wanted that the server has refused on the current connection. */
  private refused = new Set<string>()
  /** The channels that may differ from what is wanted. */
  private changed = new Set<string>()
  private isFlushing = false

  constructor(options: LinkOptions, isSharded: boolean, host: SubscriberHost) {
    this.host = host
    this.isSharded = isSharded
    this.link = new Link(options, {
      prepare: (client) => this.prepare(client),
      onUp: () => {
        host.onUp()
        // What has changed while the connection was prepared.
        for (const channel of this.changed) this.update(channel)
      },
      onDown: host.onDown
    })
  }

  get isUp(): boolean {
    return this.link.client !== undefined
  }

  /** Whether the server has refused a subscription that is still wanted: its slot may be on another server. */
  get hasRefused(): boolean {
    this.forgetUnwanted(this.refused)
    return this.refused.size > 0
  }

  /** Drops refusals of channels that this server should not deliver any more. */
  private forgetUnwanted(channels: Iterable<string>): void {
    for (const channel of channels) if (!this.host.isWanted(channel)) this.refused.delete(channel)
  }

  /** Subscribes or unsubscribes a channel if that is wanted, with all others of this turn. */
  update(channel: string): void {
    this.changed.add(channel)
    if (this.isFlushing || this.link.client === undefined) return
    this.isFlushing = true
    const { client } = this.link
    queueMicrotask(() => void this.flush(client))
  }

  private prepare(client: Client): Effect.Effect<void, unknown> {
    return attempt(async () => {
      const subscribed = this.subscribed = new Set<string>()
      this.refused = new Set()
      this.changed = new Set()
      client.on("sharded-channel-moved", (channel) => {
        subscribed.delete(channel)
        this.host.onMoved(channel)
      })
      for (const channels of batches([...this.host.wanted()])) {
        await Promise.all(this.groups(channels).map((group) => this.subscribe(client, group)))
      }
    })
  }

  private async flush(client: Client): Promise<void> {
    while (this.changed.size > 0 && this.link.client === client) {
      const changed = [...this.changed]
      this.changed = new Set()
      this.forgetUnwanted(changed)
      const added = changed.filter((channel) => this.host.isWanted(channel) && !this.subscribed.has(channel))
      const removed = changed.filter((channel) => !this.host.isWanted(channel) && this.subscribed.has(channel))
      for (const channels of batches(added)) {
        await Promise.all(this.groups(channels).map((group) => this.trySubscribe(client, group)))
      }
      for (const channels of batches(removed)) {
        await Promise.all(this.groups(channels).map((group) => this.unsubscribe(client, group)))
      }
    }
    this.isFlushing = false
    // A connection that was made meanwhile has subscribed to all that was wanted then.
    for (const channel of this.changed) this.update(channel)
  }

  private async trySubscribe(client: Client, channels: ReadonlyArray<string>): Promise<void> {
    try {
      await this.subscribe(client, channels)
    } catch (cause) {
      if (this.link.client !== client) return
      for (const channel of channels) {
        this.subscribed.delete(channel)
        this.refused.add(channel)
      }
      this.host.onRefused(channels, cause)
    }
  }

  private async subscribe(client: Client, channels: ReadonlyArray<string>): Promise<void> {
    const { subscribed } = this
    // Before the reply: the server may end a subscription in the moment in which it confirms it.
    for (const channel of channels) subscribed.add(channel)
    await (this.isSharded
      ? client.sSubscribe(channels, this.onMessage, true)
      : client.subscribe(channels, this.onMessage, true))
    for (const channel of channels) this.refused.delete(channel)
    this.host.onSubscribed(channels.filter((channel) => subscribed.has(channel)))
  }

  private async unsubscribe(client: Client, channels: ReadonlyArray<string>): Promise<void> {
    for (const channel of channels) this.subscribed.delete(channel)
    try {
      await (this.isSharded ? client.sUnsubscribe(channels) : client.unsubscribe(channels))
    } catch {
      // The connection has ended, or the slot has moved: with them the subscription.
    }
  }

  /** The channels of a command: in a cluster they have one slot. */
  private groups(channels: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<string>> {
    return this.isSharded ? groupByTag(channels) : [channels]
  }

  private readonly onMessage = (message: Uint8Array, channel: Uint8Array): void =>
    this.host.onMessage(decoder.decode(channel), message)
}

const decoder = new TextDecoder()

const batches = (channels: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<string>> =>
  Array.from(
    { length: Math.ceil(channels.length / batchSize) },
    (_, i) => channels.slice(i * batchSize, (i + 1) * batchSize)
  )

const groupByTag = (channels: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<string>> => {
  const groups = new Map<string, Array<string>>()
  for (const channel of channels) {
    const tag = channel.slice(channel.indexOf("{"), channel.indexOf("}"))
    const group = groups.get(tag)
    if (group === undefined) groups.set(tag, [channel])
    else group.push(channel)
  }
  return [...groups.values()]
}
