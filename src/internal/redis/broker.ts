/**
 * A broker over Redis: each operation is one script. Events that a connection may
 * have missed are told as `Lost`, and `Topics` reads them from the history.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as Broker from "../../Broker.ts"
import type { Position } from "../../Topic.ts"
import { crypto } from "../runtime/builtins.ts"
import { Commands, type NoReply, type NotSent } from "./commands.ts"
import { Keys } from "./keys.ts"
import { type MakeHost, makeNodes, type Nodes, type NodesOptions } from "./nodes.ts"
import { tagOf, tags } from "./partitions.ts"
import { Presence } from "./presence.ts"
import * as scripts from "./scripts.ts"
import { Subscriptions } from "./subscriptions.ts"
import { decodeMember, decodePayload, encodePayload } from "./wire.ts"

export interface RedisBrokerOptions extends NodesOptions {
  /** What all keys begin with. */
  readonly prefix: string
  /** In milliseconds: how long Redis remembers the position of a channel that is not used. */
  readonly positionTtl: number
  /** In milliseconds: the lease of this process on its members. */
  readonly lease: number
  /** In milliseconds: the time between two comparisons of all positions. */
  readonly checkInterval: number
}

/** In milliseconds. */
const idempotencyTtl = 5 * 60_000

/** How many positions are compared at a time. */
const checkConcurrency = 32

/** Makes names that no process has had. Each script gets one, so only the first part is random. */
const makeNames = (): () => string => {
  const first = crypto().randomBytes(9).toString("base64url")
  let count = 0
  return () => `${first}.${(count++).toString(36)}`
}

export const makeRedisBroker = (options: RedisBrokerOptions): Effect.Effect<Broker.Broker, never, Scope.Scope> =>
  Effect.gen(function*() {
    const initial: Broker.Status = { _tag: "Down", cause: new Error("expected a connection, got none yet") }
    const status = yield* SubscriptionRef.make<Broker.Status>(initial)
    const statusLatch = Latch.makeUnsafe(false)
    const keys = new Keys(options.prefix)
    const newName = makeNames()
    const process = newName()
    const subscriptions: Subscriptions = new Subscriptions(() => nodes, (channel) => keys.events(channel))
    const nodes: Nodes = yield* makeNodes(
      options,
      makeHost(
        subscriptions,
        (tag) => keys.beacon(process, tag),
        () => statusLatch.openUnsafe(),
        () => nodes.refresh()
      ),
      () => subscriptions.reassign()
    )
    const commands = new Commands(nodes, options.commandTimeout)
    const command = options.servers._tag === "Cluster" ? "SPUBLISH" : "PUBLISH"
    const preamble = () => [newName(), String(options.positionTtl), command]
    const presence = new Presence(commands, keys, preamble, { process, lease: options.lease })
    const broker = new RedisBroker(commands, keys, preamble, subscriptions, presence, status)
    yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
      yield* statusLatch.await
      statusLatch.closeUnsafe()
      const next = statusOf(nodes)
      if (next._tag !== (yield* SubscriptionRef.get(status))._tag) yield* SubscriptionRef.set(status, next)
      // Redis may have lost the lease, or the process its time to renew it.
      if (next._tag === "Up") yield* Effect.ignore(presence.heartbeat)
    })))
    yield* Effect.forkScoped(repeat(presence.heartbeat, presence.interval))
    yield* Effect.forkScoped(repeat(presence.reapExpired, presence.interval))
    yield* Effect.forkScoped(repeat(broker.check, Duration.millis(options.checkInterval)))
    yield* Effect.addFinalizer(() => Effect.ignore(Effect.timeout(presence.close, options.commandTimeout)))
    return broker
  })

/** Failures are those of a broker that is down, which is seen elsewhere. */
const repeat = (effect: Effect.Effect<void, unknown>, interval: Duration.Duration): Effect.Effect<never> =>
  Effect.forever(Effect.andThen(Effect.sleep(interval), Effect.ignore(effect)))

