/**
 * Connections as `effect/socket` has them. A Socket is something that can be
 * dialled again and again: its reader is a connection, its writer writes to
 * whichever there is.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import * as CloseCode from "../../CloseCode.ts"
import type * as Connection from "../../Connection.ts"
import { ConnectionClosed } from "../../ConnectionError.ts"
import type * as Message from "../../Message.ts"
import { ConnectionImpl } from "../connection/connection.ts"

/**
 * A Socket that dials with `dial`. What is written while there is no connection
 * waits for the next, unless there is only one.
 */
export const fromConnections = (
  dial: Effect.Effect<Connection.Connection, Socket.SocketError, Scope.Scope>,
  only?: Connection.Connection
): Socket.Socket => {
  const connected = Latch.makeUnsafe(only !== undefined)
  let current = only

  const disconnected = (connection: Connection.Connection) => {
    if (only !== undefined || current !== connection) return
    current = undefined
    connected.closeUnsafe()
  }

  const reader = Effect.gen(function*() {
    // The connection outlives the reader while it is being closed, for which nobody has to wait.
    const lifetime = yield* Scope.make()
    const connection = yield* Effect.uninterruptibleMask((restore) =>
      Effect.tap(
        Effect.onError(
          restore(Scope.provide(dial, lifetime)),
          (cause) => Scope.close(lifetime, Exit.failCause(cause))
        ),
        (dialled) =>
          Effect.addFinalizer((exit) => {
            disconnected(dialled)
            if (dialled instanceof ConnectionImpl) dialled.stopReceiving()
            const closing = Effect.andThen(Effect.ignore(dialled.close(closeCode(exit))), Scope.close(lifetime, exit))
            return Effect.forkDetach(closing, { startImmediately: true })
          })
      )
    )
    current = connection
    connected.openUnsafe()
    const messages = yield* Stream.toPull(connection.messages)
    const pull = Effect.catch(
      Effect.map(messages, payloads),
      (ended): Effect.Effect<never, Socket.SocketError> => {
        disconnected(connection)
        return Cause.isDone(ended)
          ? Effect.flatMap(connection.closed, (closed) => Effect.fail(closeError(closed)))
          : Effect.fail(closeError(ended))
      }
    )
    return { pull, upgrade: Socket.SocketUpgradeError.unsupported }
  })

  /** What cannot be sent on a connection that is over was not sent, and is sent on the next. */
  const withConnection = (
    use: (connection: Connection.Connection) => Effect.Effect<unknown, ConnectionClosed | Socket.SocketError>
  ): Effect.Effect<void, Socket.SocketError> => {
    const attempt: Effect.Effect<void, Socket.SocketError> = Effect.suspend(() => {
      const connection = current
      if (connection === undefined) return connected.whenOpen(attempt)
      return Effect.matchEffect(use(connection), {
        onSuccess: () => Effect.void,
        onFailure: (error) => {
          if (error._tag === "SocketError") return Effect.fail(error)
          // The types do not say so: what the program wrote is nothing that can be sent, on any connection.
          if (!(error instanceof ConnectionClosed)) return Effect.fail(writeError(error))
          if (only !== undefined) return Effect.fail(closeError(error))
          disconnected(connection)
          return attempt
        }
      })
    })
    return attempt
  }

  const writer: Socket.Writer = {
    write: (chunk) =>
      withConnection((connection) =>
        Socket.isCloseEvent(chunk)
          ? Effect.mapError(connection.close(chunk.code, chunk.reason), writeError)
          : connection.send(chunk)
      ),
    writeAll: (chunks) => withConnection((connection) => connection.sendAll(chunks))
  }

  return Socket.make({ reader, writer: Effect.succeed(writer) })
}

const closeCode = (exit: Exit.Exit<unknown, unknown>): number =>
  Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause) ? CloseCode.NormalClosure : CloseCode.InternalError

const payloads = (
  messages: NonEmptyReadonlyArray<Message.Message>
): NonEmptyReadonlyArray<string | Uint8Array> =>
  messages.map((message) => message._tag === "Text" ? message.text : message.bytes) as unknown as NonEmptyReadonlyArray<
    string | Uint8Array
  >

/** Every end is a close to a Socket; what cut the connection off is told in words. */
const closeError = (closed: ConnectionClosed): Socket.SocketError => {
  const reason = new Socket.SocketCloseError({
    code: closed.code,
    closeReason: closed.cause === undefined ? closed.reason : closed.cause.message
  })
  const error = new Socket.SocketError({ reason })
  // Their schemas have no such field. By it, a server tells the end of a connection from a failure.
  error.cause = closed
  reason.cause = closed
  return error
}

/** Something that cannot be sent. */
const writeError = (cause: unknown): Socket.SocketError =>
  new Socket.SocketError({ reason: new Socket.SocketWriteError({ cause }) })
