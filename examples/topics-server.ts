/**
 * Serves topics to `TopicClient` and to the clients of Centrifuge, in JSON and in Protobuf.
 *
 *   PORT=9002 node build/examples/topics-server.js
 *
 * At /connection/websocket, any client may use the channels `room:<name>`, with history, presence and publishing,
 * and `feed:<name>`, without history. The connect token is the name of the user. BROKER says what connects the
 * processes: `memory`, for one process, or `redis`, at REDIS_URL. With Redis, WORKERS processes share the port, and the
 * members of one that has died leave after its LEASE, such as "15 seconds".
 *
 *   WORKERS=2 BROKER=redis REDIS_URL=redis://127.0.0.1:6379 node build/examples/topics-server.js
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Duration, Effect, Layer, Redacted, Schema, Stream } from "effect"
import { Broker, Topic, Topics, TopicServer, WebSocketServer } from "effect-ws"
import * as RedisBroker from "effect-ws/RedisBroker"
import * as TopicProtobuf from "effect-ws/TopicProtobuf"
import { runInWorkers } from "./cluster.ts"

const Room = Topic.make("room::name", {
  message: Schema.Json,
  member: Schema.Struct({ name: Schema.String }),
  history: { size: 100, ttl: "60 seconds" }
})

const Feed = Topic.make("feed::name", { message: Schema.Json })

const handler = TopicServer.handler({
  topics: [Room, Feed],
  formats: [TopicProtobuf.format],
  connect: ({ token }) => Effect.succeed({ user: token }),
  subscribe: ({ client }) => Effect.succeed({ member: { name: client.user } }),
  publish: () => Effect.void,
  read: () => Effect.void,
  rpc: ({ data }) => Effect.succeed(data as Schema.Json)
})

const brokers = {
  memory: Broker.layerMemory(),
  redis: RedisBroker.layerConfig({
    url: Config.Redacted("REDIS_URL").pipe(Config.withDefault(Redacted.make("redis://127.0.0.1:6379"))),
    lease: Config.Duration("LEASE").pipe(Config.withDefault(Duration.seconds(15)))
  })
}

/** Tells when the broker is up, and when it is not. Clients stay connected meanwhile. */
const LogStatus = Layer.effectDiscard(Effect.forkScoped(Effect.gen(function*() {
  const broker = yield* Broker.Broker
  yield* Stream.runForEach(broker.status, (status) =>
    status._tag === "Up"
      ? Effect.logInfo("the broker is up")
      : Effect.logWarning("the broker is down", String(status.cause)))
})))

const Served = Layer.unwrap(Effect.gen(function*() {
  const broker = yield* Config.Literals(["memory", "redis"], "BROKER").pipe(Config.withDefault("memory" as const))
  return WebSocketServer.serve(handler, {
    // This server uses no cookies, so any page may connect.
    origin: "any",
    protocols: [TopicProtobuf.format.protocol, "centrifuge-json"],
    // Clients come again at once.
    shutdownClose: { code: 3001, reason: "shutdown" }
  }).pipe(
    Layer.merge(LogStatus),
    Layer.provide(Topics.layer({ topics: [Room, Feed] })),
    Layer.provide(brokers[broker])
  )
}))

const Announce = Layer.effectDiscard(Effect.gen(function*() {
  const { address } = yield* WebSocketServer.WebSocketServer
  yield* Console.log(`LISTENING ${address._tag === "Tcp" ? address.port : address.path}`)
}))

const Server = WebSocketServer.layerConfig({
  port: Config.Int("PORT").pipe(Config.withDefault(9002)),
  host: Config.succeed("127.0.0.1"),
  path: Config.succeed("/connection/websocket")
})

NodeRuntime.runMain(runInWorkers(Layer.launch(Layer.merge(Served, Announce).pipe(Layer.provide(Server)))))
