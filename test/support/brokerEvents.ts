/** What tests of brokers send and see. */
import { Effect, type Scope } from "effect"
import type { Broker } from "effect-ws"

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
export const textOf = (data: Uint8Array): string => new TextDecoder().decode(data)

/** Waits until a condition is met, and looks every few milliseconds: brokers over a network need time. */
export const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() =>
    condition()
      ? Effect.void
      : Effect.asVoid(Effect.repeat(Effect.delay(Effect.sync(condition), "5 millis"), { until: (met) => met }))
  )

/** Subscribes, and collects what arrives. */
export const collect = (
  broker: Broker.Broker,
  channel: string
): Effect.Effect<Array<Broker.Event>, Broker.BrokerUnavailable, Scope.Scope> =>
  Effect.gen(function*() {
    const events: Array<Broker.Event> = []
    yield* broker.subscribe(channel, (event) => void events.push(event))
    return events
  })
