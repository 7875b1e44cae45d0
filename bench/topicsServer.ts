/**
 * A server of topics under test, a process of its own: `topicsServer.js SYSTEM [REDIS_URL]`. A connection with `?t=NAME,NAME`
 * subscribes to topics, with `&since=EPOCH:OFFSET` behind a position; one with `?p` publishes: each of its messages is
 * `NAME:TEXT`. It prints its port, and how many bytes its heap and its buffers have for each line that it reads.
 */
import { setTimeout as sleep } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import type { AddressInfo } from "node:net"
import type { BunRuntime, BunSocket } from "./bun.ts"

type TopicsSocket = BunSocket<{ readonly topics: ReadonlyArray<string> }>
declare const Bun: BunRuntime

const queryOf = (url: string | undefined): URLSearchParams => new URL(url ?? "/", "http://localhost").searchParams

const namesIn = (list: string | null | undefined): ReadonlyArray<string> =>
  (list ?? "").split(",").filter((name) => name !== "")

/** The topic and the text of a publication. */
const split = (text: string): readonly [topic: string, text: string] => {
  const colon = text.indexOf(":")
  return [text.slice(0, colon), text.slice(colon + 1)]
}

const redisUrl = process.argv[3]

/** Messages that the history keeps. */
const historySize = 256

const sinceOf = (text: string | null) => {
  const [epoch, offset] = text?.split(":") ?? []
  return epoch === undefined ? {} : { since: { epoch, offset: Number(offset) } }
}

const startOurs = async (broker: "memory" | "redis", hasHistory = false): Promise<number> => {
  const { Context, Effect, Layer, Schema, Scope, Stream } = await import("effect")
  const { Broker, Connection, Topic, Topics, WebSocketServer } = await import("effect-ws")
  const Feed = Topic.make("feed/:name", {
    message: Schema.String,
    history: hasHistory ? { size: historySize, ttl: "5 minutes" } : undefined
  })
  const publish = (message: import("effect-ws").Message.Message) => {
    if (message._tag !== "Text") return Effect.void
    const [topic, text] = split(message.text)
    const publishing = Topics.publish(Feed, { name: topic }, text)
    // Redis replies later. The next message does not wait for it, and goes to Redis behind this one.
    return broker === "redis" ? Effect.forkChild(publishing, { startImmediately: true }) : publishing
  }
  const handler = Effect.gen(function*() {
    const connection = yield* Connection.Connection
    const { query } = connection.request
    if (query.has("t")) {
      for (const name of namesIn(query.get("t"))) {
        yield* Topics.deliver(connection, Feed, { name }, sinceOf(query.get("since")))
      }
      yield* connection.discard
      return
    }
    yield* Stream.runForEach(connection.messages, publish)
  }).pipe(Effect.scoped)
  const server = WebSocketServer.layer({ port: 0, host: "127.0.0.1", backlog: 4096 })
  const brokers = {
    memory: () => Promise.resolve(Broker.layerMemory()),
    redis: async () => (await import("effect-ws/RedisBroker")).layer({ url: redisUrl })
  }
  const topics = Topics.layer().pipe(Layer.provide(await brokers[broker]()))
  const all = Layer.mergeAll(
    Layer.provideMerge(Layer.provide(WebSocketServer.serve(handler), topics), server),
    topics
  )
  return Effect.runPromise(Effect.gen(function*() {
    const context = yield* Layer.buildWithScope(all, yield* Scope.make())
    yield* Effect.provide(
      Stream.runDrain(Stream.takeUntil(Topics.status, ({ _tag }) => _tag !== "Down")),
      context
    )
    const { address } = Context.get(context, WebSocketServer.WebSocketServer)
    return address._tag === "Tcp" ? address.port : 0
  }))
}

type MakeAdapter = import("socket.io").ServerOptions["adapter"]

const startSocketIo = async (adapter?: MakeAdapter, recovers = false): Promise<number> => {
  const { createServer } = await import("node:http")
  const { Server } = await import("socket.io")
  const http = createServer()
  const io = new Server(http, {
    transports: ["websocket"],
    ...adapter === undefined ? undefined : { adapter },
    ...recovers ? { connectionStateRecovery: {} } : undefined
  })
  io.on("connection", (socket) => {
    const { t } = socket.handshake.query
    if (typeof t === "string") return void socket.join([...namesIn(t)])
    socket.on("p", (data: string) => {
      const [topic, text] = split(data)
      io.to(topic).emit("m", text)
    })
  })
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", 4096, resolve))
  return (http.address() as AddressInfo).port
}

const connectRedis = async () => {
  const { createClient } = await import("redis")
  // An adapter does not handle timeouts of commands: with the default of 5 s, a busy server would end.
  const client = createClient({ url: redisUrl, commandOptions: { timeout: 0 } })
  await client.connect()
  return client
}

const startStreams = async (recovers: boolean): Promise<number> => {
  const { createAdapter } = await import("@socket.io/redis-streams-adapter")
  return startSocketIo(createAdapter(await connectRedis()), recovers)
}

const systems = {
  ours: () => startOurs("memory"),
  "ours-redis": () => startOurs("redis"),
  "ours-redis-history": () => startOurs("redis", true),
  "socket.io": () => startSocketIo(),
  "socket.io-redis": async () => {
    const { createAdapter } = await import("@socket.io/redis-adapter")
    return startSocketIo(createAdapter(await connectRedis(), await connectRedis()))
  },
  "socket.io-streams": () => startStreams(false),
  "socket.io-streams-recovery": () => startStreams(true),
  ws: async (): Promise<number> => {
    const { WebSocketServer } = await import("ws")
    const rooms = new Map<string, Set<import("ws").WebSocket>>()
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1", backlog: 4096 })
    server.on("connection", (socket, request) => {
      const names = namesIn(queryOf(request.url).get("t"))
      for (const name of names) {
        if (!rooms.has(name)) rooms.set(name, new Set())
        rooms.get(name)!.add(socket)
      }
      socket.on("close", () => names.forEach((name) => rooms.get(name)!.delete(socket)))
      socket.on("message", (data: Buffer) => {
        const [topic, text] = split(data.toString())
        for (const subscriber of rooms.get(topic) ?? []) subscriber.send(text)
      })
    })
    await new Promise((resolve) => server.on("listening", resolve))
    return (server.address() as AddressInfo).port
  },
  bun: (): Promise<number> => {
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request: Request) => {
        server.upgrade(request, { data: { topics: namesIn(queryOf(request.url).get("t")) } })
      },
      websocket: {
        open: (socket: TopicsSocket) => {
          for (const topic of socket.data.topics) socket.subscribe(topic)
        },
        message: (_: TopicsSocket, data: string) => {
          server.publish(...split(data))
        }
      }
    })
    return Promise.resolve(server.port)
  }
}

const memory = async (): Promise<number> => {
  setFlagsFromString("--expose-gc")
  const collect = runInNewContext("gc") as () => void
  for (let i = 0; i < 4; i++) {
    collect()
    await sleep(20)
  }
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

process.stdin.on("end", () => process.exit()).on("data", () => {
  void memory().then((size) => process.stdout.write(`${size}\n`))
})
const port = await systems[process.argv[2] as keyof typeof systems]()
process.stdout.write(`${port}\n`)
