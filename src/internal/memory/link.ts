/** A TCP connection in memory, over a network with the conditions that a test sets. */
import * as Duration from "effect/Duration"
import { TransportError } from "../../ConnectionError.ts"
import type { Conditions, LinkOptions } from "../../Testing.ts"
import type { Receiver, Transport } from "../../Transport.ts"
import { assertValid, atLeast, type Checked, nonNegativeDuration } from "../runtime/optionChecks.ts"
import type { Timer, Timers } from "../runtime/timers.ts"
import { makeMemoryPair } from "./memoryTransport.ts"

const checkConditions = ({ chunkSize, latency, resetAfterBytes }: Conditions): Checked =>
  nonNegativeDuration("latency", latency) ?? atLeast(1, "chunkSize", chunkSize) ??
    atLeast(0, "resetAfterBytes", resetAfterBytes)

const defaultHighWaterMark = 16 * 1024

export class MemoryLink {
  readonly client: LinkEnd
  readonly server: LinkEnd
  private readonly toServer: Direction
  private readonly toClient: Direction
  isBlackhole = false

  constructor(timers: Timers, { highWaterMark = defaultHighWaterMark, toClient, toServer }: LinkOptions) {
    assertValid(
      atLeast(1, "highWaterMark", highWaterMark) ?? checkConditions(toServer ?? {}) ?? checkConditions(toClient ?? {})
    )
    const [client, nearClient] = makeMemoryPair(highWaterMark)
    const [server, nearServer] = makeMemoryPair(highWaterMark)
    this.client = new LinkEnd(client, () => this.toClient.drained())
    this.server = new LinkEnd(server, () => this.toServer.drained())
    this.toServer = new Direction(timers, nearClient, nearServer, toServer, () => this.client.reset())
    this.toClient = new Direction(timers, nearServer, nearClient, toClient, () => this.server.reset())
    nearClient.start(this.toServer.receiver(this.toClient))
    nearServer.start(this.toClient.receiver(this.toServer))
  }

  /** Drops everything from now on, without a notice to either end. */
  blackhole(): void {
    this.isBlackhole = true
    this.toServer.dropping = true
    this.toClient.dropping = true
  }

  /** Resets both ends. */
  reset(): void {
    this.blackhole()
    this.client.reset()
    this.server.reset()
  }

  /** Ends the conditions that would delay the end of a connection: nothing advances the clock while a Scope closes. */
  release(): void {
    if (this.isBlackhole) this.reset()
    this.toServer.deliverAll()
    this.toClient.deliverAll()
  }
}

/** An end of a link: one of an in-memory pair, which can also be reset. */
class LinkEnd implements Transport {
  private readonly inner: Transport
  private readonly onDestroy: () => void
  private error: TransportError | undefined

  constructor(inner: Transport, onDestroy: () => void) {
    this.inner = inner
    this.onDestroy = onDestroy
  }

  readonly immediate = (): boolean => this.inner.immediate?.() === true
  readonly write = (chunks: ReadonlyArray<Uint8Array>): boolean => this.inner.write(chunks)
  readonly pause = (): void => this.inner.pause()
  readonly resume = (): void => this.inner.resume()
  readonly end = (): void => this.inner.end()
  readonly bufferedAmount = (): number => this.inner.bufferedAmount()

  readonly start = (receiver: Receiver): void =>
    this.inner.start({
      onData: (chunk) => receiver.onData(chunk),
      onDrain: () => receiver.onDrain(),
      onEnd: () => receiver.onEnd(),
      onClose: (error) => receiver.onClose(this.error ?? error)
    })

  /** Unread bytes of a destroyed end must not delay what follows them. */
  readonly destroy = (): void => {
    this.inner.destroy()
    this.onDestroy()
  }

  reset(): void {
    this.error ??= new TransportError({ code: "ECONNRESET", cause: new Error("read ECONNRESET") })
    this.inner.destroy()
  }
}

/** One direction of a link: from the near side of one pair to the near side of the other. */
class Direction {
  private readonly timers: Timers
  private readonly from: Transport
  private readonly to: Transport
  private latency: number
  private readonly chunkSize: number
  private remainingBytes: number
  private readonly resetSender: () => void
  dropping = false
  /** The deliveries that `latency` delays, in order. */
  private readonly inFlight: Array<{ readonly at: number; readonly deliver: () => void }> = []
  private timer: Timer | undefined

  constructor(
    timers: Timers,
    from: Transport,
    to: Transport,
    { chunkSize, latency, resetAfterBytes }: Conditions = {},
    resetSender: () => void
  ) {
    this.timers = timers
    this.from = from
    this.to = to
    this.latency = Duration.toMillis(latency ?? 0)
    this.chunkSize = chunkSize ?? Number.POSITIVE_INFINITY
    this.remainingBytes = resetAfterBytes ?? Number.POSITIVE_INFINITY
    this.resetSender = resetSender
  }

  /** Receives the events of `from`. A drain of `from` is one of the other direction, which writes to it. */
  receiver(back: Direction): Receiver {
    return {
      onData: (chunk) => {
        const copy = Uint8Array.from(chunk)
        this.delay(() => this.forward(copy))
      },
      onDrain: () => back.drained(),
      onEnd: () => this.delay(() => this.to.end()),
      onClose: () => this.delay(() => this.to.destroy())
    }
  }

  /** The next hop has room again. */
  drained(): void {
    this.from.resume()
  }

  private delay(deliver: () => void): void {
    if (this.latency === 0) return this.deliver(deliver)
    this.inFlight.push({ at: this.timers.now() + this.latency, deliver })
    if (this.inFlight.length === 1) this.scheduleFirst()
  }

  /** Delivers what is in flight, and from now on without latency. */
  deliverAll(): void {
    this.latency = 0
    this.timers.cancel(this.timer)
    for (const { deliver } of this.inFlight.splice(0)) this.deliver(deliver)
  }

  private scheduleFirst(): void {
    this.timer = this.timers.schedule(this.inFlight[0].at - this.timers.now(), () => {
      this.deliver(this.inFlight.shift()!.deliver)
      if (this.inFlight.length > 0) this.scheduleFirst()
    })
  }

  private deliver(deliver: () => void): void {
    if (!this.dropping) deliver()
  }

  private forward(chunk: Uint8Array): void {
    const bytes = chunk.subarray(0, this.remainingBytes)
    this.remainingBytes -= bytes.length
    let hasRoom = true
    for (let at = 0; at < bytes.length; at += this.chunkSize) {
      hasRoom = this.to.write([bytes.subarray(at, at + this.chunkSize)])
    }
    if (this.remainingBytes === 0) {
      this.dropping = true
      this.to.end()
      this.resetSender()
    } else if (!hasRoom) this.from.pause()
  }
}
