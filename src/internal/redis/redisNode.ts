/**
 * One server: a connection for commands, and one that receives events. A beacon
 * goes through both of them, so that one that is half open is found, and replaced.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { nextTurn } from "../runtime/turns.ts"
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

/** This process may have been late itself: what has arrived meanwhile is read in these turns. */
const twoTurns = Effect.callback<void>((resume) => nextTurn(() => nextTurn(() => resume(Effect.void))))

export class RedisNode {
  readonly commands: Link
  readonly subscriber: Subscriber
  private readonly options: RedisNodeOptions
  private readonly host: RedisNodeHost
  private beaconsSent = 0
  private beaconsReceived = 0

  constructor(options: RedisNodeOptions, host: RedisNodeHost) {
    this.options = options
    this.host = host
    this.commands = new Link(options, { prepare: () => Effect.void, onUp: host.onUp, onDown: host.onDown })
    this.subscriber = new Subscriber(options, options.isSharded, {
      ...host,
      wanted: () => {
        const beacon = host.beacon()
        return beacon === undefined ? host.wanted() : [beacon, ...host.wanted()]
      },
      isWanted: (channel) => channel === host.beacon() || host.isWanted(channel),
      onMessage: (channel, message) => {
        if (channel === host.beacon()) this.beaconsReceived = Number(new TextDecoder().decode(message))
        else host.onMessage(channel, message)
      }
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
    return Effect.all([this.commands.run, this.subscriber.link.run, this.sendBeacons], {
      concurrency: "unbounded",
      discard: true
    }) as unknown as Effect.Effect<never>
  }

  private readonly sendBeacons = Effect.suspend(() => {
    const channel = this.host.beacon()
    const { client } = this.commands
    const wait = Effect.sleep(Duration.millis(this.options.beaconInterval))
    if (channel === undefined || client === undefined || !this.subscriber.isUp) return wait
    const subscription = this.subscriber.link.client
    const number = ++this.beaconsSent
    // A stalled server answers neither, and a stalled connection only one of the two.
    let isAnswered = false
    client.sendCommand([this.options.isSharded ? "SPUBLISH" : "PUBLISH", channel, String(number)]).then(
      () => {
        isAnswered = true
      },
      () => {
        isAnswered = true
      }
    )
    return Effect.map(Effect.andThen(wait, twoTurns), () => {
      const problem = new Error(`expected a beacon within ${this.options.beaconInterval} ms, got none`)
      if (!isAnswered && this.commands.client === client) this.commands.reset(problem)
      if (this.beaconsReceived < number && this.subscriber.link.client === subscription) {
        this.subscriber.link.reset(problem)
      }
    })
  }).pipe(Effect.forever)
}
