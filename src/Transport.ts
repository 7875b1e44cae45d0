/**
 * The byte stream under a connection: a Node stream, or a pair in memory for
 * tests.
 *
 * A transport uses callbacks instead of Effects, because each byte passes through
 * it. An implementation must keep the contracts of `Transport` and `Receiver`.
 * Programs that use a `Connection` do not need this module.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Duplex } from "node:stream"
import type { TransportError } from "./ConnectionError.ts"
import { makeMemoryPair } from "./internal/memory/memoryTransport.ts"
import { assertValid, atLeast } from "./internal/runtime/optionChecks.ts"
import { DuplexTransport } from "./internal/streams/duplexTransport.ts"
import { Http2StreamTransport, isHttp2Stream } from "./internal/streams/http2StreamTransport.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * Receives the events of a transport. The transport calls no method while another
 * one runs, and none after `onClose`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Receiver {
  /** Bytes were read. They are lent: they may change once this returns, so a receiver copies what it keeps. */
  readonly onData: (chunk: Uint8Array) => void
  /** The transport is below its high-water mark again, after a `write` that returned false. */
  readonly onDrain: () => void
  /** The peer has ended its side: no more data follows. */
  readonly onEnd: () => void
  /** The transport is closed, with the error that closed it, if there was one. */
  readonly onClose: (error: TransportError | undefined) => void
}

/**
 * A reliable, ordered stream of bytes in each direction. Each side can end
 * separately. No function may throw, because the caller may go on with other
 * connections: a transport reports its failure with `onClose`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Transport {
  /** Starts delivery to a receiver. It is called once, and delivers nothing before it returns. */
  readonly start: (receiver: Receiver) => void
  /**
   * Returns whether the next `write` hands its bytes to the system, or copies
   * them, before it returns. If so, a connection writes large payloads of the
   * program without a copy. If absent, it copies them.
   */
  readonly immediate?: (() => boolean) | undefined
  /**
   * Returns whether the first bytes of a turn may leave in a write of their own if
   * the process was idle, so that the peer does not wait for the rest. If absent, all
   * bytes of a turn leave in one write.
   */
  readonly eager?: (() => boolean) | undefined
  /**
   * Whether the transport shares its TCP connection with others, as an HTTP/2 stream
   * does. Then a client ends its side as soon as the closing handshake is complete.
   * Otherwise it leaves the first end to the server, so that the server's end of the
   * TCP connection stays in TIME_WAIT (RFC 6455 §7.1.1). If absent, false.
   */
  readonly isMultiplexed?: boolean | undefined
  /**
   * Writes bytes, in order, in as few writes to the system as possible. The caller
   * does not change them afterwards. Returns false if the transport is above its
   * high-water mark; `onDrain` follows. Bytes after `end` are dropped.
   */
  readonly write: (chunks: ReadonlyArray<Uint8Array>) => boolean
  /** Pauses delivery, so that backpressure reaches the peer. */
  readonly pause: () => void
  /** Resumes delivery. */
  readonly resume: () => void
  /** Ends this side, after the bytes that were written. */
  readonly end: () => void
  /** Closes both sides at once. `onClose` follows. */
  readonly destroy: () => void
  /** Returns the number of bytes that were written and have not left the process. */
  readonly bufferedAmount: () => number
}

/**
 * Service tag of `Transport`.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export const Transport: Context.Service<Transport, Transport> = Context.Service<Transport>("effect-ws/Transport")

// -----------------------------------------------------------------------------
// Node streams
// -----------------------------------------------------------------------------

/**
 * A transport over a Node stream: a TCP or TLS socket, an HTTP/2 stream, or any
 * other Duplex of bytes. It uses the high-water mark of the stream. `head` is
 * bytes that were already read from the stream.
 *
 * On an HTTP/2 stream, END_STREAM is the end of a side (RFC 8441 §5), and `destroy`
 * sends RST_STREAM: with NO_ERROR after END_STREAM, with CANCEL before. A reset by
 * the peer, or the loss of the session, before the peer's END_STREAM is a
 * `TransportError`; its code is ECONNRESET, or Node's for other HTTP/2 errors.
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
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const fromDuplex = (duplex: Duplex, head?: Uint8Array): Transport =>
  isHttp2Stream(duplex) ? new Http2StreamTransport(duplex, head) : new DuplexTransport(duplex, head)

/**
 * Provides a transport over a Node stream.
 *
 * @stability unstable
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
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface PairOptions {
  /** The number of undelivered bytes from which on `write` returns false. Default 16 KiB. 1 or more, or Infinity. */
  readonly highWaterMark?: number | undefined
}

/**
 * Two transports that are each other's peer, for tests without a network. Each
 * write to one is delivered to the other in a later microtask, as one chunk.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const makePair = (
  options?: PairOptions
): Effect.Effect<readonly [Transport, Transport]> =>
  Effect.sync(() => {
    assertValid(atLeast(1, "highWaterMark", options?.highWaterMark))
    return makeMemoryPair(options?.highWaterMark ?? 16 * 1024)
  })
