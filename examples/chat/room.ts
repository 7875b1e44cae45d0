/** The room: who is in it, and what is said. */
import { Context, Effect, Layer, PubSub, Ref, Schedule, type Scope } from "effect"
import type { Message } from "effect-ws"
import { encode, type Event, type People, type Person } from "./protocol.ts"

/** A person's place in the room. */
export interface Member {
  /** What happens in the room from now on, ready to be sent. */
  readonly events: PubSub.Subscription<Message.Message>
  readonly person: Effect.Effect<Person>
  readonly say: (text: string) => Effect.Effect<void>
  readonly rename: (name: string) => Effect.Effect<void>
}

export class Room extends Context.Service<Room, {
  /** Enters the room, and leaves it when the Scope closes. */
  readonly join: (name: string) => Effect.Effect<Member, never, Scope.Scope>
  readonly people: Effect.Effect<People>
}>()("chat/Room") {
  static readonly layer = Layer.effect(this)(Effect.gen(function*() {
    const everyone = yield* Ref.make<People>([])
    const total = yield* Ref.make(0)
    let lastId = 0

    // All connections share one ring of the newest 1,024 events, each with a position of its own. A connection that falls
    // further behind loses the oldest ones; a slow consumer costs no memory and delays no other connection.
    const events = yield* PubSub.sliding<Message.Message>(1024)
    const publish = (event: Event) => PubSub.publish(events, encode(event))

    const change = (f: (people: People) => People, event: (people: People) => Event) =>
      Effect.flatMap(Ref.updateAndGet(everyone, f), (people) => publish(event(people)))

    const enter = (person: Person) =>
      change((all) => [...all, person], (people) => ({ _tag: "Joined", person, people }))

    const leave = (person: Person) =>
      change((all) => all.filter(({ id }) => id !== person.id), (people) => ({ _tag: "Left", person, people }))

    const replace = (before: string, person: Person) =>
      change(
        (all) => all.map((other) => other.id === person.id ? person : other),
        (people) => ({ _tag: "Renamed", before, person, people })
      )

    const join = Effect.fnUntraced(function*(firstName: string) {
      const id = ++lastId
      const self = yield* Ref.make<Person>({ id, name: firstName })
      const member: Member = {
        events: yield* PubSub.subscribe(events),
        person: Ref.get(self),
        say: Effect.fnUntraced(function*(text) {
          const n = yield* Ref.updateAndGet(total, (count) => count + 1)
          yield* publish({ _tag: "Said", n, person: yield* Ref.get(self), text })
        }),
        rename: Effect.fnUntraced(function*(name) {
          const before = yield* Ref.getAndSet(self, { id, name })
          yield* replace(before.name, { id, name })
          yield* Effect.log(`${before.name} is ${name} now`)
        })
      }
      yield* Effect.acquireRelease(Effect.flatMap(member.person, enter), () => Effect.flatMap(member.person, leave))
      return member
    })

    let before = 0
    let burst = 0
    const pulse = Effect.gen(function*() {
      const now = yield* Ref.get(total)
      const rate = now - before
      yield* publish({ _tag: "Pulse", rate, total: now, people: yield* Ref.get(everyone) })
      before = now
      burst += rate
      if (rate === 0 && burst > 0) {
        yield* Effect.log(`${burst} ${burst === 1 ? "message" : "messages"}, ${now} in all`)
        burst = 0
      }
    })
    yield* Effect.forkScoped(Effect.repeat(pulse, Schedule.fixed("1 second")))

    return { join, people: Ref.get(everyone) }
  }))
}
