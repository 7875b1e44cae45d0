/**
 * The members of this process, under one lease that one heartbeat renews. When the
 * lease of a process has ended, any other process removes its members.
 *
 * A process that finds its lease ended, because it was stopped for long or Redis
 * has lost its data, begins another one under another name, and joins its members
 * again. So what removes the members of the earlier lease does not touch them.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Broker from "../../Broker.ts"
import type { Reply } from "./client.ts"
import type { Commands, NoReply, NotSent } from "./commands.ts"
import type { Keys } from "./keys.ts"
import { tagOf, tags } from "./partitions.ts"
import { channelsOf, endLease, expired, join, leave, reap, renew } from "./scripts.ts"
import { encodeMember } from "./wire.ts"

/** How many scripts run at a time when all members join again, or those of a dead process are removed. */
const concurrency = 64

/** The partition with the leases. */
const leasesTag = tags[0]

/** The arguments that each script begins with: a new epoch, the ttl of the meta key, the command to publish. */
export type Preamble = () => ReadonlyArray<string>

export interface PresenceOptions {
  /** The name of this process, unique among all of all times. */
  readonly process: string
  /** In milliseconds. */
  readonly lease: number
}

export class Presence {
  private readonly commands: Commands
  private readonly keys: Keys
  private readonly preamble: Preamble
  private readonly options: PresenceOptions
  /** By channel and id: the members of this process. */
  private readonly members = new Map<string, Map<string, Broker.Member>>()
  /** Members that may still be there, because leaving has failed. */
  private readonly leaving = new Map<string, Set<string>>()
  private leases = 0
  private hasLease = false

  constructor(commands: Commands, keys: Keys, preamble: Preamble, options: PresenceOptions) {
    this.commands = commands
    this.keys = keys
    this.preamble = preamble
    this.options = options
  }

