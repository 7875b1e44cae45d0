/**
 * Sends every message back.
 *
 *   PORT=9001 MODE=stream node build/examples/echo-server.js
 *
 * MODE says how: `stream` one message at a time, `batch` all that have come at
 * once, in one write, `frames` frame by frame, as they were fragmented.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Stream } from "effect"
import { Connection, WebSocketServer } from "effect-ws"

const handlers = {
  stream: Effect.gen(function*() {
    const connection = yield* Connection.Connection
    yield* Stream.runForEach(connection.messages, connection.send)
  }),
  batch: Effect.gen(function*() {
    const connection = yield* Connection.Connection
    yield* Stream.runForEachArray(connection.messages, connection.sendAll)
  }),
  frames: Effect.gen(function*() {
    const connection = yield* Connection.Connection
    yield* Stream.runForEach(connection.frames, connection.sendFrame)
  })
}

const Echo = Layer.unwrap(Effect.gen(function*() {
  const mode = yield* Config.Literals(["stream", "batch", "frames"], "MODE").pipe(Config.withDefault("stream"))
  // Nobody's cookies mean anything here, so that any page may connect.
  return WebSocketServer.serve(handlers[mode], { origin: "any" })
}))

const Announce = Layer.effectDiscard(Effect.gen(function*() {
  const { address } = yield* WebSocketServer.WebSocketServer
  yield* Console.log(`LISTENING ${address._tag === "Tcp" ? address.port : address.path}`)
}))

const Server = WebSocketServer.layerConfig({
  port: Config.Int("PORT").pipe(Config.withDefault(9001)),
  host: Config.succeed("127.0.0.1"),
  backlog: Config.succeed(4096)
})

NodeRuntime.runMain(Layer.launch(Layer.merge(Echo, Announce).pipe(Layer.provide(Server))))
