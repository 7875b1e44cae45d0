/** A broker between a real one and its user that delays, drops and repeats events, fails, and keeps operations waiting. */
import { Effect, Latch, type Stream } from "effect"
import { Broker } from "effect-ws"

/** The events of one subscription that have not been delivered. */
export class Inflight {
  readonly events: Array<Broker.Event> = []
  readonly channel: string
  private readonly listener: (event: Broker.Event) => void
  /** Events were dropped, and the user does not know. */
  hasDropped = false

  constructor(channel: string, listener: (event: Broker.Event) => void) {
    this.channel = channel
    this.listener = listener
  }

  deliver(count = this.events.length): void {
    for (const event of this.events.splice(0, count)) this.listener(event)
  }

  drop(count = 1): void {
    if (this.events.splice(0, count).length > 0) this.hasDropped = true
  }

  repeat(): void {
    if (this.events.length > 0) this.listener(this.events[0])
  }

  /** Tells the user that events may be lost. */
  tellLost(): void {
    this.hasDropped = false
    this.listener({ _tag: "Lost" })
  }
}

export class FaultyBroker implements Broker.Broker {
  private readonly broker: Broker.Broker
  /** Whether events wait for `deliver`. */
  delays = false
  /** Whether operations fail. */
  isDown = false
  /** Closed, it keeps operations waiting before they reach the broker, and behind it. */
  readonly before = Latch.makeUnsafe(true)
  readonly behind = Latch.makeUnsafe(true)
  readonly subscriptions = new Set<Inflight>()
  historyReads = 0
  readonly status: Stream.Stream<Broker.Status>

  constructor(broker: Broker.Broker, status: Stream.Stream<Broker.Status> = broker.status) {
    this.broker = broker
    this.status = status
  }

  private through<A, E, R>(
    operation: Broker.BrokerUnavailable["operation"],
    channel: string,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | Broker.BrokerUnavailable, R> {
    const failing = Effect.suspend(() =>
      this.isDown
        ? Effect.fail(new Broker.BrokerUnavailable({ operation, channel, cause: new Error("down") }))
        : Effect.void
    )
    return Latch.await(this.before).pipe(
      Effect.andThen(failing),
      Effect.andThen(effect),
      Effect.tap(() => Effect.andThen(Latch.await(this.behind), failing))
    )
  }

  readonly publish: Broker.Broker["publish"] = (channel, payload, options) =>
    this.through("publish", channel, this.broker.publish(channel, payload, options))

  readonly subscribe: Broker.Broker["subscribe"] = (channel, listener) =>
    this.through(
      "subscribe",
      channel,
      Effect.suspend(() => {
        const inflight = new Inflight(channel, listener)
        return Effect.andThen(
          Effect.acquireRelease(
            Effect.sync(() => this.subscriptions.add(inflight)),
            () => Effect.sync(() => this.subscriptions.delete(inflight))
          ),
          this.broker.subscribe(channel, (event) => {
            inflight.events.push(event)
            if (!this.delays) inflight.deliver()
          })
        )
      })
    )

  readonly history: Broker.Broker["history"] = (channel, options) =>
    Effect.suspend(() => {
      this.historyReads++
      return this.through("history", channel, this.broker.history(channel, options))
    })

  readonly join: Broker.Broker["join"] = (channel, member) =>
    this.through("join", channel, this.broker.join(channel, member))

  /** The lease of the member ends, even if the broker cannot be told. */
  readonly leave: Broker.Broker["leave"] = (channel, id) => this.broker.leave(channel, id)

  readonly members: Broker.Broker["members"] = (channel) =>
    this.through("members", channel, this.broker.members(channel))
}
