/**
 * Compresses messages with the extension permessage-deflate (RFC 7692).
 *
 * Compression is off unless `extensions` contains a value of this module. One
 * value serves all connections of a server or client: they share zlib's streams,
 * which are bounded, and released when they are idle.
 *
 * A broadcast of up to 1 MiB is compressed once for all connections with the same
 * window, without reference to earlier messages: with context takeover, the next
 * message of a connection does not refer to earlier ones either.
 *
 * A message of up to 64 KiB is compressed and decompressed synchronously, without
 * the thread pool; a larger one in slices of 64 KiB, with a turn of the event loop
 * between two. Inflation stops at the size limit of a message, and keeps no more
 * than that in memory.
 *
 * The size of compressed data reveals what was compressed together. Do not put a
 * secret and data that an attacker chooses into one message, or, with context
 * takeover, into one connection; or send such messages with `compress: false`.
 *
 * **Example** (A server that compresses for clients that offer it)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Connection, PerMessageDeflate, WebSocketServer } from "effect-ws"
 *
 * const Feed = WebSocketServer.serve(
 *   Effect.gen(function*() {
 *     const connection = yield* Connection.Connection
 *     yield* Stream.runForEach(connection.messages, connection.send)
 *     yield* connection.send("a token", { compress: false })
 *   }),
 *   { extensions: [PerMessageDeflate.make()] }
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Extension from "./Extension.ts"
import { Reserved } from "./Frame.ts"
import { Deflater, Inflater } from "./internal/deflate/codec.ts"
import * as Negotiation from "./internal/deflate/negotiation.ts"
import { checkDeflate } from "./internal/deflate/options.ts"
import { DeflateSession } from "./internal/deflate/session.ts"
import { SharedDeflater } from "./internal/deflate/sharedDeflater.ts"
import { ZlibPool } from "./internal/deflate/streamPool.ts"
import { TrafficCounter } from "./internal/deflate/trafficCounter.ts"
import * as Zlib from "./internal/deflate/zlibStream.ts"
import { assertValid } from "./internal/runtime/optionChecks.ts"
import { Timers } from "./internal/runtime/timers.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * The size of a window as a power of two, in bytes: how far back compressed
 * data may refer. 15 is 32 KiB.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type WindowBits = 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15

/**
 * The extension, with statistics over all its connections.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface PerMessageDeflate extends Extension.Extension {
  readonly stats: Effect.Effect<Stats>
}

/**
 * The traffic and the memory of an extension, over all its connections.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Stats {
  /** The open connections that negotiated the extension. */
  readonly connections: number
  /** The payloads that were compressed. */
  readonly sent: Traffic
  /** The payloads that were decompressed. */
  readonly received: Traffic
  /** zlib's compressors, idle ones included. */
  readonly deflaters: number
  /** zlib's decompressors, idle ones included. */
  readonly inflaters: number
  /** An estimate of zlib's memory for both, in bytes. */
  readonly memory: number
  /** The bytes of the windows that are kept in place of released decompressors. */
  readonly windows: number
}

/**
 * Bytes of payload without and with compression. Messages that were sent
 * uncompressed do not count, and a broadcast that was compressed once counts once.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Traffic {
  readonly uncompressed: number
  readonly compressed: number
}

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * The options of `make`. The first four are negotiated (RFC 7692 §7.1): a client
 * offers them, a server requires them.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * Whether the server compresses each message without reference to those before
   * it. It compresses less, and keeps no memory between messages. Default false:
   * only if the client offers it. A client rejects a server that does not accept it.
   */
  readonly serverNoContextTakeover?: boolean | undefined
  /**
   * Whether the client compresses each message without reference to those before
   * it. Default false: only if the other end requires it.
   */
  readonly clientNoContextTakeover?: boolean | undefined
  /**
   * The largest window of the server. Default 15. A client rejects a server that
   * does not accept a smaller one.
   */
  readonly serverMaxWindowBits?: WindowBits | undefined
  /**
   * The largest window of the client. Default 15. A server declines clients that do
   * not offer to limit theirs.
   */
  readonly clientMaxWindowBits?: WindowBits | undefined
  /**
   * zlib's level, from 1, the fastest, to 9, the smallest output; 0 stores. Default
   * 2, which takes two thirds of the time of zlib's own default, 6, on JSON of
   * 1 KiB, for 8% more bytes.
   */
  readonly level?: 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | undefined
  /**
   * zlib's memLevel: the memory of a compressor beside its window. Default 5, with
   * which it takes about 210 KiB in all; 8, zlib's own default, takes 270, for 0.5%
   * fewer bytes.
   */
  readonly memoryLevel?: 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | undefined
  /**
   * The size in bytes below which a message is sent uncompressed. Messages in
   * fragments are always compressed, because their size is unknown. Default 128 with
   * context takeover, 256 without: JSON of that size shrinks to a third, or half.
   * 0 or more, or Infinity, which compresses only messages in fragments.
   */
  readonly threshold?: number | undefined
  /**
   * How long a connection keeps an unused compressor and decompressor: at least
   * this, and at most twice as long. A released compressor begins again with an
   * empty window. The window of a released decompressor is kept, because the peer
   * may refer to it: up to 32 KiB. Default 30 seconds. More than 0, or Infinity, which
   * releases them when the connection ends.
   */
  readonly releaseAfter?: Duration.Input | undefined
  /**
   * The memory in bytes that the compressors and decompressors of all connections
   * may take between messages. Above it, the least recently used are released, as
   * after `releaseAfter`. Default 128 MiB: enough for 500 connections that send and
   * receive with the defaults. 0 or more, or Infinity, which disables the limit.
   */
  readonly memoryLimit?: number | undefined
}

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Returns whether compression works on this version of Node.
 *
 * Synchronous compression calls the private function that Node's `*Sync`
 * functions call. A self-test runs on first use. If it fails, the extension offers
 * and accepts nothing, and messages are sent uncompressed.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const isSupported: Effect.Effect<boolean> = Effect.sync(Zlib.isSupported)

