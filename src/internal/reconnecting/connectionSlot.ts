/**
 * The place where the fiber that connects meets the fibers that send: it holds the
 * current connection, and is empty between two connections.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import { type ConnectionClosed, InvalidInput, NotConnected } from "../../ConnectionError.ts"
import type { SendOptions } from "../../Extension.ts"
import type * as Message from "../../Message.ts"
import type { MessageConnection } from "../../MessageConnection.ts"
import type { Failure, Options } from "../../Reconnecting.ts"
import { failInvalid, sendablesOf } from "../connection/input.ts"
import { SendBuffer } from "./sendBuffer.ts"

export type WhileDisconnected = NonNullable<Options["whileDisconnected"]>

/** The default limit on buffered bytes. */
const defaultMaxBytes = 1024 * 1024

const bufferOf = (whileDisconnected: WhileDisconnected): SendBuffer => {
  if (typeof whileDisconnected === "string") return new SendBuffer(0, 0)
  const { bytes = defaultMaxBytes, messages } = whileDisconnected.buffer
  return new SendBuffer(messages, bytes)
}

export class ConnectionSlot<C extends MessageConnection, E> {
  private readonly failsDisconnected: boolean
  /** Messages for the next connection. */
  private readonly buffer: SendBuffer
  /** The connection that messages are sent over. */
  private current: C | undefined
  /** Open while there is a connection to send over, and once the slot is closed. */
  private readonly available = Latch.makeUnsafe(false)
  private exit: Exit.Exit<void, Failure<E>> | undefined
  private lastFailure: Failure<E> | undefined

  constructor(whileDisconnected: WhileDisconnected) {
    this.failsDisconnected = whileDisconnected === "fail"
    this.buffer = bufferOf(whileDisconnected)
  }

  // -- the fiber that connects -----------------------------------------------

  /** Fills the slot: sends the buffered messages, then lets other fibers send. */
  set(connection: C): Effect.Effect<void, ConnectionClosed> {
    return Effect.suspend(() => {
      const { first } = this.buffer
      if (first !== undefined) {
        // If the connection is lost before they are sent, they stay for the next one.
        return Effect.flatMap(connection.sendAll(first.messages, first.options), () => {
          this.buffer.removeFirst()
          return this.set(connection)
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
    this.buffer.clear()
    this.available.openUnsafe()
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
      if (this.exit !== undefined || this.failsDisconnected) return this.notConnected
      return this.buffer.add(messages, options)
        ? Effect.void
        : Effect.andThen(this.available.await, this.sendChecked(messages, options))
    })
  }

  get notConnected(): Effect.Effect<never, NotConnected<E>> {
    if (this.exit !== undefined && Exit.isFailure(this.exit) && Cause.hasDies(this.exit.cause)) {
      return Effect.failCause(this.exit.cause as Cause.Cause<never>)
    }
    return Effect.fail(new NotConnected<E>({ final: this.exit !== undefined, cause: this.lastFailure }))
  }
}
