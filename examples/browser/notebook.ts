/**
 * The client of the notebook: one program, which runs in a page and on Node. It loses no note and delivers none twice,
 * whatever happens to its connections:
 *
 * - after each connection is made, it asks for the notes behind the last one that it has delivered, and ignores those that
 *   it knows;
 * - it keeps the notes that it adds until they come back with a number, and sends them again over the next connection.
 *
 * It imports modules by their paths: a bundle of "effect" and "effect-ws" as a whole holds all of both.
 */
import type { Scope, SubscriptionRef } from "effect"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { ConnectionError, MessageConnection, Reconnecting } from "effect-ws"
import * as MessageClient from "effect-ws/MessageClient"
import * as TypedConnection from "effect-ws/TypedConnection"
import { Note, Request } from "./protocol.ts"

const encode = TypedConnection.encoder(Request)

/** The number of notes that may be unconfirmed. */
const maxUnconfirmed = 100

export class TooManyUnconfirmed extends Data.TaggedError("TooManyUnconfirmed")<{}> {}

export interface Notebook {
  readonly state: SubscriptionRef.SubscriptionRef<Reconnecting.State<never, MessageConnection.MessageConnection>>
  /** All notes from the first on, in order, each once. For one reader. */
  readonly notes: Stream.Stream<Note, Reconnecting.Failure>
  /** Adds a note, now or over the next connection. Fails if the text is not allowed. */
  readonly add: (text: string) => Effect.Effect<void, ConnectionError.InvalidValue | TooManyUnconfirmed>
}

export const open = (
  url: string
): Effect.Effect<Notebook, never, MessageClient.MessageClient | Scope.Scope> =>
  Effect.gen(function*() {
    const unconfirmed = new Map<string, string | Uint8Array>()
    let last = { epoch: "", n: 0 }

    const client = yield* MessageClient.reconnecting(url, {
      onOpen: (connection) =>
        encode({ _tag: "Follow", epoch: last.epoch, after: last.n }).pipe(
          Effect.orDie,
          Effect.flatMap((follow) => connection.sendAll([follow, ...unconfirmed.values()]))
        ),
      // While there is no connection, a note waits among the unconfirmed ones.
      whileDisconnected: "fail"
    })
    const typed = TypedConnection.makeReconnecting(client, { receives: Note, sends: Request })

    /** Returns a note that is new. Runs in the step that delivers it. */
    const accept = (note: Note): Option.Option<Note> => {
      if (note.epoch === last.epoch && note.n <= last.n) return Option.none()
      last = note
      unconfirmed.delete(note.id)
      return Option.some(note)
    }

    return {
      state: client.state,
      notes: typed.messages.pipe(
        Stream.map(accept),
        Stream.filter(Option.isSome),
        Stream.map(({ value }) => value)
      ),
      add: (text) =>
        Effect.gen(function*() {
          if (unconfirmed.size >= maxUnconfirmed) return yield* Effect.fail(new TooManyUnconfirmed())
          const id = crypto.randomUUID()
          const request = yield* encode({ _tag: "Add", id, text })
          unconfirmed.set(id, request)
          yield* Effect.ignore(client.send(request))
        })
    }
  })
