/**
 * An RPC service over WebSocket, and a page that uses it.
 *
 *   PORT=9005 node build/examples/rpc/server.js
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, SubscriptionRef } from "effect"
import { RpcSerialization, RpcServer } from "effect/rpc"
import { PerMessageDeflate, SocketServer, WebSocketServer } from "effect-ws"
import { readFile } from "node:fs/promises"
import type { RequestListener } from "node:http"
import { NoSuchTask, Task, Tasks } from "./api.ts"

const Handlers = Tasks.toLayer(Effect.gen(function*() {
  const tasks = yield* SubscriptionRef.make<ReadonlyArray<Task>>([])
  return {
    Add: ({ title }) =>
      SubscriptionRef.modify(tasks, (list) => {
        const task = new Task({ id: list.length + 1, title, done: false })
        return [task, [...list, task]]
      }),
    Complete: ({ id }) =>
      SubscriptionRef.modifyEffect(tasks, (list) => {
        const found = list.find((task) => task.id === id)
        if (found === undefined) return Effect.fail(new NoSuchTask({ id }))
        const done = new Task({ ...found, done: true })
        return Effect.succeed([done, list.map((task) => task.id === id ? done : task)] as const)
      }),
    Watch: () => SubscriptionRef.changes(tasks)
  }
}))

const Service = RpcServer.layer(Tasks).pipe(
  Layer.provide([Handlers, RpcServer.layerProtocolSocketServer]),
  Layer.provide([
    SocketServer.layer({ maxMessageSize: 64 * 1024, extensions: [PerMessageDeflate.make()] }),
    RpcSerialization.layerJson
  ])
)

const headers = { "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'" }

const read = (path: string) => Effect.promise(() => readFile(new URL(path, import.meta.url)))

/** The page, and nothing else. */
const page = Effect.gen(function*() {
  const index = yield* read("../../../examples/rpc/public/index.html")
  const script = yield* read("page.bundle.js")
  const onRequest: RequestListener = ({ url }, response) => {
    if (url === "/") response.writeHead(200, { ...headers, "Content-Type": "text/html; charset=utf-8" }).end(index)
    else if (url === "/page.js") response.writeHead(200, { ...headers, "Content-Type": "text/javascript" }).end(script)
    else response.writeHead(404, headers).end()
  }
  return onRequest
})

const Announce = Layer.effectDiscard(
  Effect.flatMap(WebSocketServer.WebSocketServer, ({ url }) => Console.log(`LISTENING ${url}`))
)

const Server = Layer.unwrap(Effect.map(page, (onRequest) =>
  WebSocketServer.layerConfig({
    port: Config.Int("PORT").pipe(Config.withDefault(9005)),
    host: Config.succeed("127.0.0.1")
  }, { onRequest })))

NodeRuntime.runMain(Layer.launch(Layer.merge(Service, Announce).pipe(Layer.provide(Server))))
