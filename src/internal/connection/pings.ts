/**
 * Pings and pongs (RFC 6455 §5.5.2, §5.5.3): which pings wait for an answer,
 * which pong is still owed, and the keepalive that is made of them.
 *
 * Only `Connection` touches this.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { Buffer } from "node:buffer"
import {
  type ConnectionClosed,
  ControlPayloadTooLong,
  InvalidInput,
  KeepaliveTimeout,
  TooManyPings
} from "../../ConnectionError.ts"
import * as Frame from "../../Frame.ts"
import { failInvalid, pingPayloadOf } from "./input.ts"
import { controlToken, type SendQueue } from "./sendQueue.ts"
import type { Timer } from "../runtime/timers.ts"
import { watchInactivity } from "./inactivity.ts"

interface PendingPing {
  readonly payload: Uint8Array
  /** How many bytes were sent before it. */
  readonly at: number
  /** When it was sent, in milliseconds. */
  readonly sentAt: number
  /** The pong has come, or will not come any more. */
  readonly done: (closed: ConnectionClosed | undefined) => void
}

/** What the keepalive wants to know of the peer, and whom it tells that the peer is silent. */
export interface KeepaliveTarget {
  /** The bytes that have come from it, whatever they are. */
  readonly bytesIn: number
  /** Whether this end reads nothing at the moment, so that it cannot tell. */
  readonly paused: boolean
  readonly onKeepaliveTimeout: (timeout: KeepaliveTimeout) => void
}

/** The slowest reader that the keepalive puts up with, in bytes per second. */
const slowest = 8 * 1024

/** The most that stands between two processes and is in neither of them: in Linux 4 MiB of the sender's and 6 of the receiver's. */
const mostInKernels = 16 * 1024 * 1024

/**
 * How long a ping may wait behind bytes that the peer may not have read yet, in
 * milliseconds. Node cannot tell how much of them the kernels still hold.
 */
const timeToRead = (bytes: number): number => Math.ceil(Math.min(bytes, mostInKernels) * 1000 / slowest)

const encoder = new TextEncoder()

export class Pings {
  private readonly outbox: SendQueue
  private readonly maxUnanswered: number
  /** How many pings of the program's wait, for room or for their pongs. */
  private unanswered = 0
  private pending: Array<PendingPing> | undefined
  private count = 0
  /** The pong that waits for room: only the newest ping has to be answered. */
  private pendingPong: Frame.Frame | undefined
  /** What pings and pongs have added to the bytes that were sent. */
  bytesOut = 0
  /** How many of the bytes that were sent the peer has certainly read: it has answered a ping behind them. */
  private bytesRead = 0

  constructor(outbox: SendQueue, maxUnanswered: number) {
    this.outbox = outbox
    this.maxUnanswered = maxUnanswered
  }

  /** Sends a ping with a payload of its own, when there is room, and answers how long the pong took. */
  ping(): Effect.Effect<Duration.Duration, ConnectionClosed | TooManyPings> {
    return Effect.suspend(() => this.measure(this.nextPayload()))
  }

