/** The connections of a reconnecting client that are not read to their end yet: the open one, and lost ones before it. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Stream from "effect/Stream"
import { type ConnectionClosed, isConnectionClosed } from "../../ConnectionError.ts"
import type { Failure } from "../../Reconnecting.ts"
import type { Readable } from "./replies.ts"

/** The number of connections kept until they are read to their end, the open one included. */
const maxUnread = 8

interface Unread<C> {
  readonly connection: C
  /** The connection, without the replies to heartbeats. */
  readonly reader: Readable
}

export class UnreadConnections<C, E> {
  /** Oldest first. */
  private readonly unread: Array<Unread<C>> = []
  /** Opened whenever readers should look at `unread` again. */
  private readonly changed = Latch.makeUnsafe(false)
  private exit: Exit.Exit<void, Failure<E>> | undefined

  add(connection: C, reader: Readable): void {
    this.unread.push({ connection, reader })
    if (this.unread.length > maxUnread) this.unread.shift()
    this.changed.openUnsafe()
  }

  /** No connection follows. Readers end after the last message. */
  close(exit: Exit.Exit<void, Failure<E>>): void {
    this.exit = exit
    this.changed.openUnsafe()
  }

  /** Reads something of the first connection that still has it. Runs `onEnd` after the last one. */
  read<A, E1, E2>(
    operation: (reader: Readable, connection: C) => Effect.Effect<A, E1>,
    onEnd: Effect.Effect<never, E2>
  ): Effect.Effect<A, Exclude<E1, ConnectionClosed> | E2> {
    const read: Effect.Effect<A, Exclude<E1, ConnectionClosed> | E2> = Effect.suspend(() => {
      const first = this.unread.at(0)
      if (first === undefined) return this.exit !== undefined ? onEnd : Effect.andThen(this.nextChange(), read)
      return Effect.catch(operation(first.reader, first.connection), (error) => {
        if (!isConnectionClosed(error)) return Effect.fail(error as Exclude<E1, ConnectionClosed>)
        this.remove(first)
        return read
      })
    })
    return read
  }

  /** Makes one stream of those of all connections. */
  stream<A, E1>(
    messagesOf: (reader: Readable, connection: C) => Stream.Stream<A, E1>
  ): Stream.Stream<A, Failure<E> | Exclude<E1, ConnectionClosed>> {
    return Stream.fromPull(Effect.succeed(Effect.map(this.next, (unread) => [unread] as const))).pipe(
      Stream.flatMap((unread) =>
        Stream.onEnd(
          Stream.catch(
            messagesOf(unread.reader, unread.connection),
            (error) => isConnectionClosed(error) ? Stream.empty : Stream.fail(error as Exclude<E1, ConnectionClosed>)
          ),
          Effect.sync(() => this.remove(unread))
        )
      )
    )
  }

  private readonly next: Effect.Effect<Unread<C>, Failure<E> | Cause.Done> = Effect.suspend(() => {
    if (this.unread.length > 0) return Effect.succeed(this.unread[0])
    if (this.exit !== undefined) return Effect.andThen(this.exit, Cause.done())
    return Effect.andThen(this.nextChange(), this.next)
  })

  /** Waits for a change from now on. The caller must call it in the step in which it finds nothing to read. */
  private nextChange(): Effect.Effect<void> {
    this.changed.closeUnsafe()
    return this.changed.await
  }

  /** Several fibers may read a connection to its end; the first one removes it. */
  private remove(unread: Unread<C>): void {
    const at = this.unread.indexOf(unread)
    if (at >= 0) this.unread.splice(at, 1)
  }
}
