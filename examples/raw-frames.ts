/**
 * The frame codec alone, without a connection: a peer over a plain TCP socket
 * that reads and writes frames itself. It connects to an echo server, sends a
 * message in three fragments with a ping between them, and prints each frame
 * that comes back.
 *
 *   PORT=9001 node build/examples/raw-frames.js
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Queue, Result, Schema, Stream } from "effect"
import { Frame, Handshake } from "effect-ws"
import * as Http from "node:http"
import type { Duplex } from "node:stream"

class UpgradeFailed extends Schema.TaggedError<UpgradeFailed>()("UpgradeFailed", { problem: Schema.String }) {}

/** Node speaks HTTP; the handshake's data say what to ask, and whether the answer will do. */
const upgrade = (request: Handshake.Request, port: number) =>
  Effect.callback<Duplex, UpgradeFailed>((resume) => {
    const fail = (problem: string) => resume(Effect.fail(new UpgradeFailed({ problem })))
    const http = Http.request({ host: "127.0.0.1", port, path: request.path, headers: request.rawHeaders.flat() })
    http.on("error", (error) => fail(error.message))
    http.on("response", (response) => fail(`status ${response.statusCode}`))
    http.on("upgrade", (response, socket) => {
      const rawHeaders = Object.entries(response.headers).map(([name, value]) => [name, String(value)] as const)
      const verdict = Handshake.readResponse(request, { status: 101, rawHeaders })
      if (Result.isFailure(verdict)) fail(verdict.failure.message)
      else resume(Effect.succeed(socket))
    })
    http.end()
    return Effect.sync(() => http.destroy())
  })

const names: Record<number, string> = { 0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong" }
const show = ({ fin, opcode, payload }: Frame.Frame) =>
  `${names[opcode]}${fin ? "" : ", more to come"}: ${JSON.stringify(new TextDecoder().decode(payload))}`

const program = Effect.gen(function*() {
  const port = yield* Config.Int("PORT").pipe(Config.withDefault(9001))
  const { makeKey } = yield* Handshake.HandshakePolicy
  const codec = yield* Frame.FrameCodec

  const request = yield* Effect.fromResult(Handshake.makeRequest(`ws://127.0.0.1:${port}/`, makeKey()))
  const socket = yield* Effect.acquireRelease(upgrade(request, port), (stream) => Effect.sync(() => stream.destroy()))

  const decoder = codec.decoder({ role: "client" })
  const incoming = yield* Queue.unbounded<Frame.Frame>()
  socket.on("data", (chunk: Uint8Array) => Queue.offerAllUnsafe(incoming, decoder.decode(chunk).frames))

  const outgoing = [
    Frame.text("three ", { fin: false }),
    Frame.continuation("fragments, ", { fin: false }),
    Frame.ping(new TextEncoder().encode("still there?")),
    Frame.continuation("one message"),
    Frame.close(1000)
  ]
  for (const frame of outgoing) socket.write(codec.encode(frame, "client"))

  yield* Stream.fromQueue(incoming).pipe(
    Stream.takeUntil((frame) => frame.opcode === Frame.Opcode.Close),
    Stream.runForEach((frame) => Console.log(show(frame)))
  )
}).pipe(Effect.scoped)

NodeRuntime.runMain(program)
