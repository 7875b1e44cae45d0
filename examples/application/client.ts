/**
 * Follows a room of the application, by RPC, and chats in it.
 *
 *   URL=ws://127.0.0.1:8080 node build/examples/application/client.js blue Ada
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Stream } from "effect"
import { RpcClient, RpcSerialization } from "effect/rpc"
import { Message, Socket, WebSocketClient } from "effect-ws"
import { Calls } from "./api.ts"

const [room = "blue", name = "somebody"] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const url = yield* Config.String("URL").pipe(Config.withDefault("ws://127.0.0.1:8080"))
  const protocol = RpcClient.layerProtocolSocket().pipe(
    Layer.provide([Socket.layer(WebSocketClient.connect(`${url}/rpc`)), RpcSerialization.layerJson])
  )
  const follow = Effect.gen(function*() {
    const client = yield* RpcClient.make(Calls)
    yield* Stream.runForEach(client.Follow({ room }), ({ text }) => Console.log(`followed ${text}`))
  })
  yield* Effect.forkScoped(Effect.provide(Effect.scoped(follow), protocol))
  const chat = yield* WebSocketClient.connect(`${url}/chat/${room}?name=${encodeURIComponent(name)}`)
  yield* Stream.runForEach(
    chat.messages,
    (message) => Console.log(`heard ${Message.toText(message)}`)
  )
})

NodeRuntime.runMain(Effect.scoped(program))
