/**
 * The byte duplex under a connection: a Node stream, or a pair in memory for
 * tests.
 *
 * A transport is driven by callbacks and not by Effects, because it is on the
 * way of every byte. Whoever writes one keeps to the contract of `Transport`
 * and `Receiver`; whoever uses a `Connection` need not know of it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Buffer } from "node:buffer"
import type { Socket } from "node:net"
import type { Duplex } from "node:stream"
import { TransportError } from "./ConnectionError.ts"
import { assertValid, atLeast } from "./internal/runtime/optionChecks.ts"
import { readIntoSharedBuffer, sharedView } from "./internal/node/sharedReadBuffer.ts"
import { soon } from "./internal/runtime/turns.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * Who is told what a transport does. The transport calls one method at a time,
 * never while another runs, and nothing after `onClose`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Receiver {
  /** Bytes came. They are lent: a receiver that keeps them keeps a copy. */
  readonly onData: (chunk: Uint8Array) => void
  /** There is room again, after a `write` that answered false. */
  readonly onDrain: () => void
  /** The peer has ended its side: no more data will come. */
  readonly onEnd: () => void
  /** The transport is gone, with the error that broke it if there was one. */
  readonly onClose: (error: TransportError | undefined) => void
}

/**
 * A reliable, ordered stream of bytes in both directions, with an end to each.
 * None of its functions may throw, because connections share what calls them:
 * what goes wrong is told by `onClose`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Transport {
  /** Begins delivery. Called once; nothing is delivered before it returns. */
  readonly start: (receiver: Receiver) => void
  /**
   * Whether the next `write` gives its bytes to the system, or copies them,
   * before it returns. Only then does a connection write large payloads of the
   * program's without a copy. Default: it does not.
   */
  readonly immediate?: (() => boolean) | undefined
  /**
   * Writes bytes, in order, in as few writes to the system as it can. They must
   * not be changed after. False says that the transport is over its mark:
   * `onDrain` follows when it is not any more. Writes after the end are dropped.
   */
  readonly write: (chunks: ReadonlyArray<Uint8Array>) => boolean
  /** Holds delivery back, so that the peer is held back in turn. */
  readonly pause: () => void
  /** Goes on with delivery. */
  readonly resume: () => void
  /** Ends this side, after all that was written. */
  readonly end: () => void
  /** Cuts both sides at once. `onClose` follows. */
  readonly destroy: () => void
  /** The bytes that were written and have not left yet. */
  readonly bufferedAmount: () => number
}

/**
 * Service tag of `Transport`.
 *
 * @category services
 * @since 0.1.0
 */
export const Transport: Context.Service<Transport, Transport> = Context.Service<Transport>("effect-ws/Transport")

// -----------------------------------------------------------------------------
// Node streams
// -----------------------------------------------------------------------------

/**
 * A transport over a Node stream: a TCP or TLS socket, an HTTP/2 stream, or any
 * other Duplex of bytes. The stream's own high water mark decides when there is
 * no room. `head` holds bytes that were read from it already.
 *
 * **Example** (A connection over any Duplex)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Connection, Transport } from "effect-ws"
 * import type { Duplex } from "node:stream"
 *
 * const greet = (stream: Duplex) =>
 *   Effect.gen(function*() {
 *     const connection = yield* Connection.make(Transport.fromDuplex(stream), { role: "server" })
 *     yield* connection.send("hello")
 *   }).pipe(Effect.scoped)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromDuplex = (duplex: Duplex, head?: Uint8Array): Transport => new DuplexTransport(duplex, head)

/** Where a stream keeps the transport that is over it: listeners that find it there are shared by all. */
const transportOf = Symbol("effect-ws/transport")
type Carrier = Duplex & {
  [transportOf]?: DuplexTransport
  readonly connecting?: boolean
  // Of Node's own, and not in its documentation: they are only used where they are there.
  readonly _handle?: { readonly writeQueueSize?: number } | null
  readonly _writableState?: { readonly writelen?: number }
}

class DuplexTransport {
  private readonly duplex: Carrier
  private head: Uint8Array | undefined
  receiver: Receiver | undefined
  paused = false
  /** Whether the stream may have bytes that were read before it was shared, so that what is read comes behind them. */
  behind = true
  private closed = false
  /** Tells what the stream had before it was started, and does not tell any more. */
  private tellRest: (() => void) | undefined
  /** What broke the stream. It comes before the close that ends everything; more may come when nobody expects any. */
  error: TransportError | undefined

