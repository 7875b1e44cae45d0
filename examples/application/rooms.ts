/** The rooms, in which there are people with chat sockets, and to which others listen. */
import { Console, Context, Effect, Layer, PubSub, type Scope, Stream } from "effect"
import { Connection } from "effect-ws"
import type { Message } from "./api.ts"

export class Rooms extends Context.Service<Rooms, {
  readonly list: Effect.Effect<ReadonlyArray<{ readonly room: string; readonly people: number }>>
  /** Puts a connection into a room, for as long as the Scope lives. */
  readonly join: (
    room: string,
    connection: Connection.Connection
  ) => Effect.Effect<void, never, Scope.Scope>
  readonly say: (message: Message) => Effect.Effect<void>
  /** What is said from now on. Who does not keep up misses the oldest. */
  readonly follow: (room: string) => Stream.Stream<Message>
}>()("application/Rooms") {
  static readonly layer = Layer.effect(Rooms)(Effect.gen(function*() {
    const rooms = new Map<string, Set<Connection.Connection>>()
    const said = yield* PubSub.sliding<Message>(1024)
    // Connections have ended and left before what they use is gone.
    yield* Effect.addFinalizer(() => Console.log(`ROOMS CLOSED, ${rooms.size} of them in use`))
    return {
      list: Effect.sync(() => Array.from(rooms, ([room, people]) => ({ room, people: people.size }))),
      join: (room, connection) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            rooms.set(room, (rooms.get(room) ?? new Set()).add(connection))
          }),
          () =>
            Effect.sync(() => {
              const people = rooms.get(room)!
              people.delete(connection)
              if (people.size === 0) rooms.delete(room)
            })
        ),
      say: (message) =>
        Effect.andThen(
          PubSub.publish(said, message),
          Connection.broadcast(rooms.get(message.room) ?? [], message.text, { slowConsumer: "close" })
        ),
      follow: (room) => Stream.filter(Stream.fromPubSub(said), (message) => message.room === room)
    }
  }))
}
