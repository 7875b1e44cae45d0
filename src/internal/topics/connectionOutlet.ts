/**
 * Delivers events to a connection: at once while it has room, and from its cursors
 * once it has room again. Cursors of one connection take turns.
 */
import * as Effect from "effect/Effect"
import { type ConnectionClosed, SlowConsumer } from "../../ConnectionError.ts"
import type { Connection } from "../../Connection.ts"
import type * as MessageApi from "../../Message.ts"
import * as Message from "../../Message.ts"
import type { MessageConnection } from "../../MessageConnection.ts"
import { type BroadcastTarget, broadcastTarget, type Hooks, hooksOf } from "../connection/hooks.ts"
import type { SharedMessage } from "../connection/sharedMessage.ts"
import { nextTurn } from "../runtime/turns.ts"
import type { Cursor, Outlet } from "./cursor.ts"
import type { Entry } from "./entry.ts"

/** The events that a cursor is fed before the next cursor of the connection. */
const feedSize = 16

/** The turns of cursors in one turn of the event loop. */
const feedsPerTurn = 16

const outlets = new WeakMap<MessageConnection, ConnectionOutlet>()

/** Returns the outlet of a connection, which all its subscriptions share. */
export const outletOf = (connection: MessageConnection): Outlet => {
  let outlet = outlets.get(connection)
  if (outlet === undefined) outlets.set(connection, outlet = new ConnectionOutlet(connection))
  return outlet
}

class ConnectionOutlet implements Outlet {
  private readonly connection: MessageConnection
  private readonly target: BroadcastTarget | undefined
  /** The cursors that can be fed. */
  private readonly queue: Array<Cursor> = []
  /** It waits for room, for its fiber, or for its next turn. */
  private isWaiting = false
  /** While its fiber sends what the connection encodes for itself: the events that go next. */
  private batch: Array<SharedMessage> | undefined

  constructor(connection: MessageConnection) {
    this.connection = connection
    this.target = hooksOf(connection as Connection & Hooks)[broadcastTarget]
  }

  write(cursor: Cursor, entry: Entry): boolean {
    const shared = entry.encodedFor(cursor.format)
    if (shared === undefined) return true
    if (this.batch !== undefined) return this.batch.length < feedSize && this.batch.push(shared) > 0
    return this.target !== undefined && this.target.writeShared(shared)
  }

  ready(cursor: Cursor): void {
    if (!this.queue.includes(cursor)) this.queue.push(cursor)
    if (!this.isWaiting) this.pump()
  }

  closeSlow(): void {
    if (this.target !== undefined) return this.target.closeSlowConsumer()
    Effect.runFork(
      Effect.flatMap(
        this.connection.bufferedAmount,
        (bufferedAmount) => this.connection.fail(new SlowConsumer({ bufferedAmount }))
      )
    )
  }

  private readonly pump = (): void => {
    this.isWaiting = true
    for (let feeds = 0; this.queue.length > 0; feeds++) {
      if (this.target === undefined) return this.sendApart()
      if (!this.target.isWritable) return this.target.onWritable(this.pump)
      if (feeds === feedsPerTurn) return nextTurn(this.pump)
      // It is writable, but takes nothing: it encodes for itself.
      if (!this.feedNext()) return this.sendApart()
    }
    this.isWaiting = false
  }

  /** Feeds the first cursor, and puts it behind the others if there is more. Returns false if nothing can be written. */
  private feedNext(): boolean {
    const cursor = this.queue.shift()!
    const outcome = cursor.channel.feed(cursor, feedSize)
    if (outcome !== "done") this.queue.push(cursor)
    return outcome !== "full" || this.target?.isWritable === false
  }

  // -- connections that encode for themselves ----------------------------------

  private sendApart(): void {
    Effect.runFork(Effect.matchEffect(this.sending, {
      onFailure: () => Effect.void,
      onSuccess: () => Effect.sync(this.pump)
    }))
  }

  /** Sends until there is nothing to feed. It fails if the connection ends. */
  private readonly sending: Effect.Effect<void, ConnectionClosed> = Effect.suspend(() => {
    const batch: Array<SharedMessage> = this.batch = []
    while (this.queue.length > 0 && batch.length < feedSize) this.feedNext()
    // Events that arrive while these are sent come behind them.
    this.batch = full
    return Effect.flatMap(this.sendBatch(batch), () => {
      if (this.queue.length > 0) return this.sending
      this.batch = undefined
      return Effect.void
    })
  })

  private sendBatch(batch: ReadonlyArray<SharedMessage>): Effect.Effect<void, ConnectionClosed> {
    const { connection, target } = this
    if (target === undefined) return connection.sendAll(batch.flatMap(({ messages }) => messages.map(toInput)))
    return Effect.forEach(batch, (shared) => target.sendShared(shared, undefined, Effect.yieldNow), { discard: true })
  }
}

/** A batch that takes nothing more. */
const full: Array<SharedMessage> = Array.from({ length: feedSize })

const toInput = (message: SharedMessage["messages"][number]): MessageApi.Input =>
  typeof message === "string" ? message : new Message.Text(message.payload)
