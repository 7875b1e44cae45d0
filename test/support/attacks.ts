/** Attackers on a running server, and the proof that the server serves other clients as before. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { Connection, Frame } from "effect-ws"
import { headEnd, rawConnect, rawHandshake, serve, type Server } from "./net.ts"
import { echo } from "./serving.ts"

/** Serves an echo, and records in `ends` the cause or the code with which each connection ended. */
export const serveEcho = (options?: Parameters<typeof serve>[1], handler = echo) =>
  Effect.gen(function*() {
    const ends: Array<string> = []
    const record = Effect.flatMap(
      Connection.Connection,
      (connection) => Effect.map(connection.closed, ({ cause, code }) => void ends.push(cause?._tag ?? String(code)))
    )
    const server = yield* serve(Effect.andThen(Effect.forkDetach(record), handler), options)
    return { ...server, ends }
  })

/** Fails unless the server echoes a message of a new client. */
export const expectAlive = (server: Server) =>
  Effect.gen(function*() {
    const client = yield* rawHandshake(server.port)
    client.send(Frame.text("alive?"))
    const [echoed] = yield* client.untilFrames(1)
    assert.strictEqual(Buffer.from(echoed.payload).toString(), "alive?")
    client.send(Frame.close(1000))
    yield* client.untilFrames(2)
  }).pipe(Effect.scoped)

/** Sends a request, and returns the status of the response once its head has arrived. */
export const statusOf = (server: Server, request: string | Uint8Array) =>
  Effect.gen(function*() {
    const peer = yield* rawConnect(server.port)
    peer.write(request)
    const received = yield* peer.until((bytes) => bytes.includes(headEnd))
    return Number(received.toString("latin1").split(" ")[1])
  }).pipe(Effect.scoped)

/** Sends bytes over an open connection, and returns the close code of the server. */
export const closeCodeAfter = (server: Server, bytes: Uint8Array, headers?: Readonly<Record<string, string>>) =>
  Effect.gen(function*() {
    const peer = yield* rawHandshake(server.port, headers)
    peer.write(bytes)
    yield* peer.ended
    const close = peer.frames().find(({ opcode }) => opcode === Frame.Opcode.Close)
    return close === undefined ? undefined : (Frame.readClose(close.payload) as Frame.CloseFrame).code
  }).pipe(Effect.scoped)

/** Frames as a client sends them. */
export const masked = (...frames: ReadonlyArray<Frame.Frame>): Buffer =>
  Buffer.concat(frames.map((frame) => Frame.encode(frame, 7)))

export const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex")
