/** A connection that outlives the connections it is made of: what its attempts and its users share, and its end. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { ConnectionClosed } from "../../ConnectionError.ts"
import type { InvalidOption } from "../../HandshakeError.ts"
import type { MessageConnection } from "../../MessageConnection.ts"
import type { Failure, Options, Reconnecting, State } from "../../Reconnecting.ts"
import type { Signal } from "../../Wake.ts"
import { AttemptScopes } from "./attemptScopes.ts"
import { ConnectionSlot } from "./connectionSlot.ts"
import { FastFailures } from "./fastFailures.ts"
import { Heart } from "./heartbeat.ts"
import { readWithoutReplies } from "./replies.ts"
import { UnreadConnections } from "./unreadConnections.ts"
import { Wakes } from "./wakes.ts"

type OwnOptions = Pick<Options<never>, "fastFailures" | "heartbeat" | "whileDisconnected" | "whileHidden">

/** `E` is all errors of the program's own effects. */
export class LogicalConnection<C extends MessageConnection, E> {
  readonly state: SubscriptionRef.SubscriptionRef<State<E, C>>
  readonly slot: ConnectionSlot<C, E>
  readonly unread = new UnreadConnections<C, E>()
  readonly wakes: Wakes
  readonly fastFailures: FastFailures
  readonly scopes = new AttemptScopes()
  readonly now: () => number
  private readonly heartbeat: OwnOptions["heartbeat"]
  private readonly closed = Deferred.makeUnsafe<void, Failure<E>>()
  /** The heartbeat of the open connection. */
  private heart: Heart | undefined
  /** The number of connections that were open so far. */
  private connections = 0

  constructor(options: OwnOptions, now: () => number, state: SubscriptionRef.SubscriptionRef<State<E, C>>) {
    this.state = state
    this.now = now
    this.slot = new ConnectionSlot(options.whileDisconnected ?? "suspend")
    this.wakes = new Wakes(now, options.whileHidden)
    this.fastFailures = new FastFailures(options.fastFailures)
    this.heartbeat = options.heartbeat
  }

  get operations(): Reconnecting<E, C> {
    const { slot, unread } = this
    const closed = Effect.suspend(() => slot.notConnected)
    return {
      state: this.state,
      messages: unread.stream((reader) => reader.messages),
      messagesWith: (decode, onInvalid) =>
        unread.stream((reader, connection) => reader.messagesWith(decode, (error) => onInvalid(error, connection))),
      receive: unread.read((reader) => reader.receive, closed),
      receiveWith: (decode, onInvalid) =>
        unread.read(
          (reader, connection) => reader.receiveWith(decode, (error) => onInvalid(error, connection)),
          closed
        ),
      reconnected: this.reconnected,
      send: (message, sendOptions) => slot.sendAll([message], sendOptions),
      sendAll: (messages, sendOptions) => slot.sendAll(messages, sendOptions),
      connection: slot.connection,
      closed: Deferred.await(this.closed)
    }
  }

  private get reconnected(): Stream.Stream<C> {
    return SubscriptionRef.changes(this.state).pipe(
      Stream.filterMap((state) =>
        state._tag === "Open" && state.number > 1 && SubscriptionRef.getUnsafe(this.state) === state
          ? Result.succeed(state.connection)
          : Result.failVoid
      )
    )
  }

  onSignal(signal: Signal): void {
    if (this.wakes.onSignal(signal)) this.heart?.nudge()
  }

  enter(state: State<E, C>): Effect.Effect<void> {
    return SubscriptionRef.set(this.state, state)
  }

  /**
   * Gives a connection to the fibers that read and send. Readers get it first, because the peer may send before it accepts
   * more.
   */
  open(connection: C): Effect.Effect<void, ConnectionClosed> {
    return Effect.suspend(() => {
      const isReply = this.heartbeat?.isReply
      this.unread.add(connection, isReply === undefined ? connection : readWithoutReplies(connection, isReply))
      return Effect.andThen(this.slot.set(connection), () => {
        this.wakes.onOpen()
        return this.enter({ _tag: "Open", connection, number: ++this.connections })
      })
    })
  }

  /** Takes the connection from the fibers that send. */
  lose(cause: Failure<E>): void {
    this.heart = undefined
    this.wakes.onLost()
    this.slot.clear(cause)
  }

  /** What runs while a connection is open: its heartbeat, which never returns, and the wait until the page is hidden for too long. */
  watches(connection: C): ReadonlyArray<Effect.Effect<void>> {
    const watches: Array<Effect.Effect<void>> = []
    if (this.wakes.closesWhileHidden) watches.push(this.wakes.hiddenTooLong)
    if (this.heartbeat !== undefined) {
      this.heart = new Heart(connection, this.heartbeat)
      watches.push(Effect.andThen(this.heart.beat, Effect.never))
    }
    return watches
  }

  /** Fails before the first attempt. */
  rejectOption(problem: InvalidOption): Effect.Effect<void, InvalidOption> {
    return Effect.suspend(() => {
      this.slot.clear(problem)
      return Effect.fail(problem)
    })
  }

  /** Ends the client, in one step; observers of the state are notified in the returned effect. The first exit counts. */
  finish(exit: Exit.Exit<void, Failure<E>>): Effect.Effect<void> {
    if (!Deferred.doneUnsafe(this.closed, exit)) return Effect.void
    this.slot.close(exit)
    this.unread.close(exit)
    return this.enter({ _tag: "Closed", exit })
  }

  /** Ends the client because its Scope closes, and waits until all its connections are closed. */
  release(fiber: Fiber.Fiber<void, Failure<E>>, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.scopes.end(exit)
      const notified = this.finish(Exit.void)
      // In the same step, so that no connection gets into the slot after the end.
      fiber.interruptUnsafe()
      return Effect.andThen(notified, Effect.andThen(Fiber.await(fiber), this.scopes.closed))
    })
  }
}
