/**
 * The server under the soak: an echo that counts what it received, with limits
 * and deadlines short enough to be met. It is asked over IPC how it fares.
 */
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Layer, Stream } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import {
  Connection,
  type ConnectionError,
  Handshake,
  type Message,
  PerMessageDeflate,
  WebSocketServer
} from "effect-ws"
import { readdirSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { faults } from "./faults.ts"
import type { Sample } from "./sample.ts"

const fault = faults[process.argv[2]] ?? {}

const ends: Record<string, number> = {}
/** How many messages each good client's connections were received from, by the name in its path. */
const received: Record<string, number> = {}
let outOfOrder = 0
let connections = 0

const nameOfEnd = ({ cause, code }: ConnectionError.ConnectionClosed): string => cause?._tag ?? String(code)

const handler = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  connections++
  fault.connection?.()
  const name = connection.request.path.slice(1)
  const disturb = name === "" ? undefined : fault.messages?.()
  let came = 0
  let count = 0
  let last = -1
  const take = (message: Message.Message) => {
    if (name !== "") {
      const sequence = message._tag === "Text" ? Number.parseInt(message.text) : NaN
      if (!(sequence > last)) outOfOrder++
      last = sequence
      count++
    }
    return connection.send(message)
  }
  yield* Stream.runForEach(
    connection.messages,
    (message) => disturb === undefined ? take(message) : Effect.forEach(disturb(message, came++), take)
  ).pipe(
    Effect.ensuring(Effect.sync(() => {
      if (name !== "") received[name] = count
    })),
    // How connections end is counted, and not logged.
    Effect.catchTag("ConnectionClosed", () => Effect.void),
    Effect.ensuring(
      Effect.map(connection.closed, (end) => {
        ends[nameOfEnd(end)] = (ends[nameOfEnd(end)] ?? 0) + 1
      }).pipe(Effect.forkDetach)
    )
  )
})

/** Routes that refuse an upgrade, each in a way of its own, in an application on a server of Node. */
const refuse = Effect.succeed(Handshake.reject({ status: 403, body: "no" }))
const refusing = (decide: () => Effect.Effect<Handshake.Decision>) =>
  WebSocketServer.upgrade(Effect.void, { decide, closeTimeout: "1 second", handshakeTimeout: "1 second" })
const plain = HttpServerResponse.text("plain")
const routes = HttpRouter.addAll([
  HttpRouter.route("GET", "/rejects", refusing(() => refuse)),
  HttpRouter.route("GET", "/rejects-late", refusing(() => Effect.delay(refuse, 20))),
  HttpRouter.route("GET", "/never-decides", refusing(() => Effect.never)),
  HttpRouter.route("GET", "/ordinary", plain),
  HttpRouter.route("GET", "/ordinary-late", Effect.delay(Effect.succeed(plain), 20))
])

/** Serves them, and answers the port. */
const application = Effect.gen(function*() {
  const server = WebSocketServer.prepareServer(createServer())
  yield* Layer.build(
    HttpRouter.serve(routes as Layer.Layer<never, never, HttpRouter.HttpRouter>, {
      disableListenLog: true,
      disableLogger: true
    }).pipe(
      Layer.provide(NodeHttpServer.layer(() => server, { port: 0, host: "127.0.0.1" }))
    )
  )
  return (server.address() as AddressInfo).port
})

const program = Effect.gen(function*() {
  const server = yield* WebSocketServer.make({
    host: "127.0.0.1",
    handshakeTimeout: "2 seconds",
    maxPendingHandshakes: 500
  })
  yield* server.serve(handler, {
    extensions: [PerMessageDeflate.make({ releaseAfter: "1 second" })],
    closeTimeout: "1 second",
    writeTimeout: fault.lenient === true ? Infinity : "2 seconds",
    keepalive: fault.lenient === true ? false : { interval: "1 second", timeout: "1 second" },
    maxMessageSize: 2 ** 20,
    maxFragments: 10_000
  })
  const sample = Effect.map(server.connections, (open): Sample => {
    for (let i = 0; i < 3; i++) globalThis.gc?.()
    const { arrayBuffers, heapUsed, rss } = process.memoryUsage()
    return {
      heap: heapUsed + arrayBuffers,
      rss,
      handles: process.getActiveResourcesInfo().filter((name) => name !== "Timeout" && name !== "Immediate").length,
      descriptors: readdirSync("/proc/self/fd").length,
      open: open.length,
      connections,
      ends,
      received,
      outOfOrder
    }
  })
  process.on("message", () => process.send!(Effect.runSync(sample)))
  process.send!({ url: server.url, routes: yield* application })
  return yield* Effect.never
}).pipe(Effect.scoped)

process.on("disconnect", () => process.exit())
Effect.runFork(program)
