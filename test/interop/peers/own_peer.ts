/**
 * This library as a peer, in both roles, for runtimes other than Node. It is told what to do, and tells what happened,
 * as peer.py says; it obeys as `exchanges.ts` says.
 */
import { Effect, Result, Stream } from "effect"
import { createInterface } from "node:readline"
import { Connection, type Message, PerMessageDeflate, WebSocketClient, WebSocketServer } from "../../../src/index.ts"

const tell = (fact: object): void => console.log(JSON.stringify(fact))

const options = { extensions: [PerMessageDeflate.make()] }

const obey = (connection: Connection.Connection, message: Message.Message): Effect.Effect<unknown, unknown> => {
  const [, verb, rest = ""] = /^please (\w+) ?(.*)$/s.exec(message._tag === "Text" ? message.text : "") ?? []
  switch (verb) {
    case "close": {
      const [, code, reason] = /^(\d*) ?(.*)$/.exec(rest)!
      return code === "" ? connection.close(1005) : connection.close(Number(code), reason)
    }
    case "ping":
      return Effect.andThen(connection.ping(rest), connection.send(`pong ${rest}`))
    case "fragments":
      return connection.sendFragments(Stream.fromIterable(rest.split(" ")))
    case "subprotocol":
      return connection.send(connection.subprotocol ?? "")
    default:
      return connection.send(message)
  }
}

/** Obeys until the connection has ended, and tells how. */
const run = (connection: Connection.Connection, path: string) =>
  Effect.gen(function*() {
    yield* Effect.ignore(Stream.runForEach(connection.messages, (message) => obey(connection, message)))
    const { code, reason } = yield* connection.closed
    tell({ ended: path, code, reason })
  })

const connect = (line: string) => {
  const { path, protocols, url } = JSON.parse(line)
  return Effect.gen(function*() {
    const connected = yield* Effect.result(WebSocketClient.connect(url, { ...options, protocols }))
    if (Result.isSuccess(connected)) yield* run(connected.success, path)
    else tell({ ended: path, code: 1006, reason: connected.failure.message })
  }).pipe(Effect.scoped)
}

const main = Effect.gen(function*() {
  const server = yield* WebSocketServer.make({ host: "127.0.0.1" })
  const handler = Effect.flatMap(Connection.Connection, (connection) => run(connection, connection.request.path))
  yield* server.serve(handler, { ...options, protocols: ["v3", "v2"] })
  tell({ port: server.address._tag === "Tcp" ? server.address.port : undefined })
  createInterface({ input: process.stdin })
    .on("line", (line) => Effect.runFork(connect(line)))
    .on("close", () => process.exit())
  return yield* Effect.never
})

Effect.runFork(Effect.scoped(main))
