/**
 * Finds connections that are half open: a beacon goes to the server on the one for
 * commands, and comes back on the one that receives events.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { nextTurn } from "../runtime/turns.ts"
import type { Link } from "./link.ts"

/** How often the time doubles at most. */
const maxDoublings = 4

/** This process may have been late itself: what has arrived meanwhile is read in these turns. */
const twoTurns = Effect.callback<void>((resume) => nextTurn(() => nextTurn(() => resume(Effect.void))))

export interface BeaconOptions {
  readonly commands: Link
  readonly subscriber: Link
  /** The command to publish. */
  readonly command: "PUBLISH" | "SPUBLISH"
  /** Redis's channel, if the server has a slot for it. */
  readonly channel: () => string | undefined
  /** In milliseconds: the time between two beacons, within which each must come back. */
  readonly interval: number
}

export class Beacon {
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

  private send(): Effect.Effect<void> {
    const { commands, interval, subscriber } = this.options
    const wait = Effect.andThen(Effect.sleep(Duration.millis(interval * 2 ** this.late)), twoTurns)
    const { client } = commands
    const receiver = subscriber.client
    const channel = this.options.channel()
    if (channel === undefined || client === undefined || receiver === undefined) return wait
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
      if (!isReceived && subscriber.client === receiver) subscriber.reset(problem)
    })
  }
}
