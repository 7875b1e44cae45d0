/** Sends a message to many connections, encoded once for all that can share the encoding. */
import * as Effect from "effect/Effect"
import type { BroadcastOptions, Connection } from "../../Connection.ts"
import { type ConnectionClosed, InvalidInput, SlowConsumer } from "../../ConnectionError.ts"
import type * as Message from "../../Message.ts"
import { broadcastTarget, hooksOf } from "./hooks.ts"
import { failInvalid, sendablesOf } from "./input.ts"
import { atLeast } from "../runtime/optionChecks.ts"
import { aboveMarkToken } from "./sendQueue.ts"
import { SharedMessage } from "./sharedMessage.ts"
import { nextTurn } from "../runtime/turns.ts"

const defaultMaxBufferedAmount = 1024 * 1024

/** The number of bytes that a turn encodes for connections which cannot share an encoding. */
const bytesPerTurn = 64 * 1024

/** The cost of one more connection beside the bytes of the message, as a number of bytes to encode. */
const costOfConnection = 2 * 1024

export const broadcast = (
  connections: Iterable<Connection>,
  messages: ReadonlyArray<Message.Input>,
  options: BroadcastOptions = {}
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { maxBufferedAmount = defaultMaxBufferedAmount, slowConsumer = "wait" } = options
    const problem = atLeast(0, "maxBufferedAmount", maxBufferedAmount)
    if (problem !== undefined) return Effect.die(problem)
    const sendables = sendablesOf(messages)
    if (sendables instanceof InvalidInput) return failInvalid(sendables)
    const token = slowConsumer === "wait" ? undefined : aboveMarkToken
    const shared = new SharedMessage(sendables, options)
    const pace = new Pace(() => Math.ceil(bytesPerTurn / (costOfConnection + shared.withoutExtensions.bytes.length)))
    const waiting: Array<Effect.Effect<void>> = []
    for (const connection of connections) {
      const target = hooksOf(connection)[broadcastTarget]
      if (target === undefined) {
        waiting.push(
          ignoreClosed(Effect.andThen(pace.turn, sendWith(connection, messages, options, maxBufferedAmount)))
        )
      } else if (slowConsumer !== "wait" && target.isBehind(maxBufferedAmount)) {
        if (slowConsumer === "close") target.closeSlowConsumer()
        else target.skip(sendables.length)
      } else if (!target.writeShared(shared, token)) {
        waiting.push(ignoreClosed(target.sendShared(shared, token, pace.turn)))
      }
    }
    return waiting.length === 0
      ? Effect.void
      : Effect.forEach(waiting, (sending) => sending, { concurrency: "unbounded", discard: true })
  })

const ignoreClosed = (sending: Effect.Effect<void, ConnectionClosed>): Effect.Effect<void> =>
  Effect.catchTag(sending, "ConnectionClosed", () => Effect.void)

/** Sends with `sendAll` to a connection of another implementation, or one with an overridden `send` or `sendAll`. */
const sendWith = (
  connection: Connection,
  messages: ReadonlyArray<Message.Input>,
  options: BroadcastOptions,
  maxBufferedAmount: number
): Effect.Effect<void, ConnectionClosed> => {
  const sending = Effect.suspend(() => connection.sendAll(messages, options))
  const { slowConsumer = "wait" } = options
  if (slowConsumer === "wait") return sending
  return Effect.flatMap(connection.stats, ({ bufferedAmount }): Effect.Effect<void, ConnectionClosed> => {
    if (bufferedAmount <= maxBufferedAmount) return sending
    return slowConsumer === "skip" ? Effect.void : Effect.asVoid(connection.fail(new SlowConsumer({ bufferedAmount })))
  })
}

/**
 * Spreads work over turns of the event loop, first come first served. Messages
 * that are encoded for each connection, because it compresses or masks, would
 * block the loop for the time of all connections together.
 */
class Pace {
  private readonly perTurn: () => number
  private remaining: number | undefined
  private readonly waiting: Array<() => void> = []

  constructor(perTurn: () => number) {
    this.perTurn = perTurn
  }

  /** Succeeds when the next connection may encode. */
  readonly turn: Effect.Effect<void> = Effect.suspend(() => {
    this.remaining ??= this.perTurn()
    if (this.remaining > 0) {
      this.remaining--
      return Effect.void
    }
    return Effect.callback<void>((resume) => {
      if (this.waiting.push(() => resume(Effect.void)) === 1) nextTurn(this.next)
    })
  })

  /** Waking an interrupted fiber has no effect. */
  private readonly next = (): void => {
    for (const wake of this.waiting.splice(0, this.perTurn())) wake()
    if (this.waiting.length > 0) nextTurn(this.next)
  }
}