  /** Sends a ping with a given payload. */
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
    const room = this.outbox.send(() => Effect.void, controlToken)
    return Effect.acquireUseRelease(
      Effect.suspend(() => this.acquireSlot()),
      () => Effect.flatMap(room, () => Effect.map(Effect.timed(this.sendAndAwait(payload)), ([duration]) => duration)),
      () => Effect.sync(() => void this.unanswered--)
    )
  }

  /** Whoever waits costs something, and may wait for ever: there are only so many of them. */
  private acquireSlot(): Effect.Effect<void, TooManyPings> {
    // The other way round, NaN would be no limit.
    if (!(this.unanswered < this.maxUnanswered)) return Effect.fail(new TooManyPings({ limit: this.maxUnanswered }))
    this.unanswered++
    return Effect.void
  }

  private sendAndAwait(payload: Uint8Array): Effect.Effect<void, ConnectionClosed> {
    return Effect.callback((resume) => {
      if (this.outbox.closed !== undefined) return resume(this.outbox.failClosed())
      const ping = this.newPing(
        payload,
        (closed) => resume(closed === undefined ? Effect.void : Effect.fail(closed))
      )
      this.write(ping)
      return Effect.sync(() => this.forget(ping))
    })
  }

  private newPing(payload: Uint8Array, done: PendingPing["done"]): PendingPing {
    return { payload, at: this.outbox.bytesOut, sentAt: this.outbox.owner.timers.now(), done }
  }

  private forget(ping: PendingPing): void {
    this.pending = this.pending?.filter((other) => other !== ping)
  }

  private write(ping: PendingPing): void {
    this.pending ??= []
    this.pending.push(ping)
    this.send(Frame.ping(ping.payload))
  }

  private nextPayload(): Uint8Array {
    return encoder.encode(`effect-ws ${++this.count}`)
  }

  /** A pong came. It answers its ping and all before it, because a peer may answer only the newest. */
  onPong(payload: Uint8Array): void {
    if (this.pending === undefined) return
    const index = this.pending.findIndex((ping) => Buffer.compare(ping.payload, payload) === 0)
    if (index < 0) return
    const { meter, timers } = this.outbox.owner
    const { at, sentAt } = this.pending[index]
    meter.pong(timers.now() - sentAt)
    this.bytesRead = Math.max(this.bytesRead, at)
    for (const ping of this.pending.splice(0, index + 1)) ping.done(undefined)
  }

  /** A pong is owed. It is sent at once, or, when there is no room, in place of the one that waits. */
  pong(pong: Frame.Frame): void {
    if (this.outbox.overHighWaterMark) this.pendingPong = pong
    else this.send(pong)
  }

  private send(frame: Frame.Frame): void {
    const before = this.outbox.bytesOut
    this.outbox.write(frame)
    this.bytesOut += this.outbox.bytesOut - before
  }

  /** The transport has room again. */
  drained(): void {
    if (this.outbox.closed !== undefined) return
    const pong = this.pendingPong
    this.pendingPong = undefined
    if (pong !== undefined) this.pong(pong)
    if (this.keepaliveOwed) this.sendKeepalive()
  }

  /** No pong will come any more. */
  close(closed: ConnectionClosed): void {
    if (this.unanswered > 0) this.outbox.owner.onTold()
    for (const ping of this.pending?.splice(0) ?? []) ping.done(closed)
  }

  // -- keepalive -------------------------------------------------------------

  private timer: Timer | undefined
  private interval = 0
  private timeout = 0
  private watched: KeepaliveTarget | undefined
  private stopWatch: (() => void) | undefined
  /** Whether the ping still waits for room. */
  private keepaliveOwed = false
  /** The newest ping, until its pong comes or the next ping is sent: a pong that comes late still says what was read. */
  private keepalivePing: PendingPing | undefined

  /**
   * Pings the peer each `interval`, and calls `onSilent` when it was silent for
   * `timeout` after one; both in milliseconds. Any bytes that come from the peer
   * are a sign of life: in the middle of a long message its pong has to wait.
   */
  keepalive(interval: number, timeout: number, watched: KeepaliveTarget): void {
    this.interval = interval
    this.timeout = timeout
    this.watched = watched
    const { timers } = this.outbox.owner
    this.timer = timers.schedule(interval * (1 - timers.nextPhase() / 2), () => this.onInterval())
  }

  private scheduleNext(): void {
    this.stopWaiting()
    this.timer = this.outbox.owner.timers.schedule(this.interval, () => this.onInterval())
  }

  private onInterval(): void {
    this.forgetKeepalive()
    if (this.outbox.overHighWaterMark) {
      this.keepaliveOwed = true
      this.watchSilence()
    } else this.sendKeepalive()
  }

  private sendKeepalive(): void {
    this.keepaliveOwed = false
    this.keepalivePing = this.newPing(this.nextPayload(), (closed) => {
      if (closed === undefined) this.scheduleNext()
    })
    this.watchSilence()
    this.write(this.keepalivePing)
  }

  /**
   * Waits for a sign of life. Until the ping has left this process, that is also
   * that the peer takes what stands before it. Later it is not: what leaves then
   * may only go into the buffers of the kernel.
   */
  private watchSilence(): void {
    const watched = this.watched!
    const { bytesIn } = watched
    const { bytesFlushed } = this.outbox
    const ping = this.keepalivePing
    const before = ping?.at ?? this.outbox.bytesOut
    const duration = this.timeout + timeToRead(before - this.bytesRead)
    const hasLeft = () => ping !== undefined && this.outbox.bytesFlushed > ping.at
    this.stopWatch?.()
    this.stopWatch = watchInactivity(this.outbox.owner.timers, duration, {
      isInactive: () =>
        !watched.paused && watched.bytesIn === bytesIn && (hasLeft() || this.outbox.bytesFlushed === bytesFlushed),
      onTimeout: () => watched.onKeepaliveTimeout(new KeepaliveTimeout({ duration: Duration.millis(duration) })),
      onActivity: () => this.scheduleNext()
    })
  }

  /** No further pings are sent, and silence means nothing any more. */
  stopKeepalive(): void {
    this.stopWaiting()
    this.forgetKeepalive()
  }

  private stopWaiting(): void {
    this.outbox.owner.timers.cancel(this.timer)
    this.stopWatch?.()
    this.stopWatch = undefined
    this.keepaliveOwed = false
  }

  private forgetKeepalive(): void {
    if (this.keepalivePing !== undefined) this.forget(this.keepalivePing)
    this.keepalivePing = undefined
  }
}
