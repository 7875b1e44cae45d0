/** Handlers, clients and requests that the tests of servers share. */
import { Effect, Stream } from "effect"
import { Connection, type Message, WebSocketClient } from "effect-ws"
import { contentOf } from "./memory.ts"
import { rawConnect } from "./net.ts"

/** A handler that sends each message back. */
export const echo = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  yield* Stream.runForEach(connection.messages, connection.send)
})

/** A handler that ends with its connection. */
export const idle = Effect.flatMap(Connection.Connection, (connection) => connection.closed)

/** Connects without a keepalive, which would run on the test clock. */
export const connect = (url: string, options?: WebSocketClient.ConnectOptions) =>
  WebSocketClient.connect(url, { keepalive: false, ...options })

export const textOf = (message: Message.Message) => String(contentOf(message))

/** Sends a request over TCP, and returns the status of the response. */
export const statusOf = (port: number, request: string) =>
  Effect.scoped(Effect.gen(function*() {
    const peer = yield* rawConnect(port)
    peer.write(request)
    const response = (yield* peer.ended).toString("latin1")
    return Number(response.split(" ")[1])
  }))
