/**
 * Sends its arguments to an echo server, and prints the replies.
 *
 *   URL=ws://127.0.0.1:9001 node build/examples/echo-client.js hello world
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Duration, Effect, Stream } from "effect"
import { Message, WebSocketClient } from "effect-ws"

const words = process.argv.slice(2)
const messages = words.length > 0 ? words : ["Hello", "from", "effect-ws"]

const program = Effect.gen(function*() {
  const url = yield* Config.String("URL").pipe(Config.withDefault("ws://127.0.0.1:9001"))
  const connection = yield* WebSocketClient.connect(url)
  const roundTrip = yield* connection.ping()
  yield* Console.log(`connected to ${url}, a round trip takes ${Duration.toMillis(roundTrip).toFixed(2)} ms`)

  yield* connection.sendAll(messages)
  yield* connection.messages.pipe(
    Stream.take(messages.length),
    Stream.runForEach((message) => Console.log(Message.toText(message)))
  )

  const ended = yield* connection.close()
  yield* Console.log(ended.message)
}).pipe(
  Effect.scoped,
  Effect.catchTags({
    ConnectFailed: (error) => Console.error(`${error.message}; is an echo server running?`),
    HandshakeRejected: (error) => Console.error(`the server said ${error.status}: ${error.body}`)
  })
)

NodeRuntime.runMain(program)
