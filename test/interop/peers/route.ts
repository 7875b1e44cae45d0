/** A route for echoes at /echo, of an application on NodeHttpServer, under Bun or Deno. Prints its port. */
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Layer, Stream } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { createServer } from "node:http"
import { Connection, PerMessageDeflate, WebSocketServer } from "../../../src/index.ts"

const echo = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  yield* Stream.runForEach(connection.messages, connection.send)
})

const announce = Layer.effectDiscard(Effect.map(HttpServer.HttpServer, ({ address }) => {
  console.log(JSON.stringify({ port: address._tag === "UnixPathAddress" ? undefined : address.port }))
}))

const Main = HttpRouter.serve(
  HttpRouter.add("GET", "/echo", WebSocketServer.upgrade(echo, { extensions: [PerMessageDeflate.make()] })),
  {
    disableListenLog: true,
    disableLogger: true
  }
).pipe(
  Layer.provideMerge(announce),
  Layer.provide(
    NodeHttpServer.layer(() => WebSocketServer.prepareServer(createServer()), { port: 0, host: "127.0.0.1" })
  )
)

await Effect.runPromise(Layer.launch(Main))