const statusOf = (nodes: Nodes): Broker.Status => {
  const all = new Set(tags.map((tag) => nodes.nodeOf(tag)))
  for (const node of all) {
    if (node === undefined) return { _tag: "Down", cause: new Error("expected a master for each slot of the cluster") }
    if (!node.isUp) return { _tag: "Down", cause: node.cause }
  }
  return { _tag: "Up" }
}

const makeHost = (
  subscriptions: Subscriptions,
  beaconOf: (tag: string) => string,
  onStatus: () => void,
  refresh: () => void
): MakeHost =>
(hasPartition) => ({
  beacon: () => {
    const tag = tags.find(hasPartition)
    return tag === undefined ? undefined : beaconOf(tag)
  },
  wanted: () => subscriptions.wanted(hasPartition),
  isWanted: (channel) => subscriptions.isWanted(channel, hasPartition),
  onSubscribed: (channels) => subscriptions.onSubscribed(channels),
  onRefused: (channels, cause) => {
    subscriptions.onFailed(channels, cause)
    refresh()
  },
  onMessage: (channel, message) => subscriptions.onMessage(channel, message),
  onMoved: refresh,
  onUp: onStatus,
  onDown: (cause) => {
    subscriptions.onFailed(subscriptions.wanted(hasPartition), cause)
    onStatus()
    refresh()
  }
})

type Preamble = () => ReadonlyArray<string>

class RedisBroker implements Broker.Broker {
  private readonly commands: Commands
  private readonly keys: Keys
  private readonly preamble: Preamble
  private readonly subscriptions: Subscriptions
  private readonly presence: Presence
  private readonly statusRef: SubscriptionRef.SubscriptionRef<Broker.Status>

  constructor(
    commands: Commands,
    keys: Keys,
    preamble: Preamble,
    subscriptions: Subscriptions,
    presence: Presence,
    statusRef: SubscriptionRef.SubscriptionRef<Broker.Status>
  ) {
    this.commands = commands
    this.keys = keys
    this.preamble = preamble
    this.subscriptions = subscriptions
    this.presence = presence
    this.statusRef = statusRef
  }

  get status(): Broker.Broker["status"] {
    return SubscriptionRef.changes(this.statusRef)
  }

  readonly publish: Broker.Broker["publish"] = (channel, payload, { history, idempotencyKey } = {}) =>
    Effect.suspend(() => {
      const { keys } = this
      const names = [
        keys.meta(channel),
        keys.history(channel),
        keys.idempotency(channel, idempotencyKey ?? "")
      ]
      const args = [
        ...this.preamble(),
        keys.events(channel),
        encodePayload(payload),
        String(history?.size ?? 0),
        String(history === undefined ? 0 : Math.ceil(Duration.toMillis(history.ttl))),
        String(idempotencyKey === undefined ? 0 : idempotencyTtl)
      ]
      return Effect.map(this.commands.run(tagOf(channel), scripts.publish, names, args), toPosition)
    }).pipe(
      Effect.catchTags({
        NotSent: ({ cause }) => Effect.fail(new Broker.BrokerUnavailable({ operation: "publish", channel, cause })),
        NoReply: ({ cause }) => Effect.fail(new Broker.PublishUnknown({ channel, idempotencyKey, cause }))
      })
    )

  readonly subscribe: Broker.Broker["subscribe"] = (channel, listener) =>
    Effect.mapError(
      this.subscriptions.subscribe(channel, listener),
      (cause) => new Broker.BrokerUnavailable({ operation: "subscribe", channel, cause })
    )

  readonly history: Broker.Broker["history"] = (channel, options = {}) =>
    this.readHistory(channel, options).pipe(unavailable("history", channel))

  private readHistory(
    channel: string,
    options: Broker.HistoryOptions
  ): Effect.Effect<Broker.HistoryPage, NotSent | NoReply> {
    return Effect.suspend(() => {
      const { limit, reverse = false, since } = options
      const [newEpoch, ttl] = this.preamble()
      const args = [
        newEpoch,
        ttl,
        since?.epoch ?? "",
        String(since?.offset ?? 0),
        String(limit === undefined || limit === Infinity ? -1 : limit),
        reverse ? "1" : "0"
      ]
      const names = [this.keys.meta(channel), this.keys.history(channel)]
      return Effect.map(
        this.commands.run(tagOf(channel), scripts.history, names, args),
        (reply) => toPage(reply, options)
      )
    })
  }

