/**
 * A client that outlives its connections: it introduces itself on each, sends
 * the lines that it reads, and prints the replies. Lines that are typed
 * while there is no connection are kept. Stop and start the server meanwhile.
 *
 *   URL=ws://127.0.0.1:9001 node build/examples/reconnecting-client.js
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Duration, Effect, Schedule, Stream, SubscriptionRef } from "effect"
import { Message, type Reconnecting, WebSocketClient } from "effect-ws"
import { createInterface } from "node:readline"

const lines = Stream.fromAsyncIterable(createInterface({ input: process.stdin }), (cause) => new Error(String(cause)))

/** What there is to say about a change; nothing about most. */
const describe = (state: Reconnecting.State): string | undefined => {
  switch (state._tag) {
    case "Open":
      return `connected to ${state.connection.request.host}`
    case "Waiting":
      return `${state.cause.message}; attempt ${state.attempt} in ${Duration.format(state.delay)}`
    default:
      return undefined
  }
}

const program = Effect.gen(function*() {
  const url = yield* Config.String("URL").pipe(Config.withDefault("ws://127.0.0.1:9001"))
  const client = yield* WebSocketClient.reconnecting(url, {
    schedule: Schedule.spaced("100 millis"),
    whileDisconnected: { buffer: { messages: 1000 } },
    onOpen: (connection) => connection.send("hello, it is me")
  })
  yield* SubscriptionRef.changes(client.state).pipe(
    Stream.runForEach((state) => {
      const line = describe(state)
      return line === undefined ? Effect.void : Console.log(line)
    }),
    Effect.forkScoped
  )
  yield* lines.pipe(Stream.runForEach((line) => client.send(line)), Effect.forkScoped)
  yield* client.messages.pipe(
    Stream.runForEach((message) => Console.log(Message.toText(message)))
  )
}).pipe(
  Effect.scoped,
  Effect.catchTag("HandshakeRejected", (error) => Console.error(`the server will not have us: ${error.status}`))
)

NodeRuntime.runMain(program)
