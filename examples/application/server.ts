/**
 * An application on one port: an HttpApi, RPCs over WebSocket, and a chat socket, all
 * of which meet in the same rooms.
 *
 *   PORT=8080 node build/examples/application/server.js
 *   curl localhost:8080/rooms/blue
 *   curl -d '{"by":"curl","text":"hello"}' -H content-type:application/json localhost:8080/rooms/blue/messages
 *
 * The chat is at `/chat/:room?name=Ada`. A client that has been there before says
 * where it was: `&epoch=...&offset=12`.
 */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Console, Context, Effect, Layer, Schema, Stream } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { RpcSerialization, RpcServer } from "effect/rpc"
import {
  Broker,
  Connection,
  Handshake,
  Message,
  PerMessageDeflate,
  SocketServer,
  Topic,
  Topics,
  WebSocketServer
} from "effect-ws"
import { randomUUID } from "node:crypto"
import { createServer } from "node:http"
import { Api, Calls, Room } from "./api.ts"

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

const Visit = Schema.Struct({
  name: Schema.NonEmptyString,
  epoch: Schema.optional(Schema.String),
  offset: Schema.optional(Schema.FiniteFromString)
})

class Visitor extends Context.Service<Visitor, {
  readonly name: string
  readonly since: Topic.Position | undefined
}>()("application/Visitor") {}

/** A client without a name is rejected. */
const decide = ({ query }: Handshake.Request) =>
  Schema.decodeUnknownEffect(Visit)(Object.fromEntries(query)).pipe(
    Effect.map(({ epoch, name, offset }) => {
      const since = epoch === undefined || offset === undefined ? undefined : { epoch, offset }
      return Handshake.accept({ services: Context.make(Visitor, { name, since }) })
    }),
    Effect.mapError(() => Handshake.reject({ status: 400, body: "who are you? /chat/:room?name=...\n" }))
  )

const chat = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  const { room = "" } = yield* HttpRouter.params
  const { name, since } = yield* Visitor
  yield* Topics.deliver(connection, Room, { room }, { since })
  yield* Topics.join(Room, { room }, { id: randomUUID(), member: { name } })
  yield* Stream.runForEach(
    connection.messages,
    Message.match({ onText: (text) => say({ room, by: name, text }), onBinary: () => Effect.void })
  )
})

const ChatRoute = HttpRouter.add(
  "GET",
  "/chat/:room",
  WebSocketServer.upgrade(chat, { decide, maxMessageSize: 16 * 1024 })
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

// With `RedisBroker.layer` in place of this, several processes share the rooms.
const TopicsLive = Topics.layer({ topics: [Room] }).pipe(Layer.provide(Broker.layerMemory()))

const Main = HttpRouter.serve(Layer.mergeAll(ApiRoutes, RpcRoute, ChatRoute), { disableListenLog: true }).pipe(
  Layer.provideMerge(Announce),
  Layer.provide(TopicsLive),
  Layer.provide(Server)
)

NodeRuntime.runMain(Layer.launch(Main))
