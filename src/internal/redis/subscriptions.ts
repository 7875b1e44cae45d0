/** The subscriptions of this process: the channels that it wants, those that are confirmed, and their listeners. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Broker from "../../Broker.ts"
import type { Nodes } from "./nodes.ts"
import { tagOf } from "./partitions.ts"
import { decodeEvent, unreadable } from "./wire.ts"

type Listener = (event: Broker.Event) => void

/** Wakes a caller that waits for the confirmation. `problem` tells why the server refuses it. */
type Waiter = (problem?: { readonly cause: unknown }) => void

interface Entry {
  readonly channel: string
  readonly tag: string
  readonly listeners: Set<Listener>
  readonly waiters: Set<Waiter>
  /** Whether a server has confirmed it, now or on an earlier connection. */
  isConfirmed: boolean
  /** The position of the newest message that has arrived. */
  epoch: string
  offset: number
}

export class Subscriptions {
  /** By Redis's channel. */
  private readonly entries = new Map<string, Entry>()
  private readonly nodes: () => Nodes
  private readonly redisChannel: (channel: string) => string

  constructor(nodes: () => Nodes, redisChannel: (channel: string) => string) {
    this.nodes = nodes
    this.redisChannel = redisChannel
  }

  /** Subscribes until the Scope closes. Fails with the cause if no server confirms it. */
  subscribe(channel: string, listener: Listener): Effect.Effect<void, unknown, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.sync(() => this.add(channel, listener)),
      () => Effect.sync(() => this.remove(channel, listener))
    ).pipe(Effect.flatMap((entry) => this.awaitConfirmation(entry)))
  }

  private add(channel: string, listener: Listener): Entry {
    const name = this.redisChannel(channel)
    let entry = this.entries.get(name)
    if (entry === undefined) {
      entry = {
        channel,
        tag: tagOf(channel),
        listeners: new Set(),
        waiters: new Set(),
        isConfirmed: false,
        epoch: "",
        offset: 0
      }
      this.entries.set(name, entry)
      this.nodes().nodeOf(entry.tag)?.subscriber.update(name)
    }
    entry.listeners.add(listener)
    return entry
  }

  private remove(channel: string, listener: Listener): void {
    const name = this.redisChannel(channel)
    const entry = this.entries.get(name)
    if (entry === undefined || !entry.listeners.delete(listener) || entry.listeners.size > 0) return
    this.entries.delete(name)
    this.nodes().nodeOf(entry.tag)?.subscriber.update(name)
  }

  private awaitConfirmation(entry: Entry): Effect.Effect<void, unknown> {
    return Effect.callback((resume) => {
      const node = this.nodes().nodeOf(entry.tag)
      if (node?.subscriber.isUp !== true) {
        return resume(
          Effect.fail(node?.subscriber.link.cause ?? new Error("expected a server for the channel, got none"))
        )
      }
      if (entry.isConfirmed) return resume(Effect.void)
      const waiter: Waiter = (problem) => resume(problem === undefined ? Effect.void : Effect.fail(problem.cause))
      entry.waiters.add(waiter)
      return Effect.sync(() => void entry.waiters.delete(waiter))
    })
  }

  // -- what subscribers ask and tell --------------------------------------------

  /** Whether one of Redis's channels is wanted, and in a partition that satisfies the predicate. */
  isWanted(name: string, isIncluded: (tag: string) => boolean): boolean {
    const entry = this.entries.get(name)
    return entry !== undefined && isIncluded(entry.tag)
  }

  /** Redis's channels that are wanted, in the partitions that satisfy the predicate. */
  wanted(isIncluded: (tag: string) => boolean): ReadonlyArray<string> {
    return Array.from(this.entries).filter(([, { tag }]) => isIncluded(tag)).map(([name]) => name)
  }

  onSubscribed(names: ReadonlyArray<string>): void {
    for (const name of names) {
      const entry = this.entries.get(name)
      if (entry === undefined) continue
      // On an earlier connection, it may have missed events since then.
      if (entry.isConfirmed) notify(entry, { _tag: "Lost" })
      entry.isConfirmed = true
      settle(entry)
    }
  }

  /** The servers of these did not confirm them. Those that wait for that fail; listeners stay. */
  onFailed(names: Iterable<string>, cause: unknown): void {
    for (const name of names) {
      const entry = this.entries.get(name)
      if (entry !== undefined) settle(entry, { cause })
    }
  }

  onMessage(name: string, message: Uint8Array): void {
    const entry = this.entries.get(name)
    if (entry === undefined) return
    const event = decodeEvent(message)
    // An event of another version of this library: the history has it in a form that this one reads, or it is a gap.
    if (event === unreadable) return notify(entry, { _tag: "Lost" })
    if (event._tag !== "Lost") {
      entry.epoch = event.epoch
      entry.offset = event.offset
    }
    notify(entry, event)
  }

  /** Lets the servers that have partitions now subscribe to their channels. */
  reassign(): void {
    for (const [name, { tag }] of this.entries) this.nodes().nodeOf(tag)?.subscriber.update(name)
  }

  // -- what was lost without a sign ----------------------------------------------

  /** The channels with confirmed subscriptions. */
  get confirmed(): ReadonlyArray<string> {
    return Array.from(this.entries.values()).filter(({ isConfirmed }) => isConfirmed).map(({ channel }) => channel)
  }

  /** The newest position that has arrived at a channel. */
  positionOf(channel: string): { readonly epoch: string; readonly offset: number } | undefined {
    return this.entries.get(this.redisChannel(channel))
  }

  /** Tells listeners that a channel has messages which did not arrive. */
  onMissed(channel: string): void {
    const entry = this.entries.get(this.redisChannel(channel))
    if (entry !== undefined) notify(entry, { _tag: "Lost" })
  }
}

const notify = (entry: Entry, event: Broker.Event): void => {
  for (const listener of entry.listeners) listener(event)
}

const settle = (entry: Entry, problem?: { readonly cause: unknown }): void => {
  const waiters = [...entry.waiters]
  entry.waiters.clear()
  for (const waiter of waiters) waiter(problem)
}
