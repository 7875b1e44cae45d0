/**
 * A client of the RPC service: it adds a task, watches the list, and completes the task.
 * The connection comes back by itself if it is lost, and calls wait for it.
 *
 *   URL=ws://127.0.0.1:9005 node build/examples/rpc/client.js "buy milk"
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Stream } from "effect"
import { RpcClient, RpcSerialization } from "effect/rpc"
import { PerMessageDeflate, Socket, WebSocketClient } from "effect-ws"
import { type Task, Tasks } from "./api.ts"

const [title = "buy milk"] = process.argv.slice(2)

const shown = (tasks: ReadonlyArray<Task>) => tasks.map((task) => `${task.done ? "x" : "-"} ${task.title}`).join(", ")

const program = Effect.gen(function*() {
  const client = yield* RpcClient.make(Tasks)
  const { id } = yield* client.Add({ title })
  yield* client.Complete({ id: id + 1 }).pipe(
    Effect.catchTag("NoSuchTask", (error) => Console.log(`there is no task ${error.id}`))
  )
  const isDone = (tasks: ReadonlyArray<Task>) => tasks.some((task) => task.id === id && task.done)
  yield* client.Watch().pipe(
    Stream.tap((tasks) => Console.log(shown(tasks))),
    Stream.takeUntil(isDone),
    Stream.runForEach(() => client.Complete({ id }))
  )
})

const Protocol = Layer.unwrap(Effect.map(
  Config.String("URL").pipe(Config.withDefault("ws://127.0.0.1:9005")),
  (url) =>
    RpcClient.layerProtocolSocket().pipe(
      Layer.provide([
        Socket.layer(WebSocketClient.connect(url, { extensions: [PerMessageDeflate.make()] })),
        RpcSerialization.layerJson
      ])
    )
))

NodeRuntime.runMain(program.pipe(Effect.scoped, Effect.provide(Protocol)))
