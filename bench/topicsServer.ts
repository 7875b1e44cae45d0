/**
 * A server of topics under test, a process of its own: `topicsServer.js SYSTEM`. A connection with `?t=NAME` subscribes to
 * a topic; one with `?p` publishes: each of its messages is `NAME:TEXT`. It prints its port.
 */
import type { AddressInfo } from "node:net"

/** The parts of Bun that are used here. Its types are not installed. */
interface BunSocket {
  readonly data: { readonly topic: string | null }
  readonly subscribe: (topic: string) => void
}
interface BunServer {
  readonly port: number
  readonly publish: (topic: string, text: string) => void
  readonly upgrade: (request: Request, options: { readonly data: BunSocket["data"] }) => boolean
}
declare const Bun: { readonly serve: (options: object) => BunServer }

const queryOf = (url: string | undefined): URLSearchParams => new URL(url ?? "/", "http://localhost").searchParams

/** The topic and the text of a publication. */
const split = (text: string): readonly [topic: string, text: string] => {
  const colon = text.indexOf(":")
  return [text.slice(0, colon), text.slice(colon + 1)]
}

const systems = {
  ours: async (): Promise<number> => {
    const { Context, Effect, Layer, Schema, Scope, Stream } = await import("effect")
    const { Broker, Connection, Topic, Topics, WebSocketServer } = await import("effect-ws")
    const Feed = Topic.make("feed/:name", { message: Schema.String })
    const handler = Effect.gen(function*() {
      const connection = yield* Connection.Connection
      const name = connection.request.query.get("t")
      if (name !== null) {
        yield* Topics.deliver(connection, Feed, { name })
        yield* connection.discard
        return
      }
      yield* Stream.runForEach(connection.messages, (message) => {
        if (message._tag !== "Text") return Effect.void
        const [topic, text] = split(message.text)
        return Topics.publish(Feed, { name: topic }, text)
      })
    }).pipe(Effect.scoped)
    const server = WebSocketServer.layer({ port: 0, host: "127.0.0.1", backlog: 4096 })
    const topics = Topics.layer().pipe(Layer.provide(Broker.layerMemory()))
    const all = Layer.provideMerge(Layer.provide(WebSocketServer.serve(handler), topics), server)
    return Effect.runPromise(Effect.gen(function*() {
      const context = yield* Layer.buildWithScope(all, yield* Scope.make())
      const { address } = Context.get(context, WebSocketServer.WebSocketServer)
      return address._tag === "Tcp" ? address.port : 0
    }))
  },
  ws: async (): Promise<number> => {
    const { WebSocketServer } = await import("ws")
    const rooms = new Map<string, Set<import("ws").WebSocket>>()
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1", backlog: 4096 })
    server.on("connection", (socket, request) => {
      const name = queryOf(request.url).get("t")
      if (name !== null) {
        if (!rooms.has(name)) rooms.set(name, new Set())
        rooms.get(name)!.add(socket)
        return
      }
      socket.on("message", (data: Buffer) => {
        const [topic, text] = split(data.toString())
        for (const subscriber of rooms.get(topic) ?? []) subscriber.send(text)
      })
    })
    await new Promise((resolve) => server.on("listening", resolve))
    return (server.address() as AddressInfo).port
  },
  "socket.io": async (): Promise<number> => {
    const { createServer } = await import("node:http")
    const { Server } = await import("socket.io")
    const http = createServer()
    const io = new Server(http, { transports: ["websocket"] })
    io.on("connection", (socket) => {
      const { t } = socket.handshake.query
      if (typeof t === "string") return void socket.join(t)
      socket.on("p", (data: string) => {
        const [topic, text] = split(data)
        io.to(topic).emit("m", text)
      })
    })
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", 4096, resolve))
    return (http.address() as AddressInfo).port
  },
  bun: (): Promise<number> => {
    const server: BunServer = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request: Request) => {
        server.upgrade(request, { data: { topic: queryOf(request.url).get("t") } })
      },
      websocket: {
        open: (socket: BunSocket) => {
          if (socket.data.topic !== null) socket.subscribe(socket.data.topic)
        },
        message: (_: BunSocket, data: string) => {
          server.publish(...split(data))
        }
      }
    })
    return Promise.resolve(server.port)
  }
}

process.stdin.on("end", () => process.exit()).resume()
const port = await systems[process.argv[2] as keyof typeof systems]()
process.stdout.write(`${port}\n`)
