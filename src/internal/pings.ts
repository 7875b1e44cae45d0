/**
 * Pings and pongs (RFC 6455 §5.5.2, §5.5.3): which pings wait for an answer,
 * which pong is still owed, and the keepalive that is made of them.
 *
 * Only `Connection` touches this.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { Buffer } from "node:buffer"
import { type ConnectionClosed, ControlPayloadTooLong, KeepaliveTimeout, TooManyPings } from "../ConnectionError.ts"
import * as Frame from "../Frame.ts"
import { control, type Outbox } from "./outbox.ts"
import type { Timer } from "./timers.ts"
import { watch } from "./watch.ts"

interface PendingPing {
  readonly payload: Uint8Array
  /** When it was sent, in milliseconds. */
  readonly sentAt: number
  /** The pong has come, or will not come any more. */
  readonly done: (closed: ConnectionClosed | undefined) => void
}

/** What the keepalive wants to know of the peer, and whom it tells that the peer is silent. */
export interface Watched {
  /** The bytes that have come from it, whatever they are. */
  readonly bytesIn: number
  /** Whether this end reads nothing at the moment, so that it cannot tell. */
  readonly paused: boolean
  readonly onSilent: (timeout: KeepaliveTimeout) => void
}

const encoder = new TextEncoder()

/** The golden ratio's fraction: its multiples, without what is before the point, keep away from each other. */
const golden = 0.618033988749895
let started = 0

/** Where in its interval a keepalive begins, so that those of connections that came together do not stay together. */
const jitter = (): number => (++started * golden) % 1

export class Pings {
  private readonly outbox: Outbox
  private readonly maxUnanswered: number
  /** How many pings of the program's wait, for room or for their pongs. */
  private unanswered = 0
  private pending: Array<PendingPing> | undefined
  private count = 0
  /** The pong that waits for room: only the newest ping has to be answered. */
  private owedPong: Frame.Frame | undefined
  /** What pings and pongs have added to the bytes that were sent. */
  bytesOut = 0

  constructor(outbox: Outbox, maxUnanswered: number) {
    this.outbox = outbox
    this.maxUnanswered = maxUnanswered
  }

  /** Sends a ping with a payload of its own, when there is room, and answers how long the pong took. */
  ping(): Effect.Effect<Duration.Duration, ConnectionClosed | TooManyPings> {
    return Effect.suspend(() => this.roundTrip(this.nextPayload()))
  }

  /** Sends a ping with a given payload. */
  pingWith(
    payload: string | Uint8Array
  ): Effect.Effect<Duration.Duration, ConnectionClosed | ControlPayloadTooLong | TooManyPings> {
    return Effect.suspend((): ReturnType<Pings["pingWith"]> => {
      const bytes = typeof payload === "string" ? encoder.encode(payload) : payload
      return bytes.length > 125
        ? Effect.fail(new ControlPayloadTooLong({ length: bytes.length }))
        : this.roundTrip(bytes)
    })
  }

  private roundTrip(payload: Uint8Array): Effect.Effect<Duration.Duration, ConnectionClosed | TooManyPings> {
    const room = this.outbox.send(() => Effect.void, control)
    return Effect.acquireUseRelease(
      Effect.suspend(() => this.enter()),
      () => Effect.flatMap(room, () => Effect.map(Effect.timed(this.exchange(payload)), ([duration]) => duration)),
      () => Effect.sync(() => void this.unanswered--)
    )
  }

  /** Whoever waits costs something, and may wait for ever: there are only so many of them. */
  private enter(): Effect.Effect<void, TooManyPings> {
    // The other way round, NaN would be no limit.
    if (!(this.unanswered < this.maxUnanswered)) return Effect.fail(new TooManyPings({ limit: this.maxUnanswered }))
    this.unanswered++
    return Effect.void
  }

  private exchange(payload: Uint8Array): Effect.Effect<void, ConnectionClosed> {
    return Effect.callback((resume) => {
      if (this.outbox.closed !== undefined) return resume(Effect.fail(this.outbox.closed))
      const ping: PendingPing = {
        payload,
        sentAt: this.outbox.owner.timers.now(),
        done: (closed) => resume(closed === undefined ? Effect.void : Effect.fail(closed))
      }
      this.write(ping)
      return Effect.sync(() => this.forget(ping))
    })
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
  answered(payload: Uint8Array): void {
    if (this.pending === undefined) return
    const index = this.pending.findIndex((ping) => Buffer.compare(ping.payload, payload) === 0)
    if (index < 0) return
    const { meter, timers } = this.outbox.owner
    meter.pong(timers.now() - this.pending[index].sentAt)
    for (const ping of this.pending.splice(0, index + 1)) ping.done(undefined)
  }

  /** A pong is owed. It is sent at once, or, when there is no room, in place of the one that waits. */
  pong(pong: Frame.Frame): void {
    if (this.outbox.congested) this.owedPong = pong
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
    const pong = this.owedPong
    this.owedPong = undefined
    if (pong !== undefined) this.pong(pong)
    if (this.keepaliveOwed) this.sendKeepalive()
  }

  /** No pong will come any more. */
  close(closed: ConnectionClosed): void {
    for (const ping of this.pending?.splice(0) ?? []) ping.done(closed)
  }

  // -- keepalive -------------------------------------------------------------

  private timer: Timer | undefined
  private interval = 0
  private timeout = 0
  private watched: Watched | undefined
  private stopWatch: (() => void) | undefined
  /** Whether the ping still waits for room. */
  private keepaliveOwed = false
  /** The ping that waits for its pong. */
  private keepalivePing: PendingPing | undefined

  /**
   * Pings the peer each `interval`, and tells when it was silent for `timeout`
   * after one; both in milliseconds. Whatever comes from the peer is a sign of
   * life: in the middle of a long message its pong has to wait. And so it is
   * when the peer takes what is before the ping, which has to wait then.
   */
  keepalive(interval: number, timeout: number, watched: Watched): void {
    this.interval = interval
    this.timeout = timeout
    this.watched = watched
    this.timer = this.outbox.owner.timers.schedule(interval * (1 - jitter() / 2), () => this.pingIsDue())
  }

  private rest(): void {
    this.stopKeepalive()
    this.timer = this.outbox.owner.timers.schedule(this.interval, () => this.pingIsDue())
  }

  private pingIsDue(): void {
    const watched = this.watched!
    const heard = watched.bytesIn
    const left = this.outbox.bytesLeft
    this.stopWatch = watch(this.outbox.owner.timers, this.timeout, {
      quiet: () =>
        !watched.paused && watched.bytesIn === heard &&
        (this.outbox.bufferedAmount === 0 || this.outbox.bytesLeft === left),
      condemn: () => watched.onSilent(new KeepaliveTimeout({ duration: Duration.millis(this.timeout) })),
      acquit: () => this.rest()
    })
    if (this.outbox.congested) this.keepaliveOwed = true
    else this.sendKeepalive()
  }

  private sendKeepalive(): void {
    this.keepaliveOwed = false
    this.keepalivePing = {
      payload: this.nextPayload(),
      sentAt: this.outbox.owner.timers.now(),
      done: (closed) => {
        if (closed === undefined) this.rest()
      }
    }
    this.write(this.keepalivePing)
  }

  /** No further pings are sent, and silence means nothing any more. */
  stopKeepalive(): void {
    this.outbox.owner.timers.cancel(this.timer)
    this.stopWatch?.()
    this.stopWatch = undefined
    this.keepaliveOwed = false
    if (this.keepalivePing !== undefined) this.forget(this.keepalivePing)
    this.keepalivePing = undefined
  }
}