  constructor(duplex: Duplex, head: Uint8Array | undefined) {
    this.duplex = duplex
    this.head = head
  }

  start(receiver: Receiver): void {
    const { duplex, head } = this
    const { destroyed, readableEnded } = duplex
    this.receiver = receiver
    this.head = undefined
    duplex[transportOf] = this
    duplex.on("error", onError)
    duplex.on("close", onClose)
    // The peer has ended its side while nobody listened; or the stream is about to tell of its close, or has done so.
    if (destroyed || readableEnded) {
      this.tellRest = () => {
        this.tellRest = undefined
        if (head !== undefined && head.length > 0) receiver.onData(head)
        if (readableEnded) receiver.onEnd()
      }
      soon(() => {
        this.tellRest?.()
        if (destroyed) this.close()
      })
    } else if (head !== undefined && head.length > 0) duplex.unshift(head)
    // What it has not told yet comes behind the head, and some of that may be gone with it.
    if (destroyed) return
    readIntoSharedBuffer(duplex, onRead)
    duplex.on("data", onData)
    // Whoever had paused it did so until now; and what it has read already comes before what it reads from here on.
    duplex.resume()
    duplex.on("drain", onDrain)
    duplex.on("end", onEnd)
    if (isSocket(duplex)) {
      duplex.setTimeout(0)
      duplex.setNoDelay(true)
    }
  }

  /** The stream is gone: that is told once, with what broke it. */
  close(): void {
    if (this.closed) return
    // Node's ticks may come before the microtask that was to do it.
    this.tellRest?.()
    this.closed = true
    const { errored } = this.duplex
    if (errored) this.fail(errored)
    this.receiver!.onClose(this.error)
  }

  fail(cause: NodeJS.ErrnoException): void {
    this.error ??= new TransportError({ code: cause.code, cause })
  }

  write(chunks: ReadonlyArray<Uint8Array>): boolean {
    const { duplex } = this
    if (!duplex.writable) return false
    try {
      if (chunks.length === 1) return duplex.write(chunks[0])
      duplex.cork()
      let room = true
      for (const chunk of chunks) room = duplex.write(chunk)
      duplex.uncork()
      return room
    } catch (cause) {
      // A stream of the program's own may throw, and others are written to in this turn too.
      duplex.destroy(cause as Error)
      return false
    }
  }

  /** A socket with nothing to write hands over what it is given; otherwise, and in other streams, it is kept as a view. */
  immediate(): boolean {
    const { duplex } = this
    return isSocket(duplex) && duplex.writableLength === 0 && !duplex.connecting
  }

  pause(): void {
    this.paused = true
    this.duplex.pause()
  }

  resume(): void {
    this.paused = false
    this.duplex.resume()
  }

  end(): void {
    if (!this.duplex.writableEnded) this.duplex.end()
  }

  destroy(): void {
    this.duplex.destroy()
  }

  bufferedAmount(): number {
    const { _handle: handle, _writableState: state, connecting, writableLength } = this.duplex
    // Node counts a write until all of it has left; how much of it has, the handle of a socket knows.
    return connecting === true || handle?.writeQueueSize === undefined || state?.writelen === undefined
      ? writableLength
      : Math.min(writableLength, writableLength - state.writelen + handle.writeQueueSize)
  }
}

function onError(this: Carrier, cause: NodeJS.ErrnoException): void {
  this[transportOf]!.fail(cause)
}

function onData(this: Carrier, chunk: Uint8Array): void {
  this[transportOf]!.receiver!.onData(chunk)
}

/** As the callback of `onread`, on a socket that can have it. */
function onRead(this: Carrier, size: number): boolean {
  const transport = this[transportOf]!
  if (transport.behind && (transport.behind = this.readableLength > 0)) this.push(sharedView(size).slice())
  else transport.receiver!.onData(sharedView(size))
  // Node may have begun to read for the stream, which it takes to be in use.
  return !transport.paused
}

function onDrain(this: Carrier): void {
  this[transportOf]!.receiver!.onDrain()
}

