/**
 * Connections as sockets of `effect/socket`. A Socket can be dialled again and
 * again: its reader is a connection, and its writer writes to the current one.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Predicate from "effect/Predicate"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import * as CloseCode from "../../CloseCode.ts"
import type { ConnectionClosed } from "../../ConnectionError.ts"
import type * as Message from "../../Message.ts"
import type { MessageConnection } from "../../MessageConnection.ts"
import { hooksOf, stopReceiving } from "../connection/hooks.ts"
import { assertMessageConnection } from "../connection/members.ts"

type Dial = Effect.Effect<MessageConnection, Socket.SocketError, Scope.Scope>

/** A Socket that dials with `dial`. While there is no connection, writes suspend until the next one. */
export const fromDial = (dial: Dial): Socket.Socket => fromSlot(dial, new ConnectionSlot(undefined))

/** A Socket of one connection. */
export const fromConnection = (connection: MessageConnection): Socket.Socket => {
  assertMessageConnection(connection)
  return fromSlot(Effect.succeed(connection), new ConnectionSlot(connection))
}

const fromSlot = (dial: Dial, slot: ConnectionSlot): Socket.Socket =>
  Socket.make({ reader: makeReader(dial, slot), writer: Effect.succeed(makeWriter(slot)) })

// -----------------------------------------------------------------------------
// The current connection
// -----------------------------------------------------------------------------

/** The connection that a Socket writes to. */
class ConnectionSlot {
  /** The connection of a Socket that has only one. */
  private readonly fixed: MessageConnection | undefined
  private current: MessageConnection | undefined
  private readonly available: Latch.Latch
  /** The fiber that pulled last from the current connection. */
  private puller: Fiber.Fiber<unknown, unknown> | undefined

  constructor(fixed: MessageConnection | undefined) {
    this.fixed = fixed
    this.current = fixed
    this.available = Latch.makeUnsafe(fixed !== undefined)
  }

  set(connection: MessageConnection): void {
    this.current = connection
    this.available.openUnsafe()
  }

  /** The connection has ended, or its reader was released. */
  clear(connection: MessageConnection): void {
    if (this.fixed !== undefined || this.current !== connection) return
    this.current = undefined
    this.puller = undefined
    this.available.closeUnsafe()
  }

  /** Remembers the fiber that pulls from a connection, if there may be another one after it. */
  pullWith<A, E>(connection: MessageConnection, pull: Effect.Effect<A, E>): Effect.Effect<A, E> {
    if (this.fixed !== undefined) return pull
    return Effect.withFiber((fiber) => {
      if (this.current === connection) this.puller = fiber
      return pull
    })
  }

  /**
   * Writes to the current connection. If it has ended, nothing was written, and the next connection is used. Only what
   * its reader writes between two pulls is lost with it, as if it had been under way: the reader would wait for a
   * connection that it has to make.
   */
  use(
    write: (connection: MessageConnection) => Effect.Effect<unknown, unknown>
  ): Effect.Effect<void, Socket.SocketError> {
    const attempt: Effect.Effect<void, Socket.SocketError> = Effect.suspend(() => {
      const connection = this.current
      if (connection === undefined) return this.available.whenOpen(attempt)
      return Effect.matchEffect(write(connection), {
        onSuccess: () => Effect.void,
        onFailure: (error) => {
          if (!(isClosed(error))) return Effect.fail(writeError(error))
          if (this.fixed !== undefined) return Effect.fail(closeError(error))
          if (this.current === connection && this.puller === Fiber.getCurrent()) return Effect.void
          this.clear(connection)
          return attempt
        }
      })
    })
    return attempt
  }
}

// -----------------------------------------------------------------------------
// Reading
// -----------------------------------------------------------------------------

