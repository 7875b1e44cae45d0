/** Connections without a network: over the in-memory pair, against another connection or a peer that writes raw bytes. */
import { Effect, type Scope } from "effect"
import { Connection, Frame, type Transport } from "effect-ws"
import * as Transports from "effect-ws/Transport"

/** A turn of the event loop, after all microtasks: what was written in memory has been delivered. */
export const turn: Effect.Effect<void> = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

/** Lets everything happen that can happen without time passing. */
export const settle: Effect.Effect<void> = Effect.replicateEffect(turn, 5, { discard: true })

export type Shape = Connection.Connection["Service"]

/** A client and a server that are connected to each other. */
export const makePair = (options?: {
  readonly client?: Connection.Options
  readonly server?: Connection.Options
  readonly transport?: Transport.PairOptions
}): Effect.Effect<{ readonly client: Shape; readonly server: Shape }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const [left, right] = yield* Transports.makePair(options?.transport)
    const client = yield* Connection.make(left, { keepalive: false, ...options?.client, role: "client" })
    const server = yield* Connection.make(right, { keepalive: false, ...options?.server, role: "server" })
    return { client, server }
  })

/** The other end of a connection, as bytes and frames. */
export interface RawPeer {
  /** Writes frames as the peer's role demands. */
  readonly send: (...frames: ReadonlyArray<Frame.Frame>) => void
  readonly sendBytes: (bytes: Uint8Array) => void
  /** The frames that came, decoded. */
  readonly received: Array<Frame.Frame>
  /** Each write that came, as its bytes. */
  readonly writes: Array<Uint8Array>
  readonly transport: Transport.Transport["Service"]
  /** Whether the connection has ended its side. */
  readonly sawEnd: () => boolean
  /** Whether the transport is gone. */
  readonly gone: () => boolean
}

export const maskKey = 0x3d21fa37

/** A connection of the given role, and a raw peer at its other end. */
export const makeRaw = (
  options: Connection.MakeOptions,
  transport?: Transport.PairOptions
): Effect.Effect<{ readonly connection: Shape; readonly peer: RawPeer }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const [ours, theirs] = yield* Transports.makePair(transport)
    const role = options.role === "server" ? "client" : "server"
    const decoder = Frame.makeDecoder({ role, maxFrameSize: Number.MAX_SAFE_INTEGER, reservedBits: 7 })
    const received: Array<Frame.Frame> = []
    const writes: Array<Uint8Array> = []
    let ended = false
    let gone = false
    theirs.start({
      onData: (chunk) => {
        writes.push(Uint8Array.from(chunk))
        received.push(...decoder.decode(chunk).frames)
      },
      onDrain: () => {},
      onEnd: () => {
        ended = true
      },
      onClose: () => {
        gone = true
      }
    })
    const connection = yield* Connection.make(ours, { keepalive: false, ...options })
    // The connection's Scope waits for the closing handshake; this peer has no answer to give.
    yield* Effect.addFinalizer(() => Effect.sync(() => theirs.destroy()))
    const encode = (frame: Frame.Frame) => Frame.encode(frame, role === "client" ? maskKey : undefined)
    return {
      connection,
      peer: {
        send: (...frames) => {
          theirs.write([Buffer.concat(frames.map(encode))])
        },
        sendBytes: (bytes) => {
          theirs.write([bytes])
        },
        received,
        writes,
        transport: theirs,
        sawEnd: () => ended,
        gone: () => gone
      }
    }
  })

/** What a message holds: its text, or its bytes as an array. */
export const contentOf = (message: { readonly _tag: string; readonly bytes: Uint8Array }): string | Array<number> =>
  message._tag === "Text" ? Buffer.from(message.bytes).toString("utf8") : Array.from(message.bytes)

export const opcodesOf = (frames: ReadonlyArray<Frame.Frame>): Array<number> => frames.map((frame) => frame.opcode)
