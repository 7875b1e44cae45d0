/**
 * An echo server on several processes, which share one port. One that dies is
 * replaced; SIGTERM closes all connections of all of them with 1001.
 *
 *   PORT=8080 WORKERS=4 node build/examples/workers.js
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Stream } from "effect"
import { Connection, WebSocketServer } from "effect-ws"
import { availableParallelism } from "node:os"
import { runInWorkers } from "./cluster.ts"

const Echo = WebSocketServer.serve(Effect.gen(function*() {
  const connection = yield* Connection.Connection
  yield* connection.send(`this is ${process.pid}`)
  yield* Stream.runForEach(connection.messages, connection.send)
}))

const Announce = Layer.effectDiscard(Effect.gen(function*() {
  const { address } = yield* WebSocketServer.WebSocketServer
  if (address._tag === "Tcp") yield* Console.log(`LISTENING ${address.port}`)
}))

const Server = WebSocketServer.layerConfig({
  port: Config.Int("PORT").pipe(Config.withDefault(8080)),
  host: Config.String("HOST").pipe(Config.withDefault("127.0.0.1"))
})

const Main = Layer.merge(Echo, Announce).pipe(Layer.provide(Server))

NodeRuntime.runMain(runInWorkers(Layer.launch(Main), availableParallelism()))
