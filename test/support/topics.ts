/** Processes with topics over one broker, and what their subscribers see. */
import { type Context, Effect, Fiber, Layer, type Scope, Stream } from "effect"
import { Broker, type Topic, Topics } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { type Hub, hubOf } from "../../src/internal/topics/hub.ts"
import { FaultyBroker } from "./faultyBroker.ts"

/** An event in short, without epochs. */
export const shown = (event: Topic.Event<unknown, unknown>): string => {
  switch (event._tag) {
    case "Subscribed":
      return `subscribed at ${event.position.offset}${event.members.map(({ id }) => ` ${id}`).join("")}`
    case "Message":
      return `${event.position.offset} ${String(event.message)}`
    case "Gap":
      return `gap ${event.from.offset} to ${event.to.offset}`
    case "Joined":
      return `joined ${event.id}`
    case "Left":
      return `left ${event.id}`
  }
}

export const makeBroker: Effect.Effect<Broker.Broker, never, Scope.Scope> = Effect.map(
  Effect.orDie(Layer.build(Broker.layerMemory())),
  (context) => Effect.runSync(Effect.provide(Broker.Broker, context))
)

/** A process with topics, over a broker that can fail. */
export interface Process {
  readonly broker: FaultyBroker
  readonly hub: Hub
  readonly run: <A, E, R>(
    effect: Effect.Effect<A, E, R | Topics.Topics>
  ) => Effect.Effect<A, E, Exclude<R, Topics.Topics>>
}

export const makeProcess = (
  options: Topics.Options = {},
  broker: Effect.Effect<Broker.Broker, never, Scope.Scope> = makeBroker,
  status?: Stream.Stream<Broker.Status>
): Effect.Effect<Process, never, Scope.Scope> =>
  Effect.gen(function*() {
    const faulty = new FaultyBroker(yield* broker, status)
    const layer = Topics.layer(options).pipe(Layer.provide(Layer.succeed(Broker.Broker)(faulty)))
    const context: Context.Context<Topics.Topics> = yield* Effect.orDie(Layer.build(layer))
    return {
      broker: faulty,
      hub: hubOf(Effect.runSync(Effect.provide(Topics.Topics, context))),
      run: (effect) => Effect.provide(effect, context)
    }
  })

/** Collects the events of a stream, in short. */
export const collect = <M, P, E>(
  events: Stream.Stream<Topic.Event<M, P>, E, Topics.Topics>
): Effect.Effect<Array<string>, never, Topics.Topics | Scope.Scope> =>
  Effect.gen(function*() {
    const log: Array<string> = []
    yield* Effect.forkScoped(Stream.runForEach(events, (event) => Effect.sync(() => void log.push(shown(event)))), {
      startImmediately: true
    })
    yield* Testing.settle
    return log
  })

/** A subscriber that reads one event when it is told. */
export const pulling = <M, P, E>(events: Stream.Stream<Topic.Event<M, P>, E, Topics.Topics>) =>
  Effect.gen(function*() {
    const pull = yield* Stream.toPull(Stream.rechunk(events, 1))
    return Effect.map(pull, ([event]) => shown(event))
  })

/** Runs an effect in a fiber, and interrupts it. */
export const runInterrupted = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Effect.forkChild(effect, { startImmediately: true }), Fiber.interrupt)
