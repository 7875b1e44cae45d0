/**
 * The place where the fiber that connects meets the fibers that send and read:
 * it holds the current connection, and is empty between two connections.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Stream from "effect/Stream"
import { type ConnectionClosed, InvalidInput, NotConnected } from "../../ConnectionError.ts"
import type { SendOptions } from "../../Extension.ts"
import type * as Message from "../../Message.ts"
import type { MessageConnection } from "../../MessageConnection.ts"
import type { Failure, Options } from "../../Reconnecting.ts"
import { copyOf, failInvalid, sendablesOf } from "../connection/input.ts"

/** The number of connections kept until they are read to their end, the open one included. */
const maxUnfinished = 8

export type WhileDisconnected = NonNullable<Options["whileDisconnected"]>
type Send = (connection: MessageConnection) => Effect.Effect<void, ConnectionClosed>

export class ConnectionSlot<C extends MessageConnection, E> {
  private readonly whileDisconnected: WhileDisconnected
  /** The connection that messages are sent over. */
  private current: C | undefined
  /** Open while there is a connection to send over, and once the slot is closed. */
  private readonly available = Latch.makeUnsafe(false)
  /** Opened whenever readers should look at `unfinished` again. */
  private readonly readable = Latch.makeUnsafe(false)
  /** Sends that are kept for the next connection. */
  private readonly buffered: Array<Send> = []
  /** The connections that are not read to their end yet, oldest first. */
  private readonly unfinished: Array<C> = []
  private exit: Exit.Exit<void, Failure<E>> | undefined
  private lastFailure: Failure<E> | undefined

  constructor(whileDisconnected: WhileDisconnected) {
    this.whileDisconnected = whileDisconnected
  }

  // -- the fiber that connects -----------------------------------------------

  /**
   * Fills the slot: sends the buffered messages, then lets other fibers send.
   * Readers get the connection first, because the peer may send before it accepts
   * more.
   */
  set(connection: C): Effect.Effect<void, ConnectionClosed> {
    return Effect.suspend(() => {
      this.unfinished.push(connection)
      if (this.unfinished.length > maxUnfinished) this.unfinished.shift()
      this.readable.openUnsafe()
      return this.sendBuffered(connection)
    })
  }

  private sendBuffered(connection: C): Effect.Effect<void, ConnectionClosed> {
    return Effect.suspend(() => {
      const send = this.buffered.shift()
      if (send !== undefined) {
        return Effect.matchEffect(send(connection), {
          onFailure: (closed) => {
            // It was not sent: keep it for the next connection.
            this.buffered.unshift(send)
            return Effect.fail(closed)
          },
          onSuccess: () => this.sendBuffered(connection)
        })
      }
      this.current = connection
      this.available.openUnsafe()
      return Effect.void
    })
  }

  /**
   * Empties the slot. The fiber that connects calls it for any failure, a sending
   * fiber for its own connection: another one may have taken its place.
   */
  clear(failure: Failure<E>, connection?: C): void {
    if (this.exit !== undefined || (connection !== undefined && connection !== this.current)) return
    this.lastFailure = failure
    this.current = undefined
    this.available.closeUnsafe()
  }

  /** Closes the slot: no connection follows. Wakes all fibers that wait. */
  close(exit: Exit.Exit<void, Failure<E>>): void {
    this.exit = exit
    this.current = undefined
    this.buffered.length = 0
    this.available.openUnsafe()
    this.readable.openUnsafe()
  }

  // -- the fibers that send --------------------------------------------------

  readonly connection: Effect.Effect<C, NotConnected<E>> = Effect.suspend(() => {
    if (this.current !== undefined) return Effect.succeed(this.current)
    return this.exit === undefined ? Effect.andThen(this.available.await, this.connection) : this.notConnected
  })

  sendAll(
    messages: ReadonlyArray<Message.Input>,
    options: SendOptions | undefined
  ): Effect.Effect<void, NotConnected<E>> {
    return Effect.suspend(() => {
      const checked = sendablesOf(messages)
      return checked instanceof InvalidInput ? failInvalid(checked) : this.sendChecked(messages, options)
    })
  }

  /** Sends over this connection; if it is lost before the messages are sent, over the next one. */
  private sendChecked(
    messages: ReadonlyArray<Message.Input>,
    options: SendOptions | undefined
  ): Effect.Effect<void, NotConnected<E>> {
    return Effect.suspend(() => {
      const connection = this.current
      if (connection !== undefined) {
        return Effect.catchTag(connection.sendAll(messages, options), "ConnectionClosed", (closed) => {
          this.clear(closed, connection)
          return this.sendChecked(messages, options)
        })
      }
      if (this.exit !== undefined || this.whileDisconnected === "fail") return this.notConnected
      if (this.whileDisconnected !== "suspend" && this.buffered.length < this.whileDisconnected.buffer) {
        // The program may reuse its buffers meanwhile.
        const copies = messages.map(copyOf)
        this.buffered.push((next) => next.sendAll(copies, options))
        return Effect.void
      }
      return Effect.andThen(this.available.await, this.sendChecked(messages, options))
    })
  }

  private get notConnected(): Effect.Effect<never, NotConnected<E>> {
    if (this.exit !== undefined && Exit.isFailure(this.exit) && Cause.hasDies(this.exit.cause)) {
      return Effect.failCause(this.exit.cause as Cause.Cause<never>)
    }
    return Effect.fail(new NotConnected<E>({ final: this.exit !== undefined, cause: this.lastFailure }))
  }

  // -- the fibers that read --------------------------------------------------

  get messages(): Stream.Stream<Message.Message, Failure<E>> {
    return Stream.fromPull(Effect.succeed(Effect.map(this.nextUnfinished, (connection) => [connection] as const))).pipe(
      Stream.flatMap((connection) =>
        Stream.onEnd(Stream.ignore(connection.messages), Effect.sync(() => this.removeUnfinished(connection)))
      )
    )
  }

  private readonly nextUnfinished: Effect.Effect<C, Failure<E> | Cause.Done> = Effect.suspend(() => {
    if (this.unfinished.length > 0) return Effect.succeed(this.unfinished[0])
    if (this.exit !== undefined) return Effect.andThen(this.exit, Cause.done())
    this.readable.closeUnsafe()
    return Effect.andThen(this.readable.await, this.nextUnfinished)
  })

  /** Several fibers may read a connection to its end; the first one removes it. */
  private removeUnfinished(connection: C): void {
    const at = this.unfinished.indexOf(connection)
    if (at >= 0) this.unfinished.splice(at, 1)
  }
}
