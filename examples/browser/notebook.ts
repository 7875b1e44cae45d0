/**
 * The client of the notebook: one program, which runs in a page and on Node. It loses no note and delivers none twice,
 * whatever happens to its connections:
 *
 * - after each connection is made, it asks for the notes behind the last one that was handled: `Resume` knows which;
 * - it keeps the notes that it adds until they come back with a number, and sends them again over the next connection.
 *
 * It imports modules by their paths: a bundle of "effect" and "effect-ws" as a whole holds all of both.
 */
import type { Scope, SubscriptionRef } from "effect"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ConnectionError, MessageConnection, Reconnecting } from "effect-ws"
import * as MessageClient from "effect-ws/MessageClient"
import * as Resume from "effect-ws/Resume"
import * as TypedConnection from "effect-ws/TypedConnection"
import { Note, Request } from "./protocol.ts"

const encode = TypedConnection.encoder(Request)

/** The number of notes that may be unconfirmed. */
const maxUnconfirmed = 100

export class TooManyUnconfirmed extends Data.TaggedError("TooManyUnconfirmed")<{}> {}

export interface Notebook {
  readonly state: SubscriptionRef.SubscriptionRef<Reconnecting.State<never, MessageConnection.MessageConnection>>
  /** Handles all notes from the first on, in order, each once. */
  readonly runForEach: <E, R>(
    handle: (note: Note) => Effect.Effect<unknown, E, R>
  ) => Effect.Effect<void, Reconnecting.Failure | E, R>
  /** Adds a note, now or over the next connection. Fails if the text is not allowed. */
  readonly add: (text: string) => Effect.Effect<void, ConnectionError.InvalidValue | TooManyUnconfirmed>
}

export const open = (
  url: string
): Effect.Effect<Notebook, never, MessageClient.MessageClient | Scope.Scope> =>
  Effect.gen(function*() {
    const unconfirmed = new Map<string, string | Uint8Array>()
    const resume = Resume.make({
      position: ({ epoch, n }: Note) => Option.some({ epoch, n }),
      isAfter: ({ epoch, n }, handled) => epoch !== handled.epoch || n > handled.n
    })

    const client = yield* MessageClient.reconnecting(url, {
      onOpen: resume.onOpen((connection: MessageConnection.MessageConnection, position) => {
        const { epoch, n } = Option.getOrElse(position, () => ({ epoch: "", n: 0 }))
        return encode({ _tag: "Follow", epoch, after: n }).pipe(
          Effect.orDie,
          Effect.flatMap((follow) => connection.sendAll([follow, ...unconfirmed.values()]))
        )
      }),
      // While there is no connection, a note waits among the unconfirmed ones.
      whileDisconnected: "fail"
    })
    const typed = TypedConnection.makeReconnecting(client, { receives: Note, sends: Request })

    return {
      state: client.state,
      runForEach: (handle) =>
        resume.runForEach(typed, (note) => {
          unconfirmed.delete(note.id)
          return handle(note)
        }),
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
