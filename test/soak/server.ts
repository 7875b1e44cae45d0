/**
 * The server under the soak: an echo that counts what it received, with limits
 * and deadlines short enough to be met. It is asked over IPC how it fares.
 */
import { Effect, Stream } from "effect"
import { Connection, type ConnectionError, type Message, PerMessageDeflate, WebSocketServer } from "effect-ws"
import { readdirSync } from "node:fs"
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
  process.send!(server.url)
  return yield* Effect.never
}).pipe(Effect.scoped)

process.on("disconnect", () => process.exit())
Effect.runFork(program)
