/** The broker in memory, whose epochs get other names, as those of Redis do after a failover. */
import { Context, Effect, Layer, type Scope } from "effect"
import { Broker, type Topic } from "effect-ws"

export interface Renaming {
  readonly broker: Broker.Broker
  /** From now on, the epoch of a channel has another name. */
  readonly rename: (channel: string) => Effect.Effect<void>
}

export const makeRenamingBroker: Effect.Effect<Renaming, never, Scope.Scope> = Effect.gen(function*() {
  const inner = Context.get(yield* Effect.orDie(Layer.build(Broker.layerMemory())), Broker.Broker)
  /** The offsets at which the epoch got another name. */
  const renames: Array<number> = []
  const named = <A extends Topic.Position>(position: A): A => ({
    ...position,
    epoch: `${position.epoch}.${renames.length}`
  })
  const unnamed = ({ epoch, offset }: Topic.Position): Topic.Position => {
    const [name, number] = epoch.split(".")
    return { epoch: offset <= (renames[Number(number)] ?? Infinity) ? name : "lost", offset }
  }
  const broker: Broker.Broker = {
    ...inner,
    publish: (...args) => Effect.map(inner.publish(...args), named),
    subscribe: (channel, listener) =>
      inner.subscribe(channel, (event) => listener(event._tag === "Lost" ? event : named(event))),
    history: (channel, options) =>
      Effect.map(
        inner.history(channel, options?.since === undefined ? options : { ...options, since: unnamed(options.since) }),
        (page) => ({ ...page, position: named(page.position), publications: page.publications.map(named) })
      ),
    members: (channel) =>
      Effect.map(inner.members(channel), (members) => ({ ...members, position: named(members.position) }))
  }
  const rename = (channel: string) =>
    Effect.orDie(Effect.map(inner.history(channel), ({ position }) => void renames.push(position.offset)))
  return { broker, rename }
})
