/** Connections without a network: over the in-memory pair, against another connection or a peer that writes raw bytes. */
import { Effect, type Scope } from "effect"
import { Connection, type Frame, type Transport } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import * as Transports from "effect-ws/Transport"

/** A turn of the event loop, after all microtasks: what was written in memory has been delivered. */
export const turn: Effect.Effect<void> = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

export { settle } from "effect-ws/Testing"

export type Shape = Connection.Connection

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
  readonly received: ReadonlyArray<Frame.Frame>
  /** Each write that came, as its bytes. */
  readonly writes: ReadonlyArray<Uint8Array>
  readonly transport: Transport.Transport
  /** Whether the connection has ended its side. */
  readonly sawEnd: () => boolean
  /** Whether the transport is gone. */
  readonly gone: () => boolean
}

/** A connection of the given role, and a raw peer at its other end. */
export const makeRaw = (
  options: Connection.MakeOptions,
  transport?: Transport.PairOptions,
  make: typeof Connection.make = Connection.make
): Effect.Effect<{ readonly connection: Shape; readonly peer: RawPeer }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const [ours, theirs] = yield* Transports.makePair(transport)
    const peer = yield* Testing.makePeer(theirs, options.role === "server" ? "client" : "server")
    const connection = yield* make(ours, { keepalive: false, ...options })
    let gone = false
    yield* Effect.forkDetach(
      Effect.andThen(
        peer.gone,
        Effect.sync(() => {
          gone = true
        })
      ),
      { startImmediately: true }
    )
    // The connection's Scope waits for the closing handshake; this peer has no answer to give.
    yield* Effect.addFinalizer(() => peer.cut)
    return {
      connection,
      peer: {
        send: (...frames) => Effect.runSync(peer.send(...frames)),
        sendBytes: (bytes) => Effect.runSync(peer.sendBytes(bytes)),
        get received() {
          return Effect.runSync(peer.received)
        },
        get writes() {
          return Effect.runSync(peer.reads)
        },
        transport: theirs,
        sawEnd: () => Effect.runSync(peer.sawEnd),
        gone: () => gone
      }
    }
  })

/** What a message holds: its text, or its bytes as an array. */
export const contentOf = (message: { readonly _tag: string; readonly bytes: Uint8Array }): string | Array<number> =>
  message._tag === "Text" ? Buffer.from(message.bytes).toString("utf8") : Array.from(message.bytes)

export const opcodesOf = (frames: ReadonlyArray<Frame.Frame>): Array<number> => frames.map((frame) => frame.opcode)