  readonly join: Broker.Broker["join"] = (channel, member) =>
    this.presence.join(channel, member).pipe(unavailable("join", channel))

  readonly leave: Broker.Broker["leave"] = (channel, id) =>
    this.presence.leave(channel, id).pipe(unavailable("leave", channel))

  readonly members: Broker.Broker["members"] = (channel) =>
    Effect.suspend(() => {
      const names = [this.keys.meta(channel), this.keys.history(channel), this.keys.members(channel)]
      return Effect.map(this.commands.run(tagOf(channel), scripts.members, names, this.preamble()), toMembers)
    }).pipe(unavailable("members", channel))

  /**
   * Finds channels with a newest message that has not arrived although their connection
   * is up, and lets Redis remember the positions of all that are subscribed.
   */
  readonly check: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach(this.subscriptions.confirmed, (channel) => this.checkChannel(channel), {
      concurrency: checkConcurrency,
      discard: true
    })
  )

  private checkChannel(channel: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { epoch = "", offset = 0 } = this.subscriptions.positionOf(channel) ?? {}
      return Effect.map(this.readHistory(channel, { limit: 0 }), ({ position }) => {
        // Without a message yet, the subscriber knows the position better than this.
        if (epoch !== "" && (position.epoch !== epoch || position.offset > offset)) this.recheck(channel, position)
      })
    }).pipe(Effect.ignore)
  }

  /** The message may have arrived while the reply was on its way. */
  private recheck(channel: string, { epoch, offset }: Position): void {
    const arrived = this.subscriptions.positionOf(channel)
    if (arrived !== undefined && (arrived.epoch !== epoch || arrived.offset < offset)) {
      this.subscriptions.onMissed(channel)
    }
  }
}

const unavailable =
  (operation: Broker.BrokerUnavailable["operation"], channel: string) =>
  <A>(effect: Effect.Effect<A, NotSent | NoReply>): Effect.Effect<A, Broker.BrokerUnavailable> =>
    Effect.mapError(effect, ({ cause }) => new Broker.BrokerUnavailable({ operation, channel, cause }))

// -----------------------------------------------------------------------------
// Replies
// -----------------------------------------------------------------------------

const toPosition = (reply: unknown): Position => {
  const [epoch, offset] = reply as readonly [unknown, number]
  return { epoch: String(epoch), offset }
}

type Entry = readonly [id: Uint8Array, fields: readonly [name: Uint8Array, body: Uint8Array]]

const toPage = (reply: unknown, { limit, reverse = false, since }: Broker.HistoryOptions): Broker.HistoryPage => {
  const [epoch, offset, from, entries] = reply as readonly [unknown, number, number, ReadonlyArray<Entry>]
  const position = { epoch: String(epoch), offset }
  const publications = entries.flatMap(([id, [, body]]): ReadonlyArray<Broker.Publication> => {
    const payload = decodePayload(body)
    return payload === undefined ? [] : [{ epoch: position.epoch, offset: Number.parseInt(String(id), 10), ...payload }]
  })
  const start = since === undefined ? 0 : from
  const isKnown = start >= 0
  const first = publications[0]?.offset
  const complete = reverse
    ? isKnown && first === (since === undefined ? offset : start - 1)
    : isKnown && (limit === 0 || (first === undefined ? offset === start : first === start + 1))
  return { position, publications, complete }
}

const toMembers = (reply: unknown): Broker.Members => {
  const [epoch, offset, version, values] = reply as readonly [unknown, number, number, ReadonlyArray<Uint8Array>]
  const members = values.flatMap((value) => {
    // The name of a process, a space, and the member.
    const member = decodeMember(value.subarray(value.indexOf(0x20) + 1))
    return member === undefined ? [] : [member]
  })
  return { position: { epoch: String(epoch), offset }, version, members }
}
