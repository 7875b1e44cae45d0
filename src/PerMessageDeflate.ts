/**
 * Compression of messages: the extension permessage-deflate (RFC 7692).
 *
 * It is an `Extension`, and off unless it is asked for. One value is to serve
 * all connections of a server or client: what zlib needs is shared among them,
 * released when it is idle, and bounded.
 *
 * A message is compressed and decompressed at once, without a trip through the
 * thread pool, as far as it fits into 64 KiB; a larger one in slices of that
 * size, between which the event loop turns. Inflation ends at the limit of a
 * message, with no more than that in memory.
 *
 * What is compressed together can be told apart by its size: do not mix a
 * secret and what an attacker chooses in one message, nor, with context
 * takeover, in one connection, or send such messages with `compress: false`.
 *
 * **Example** (A server that compresses, for clients that can)
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
import { isUint8Array } from "node:util/types"
import type * as Extension from "./Extension.ts"
import { Frame, Opcode, Reserved } from "./Frame.ts"
import { ZlibPool } from "./internal/deflate/streamPool.ts"
import { Deflater, Inflater } from "./internal/deflate/codec.ts"
import { checkDeflate } from "./internal/options.ts"
import { assertValid } from "./internal/runtime/optionChecks.ts"
import * as Zlib from "./internal/deflate/zlibStream.ts"
import { InvalidExtensionData, MessageTooLarge } from "./ProtocolError.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * The size of a window as a power of two, in bytes: how far back compressed
 * data may refer. 15 is 32 KiB.
 *
 * @category models
 * @since 0.1.0
 */
export type WindowBits = 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15

/**
 * The extension, and what it has done so far.
 *
 * @category models
 * @since 0.1.0
 */
export interface PerMessageDeflate extends Extension.Extension {
  readonly stats: Effect.Effect<Stats>
}

/**
 * What an extension value has done, and what it holds, over all its
 * connections.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stats {
  /** How many connections use it now. */
  readonly connections: number
  /** What was compressed. */
  readonly sent: Traffic
  /** What was decompressed. */
  readonly received: Traffic
  /** How many compressors zlib has in memory, spare ones among them. */
  readonly deflaters: number
  /** How many decompressors zlib has in memory, spare ones among them. */
  readonly inflaters: number
  /** About how much memory both take, in bytes. */
  readonly memory: number
  /** The bytes of the windows that are kept in place of released decompressors. */
  readonly windows: number
}

/**
 * Bytes of payload before compression, and with it. Messages that went
 * uncompressed are not in it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Traffic {
  readonly plain: number
  readonly compressed: number
}

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * How to compress. The first four are agreed on with the peer (RFC 7692 §7.1);
 * a client asks for them, a server insists.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * Whether the server begins anew with each message. It compresses less, and
   * nothing is kept between messages. Default false: only where the client asks
   * for it. As a client, refuses a server that does not agree.
   */
  readonly serverNoContextTakeover?: boolean | undefined
  /** Whether the client begins anew with each message. Default false: only where the other end asks for it. */
  readonly clientNoContextTakeover?: boolean | undefined
  /**
   * The largest window that the server may use. Default 15. As a client,
   * refuses a server that does not agree to less.
   */
  readonly serverMaxWindowBits?: WindowBits | undefined
  /**
   * The largest window that the client may use. Default 15. As a server,
   * declines a client that cannot be told to use less.
   */
  readonly clientMaxWindowBits?: WindowBits | undefined
  /**
   * zlib's level, from 1, the fastest, to 9, the smallest; 0 stores. Default 2,
   * which takes two thirds of the time of zlib's own default, 6, on JSON of
   * 1 KiB, for 8% more bytes.
   */
  readonly level?: 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | undefined
  /**
   * zlib's memLevel: how much memory a compressor has beside its window. Default
   * 5, with which it takes about 210 KiB in all; 8, zlib's own default, takes 270,
   * for 0.5% fewer bytes.
   */
  readonly memoryLevel?: 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | undefined
  /**
   * The bytes below which a message goes uncompressed. Messages in fragments
   * are always compressed: their size is not known beforehand. Default 128 with
   * context takeover, 256 without: JSON of that size becomes a third, or half.
   * 0 or more, or Infinity.
   */
  readonly threshold?: number | undefined
  /**
   * How long a connection's compressor and decompressor are kept without use: at
   * least this, and at most twice as long. A compressor is then begun anew; of a
   * decompressor, the window remains: what the peer may refer to, up to 32 KiB.
   * Default 30 seconds. More than 0, or Infinity.
   */
  readonly releaseAfter?: Duration.Input | undefined
  /**
   * How much memory compressors and decompressors may take between messages, in
   * bytes, over all connections. Past it, the ones that were not used for the
   * longest time are released, as after `releaseAfter`. Default 128 MiB: enough
   * for 500 connections that send and receive with the defaults.
   * 0 or more, or Infinity.
   */
  readonly memoryLimit?: number | undefined
}

