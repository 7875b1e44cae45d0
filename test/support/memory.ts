/** Connections without a network: over the in-memory pair, against another connection or a peer that writes raw bytes. */
import { Effect, type Scope } from "effect"
import { Connection, type Frame, type Transport } from "effect-ws"
import * as Transports from "effect-ws/Transport"
import { MemoryPeer } from "../../src/internal/memory/peer.ts"

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
    const client = yield* Effect.orDie(Connection.make(left, { keepalive: false, ...options?.client, role: "client" }))
    const server = yield* Effect.orDie(Connection.make(right, { keepalive: false, ...options?.server, role: "server" }))
    return { client, server }
  })

/** A connection of the given role, and a raw peer at its other end. */
export const makeRaw = (
  options: Connection.MakeOptions,
  transport?: Transport.PairOptions,
  make: typeof Connection.make = Connection.make
): Effect.Effect<{ readonly connection: Shape; readonly peer: MemoryPeer }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const [ours, theirs] = yield* Transports.makePair(transport)
    const peer = new MemoryPeer(theirs, options.role === "server" ? "client" : "server")
    const connection = yield* Effect.orDie(make(ours, { keepalive: false, ...options }))
    // The Scope of the connection waits for the closing handshake, which this peer does not answer.
    yield* Effect.addFinalizer(() => Effect.sync(() => theirs.destroy()))
    return { connection, peer }
  })

/** What a message holds: its text, or its bytes as an array. */
export const contentOf = (message: { readonly _tag: string; readonly bytes: Uint8Array }): string | Array<number> =>
  message._tag === "Text" ? Buffer.from(message.bytes).toString("utf8") : Array.from(message.bytes)

export const opcodesOf = (frames: ReadonlyArray<Frame.Frame>): Array<number> => frames.map((frame) => frame.opcode)
