/**
 * An application on one port: an HttpApi, RPCs over WebSocket, and a plain chat
 * socket, all of which meet in the same rooms.
 *
 *   PORT=8080 node build/examples/application/server.js
 *   curl localhost:8080/rooms
 *   curl -d '{"text":"hello"}' -H content-type:application/json localhost:8080/rooms/blue/messages
 *
 * The chat is at /chat/:room, and asks for a name: `/chat/blue?name=Ada`.
 */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Stream } from "effect"
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { RpcSerialization, RpcServer } from "effect/rpc"
import { Connection, Message, PerMessageDeflate, SocketServer, WebSocketServer } from "effect-ws"
import { createServer } from "node:http"
import { Api, Calls } from "./api.ts"
import { Rooms } from "./rooms.ts"

// -- Over HTTP ----------------------------------------------------------------

const ApiRoutes = HttpApiBuilder.layer(Api).pipe(
  Layer.provide(HttpApiBuilder.group(Api, "rooms", (handlers) =>
    Effect.map(Rooms, (rooms) =>
      handlers
        .handle("list", () => rooms.list)
        .handle("say", ({ params, payload }) => rooms.say({ room: params.room, text: payload.text })))))
)

// -- RPCs over WebSocket ------------------------------------------------------

const RpcHandlers = Calls.toLayer(Effect.map(Rooms, (rooms) => ({
  Say: rooms.say,
  Follow: ({ room }) => rooms.follow(room)
})))

const RpcRoute = HttpRouter.use((router) =>
  Effect.flatMap(
    RpcServer.toHttpEffectWebsocket(Calls),
    (calls) => router.add("GET", "/rpc", SocketServer.upgrade(calls, { extensions: [PerMessageDeflate.make()] }))
  )
).pipe(Layer.provide([RpcHandlers, RpcSerialization.layerJson]))

// -- The chat -----------------------------------------------------------------

const chat = (name: string) =>
  Effect.gen(function*() {
    const connection = yield* Connection.Connection
    const { room = "" } = yield* HttpRouter.params
    const rooms = yield* Rooms
    yield* rooms.join(room, connection)
    yield* connection.send(`welcome to ${room}, ${name}`)
    yield* Stream.runForEach(
      connection.messages,
      Message.match({ onText: (text) => rooms.say({ room, text: `${name}: ${text}` }), onBinary: () => Effect.void })
    )
  })

/** Who has no name is sent away, as in any other route. */
const ChatRoute = HttpRouter.add(
  "GET",
  "/chat/:room",
  Effect.gen(function*() {
    const { name } = yield* HttpServerRequest.ParsedSearchParams
    return typeof name === "string"
      ? yield* WebSocketServer.upgrade(chat(name), { maxMessageSize: 16 * 1024 })
      : HttpServerResponse.text("who are you? /chat/:room?name=...\n", { status: 400 })
  })
)

// -- The program --------------------------------------------------------------

const Announce = Layer.effectDiscard(Effect.gen(function*() {
  const { address } = yield* HttpServer.HttpServer
  if (address._tag !== "UnixPathAddress") yield* Console.log(`LISTENING ${address.port}`)
  yield* Effect.addFinalizer(() => Console.log("STOPPED"))
}))

const Server = Layer.unwrap(Effect.map(
  Config.Int("PORT").pipe(Config.withDefault(8080)),
  (port) => NodeHttpServer.layer(() => WebSocketServer.prepareServer(createServer()), { port, host: "127.0.0.1" })
))

const Main = HttpRouter.serve(Layer.mergeAll(ApiRoutes, RpcRoute, ChatRoute), { disableListenLog: true }).pipe(
  Layer.provideMerge(Announce),
  Layer.provide(Rooms.layer),
  Layer.provide(Server)
)

NodeRuntime.runMain(Layer.launch(Main))