// -----------------------------------------------------------------------------
// Parameters
// -----------------------------------------------------------------------------

/** The parameters of an offer or an answer (RFC 7692 §7.1). */
interface Parameters {
  serverNoContextTakeover: boolean
  clientNoContextTakeover: boolean
  serverMaxWindowBits: WindowBits | undefined
  /** In an offer, it may be named without a value. */
  clientMaxWindowBits: WindowBits | "unsaid" | undefined
}

const names = {
  serverNoContextTakeover: "server_no_context_takeover",
  clientNoContextTakeover: "client_no_context_takeover",
  serverMaxWindowBits: "server_max_window_bits",
  clientMaxWindowBits: "client_max_window_bits"
} as const

/** "A decimal integer value without leading zeroes between 8 to 15, inclusive" (§7.1.2) */
const windowBits = new Map<string | undefined, WindowBits>(
  ([8, 9, 10, 11, 12, 13, 14, 15] as const).map((bits) => [String(bits), bits])
)

/** Reads parameters; a text says what is wrong with them. */
const parseParameters = (parameters: Extension.Parameters): Parameters | string => {
  const terms: Parameters = {
    serverNoContextTakeover: false,
    clientNoContextTakeover: false,
    serverMaxWindowBits: undefined,
    clientMaxWindowBits: undefined
  }
  const seen = new Set<string>()
  for (const { name, value } of parameters) {
    if (seen.has(name)) return `${name} is there more than once`
    seen.add(name)
    const bits = windowBits.get(value)
    switch (name) {
      case names.serverNoContextTakeover:
      case names.clientNoContextTakeover:
        if (value !== undefined) return `${name} has the value ${value}, and may have none`
        if (name === names.serverNoContextTakeover) terms.serverNoContextTakeover = true
        else terms.clientNoContextTakeover = true
        break
      case names.serverMaxWindowBits:
        if (bits === undefined) return notBits(name, value)
        terms.serverMaxWindowBits = bits
        break
      case names.clientMaxWindowBits:
        if (bits === undefined && value !== undefined) return notBits(name, value)
        terms.clientMaxWindowBits = bits ?? "unsaid"
        break
      default:
        return `there is no parameter ${name}`
    }
  }
  return terms
}

const notBits = (name: string, value: string | undefined): string =>
  `${name} has ${value === undefined ? "no value" : `the value ${value}`}, and needs one from 8 to 15`

const writeTerms = (terms: Parameters): Extension.Parameters => [
  ...terms.serverNoContextTakeover ? [{ name: names.serverNoContextTakeover, value: undefined }] : [],
  ...terms.clientNoContextTakeover ? [{ name: names.clientNoContextTakeover, value: undefined }] : [],
  ...terms.serverMaxWindowBits === undefined
    ? []
    : [{ name: names.serverMaxWindowBits, value: String(terms.serverMaxWindowBits) }],
  ...terms.clientMaxWindowBits === undefined
    ? []
    : [{
      name: names.clientMaxWindowBits,
      value: terms.clientMaxWindowBits === "unsaid" ? undefined : String(terms.clientMaxWindowBits)
    }]
]

/** What one end does in one direction. */
interface DirectionParameters {
  readonly takeover: boolean
  readonly windowBits: WindowBits
}

