/** The names of keys and of Redis's channels. Those of one channel have one hash tag. */
import { tagOf } from "./partitions.ts"

export class Keys {
  private readonly prefix: string

  constructor(prefix: string) {
    this.prefix = prefix
  }

  /** A hash: epoch `e`, offset `o`, version of presence `v`, replication id `r`, and earlier epochs `l`. */
  meta(channel: string): string {
    return this.key("m", tagOf(channel), channel)
  }

  /** A stream, in which ids are offsets. */
  history(channel: string): string {
    return this.key("h", tagOf(channel), channel)
  }

  /** The position of the message that was published with an idempotency key. */
  idempotency(channel: string, key: string): string {
    return this.key("i", tagOf(channel), `${channel.length}:${channel}${key}`)
  }

  /** A hash of members, by id. */
  members(channel: string): string {
    return this.key("p", tagOf(channel), channel)
  }

  /** A set: the channels of a partition in which a process has members. */
  channelsOf(process: string, tag: string): string {
    return this.key("x", tag, process)
  }

  /** A sorted set: the processes with members, by the end of their lease. */
  leases(tag: string): string {
    return this.key("l", tag, "")
  }

  /** Redis's channel for the events of a channel. */
  events(channel: string): string {
    return this.key("c", tagOf(channel), channel)
  }

  /** Redis's channel on which a process hears itself. */
  beacon(process: string, tag: string): string {
    return this.key("b", tag, process)
  }

  private key(kind: string, tag: string, name: string): string {
    return `${this.prefix}:{${tag}}:${kind}:${name}`
  }
}
