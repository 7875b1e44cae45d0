/** One server: a connection for commands, one that receives events, and a beacon through both. */
import * as Effect from "effect/Effect"
import { Beacon } from "./beacon.ts"
import { loadScripts } from "./loadScripts.ts"
import { Link, type LinkOptions } from "./link.ts"
import { Subscriber, type SubscriberHost } from "./subscriber.ts"

export interface RedisNodeOptions extends LinkOptions {
  /** Whether the server is one of a cluster, with sharded channels. */
  readonly isSharded: boolean
  /** In milliseconds: the time between two beacons, within which each must come back. */
  readonly beaconInterval: number
  /** In milliseconds: how long a command may wait for its reply. */
  readonly commandTimeout: number
}

export interface RedisNodeHost extends SubscriberHost {
  /** Redis's channel for the beacons of this process on this server, if it has a slot. */
  readonly beacon: () => string | undefined
}

export class RedisNode {
  readonly commands: Link
  readonly subscriber: Subscriber
  private readonly beacon: Beacon

  constructor(options: RedisNodeOptions, host: RedisNodeHost) {
    this.commands = new Link(options, { prepare: loadScripts, onUp: host.onUp, onDown: host.onDown })
    this.subscriber = new Subscriber(options, options.isSharded, {
      ...host,
      wanted: () => this.beacon.channel === undefined ? host.wanted() : [this.beacon.channel, ...host.wanted()],
      isWanted: (channel) => channel === this.beacon.channel || host.isWanted(channel),
      onMessage: (channel, message) => {
        if (channel === this.beacon.channel) this.beacon.onReceived(message)
        else host.onMessage(channel, message)
      }
    })
    this.beacon = new Beacon({
      commands: this.commands,
      subscriber: this.subscriber,
      command: options.isSharded ? "SPUBLISH" : "PUBLISH",
      chooseChannel: host.beacon,
      interval: options.beaconInterval
    })
  }

  get isUp(): boolean {
    return this.commands.client !== undefined && this.subscriber.isUp
  }

  get cause(): unknown {
    return this.commands.client === undefined ? this.commands.cause : this.subscriber.link.cause
  }

  /** Keeps both connections up, until it is interrupted. */
  get run(): Effect.Effect<never> {
    return Effect.all([this.commands.run, this.subscriber.link.run, this.beacon.run], {
      concurrency: "unbounded",
      discard: true
    }) as unknown as Effect.Effect<never>
  }
}