const maxBits: WindowBits = 15

const minBits = (a: WindowBits, b: WindowBits): WindowBits => a < b ? a : b

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Whether this Node can do it. Compression in line calls what Node's own
 * `*Sync` functions call, which is not public; it is tried out before it is
 * used. Where it does not work, nothing is offered or accepted, and messages go
 * uncompressed.
 *
 * @category constructors
 * @since 0.1.0
 */
export const isSupported: Effect.Effect<boolean> = Effect.sync(Zlib.isSupported)

/**
 * Makes the extension, for servers and for clients. Throws an `InvalidOption`
 * for a value that cannot be.
 *
 * **Example** (What is offered, and what is answered)
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
 * const agreed = Extension.accept([server], offered)
 * Extension.format(agreed.map(({ entry }) => entry)) // => "permessage-deflate; server_max_window_bits=12"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): PerMessageDeflate => {
  assertValid(checkDeflate(options))
  const contexts = new ZlibPool({
    level: options.level ?? 2,
    memoryLevel: options.memoryLevel ?? 5,
    releaseAfter: Duration.fromInputUnsafe(options.releaseAfter ?? "30 seconds"),
    memoryLimit: options.memoryLimit ?? 128 * 1024 * 1024
  })
  const sent = { plain: 0, compressed: 0 }
  const received = { plain: 0, compressed: 0 }
  const serverBits = options.serverMaxWindowBits ?? maxBits
  const clientBits = options.clientMaxWindowBits ?? maxBits

  const open = (sending: DirectionParameters, receiving: DirectionParameters): Extension.OpenSession =>
    Effect.acquireRelease(
      Effect.map(Effect.context<never>(), (context) => {
        contexts.addUser(context)
        return new SessionImpl(
          new Deflater({ contexts, ...sending }),
          new Inflater({ contexts, ...receiving }),
          options.threshold ?? (sending.takeover ? 128 : 256),
          !sending.takeover,
          sent,
          received
        )
      }),
      (session) =>
        Effect.sync(() => {
          session.close()
          contexts.removeUser()
        })
    )

  const offered: Parameters = {
    serverNoContextTakeover: options.serverNoContextTakeover === true,
    clientNoContextTakeover: options.clientNoContextTakeover === true,
    serverMaxWindowBits: options.serverMaxWindowBits,
    clientMaxWindowBits: options.clientMaxWindowBits ?? "unsaid"
  }

  const accept = (parameters: Extension.Parameters): Extension.Accepted | undefined => {
    const offer = parseParameters(parameters)
    if (typeof offer === "string" || !Zlib.isSupported()) return undefined
    // "A server [...] MUST NOT include [client_max_window_bits] in its response [where the offer] doesn't" (§7.1.2.2)
    if (offer.clientMaxWindowBits === undefined && clientBits < maxBits) return undefined
    const hinted = typeof offer.clientMaxWindowBits === "number" ? offer.clientMaxWindowBits : maxBits
    const ours = minBits(serverBits, offer.serverMaxWindowBits ?? maxBits)
    const theirs = minBits(clientBits, hinted)
    const answer: Parameters = {
      serverNoContextTakeover: offer.serverNoContextTakeover || offered.serverNoContextTakeover,
      clientNoContextTakeover: offer.clientNoContextTakeover || offered.clientNoContextTakeover,
      serverMaxWindowBits: offer.serverMaxWindowBits === undefined && ours === maxBits ? undefined : ours,
      clientMaxWindowBits: theirs === maxBits ? undefined : theirs
    }
    return {
      parameters: writeTerms(answer),
      open: open(
        { takeover: !answer.serverNoContextTakeover, windowBits: ours },
        { takeover: !answer.clientNoContextTakeover, windowBits: theirs }
      )
    }
  }

  const confirm = (parameters: Extension.Parameters): Extension.OpenSession | string => {
    const answer = parseParameters(parameters)
    if (typeof answer === "string") return answer
    if (answer.clientMaxWindowBits === "unsaid") return notBits(names.clientMaxWindowBits, undefined)
    if (offered.serverNoContextTakeover && !answer.serverNoContextTakeover) {
      return `${names.serverNoContextTakeover} was asked for, and is not there`
    }
    // What we asked for was a hint, which a server may ignore: it may allow more than we will use (§7.1.2.2).
    const ours = minBits(clientBits, answer.clientMaxWindowBits ?? maxBits)
    const theirs = answer.serverMaxWindowBits ?? maxBits
    if (theirs > serverBits) {
      return `${names.serverMaxWindowBits} is ${theirs}, and at most ${serverBits} was asked for`
    }
    return open(
      { takeover: !(answer.clientNoContextTakeover || offered.clientNoContextTakeover), windowBits: ours },
      { takeover: !answer.serverNoContextTakeover, windowBits: theirs }
    )
  }

  return {
    name: "permessage-deflate",
    reservedBits: Reserved.Rsv1,
    get offers() {
      return Zlib.isSupported() ? [writeTerms(offered)] : []
    },
    accept,
    confirm,
    stats: Effect.sync(() => ({
      connections: contexts.connections,
      sent: { ...sent },
      received: { ...received },
      ...contexts.usage
    }))
  }
}

// -----------------------------------------------------------------------------
// Sessions
// -----------------------------------------------------------------------------

class SessionImpl implements Extension.Session {
  private readonly deflater: Deflater
  private readonly inflater: Inflater
  private readonly threshold: number
  /** Whether what the deflater was given can be taken back, because the next message does not refer to it. */
  private readonly retractable: boolean
  private readonly sent: { plain: number; compressed: number }
  private readonly received: { plain: number; compressed: number }
  /** Whether the message that is being sent is compressed. */
  private compressing = false

  constructor(
    deflater: Deflater,
    inflater: Inflater,
    threshold: number,
    retractable: boolean,
    sent: { plain: number; compressed: number },
    received: { plain: number; compressed: number }
  ) {
    this.deflater = deflater
    this.inflater = inflater
    this.threshold = threshold
    this.retractable = retractable
    this.sent = sent
    this.received = received
  }

  readonly encode = (frame: Frame, options: Extension.SendOptions): Frame | Effect.Effect<Frame> => {
    const { fin, opcode, payload } = frame
    if (opcode !== Opcode.Continuation) {
      const worthIt = fin ? payload.length > 0 && payload.length >= this.threshold : true
      this.compressing = options.compress !== false && worthIt
    }
    if (!this.compressing) return frame
    const compressed = this.deflater.deflate(payload, fin)
    return isUint8Array(compressed)
      ? this.encoded(frame, compressed)
      : Effect.map(compressed, (bytes) => this.encoded(frame, bytes))
  }

  private encoded({ fin, opcode, payload, reserved }: Frame, compressed: Uint8Array): Frame {
    const first = opcode !== Opcode.Continuation
    if (this.retractable && first && fin && compressed.length >= payload.length) {
      return new Frame(opcode, payload, fin, reserved)
    }
    this.sent.plain += payload.length
    this.sent.compressed += compressed.length
    return new Frame(opcode, compressed, fin, first ? reserved | Reserved.Rsv1 : reserved)
  }

  readonly decode = (
    frame: Frame,
    room: Extension.SizeBudget
  ): Frame | Extension.DecodeError | Effect.Effect<Frame, Extension.DecodeError> => {
    const inflated = this.inflater.inflate(frame.payload, frame.fin, room)
    if (isUint8Array(inflated)) return this.decoded(frame, inflated)
    return inflated instanceof InvalidExtensionData || inflated instanceof MessageTooLarge
      ? inflated
      : Effect.map(inflated, (bytes) => this.decoded(frame, bytes))
  }

  private decoded({ fin, opcode, payload, reserved }: Frame, inflated: Uint8Array): Frame {
    this.received.plain += inflated.length
    this.received.compressed += payload.length
    return new Frame(opcode, inflated, fin, reserved & ~Reserved.Rsv1)
  }

  close(): void {
    this.deflater.close()
    this.inflater.close()
  }
}