const makeReader = (dial: Dial, slot: ConnectionSlot): Effect.Effect<Socket.Reader, Socket.SocketError, Scope.Scope> =>
  Effect.gen(function*() {
    const released = Deferred.makeUnsafe<never, Socket.SocketError>()
    const connection = yield* acquire(dial, (dialled, exit) => {
      slot.clear(dialled)
      const stop = hooksOf(dialled)[stopReceiving]
      if (stop !== undefined) stop.call(dialled)
      else Deferred.doneUnsafe(released, Effect.fail(releasedError(exit)))
    })
    slot.set(connection)
    const messages = yield* Stream.toPull(connection.messages)
    // A pull that waits has to fail when the reader is released.
    const read = hooksOf(connection)[stopReceiving] === undefined
      ? Effect.raceFirst(messages, Deferred.await(released))
      : messages
    const pull = Effect.catch(
      Effect.map(read, Arr.map(contentOf)),
      (ended): Effect.Effect<never, Socket.SocketError> => {
        slot.clear(connection)
        if (Cause.isDone(ended)) return Effect.flatMap(connection.closed, (closed) => Effect.fail(closeError(closed)))
        return Effect.fail(isClosed(ended) ? closeError(ended) : ended)
      }
    )
    return { pull: slot.pullWith(connection, pull), upgrade: Socket.SocketUpgradeError.unsupported }
  })

/** Dials in a Scope. When that closes, the connection is closed in the background, and its own Scope after that. */
const acquire = (
  dial: Dial,
  onRelease: (connection: MessageConnection, exit: Exit.Exit<unknown, unknown>) => void
): Effect.Effect<MessageConnection, Socket.SocketError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const lifetime = yield* Scope.make()
      const connection = yield* Effect.onError(
        restore(Scope.provide(dial, lifetime)),
        (cause) => Scope.close(lifetime, Exit.failCause(cause))
      )
      yield* Effect.addFinalizer((exit) => {
        onRelease(connection, exit)
        const closing = Effect.andThen(Effect.ignore(connection.close(closeCode(exit))), Scope.close(lifetime, exit))
        return Effect.forkDetach(closing, { startImmediately: true })
      })
      return connection
    })
  )

const closeCode = (exit: Exit.Exit<unknown, unknown>): number =>
  Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause) ? CloseCode.NormalClosure : CloseCode.InternalError

const contentOf = (message: Message.Message): string | Uint8Array =>
  message._tag === "Text" ? message.text : message.bytes

// -----------------------------------------------------------------------------
// Writing
// -----------------------------------------------------------------------------

const makeWriter = (slot: ConnectionSlot): Socket.Writer => ({
  write: (chunk) =>
    slot.use((connection): Effect.Effect<unknown, unknown> =>
      Socket.isCloseEvent(chunk) ? connection.close(chunk.code, chunk.reason) : connection.send(chunk)
    ),
  writeAll: (chunks) => slot.use((connection) => connection.sendAll(chunks))
})

// -----------------------------------------------------------------------------
// Errors
// -----------------------------------------------------------------------------

/** Whether an error is the end of a connection, also of one that another copy of this package has made. */
const isClosed = (error: unknown): error is ConnectionClosed => Predicate.isTagged(error, "ConnectionClosed")

/** Each end of a connection is a SocketCloseError. Its reason names the cause of an abnormal end. */
const closeError = (closed: ConnectionClosed): Socket.SocketError => {
  const reason = new Socket.SocketCloseError({
    code: closed.code,
    closeReason: closed.cause === undefined ? closed.reason : closed.cause.message
  })
  const error = new Socket.SocketError({ reason })
  // The schemas have no such field. With it, a server tells the end of a connection from a failure of its handler.
  error.cause = closed
  reason.cause = closed
  return error
}

/** The error of a pull that waits when its reader is released. */
const releasedError = (exit: Exit.Exit<unknown, unknown>): Socket.SocketError =>
  new Socket.SocketError({ reason: new Socket.SocketCloseError({ code: closeCode(exit) }) })

const writeError = (cause: unknown): Socket.SocketError =>
  new Socket.SocketError({ reason: new Socket.SocketWriteError({ cause }) })
