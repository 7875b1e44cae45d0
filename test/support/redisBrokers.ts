/** Brokers over real Redis servers, and what tests see of them. */
import { Effect, Exit, Scope, Stream } from "effect"
import type { Broker } from "effect-ws"
import * as RedisBroker from "effect-ws/RedisBroker"
import { textOf } from "./brokerEvents.ts"

export { bytes, collect, textOf, until } from "./brokerEvents.ts"

/** Repeats an effect until its result satisfies a condition. */
export const eventually = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  condition: (result: A) => boolean
): Effect.Effect<A, never, R> =>
  Effect.eventually(Effect.flatMap(
    Effect.delay(effect, "20 millis"),
    (result) => condition(result) ? Effect.succeed(result) : Effect.fail("not yet")
  ))

export const awaitStatus = (broker: Broker.Broker, tag: Broker.Status["_tag"]): Effect.Effect<void> =>
  Stream.runDrain(Stream.takeUntil(broker.status, (status) => status._tag === tag))

/** Longer than a busy machine stops a process. A test that waits for one of these times chooses its own. */
const patient: RedisBroker.Options = { lease: "1 minute", beaconInterval: "5 seconds", commandTimeout: "20 seconds" }

/** A broker that is up. */
export const connectBroker = (
  port: number,
  options: RedisBroker.Options = {}
): Effect.Effect<Broker.Broker, never, Scope.Scope> => makeBroker({ url: `redis://127.0.0.1:${port}`, ...options })

/** A broker that is up, over the servers that the options name. */
export const makeBroker = (options: RedisBroker.Options): Effect.Effect<Broker.Broker, never, Scope.Scope> =>
  Effect.tap(Effect.orDie(RedisBroker.make({ ...patient, ...options })), (broker) => awaitStatus(broker, "Up"))

/** A broker with a Scope of its own, which `close` closes. */
export const closable = <A>(make: Effect.Effect<A, never, Scope.Scope>) =>
  Effect.gen(function*() {
    const scope = yield* Scope.fork(yield* Effect.scope)
    const broker = yield* Scope.provide(make, scope)
    return { broker, close: Scope.close(scope, Exit.void) }
  })

/** Events in short: "1 text", "joined id info", "lost". */
export const describeEvent = (event: Broker.Event): string => {
  if (event._tag === "Lost") return "lost"
  if (event._tag === "Publication") return `${event.offset} ${textOf(event.data)}`
  return `${event.version} ${event._tag.toLowerCase()} ${event.id} ${textOf(event.info)}`
}