/**
 * Makes the extension, for servers and for clients.
 *
 * It is a plain function, so that a value can be a constant of a module: it throws
 * `InvalidOption` if an option is invalid.
 *
 * **Example** (An offer and its response)
 *
 * ```ts
 * import { Extension, PerMessageDeflate } from "effect-ws"
 *
 * const client = PerMessageDeflate.make()
 * const server = PerMessageDeflate.make({ serverMaxWindowBits: 12 })
 *
 * const offered = Extension.offer([client])
 * Extension.format(offered) // => "permessage-deflate; client_max_window_bits"
 *
 * const negotiated = Extension.accept([server], offered)
 * Extension.format(negotiated.map(({ entry }) => entry)) // => "permessage-deflate; server_max_window_bits=12"
 * ```
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): PerMessageDeflate => {
  assertValid(checkDeflate(options))
  const pool = makePool(options)
  const sent = new TrafficCounter()
  const received = new TrafficCounter()
  const open = openSession(pool, options, sent, received)
  return {
    name: "permessage-deflate",
    reservedBits: Reserved.Rsv1,
    get offers() {
      return Zlib.isSupported() ? [Negotiation.offer(options)] : []
    },
    accept: (offered) => {
      const accepted = Zlib.isSupported() ? Negotiation.accept(options, offered) : undefined
      return accepted && { parameters: accepted.response, open: open(accepted) }
    },
    confirm: (accepted) => {
      const directions = Negotiation.confirm(options, accepted)
      return typeof directions === "string" ? directions : open(directions)
    },
    stats: Effect.sync(() => ({
      connections: pool.connections,
      sent: sent.snapshot,
      received: received.snapshot,
      ...pool.usage
    }))
  }
}

const makePool = ({ level, memoryLevel, memoryLimit, releaseAfter }: Options): ZlibPool =>
  new ZlibPool({
    level: level ?? 2,
    memoryLevel: memoryLevel ?? 5,
    releaseAfter: Duration.toMillis(Duration.fromInputUnsafe(releaseAfter ?? "30 seconds")),
    memoryLimit: memoryLimit ?? 128 * 1024 * 1024
  })

/** The default thresholds with and without context takeover. */
const defaultThreshold = 128
const defaultThresholdWithoutContext = 256

/** Opens sessions that share a pool and count their traffic together. */
const openSession = (pool: ZlibPool, { threshold }: Options, sent: TrafficCounter, received: TrafficCounter) => {
  const sharedDeflaters: Array<SharedDeflater | undefined> = []
  const sharedDeflater = (windowBits: number) =>
    sharedDeflaters[windowBits] ??= new SharedDeflater(
      pool,
      windowBits,
      threshold ?? defaultThresholdWithoutContext,
      sent
    )
  return ({ receiving, sending }: Negotiation.Directions): Extension.OpenSession =>
    Effect.acquireRelease(
      Effect.map(Effect.context<never>(), (context) => {
        pool.addUser(Timers.of(context))
        return new DeflateSession(new Deflater(pool, sending), new Inflater(pool, receiving), {
          threshold: threshold ?? (sending.takeover ? defaultThreshold : defaultThresholdWithoutContext),
          canSendUncompressed: !sending.takeover,
          shared: sharedDeflater(sending.windowBits),
          sent,
          received
        })
      }),
      (session) =>
        Effect.sync(() => {
          session.close()
          pool.removeUser()
        })
    )
}