  join(channel: string, member: Broker.Member): Effect.Effect<void, NotSent | NoReply> {
    return Effect.suspend(() => {
      this.leaving.get(channel)?.delete(member.id)
      const members = this.members.get(channel) ?? new Map<string, Broker.Member>()
      this.members.set(channel, members.set(member.id, member))
      return Effect.andThen(this.holdLease, this.sendJoin(channel, member)).pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            if (exit._tag === "Failure" && members.get(member.id) === member) this.forget(channel, member.id)
          })
        )
      )
    })
  }

  leave(channel: string, id: string): Effect.Effect<void, NotSent | NoReply> {
    return Effect.suspend(() => {
      if (this.members.get(channel)?.has(id) !== true) return Effect.void
      this.forget(channel, id)
      return this.sendLeave(channel, id)
    })
  }

  /** Lets a member leave now, or with a later heartbeat. */
  private forget(channel: string, id: string): void {
    const members = this.members.get(channel)
    members?.delete(id)
    if (members?.size === 0) this.members.delete(channel)
    const leaving = this.leaving.get(channel) ?? new Set<string>()
    this.leaving.set(channel, leaving.add(id))
  }

  private get name(): string {
    return `${this.options.process}.${this.leases}`
  }

  /** The keys and arguments of the scripts that change the members of a channel. */
  private keysOf(channel: string, process: string): ReadonlyArray<string> {
    const { keys } = this
    return [
      keys.meta(channel),
      keys.history(channel),
      keys.members(channel),
      keys.channelsOf(process, tagOf(channel))
    ]
  }

  private sendJoin(channel: string, member: Broker.Member): Effect.Effect<void, NotSent | NoReply> {
    const args = [
      ...this.preamble(),
      this.keys.events(channel),
      member.id,
      this.name,
      encodeMember(member),
      channel
    ]
    return Effect.asVoid(this.commands.run(tagOf(channel), join, this.keysOf(channel, this.name), args))
  }

  private sendLeave(channel: string, id: string): Effect.Effect<void, NotSent | NoReply> {
    const isLast = this.members.has(channel) ? "0" : "1"
    const args = [...this.preamble(), this.keys.events(channel), id, this.name, isLast, channel]
    return Effect.map(this.commands.run(tagOf(channel), leave, this.keysOf(channel, this.name), args), () => {
      const leaving = this.leaving.get(channel)
      leaving?.delete(id)
      if (leaving?.size === 0) this.leaving.delete(channel)
    })
  }

  // -- the lease ---------------------------------------------------------------

  private sendRenew(begins: boolean): Effect.Effect<Reply, NotSent | NoReply> {
    const args = [this.name, String(this.options.lease), begins ? "1" : "0"]
    return this.commands.run(leasesTag, renew, [this.keys.leases(leasesTag)], args)
  }

  private get holdLease(): Effect.Effect<void, NotSent | NoReply> {
    return Effect.suspend(() => {
      if (this.hasLease) return Effect.void
      return Effect.map(this.sendRenew(true), () => {
        this.hasLease = true
      })
    })
  }

  /** Renews the lease, and repeats what has failed. */
  readonly heartbeat: Effect.Effect<void, NotSent | NoReply> = Effect.suspend(() => {
    if (this.members.size === 0 && this.leaving.size === 0) return Effect.void
    return Effect.flatMap(this.sendRenew(!this.hasLease), (reply) => {
      this.hasLease = true
      return Effect.andThen(reply === 1 ? Effect.void : this.rejoin, this.repeatLeaving)
    })
  })

  private readonly rejoin: Effect.Effect<void, NotSent | NoReply> = Effect.suspend(() => {
    this.leases++
    this.hasLease = false
    this.leaving.clear()
    const all = Array.from(
      this.members,
      ([channel, members]) => Array.from(members.values(), (member) => [channel, member] as const)
    ).flat()
    return Effect.andThen(
      this.holdLease,
      Effect.forEach(
        all,
        ([channel, member]) =>
          this.members.get(channel)?.get(member.id) === member ? this.sendJoin(channel, member) : Effect.void,
        {
          concurrency,
          discard: true
        }
      )
    )
  })

  private readonly repeatLeaving: Effect.Effect<void, NotSent | NoReply> = Effect.suspend(() => {
    const all = Array.from(this.leaving, ([channel, ids]) => Array.from(ids, (id) => [channel, id] as const)).flat()
    return Effect.forEach(
      all,
      ([channel, id]) => this.leaving.get(channel)?.has(id) === true ? this.sendLeave(channel, id) : Effect.void,
      {
        concurrency,
        discard: true
      }
    )
  })

  // -- other processes -----------------------------------------------------------

  /** Removes the members of processes after the end of their leases. */
  readonly reapExpired: Effect.Effect<void, NotSent | NoReply> = Effect.suspend(() => {
    const leases = this.keys.leases(leasesTag)
    return Effect.flatMap(
      this.commands.run(leasesTag, expired, [leases], []),
      (processes) =>
        Effect.forEach(processes as ReadonlyArray<Uint8Array>, (process) => this.reap(String(process)), {
          discard: true
        })
    )
  })

  private reap(process: string): Effect.Effect<void, NotSent | NoReply> {
    const { commands, keys } = this
    const reapIn = (tag: string) =>
      Effect.flatMap(
        commands.run(tag, channelsOf, [keys.channelsOf(process, tag)], []),
        (channels) =>
          Effect.forEach((channels as ReadonlyArray<Uint8Array>).map(String), (channel) =>
            commands.run(tag, reap, this.keysOf(channel, process), [
              ...this.preamble(),
              keys.events(channel),
              process,
              channel
            ]), { discard: true })
      )
    return Effect.andThen(
      Effect.forEach(tags, reapIn, { concurrency, discard: true }),
      Effect.asVoid(commands.run(leasesTag, endLease, [keys.leases(leasesTag)], [process]))
    )
  }

  /** Ends the lease, when the broker closes: no member is left, or other processes remove them. */
  readonly close: Effect.Effect<void, NotSent | NoReply> = Effect.suspend(() => {
    if (!this.hasLease) return Effect.void
    this.members.clear()
    return this.reap(this.name)
  })

  /** In milliseconds: the time between two heartbeats. */
  get interval(): Duration.Duration {
    return Duration.millis(this.options.lease / 3)
  }
}