function onEnd(this: Carrier): void {
  this[transportOf]!.receiver!.onEnd()
}

function onClose(this: Carrier): void {
  this[transportOf]!.close()
}

const isSocket = (duplex: Duplex): duplex is Socket => "setNoDelay" in duplex && "setTimeout" in duplex

/**
 * Provides a Node stream as the transport.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerDuplex = (duplex: Duplex, head?: Uint8Array): Layer.Layer<Transport> =>
  Layer.sync(Transport, () => fromDuplex(duplex, head))

// -----------------------------------------------------------------------------
// In memory
// -----------------------------------------------------------------------------

/**
 * Options of an in-memory pair.
 *
 * @category options
 * @since 0.1.0
 */
export interface PairOptions {
  /** How many bytes may be on their way before `write` answers false. Default 16 KiB. 1 or more, or Infinity. */
  readonly highWaterMark?: number | undefined
}

/**
 * Two transports, each other's peer, for tests without a network. What one
 * writes is delivered to the other in a later microtask, one chunk a write.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makePair = (
  options?: PairOptions
): Effect.Effect<readonly [Transport, Transport]> =>
  Effect.sync(() => {
    assertValid(atLeast(1, "highWaterMark", options?.highWaterMark))
    const highWaterMark = options?.highWaterMark ?? 16 * 1024
    const left = new MemoryEnd(highWaterMark)
    const right = new MemoryEnd(highWaterMark)
    left.peer = right
    right.peer = left
    return [left.transport, right.transport]
  })

class MemoryEnd {
  peer!: MemoryEnd
  private readonly highWaterMark: number
  private receiver: Receiver | undefined
  /** What the peer wrote and this end was not given yet. */
  private inbound: Array<Uint8Array> = []
  private inboundBytes = 0
  private peerWaits = false
  private paused = false
  private ended = false
  private endDelivered = false
  private closed = false
  private scheduled = false

  constructor(highWaterMark: number) {
    this.highWaterMark = highWaterMark
  }

  readonly transport: Transport = {
    start: (receiver) => {
      this.receiver = receiver
      this.schedule()
    },
    immediate: () => true,
    write: (chunks) => {
      if (this.ended || this.closed) return false
      if (this.peer.closed) {
        this.close(new TransportError({ code: "EPIPE", cause: new Error("write EPIPE") }))
        return false
      }
      return this.peer.accept(chunks)
    },
    pause: () => {
      this.paused = true
    },
    resume: () => {
      this.paused = false
      this.schedule()
    },
    end: () => {
      this.ended = true
      this.peer.schedule()
      this.schedule()
    },
    destroy: () => this.close(undefined),
    bufferedAmount: () => this.peer.inboundBytes
  }

  private accept(chunks: ReadonlyArray<Uint8Array>): boolean {
    // Joined, as one write to a socket would be.
    const chunk = Buffer.concat(chunks)
    this.inbound.push(chunk)
    this.inboundBytes += chunk.length
    this.schedule()
    if (this.inboundBytes < this.highWaterMark) return true
    this.peerWaits = true
    return false
  }

  private close(error: TransportError | undefined): void {
    if (this.closed) return
    this.closed = true
    this.ended = true
    this.inbound = []
    this.inboundBytes = 0
    this.peer.schedule()
    soon(() => this.receiver?.onClose(error))
  }

  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    soon(() => {
      this.scheduled = false
      this.deliver()
    })
  }

  private deliver(): void {
    const { receiver } = this
    if (receiver === undefined || this.closed) return
    if (!this.paused && this.inbound.length > 0) {
      const chunk = this.inbound.shift()!
      this.inboundBytes -= chunk.length
      receiver.onData(chunk)
      // As the next read of a socket would: whoever wanted to keep it has a copy.
      chunk.fill(0)
      if (this.inboundBytes === 0 && this.peerWaits) {
        this.peerWaits = false
        this.peer.drained()
      }
      this.schedule()
      return
    }
    if (this.inbound.length === 0 && this.peer.ended && !this.endDelivered) {
      this.endDelivered = true
      receiver.onEnd()
    }
    if (this.ended && this.endDelivered && this.peer.inbound.length === 0) this.close(undefined)
  }

  private drained(): void {
    if (!this.closed) this.receiver?.onDrain()
  }
}
