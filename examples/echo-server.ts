import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Stream } from "effect"
import { Connection, WebSocketServer } from "effect-ws"

const stream = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  yield* Stream.runForEach(connection.messages, connection.send)
})

const batch = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  yield* Stream.runForEachArray(connection.messages, connection.sendAll)
})

const frames = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  yield* Stream.runForEach(connection.frames, connection.sendFrame)
})

const Main = Layer.unwrap(Effect.gen(function*() {
  const mode = yield* Config.Literals(["stream", "batch", "frames"], "MODE").pipe(Config.withDefault("stream"))
  const port = yield* Config.Port("PORT").pipe(Config.withDefault(9001))
  const announce = Effect.flatMap(WebSocketServer.WebSocketServer, () => Console.log(`LISTENING ${port}`))
  return WebSocketServer.serve({ stream, batch, frames }[mode], { origin: "any" }).pipe(
    Layer.merge(Layer.effectDiscard(announce)),
    Layer.provide(WebSocketServer.layer({ port, host: "127.0.0.1", backlog: 4096 }))
  )
}))

NodeRuntime.runMain(Layer.launch(Main))
