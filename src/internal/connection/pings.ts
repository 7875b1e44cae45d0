/**
 * Pings and pongs (RFC 6455 §5.5.2, §5.5.3): which pings await a pong, and which
 * pong is owed.
 *
 * Only the connection and its keepalive touch this.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { equalBytes } from "#platform"
import { type ConnectionClosed, ControlPayloadTooLong, InvalidInput, TooManyPings } from "../../ConnectionError.ts"
import * as Frame from "../../Frame.ts"
import { failInvalid, pingPayloadOf } from "./input.ts"
import { controlToken, type SendQueue, type SendQueueHost } from "./sendQueue.ts"

/** A ping that awaits its pong. */
export interface PendingPing {
  readonly payload: Uint8Array
  /** The number of bytes that were sent before it. */
  readonly offset: number
  /** In milliseconds. */
  readonly sentAt: number
  /** Called with undefined when the pong arrives, or with how the connection ended. */
  readonly done: (closed: ConnectionClosed | undefined) => void
}

export type PingsHost = Pick<SendQueueHost, "metrics" | "timers" | "onObserved">

const encoder = new TextEncoder()

export class Pings {
  private readonly host: PingsHost
  private readonly sendQueue: SendQueue
  private readonly maxUnanswered: number
  /** The number of pings of the program that wait for the transport to drain or for their pongs. */
  private unanswered = 0
  private pending: Array<PendingPing> | undefined
  private count = 0
  /** The pong that waits for the transport to drain. Only the newest ping needs a pong (§5.5.3). */
  private pendingPong: Frame.Frame | undefined
  /** The bytes of the pings and pongs that were sent. */
  bytesOut = 0
  /** The number of sent bytes that the peer has certainly read: it has replied to a ping behind them. */
  bytesRead = 0

  constructor(host: PingsHost, sendQueue: SendQueue, maxUnanswered: number) {
    this.host = host
    this.sendQueue = sendQueue
    this.maxUnanswered = maxUnanswered
  }

  // -- pings of the program --------------------------------------------------

  /** Sends a ping with a payload that is unique in this connection, and returns the round-trip time. */
  ping(): Effect.Effect<Duration.Duration, ConnectionClosed | TooManyPings> {
    return Effect.suspend(() => this.measure(this.nextPayload()))
  }

  /** Sends a ping with a given payload, and returns the round-trip time. */
  pingWith(
    payload: string | Uint8Array
  ): Effect.Effect<Duration.Duration, ConnectionClosed | ControlPayloadTooLong | TooManyPings> {
    return Effect.suspend((): ReturnType<Pings["pingWith"]> => {
      const bytes = pingPayloadOf(payload)
      if (bytes instanceof InvalidInput) return failInvalid(bytes)
      return bytes.length > 125
        ? Effect.fail(new ControlPayloadTooLong({ opcode: Frame.Opcode.Ping, length: bytes.length }))
        : this.measure(bytes)
    })
  }

  private measure(payload: Uint8Array): Effect.Effect<Duration.Duration, ConnectionClosed | TooManyPings> {
    const turn = this.sendQueue.send(() => Effect.void, controlToken)
    return Effect.acquireUseRelease(
      Effect.suspend(() => this.acquireSlot()),
      () => Effect.flatMap(turn, () => Effect.map(Effect.timed(this.sendAndAwait(payload)), ([duration]) => duration)),
      () => Effect.sync(() => void this.unanswered--)
    )
  }

  /** Bounds the pings that wait, because a peer may never reply. */
  private acquireSlot(): Effect.Effect<void, TooManyPings> {
    // The reverse comparison would make NaN no limit.
    if (!(this.unanswered < this.maxUnanswered)) return Effect.fail(new TooManyPings({ limit: this.maxUnanswered }))
    this.unanswered++
    return Effect.void
  }

  private sendAndAwait(payload: Uint8Array): Effect.Effect<void, ConnectionClosed> {
    return Effect.callback((resume) => {
      if (this.sendQueue.closed !== undefined) return resume(this.sendQueue.failClosed())
      const ping = this.newPing(payload, (closed) => resume(closed === undefined ? Effect.void : Effect.fail(closed)))
      this.sendPing(ping)
      return Effect.sync(() => this.forget(ping))
    })
  }

  // -- all pings -------------------------------------------------------------

  nextPayload(): Uint8Array {
    return encoder.encode(`effect-ws ${++this.count}`)
  }

  newPing(payload: Uint8Array, done: PendingPing["done"]): PendingPing {
    return { payload, offset: this.sendQueue.bytesOut, sentAt: this.host.timers.now(), done }
  }

  /** Sends a ping and remembers it until its pong arrives or it is forgotten. */
  sendPing(ping: PendingPing): void {
    this.pending ??= []
    this.pending.push(ping)
    this.write(Frame.ping(ping.payload))
  }

  /** Does not wait for a pong any more. */
  forget(ping: PendingPing): void {
    if (this.pending !== undefined) this.keepPending(this.pending.filter((other) => other !== ping))
  }

  /** Keeps no empty list, because most connections are idle. */
  private keepPending(pending: Array<PendingPing>): void {
    this.pending = pending.length === 0 ? undefined : pending
  }

  /** A pong replies to its ping and to all pings before that one, because a peer may reply only to the newest. */
  onPong(payload: Uint8Array): void {
    if (this.pending === undefined) return
    const index = this.pending.findIndex((ping) => equalBytes(ping.payload, payload))
    if (index < 0) return
    const { offset, sentAt } = this.pending[index]
    this.host.metrics.pong(this.host.timers.now() - sentAt)
    this.bytesRead = Math.max(this.bytesRead, offset)
    const answered = this.pending.slice(0, index + 1)
    this.keepPending(this.pending.slice(index + 1))
    for (const ping of answered) ping.done(undefined)
  }

  // -- pongs -----------------------------------------------------------------

  /** Sends a pong at once. Above the high-water mark, it replaces the pong that waits. */
  pong(pong: Frame.Frame): void {
    if (this.sendQueue.overHighWaterMark) this.pendingPong = pong
    else this.write(pong)
  }

  /** The transport has drained. */
  onDrain(): void {
    const pong = this.pendingPong
    if (pong === undefined || this.sendQueue.closed !== undefined) return
    this.pendingPong = undefined
    this.pong(pong)
  }

  /** No further pongs arrive. */
  close(closed: ConnectionClosed): void {
    if (this.unanswered > 0) this.host.onObserved()
    for (const ping of this.pending?.splice(0) ?? []) ping.done(closed)
  }

  private write(frame: Frame.Frame): void {
    const before = this.sendQueue.bytesOut
    this.sendQueue.write(frame)
    this.bytesOut += this.sendQueue.bytesOut - before
  }
}
