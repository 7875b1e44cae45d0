/** Whether the broker is available, and whether all channels have read what they missed while it was not. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import type * as Broker from "../../Broker.ts"

/** `Resynced` follows `Up` once all channels have read what they missed. */
export type Status = Broker.Status | { readonly _tag: "Resynced" }

/** The delays before failed reads are repeated, in milliseconds. */
const firstDelay = 100
const longestDelay = 2000

export class Availability {
  private readonly broker: Stream.Stream<Broker.Status>
  /** A watcher that is slow misses the oldest statuses. */
  private readonly statuses: PubSub.PubSub<Status>
  private readonly up = Latch.makeUnsafe(true)
  private status: Status["_tag"] = "Up"
  /** The number of channels that read what they missed. */
  private healing = 0
  private hasBeenDown = false

  static make(broker: Stream.Stream<Broker.Status>): Effect.Effect<Availability> {
    return Effect.map(
      PubSub.sliding<Status>({ capacity: 16, replay: 1 }),
      (statuses) => new Availability(broker, statuses)
    )
  }

  private constructor(broker: Stream.Stream<Broker.Status>, statuses: PubSub.PubSub<Status>) {
    this.broker = broker
    this.statuses = statuses
  }

  /** The current status, and its changes. */
  get changes(): Stream.Stream<Status> {
    return Stream.fromPubSub(this.statuses)
  }

  /** Watches the broker. */
  get watch(): Effect.Effect<void> {
    return Stream.runForEach(this.broker, (status) =>
      Effect.suspend(() => {
        if (status._tag === "Down") {
          this.hasBeenDown = true
          Latch.closeUnsafe(this.up)
        } else Latch.openUnsafe(this.up)
        return this.publish(status)
      }))
  }

  /** A channel begins or ends to read what it missed. */
  readonly onHealing = (isHealing: boolean): Effect.Effect<void> => {
    this.healing += isHealing ? 1 : -1
    return this.tellResynced
  }

  private publish(status: Status): Effect.Effect<void> {
    this.status = status._tag
    return Effect.andThen(PubSub.publish(this.statuses, status), this.tellResynced)
  }

  private readonly tellResynced: Effect.Effect<void> = Effect.suspend(() => {
    if (!this.hasBeenDown || this.status !== "Up" || this.healing > 0) return Effect.void
    this.hasBeenDown = false
    return this.publish({ _tag: "Resynced" })
  })

  /** Waits before a failed read is repeated: longer after each failure, but not beyond the moment when the broker is up. */
  readonly delay = (failures: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      const sleep = Effect.sleep(Duration.millis(Math.min(firstDelay * 2 ** failures, longestDelay)))
      return Latch.isOpen(this.up) ? sleep : Effect.raceFirst(sleep, Latch.await(this.up))
    })
}
