/**
 * Finds connections that are half open: a beacon goes to the server on the one for
 * commands, and comes back on the one that receives events.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { nextTurn } from "../runtime/turns.ts"
import type { Link } from "./link.ts"
import type { Subscriber } from "./subscriber.ts"

/** How often the time doubles at most. */
const maxDoublings = 4

/** This process may have been late itself: what has arrived meanwhile is read in these turns. */
const twoTurns = Effect.callback<void>((resume) => nextTurn(() => nextTurn(() => resume(Effect.void))))

export interface BeaconOptions {
  readonly commands: Link
  readonly subscriber: Subscriber
  /** The command to publish. */
  readonly command: "PUBLISH" | "SPUBLISH"
  /** Returns Redis's channel, if the server has a slot for it. In a cluster it changes with the slots. */
  readonly chooseChannel: () => string | undefined
  /** In milliseconds: the time between two beacons, within which each must come back. */
  readonly interval: number
}

export class Beacon {
  /** Redis's channel, to which the server is subscribed. */
  channel: string | undefined
  private readonly options: BeaconOptions
  private sent = 0
  private received = 0
  /**
   * How many beacons in a row did not come back in time. Each doubles the time of
   * the next one: a server or a process that is slow is not dialed again and again.
   */
  private late = 0

  constructor(options: BeaconOptions) {
    this.options = options
  }

  onReceived(message: Uint8Array): void {
    this.received = Number(new TextDecoder().decode(message))
  }

  /** Sends beacons, and replaces connections that do not return them, until it is interrupted. */
  get run(): Effect.Effect<never> {
    return Effect.forever(Effect.suspend(() => this.send()))
  }

  /** Follows the slots of the server to another channel. Returns whether there is another one, which is not subscribed yet. */
  private changeChannel(): boolean {
    const { channel } = this
    this.channel = this.options.chooseChannel()
    if (this.channel === channel) return false
    for (const changed of [channel, this.channel]) if (changed !== undefined) this.options.subscriber.update(changed)
    return true
  }

  private send(): Effect.Effect<void> {
    const { commands, interval, subscriber } = this.options
    const wait = Effect.andThen(Effect.sleep(Duration.millis(interval * 2 ** this.late)), twoTurns)
    const { client } = commands
    const receiver = subscriber.link.client
    const { channel } = this
    if (this.changeChannel() || channel === undefined || client === undefined || receiver === undefined) return wait
    const number = ++this.sent
    let isAnswered = false
    const onAnswer = () => {
      isAnswered = true
    }
    client.sendCommand([this.options.command, channel, String(number)]).then(onAnswer, onAnswer)
    return Effect.map(wait, () => {
      const isReceived = this.received >= number
      const problem = new Error(`expected a beacon within ${interval * 2 ** this.late} ms, got none`)
      this.late = isAnswered && isReceived ? 0 : Math.min(this.late + 1, maxDoublings)
      // A server that is stopped returns neither.
      if (!isAnswered && commands.client === client) commands.reset(problem)
      if (!isReceived && subscriber.link.client === receiver) subscriber.link.reset(problem)
    })
  }
}
