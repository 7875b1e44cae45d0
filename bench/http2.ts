/**
 * Echoes over HTTP/2 beside HTTP/1.1, of a server in this process: one connection, a
 * hundred (over HTTP/2 on one session), and a hundred with a reader among them that
 * stalls. The clients are connections of this library, over sockets and over streams
 * of Node's HTTP/2. Results are medians of the rounds.
 */
import { Effect, Stream } from "effect"
import { Connection, Transport, WebSocketClient, WebSocketServer } from "effect-ws"
import * as Http2 from "node:http2"
import type { Table } from "./table.ts"

const host = "127.0.0.1"
const payload = "x".repeat(100)
/** How many messages are under way on each connection. */
const depth = 16
/** How long each measurement takes, in milliseconds. */
const duration = 2000

interface Load {
  readonly name: string
  readonly connections: number
  readonly stalled: boolean
}

const loads: ReadonlyArray<Load> = [
  { name: "one connection", connections: 1, stalled: false },
  { name: "a hundred connections", connections: 100, stalled: false },
  { name: "a hundred connections, and one whose handler does not read", connections: 100, stalled: true }
]

const echo = Effect.flatMap(Connection.Connection, (connection) =>
  connection.request.path === "/stalled"
    ? Effect.never
    : Stream.runForEachArray(connection.messages, connection.sendAll))

const connectHeaders = { ":method": "CONNECT", ":protocol": "websocket", "sec-websocket-version": "13" }

const openSession = (port: number) =>
  Effect.acquireRelease(
    Effect.callback<Http2.ClientHttp2Session>((resume) => {
      const session = Http2.connect(`http://${host}:${port}`)
      session.once("remoteSettings", () => resume(Effect.succeed(session)))
    }),
    (session) => Effect.sync(() => void setImmediate(() => session.destroy()))
  )

/** How to open a connection to a path. */
const openers = (port: number) => ({
  "HTTP/1.1": Effect.succeed((path: string) => WebSocketClient.connect(`ws://${host}:${port}${path}`)),
  "HTTP/2": Effect.map(openSession(port), (session) => (path: string) =>
    Effect.flatMap(
      Effect.callback<Http2.ClientHttp2Stream>((resume) => {
        const stream = session.request({ ...connectHeaders, ":path": path }, { endStream: false })
        stream.once("response", () => resume(Effect.succeed(stream)))
      }),
      (stream) => Connection.make(Transport.fromDuplex(stream), { role: "client" })
    ))
})

/** Keeps `depth` messages under way, and counts the replies. */
const converse = (connection: Connection.Connection, count: (messages: number) => void) =>
  Effect.andThen(
    connection.sendAll(Array.from({ length: depth }, () => payload)),
    Stream.runForEachArray(connection.messages, (messages) => {
      count(messages.length)
      return connection.sendAll(messages)
    })
  )

const measureLoad = (version: "HTTP/1.1" | "HTTP/2", { connections, stalled }: Load) =>
  Effect.scoped(Effect.gen(function*() {
    const server = yield* WebSocketServer.make({ host, cleartextHttp2: true })
    yield* server.serve(echo)
    const open = yield* openers(server.address._tag === "Tcp" ? server.address.port : 0)[version]
    if (stalled) {
      const connection = yield* open("/stalled")
      yield* Effect.forkScoped(Effect.exit(connection.send(new Uint8Array(2 * 1024 * 1024))))
    }
    let count = 0
    const opened = yield* Effect.replicateEffect(open("/"), connections)
    for (const connection of opened) {
      yield* Effect.forkScoped(Effect.exit(converse(connection, (messages) => void (count += messages))))
    }
    yield* Effect.sleep(200)
    count = 0
    yield* Effect.sleep(duration)
    const result = count / duration
    for (const connection of opened) yield* connection.terminate
    return result
  }))

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]

/** Each load with thousands of messages per second of each version, and their ratio. */
export const benchHttp2 = async (rounds: number): Promise<Table> => {
  const rows: Array<ReadonlyArray<string>> = []
  for (const load of loads) {
    const results = { "HTTP/1.1": new Array<number>(), "HTTP/2": new Array<number>() }
    for (let round = 0; round < rounds; round++) {
      for (const version of ["HTTP/1.1", "HTTP/2"] as const) {
        results[version].push(await Effect.runPromise(Effect.orDie(measureLoad(version, load))))
      }
    }
    const [http1, http2] = [median(results["HTTP/1.1"]), median(results["HTTP/2"])]
    rows.push([load.name, http1.toFixed(1), http2.toFixed(1), (http2 / http1).toFixed(2)])
  }
  return { head: ["thousand messages per second", "HTTP/1.1", "HTTP/2", "ratio"], rows, textColumns: 1 }
}
