/**
 * A chat for people in several browser tabs: the page over HTTP and the rooms over WebSocket, on one port. Beside it, at
 * /browser/, the notebook: a page whose client is written with this library, and also runs on Node.
 *
 *   PORT=8080 HOST=127.0.0.1 node build/examples/chat/server.js
 *
 * With REDIS_URL, the rooms live in Redis: they outlive the server, and WORKERS processes share the port.
 *
 *   WORKERS=2 REDIS_URL=redis://127.0.0.1:6379 node build/examples/chat/server.js
 */
import { NodeRuntime } from "@effect/platform-node"
import {
  Cause,
  Clock,
  Config,
  Console,
  Context,
  Data,
  Effect,
  Layer,
  Logger,
  Option,
  Schema,
  type Scope,
  Stream
} from "effect"
import { Broker, type Connection, Handshake, TopicError, Topics, TopicServer, WebSocketServer } from "effect-ws"
import * as RedisBroker from "effect-ws/RedisBroker"
import cluster from "node:cluster"
import { makeStore, serveNotes, type Store } from "../browser/store.ts"
import { runInWorkers } from "../cluster.ts"
import { pages } from "./pages.ts"
import { Name, Room, Said } from "./room.ts"

// -- The rooms ---------------------------------------------------------------

const decodeName = Schema.decodeUnknownEffect(Name)
const isSaid = Schema.is(Said)

/** A user is the name that the visitor chooses. */
const connect = Effect.fnUntraced(function*({ token }: TopicServer.ConnectRequest) {
  const user = yield* Effect.mapError(
    decodeName(token),
    () => new TopicError.Disconnect({ code: TopicError.DisconnectCode.InvalidToken, reason: "invalid name" })
  )
  yield* Effect.log(`${user} is connected`)
  yield* Effect.addFinalizer(() => Effect.log(`${user} is gone`))
  return { user }
})

/** A room has a name like a visitor. */
const authorize = ({ params }: TopicServer.ChannelRequest) =>
  Effect.mapError(
    decodeName(params["name"]),
    () => new TopicError.Rejected({ code: TopicError.Code.PermissionDenied })
  )

const rooms = TopicServer.handler({
  topics: [Room],
  connect,
  subscribe: (request) => Effect.as(authorize(request), { member: { name: request.client.user } }),
  read: (request) => Effect.asVoid(authorize(request)),
  // Also into rooms that the page has left: it sends there what had to wait for a connection.
  publish: Effect.fnUntraced(function*(request: TopicServer.PublishRequest) {
    yield* authorize(request)
    const { client, message } = request
    if (!isSaid(message)) return yield* new TopicError.Rejected({ code: TopicError.Code.BadRequest })
    return { message: { ...message, by: client.user, at: yield* Clock.currentTimeMillis } }
  }),
  // The page measures how long this takes.
  rpc: () => Effect.void,
  maxCommandSize: 16 * 1024,
  // The page sends a thousand messages at once, on demand.
  rate: { perSecond: 200, burst: 3000 }
})

/** Redis, if REDIS_URL names it; otherwise this process alone. */
const LiveBroker = Layer.unwrap(Effect.gen(function*() {
  const url = yield* Config.option(Config.Redacted("REDIS_URL"))
  if (Option.isNone(url)) return Broker.layerMemory()
  return Layer.effectDiscard(Effect.forkScoped(logStatus)).pipe(
    Layer.provideMerge(RedisBroker.layer({ url: url.value, prefix: "chat" }))
  )
}))

/** Says what lasts for a second: at the start, Redis is connected a moment later. */
const logStatus = Effect.gen(function*() {
  const { status } = yield* Broker.Broker
  yield* Stream.runForEach(
    Stream.debounce(status, "1 second"),
    ({ _tag }) => Effect.log(_tag === "Up" ? "Redis is connected" : "Redis is away: messages wait for it")
  )
})

// -- The server --------------------------------------------------------------

/** What runs for a connection. The path of its request decides. */
class Visit extends Context.Service<
  Visit,
  Effect.Effect<unknown, unknown, Connection.Connection | Topics.Topics | Scope.Scope>
>()("chat/Visit") {}

/** The notes are in the memory of a process: with several of them, there is no notebook. */
const hasNotebook = !cluster.isWorker

const decide = (store: Store) => ({ path }: Handshake.Request) => {
  if (path === "/chat") return Effect.succeed(Handshake.accept({ services: Context.make(Visit, rooms) }))
  if (path === "/browser/notes" && hasNotebook) {
    return Effect.succeed(Handshake.accept({ services: Context.make(Visit, serveNotes(store)) }))
  }
  return Effect.fail(Handshake.reject({ status: 404 }))
}

const Served = Layer.unwrap(
  Effect.map(makeStore, (store) =>
    WebSocketServer.serve(Effect.flatten(Effect.service(Visit)), {
      decide: decide(store),
      maxMessageSize: 256 * 1024,
      // Pages connect again at once.
      shutdownClose: { code: TopicError.DisconnectCode.Shutdown, reason: "shutdown" }
    }))
).pipe(
  Layer.provide(Topics.layer({ topics: [Room] })),
  Layer.provide(LiveBroker)
)

const announce = Effect.gen(function*() {
  const { url } = yield* WebSocketServer.WebSocketServer
  const home = url.replace("ws://", "http://")
  yield* Effect.log(`the chat is at ${new URL("/", home)}`)
  if (hasNotebook) yield* Effect.log(`the notebook is at ${new URL("/browser/", home)}`)
  yield* Effect.addFinalizer(() => Effect.log("stopping"))
})

const Server = Layer.unwrap(Effect.gen(function*() {
  const port = yield* Config.Int("PORT").pipe(Config.withDefault(8080))
  const host = yield* Config.String("HOST").pipe(Config.withDefault("127.0.0.1"))
  return WebSocketServer.layer({ port, host, onRequest: yield* pages({ hasNotebook }) })
}))

// -- The program -------------------------------------------------------------

class WorkersNeedRedis extends Data.TaggedError("WorkersNeedRedis") {
  override readonly message =
    "WORKERS: expected REDIS_URL beside it, got none; the processes share their rooms in Redis"
}

const checkWorkers = Effect.gen(function*() {
  const workers = yield* Config.Int("WORKERS").pipe(Config.withDefault(0))
  const url = yield* Config.option(Config.String("REDIS_URL"))
  if (workers > 1 && Option.isNone(url)) return yield* new WorkersNeedRedis()
})

const tidy = Logger.make(({ cause, date, message }) => {
  const time = date.toTimeString().slice(0, 8)
  const worker = cluster.isWorker ? [`[${process.pid}]`] : []
  return [time, ...worker, message, ...cause.reasons.length === 0 ? [] : [Cause.pretty(cause)]].flat().join("  ")
})

const Main = Layer.effectDiscard(announce).pipe(
  Layer.provideMerge(Served),
  Layer.provide(Server),
  Layer.provide(Logger.layer([Logger.withConsoleLog(tidy)]))
)

Effect.andThen(checkWorkers, runInWorkers(Layer.launch(Main))).pipe(
  Effect.tapError((error) => Console.error(error.message)),
  Effect.tapDefect((defect) => Effect.logFatal("this should not have happened", defect)),
  NodeRuntime.runMain({ disableErrorReporting: true })
)
