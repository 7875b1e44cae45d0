/**
 * An application on one port: an HttpApi, RPCs over WebSocket, and a chat socket, all
 * of which meet in the same rooms.
 *
 *   PORT=8080 node build/examples/application/server.js
 *   curl localhost:8080/rooms/blue
 *   curl -d '{"by":"curl","text":"hello"}' -H content-type:application/json localhost:8080/rooms/blue/messages
 *
 * The chat at /chat speaks the protocol of `TopicClient`, and of the clients of Centrifuge.
 */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Schema, Stream } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { RpcSerialization, RpcServer } from "effect/rpc"
import { Broker, PerMessageDeflate, SocketServer, TopicError, Topics, TopicServer, WebSocketServer } from "effect-ws"
import { createServer } from "node:http"
import { Api, Calls, Message, Room } from "./api.ts"

const say = ({ by, room, text }: { readonly room: string; readonly by: string; readonly text: string }) =>
  Effect.asVoid(Effect.orDie(Topics.publish(Room, { room }, { by, text })))

// -- Over HTTP ----------------------------------------------------------------

const ApiRoutes = HttpApiBuilder.layer(Api).pipe(
  Layer.provide(HttpApiBuilder.group(Api, "rooms", (handlers) =>
    handlers
      .handle("members", ({ params }) =>
        Effect.map(
          Effect.orDie(Topics.members(Room, params)),
          (members) => members.map(({ member }) => member.name)
        ))
      .handle("say", ({ params, payload }) => say({ ...params, ...payload }))))
)

// -- RPCs over WebSocket ------------------------------------------------------

const RpcHandlers = Calls.toLayer({
  Say: say,
  Follow: ({ room }) =>
    Topics.subscribe(Room, { room }).pipe(
      Stream.orDie,
      Stream.flatMap((event) => event._tag === "Message" ? Stream.succeed({ room, ...event.message }) : Stream.empty)
    )
})

const RpcRoute = HttpRouter.use((router) =>
  Effect.flatMap(
    RpcServer.toHttpEffectWebsocket(Calls),
    (calls) => router.add("GET", "/rpc", SocketServer.upgrade(calls, { extensions: [PerMessageDeflate.make()] }))
  )
).pipe(Layer.provide([RpcHandlers, RpcSerialization.layerJson]))

// -- The chat -----------------------------------------------------------------

const decode = Schema.decodeUnknownEffect(Schema.toType(Message))

/** A client without a token is disconnected. The token is the name of the user, because this is an example. */
const chat = TopicServer.handler({
  topics: [Room],
  connect: ({ token }) =>
    token === ""
      ? Effect.fail(new TopicError.Disconnect({ code: TopicError.DisconnectCode.InvalidToken }))
      : Effect.succeed({ user: token }),
  subscribe: ({ client }) => Effect.succeed({ member: { name: client.user } }),
  publish: ({ client, message }) =>
    Effect.map(Effect.orDie(decode(message)), ({ text }) => ({ message: { by: client.user, text } }))
})

const ChatRoute = HttpRouter.add("GET", "/chat", WebSocketServer.upgrade(chat, { maxMessageSize: 16 * 1024 }))

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

// With `RedisBroker.layer` in place of this, several processes share the rooms.
const TopicsLive = Topics.layer({ topics: [Room] }).pipe(Layer.provide(Broker.layerMemory()))

const Main = HttpRouter.serve(Layer.mergeAll(ApiRoutes, RpcRoute, ChatRoute), { disableListenLog: true }).pipe(
  Layer.provideMerge(Announce),
  Layer.provide(TopicsLive),
  Layer.provide(Server)
)

NodeRuntime.runMain(Layer.launch(Main))
