/**
 * An echo server on several processes, which share one port. One that dies is
 * replaced; SIGTERM closes all connections of all of them with 1001.
 *
 *   PORT=8080 WORKERS=4 node build/examples/workers.js
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Schedule, Stream } from "effect"
import { Connection, WebSocketServer } from "effect-ws"
import cluster from "node:cluster"
import { availableParallelism } from "node:os"

// -- In each process ----------------------------------------------------------

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

// -- Around them --------------------------------------------------------------

/** A process that does the work. Lasts until it ends; where this is interrupted, it is told to end, and waited for. */
const worker = Effect.callback<void>((resume) => {
  const { process: child } = cluster.fork()
  child.once("exit", () => resume(Effect.void))
  return Effect.callback<void>((ended) => {
    child.once("exit", () => ended(Effect.void))
    child.kill("SIGTERM")
  })
})

const Workers = Effect.flatMap(
  Config.Int("WORKERS").pipe(Config.withDefault(availableParallelism())),
  (size) => Effect.replicateEffect(Effect.repeat(worker, Schedule.spaced("1 second")), size, { concurrency: size })
)

NodeRuntime.runMain(cluster.isWorker ? Layer.launch(Main) : Workers)
