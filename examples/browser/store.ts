/** The server of the notebook: a store of notes, and the handler of its connections. */
import { Effect, type Scope, Stream, SubscriptionRef } from "effect"
import { Connection, type ConnectionError, TypedConnection } from "effect-ws"
import { Note, Request } from "./protocol.ts"

/** A store in memory, which forgets the oldest of ten thousand notes. */
export interface Store {
  readonly epoch: string
  /** The notes, the newest last. Clients follow its changes. */
  readonly notes: SubscriptionRef.SubscriptionRef<ReadonlyArray<Note>>
}

const maxNotes = 10_000

export const makeStore: Effect.Effect<Store> = Effect.map(
  SubscriptionRef.make<ReadonlyArray<Note>>([]),
  (notes) => ({ epoch: crypto.randomUUID(), notes })
)

const add = ({ epoch, notes }: Store, { id, text }: { readonly id: string; readonly text: string }) =>
  SubscriptionRef.update(notes, (all) => {
    if (all.some((note) => note.id === id)) return all
    const note = { epoch, n: (all.at(-1)?.n ?? 0) + 1, id, text }
    return [...all.slice(1 - maxNotes), note]
  })

export const serveNotes = (
  store: Store
): Effect.Effect<void, ConnectionError.ConnectionClosed, Connection.Connection | Scope.Scope> =>
  Effect.gen(function*() {
    const peer = TypedConnection.make(yield* Connection.Connection, { receives: Request, sends: Note })

    const follow = (after: number) => {
      let sent = after
      const send = Stream.runForEach(SubscriptionRef.changes(store.notes), (notes) => {
        const unsent = notes.filter(({ n }) => n > sent)
        sent = notes.at(-1)?.n ?? sent
        return peer.sendAll(unsent)
      })
      return Effect.forkScoped(Effect.ignore(send))
    }

    yield* Stream.runForEach(
      peer.messages,
      Request.match({
        Follow: ({ after, epoch }) => follow(epoch === store.epoch ? after : 0),
        Add: (note) => add(store, note)
      })
    )
  })
