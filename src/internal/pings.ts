/**
 * Pings and pongs (RFC 6455 §5.5.2, §5.5.3): which pings wait for an answer,
 * which pong is still owed, and the keepalive that is made of them.
 *
 * Only `Connection` touches this.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Buffer } from "node:buffer"
import { type ConnectionClosed, ControlPayloadTooLong, KeepaliveTimeout } from "../ConnectionError.ts"
import * as Frame from "../Frame.ts"
import { control, type Outbox } from "./outbox.ts"

interface PendingPing {
  readonly payload: Uint8Array
  readonly resume: (effect: Effect.Effect<void, ConnectionClosed>) => void
}

const encoder = new TextEncoder()

export class Pings {
  private readonly outbox: Outbox
  private pending: Array<PendingPing> = []
  private count = 0
  /** The pong that waits for room: only the newest ping has to be answered. */
  private owedPong: Frame.Frame | undefined

  constructor(outbox: Outbox) {
    this.outbox = outbox
  }

  /** Sends a ping with a payload of its own, when there is room, and answers how long the pong took. */
  ping(): Effect.Effect<Duration.Duration, ConnectionClosed> {
    return Effect.suspend(() => this.roundTrip(encoder.encode(`effect-ws ${++this.count}`)))
  }

  /** Sends a ping with a given payload. */
  pingWith(payload: string | Uint8Array): Effect.Effect<Duration.Duration, ConnectionClosed | ControlPayloadTooLong> {
    return Effect.suspend((): Effect.Effect<Duration.Duration, ConnectionClosed | ControlPayloadTooLong> => {
      const bytes = typeof payload === "string" ? encoder.encode(payload) : payload
      return bytes.length > 125
        ? Effect.fail(new ControlPayloadTooLong({ length: bytes.length }))
        : this.roundTrip(bytes)
    })
  }

  private roundTrip(payload: Uint8Array): Effect.Effect<Duration.Duration, ConnectionClosed> {
    const room = this.outbox.send(() => {}, control)
    return Effect.flatMap(room, () => Effect.map(Effect.timed(this.exchange(payload)), ([duration]) => duration))
  }

  private exchange(payload: Uint8Array): Effect.Effect<void, ConnectionClosed> {
    return Effect.callback((resume) => {
      if (this.outbox.closed !== undefined) return resume(Effect.fail(this.outbox.closed))
      const pending = { payload, resume }
      this.pending.push(pending)
      this.outbox.write(Frame.ping(payload))
      return Effect.sync(() => {
        this.pending = this.pending.filter((other) => other !== pending)
      })
    })
  }

  /** A pong came. It answers its ping and all before it, because a peer may answer only the newest. */
  answered(payload: Uint8Array): void {
    const index = this.pending.findIndex((ping) => Buffer.compare(ping.payload, payload) === 0)
    for (const ping of this.pending.splice(0, index + 1)) ping.resume(Effect.void)
  }

  /** A pong is owed. It is sent at once, or, when there is no room, in place of the one that waits. */
  pong(pong: Frame.Frame): void {
    if (this.outbox.congested) this.owedPong = pong
    else this.outbox.write(pong)
  }

  /** The transport has room again. */
  drained(): void {
    const pong = this.owedPong
    if (pong === undefined || this.outbox.closed !== undefined) return
    this.owedPong = undefined
    this.pong(pong)
  }

  /** No pong will come any more. */
  close(closed: ConnectionClosed): void {
    for (const ping of this.pending.splice(0)) ping.resume(Effect.fail(closed))
  }

  /**
   * Pings the peer each `interval`, and ends when it was silent for `timeout`
   * after one. `heard` counts what comes from it, whatever that is: a peer in
   * the middle of a long message is not silent. While `deaf`, this end reads
   * nothing, and cannot tell.
   */
  keepalive(
    interval: Duration.Duration,
    timeout: Duration.Duration,
    peer: { readonly heard: () => number; readonly deaf: () => boolean }
  ): Effect.Effect<KeepaliveTimeout, ConnectionClosed> {
    const alive = Effect.suspend(() => {
      const before = peer.heard()
      return Effect.map(
        Effect.timeoutOption(this.ping(), timeout),
        (answer) => Option.isSome(answer) || peer.deaf() || peer.heard() > before
      )
    })
    return Effect.map(
      Effect.repeat(Effect.delay(alive, interval), { while: (isAlive) => isAlive }),
      () => new KeepaliveTimeout({ duration: timeout })
    )
  }
}
