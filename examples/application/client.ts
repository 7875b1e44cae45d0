/**
 * A client of the application: it chats in a room, and follows it by RPC. After a lost
 * connection it comes back by itself, and reads what it missed.
 *
 *   URL=ws://127.0.0.1:8080 node build/examples/application/client.js blue Ada
 *
 * What is typed is said.
 */
import { NodeRuntime, NodeStdio } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Stdio, Stream } from "effect"
import { RpcClient, RpcSerialization } from "effect/rpc"
import { Socket, TopicClient, WebSocketClient } from "effect-ws"
import { Calls, Room } from "./api.ts"

const [room = "blue", name = "guest"] = process.argv.slice(2)

const follow = (url: string) =>
  Effect.gen(function*() {
    const client = yield* RpcClient.make(Calls)
    yield* Stream.runForEach(client.Follow({ room }), ({ by, text }) => Console.log(`followed ${by}: ${text}`))
  }).pipe(
    Effect.provide(
      RpcClient.layerProtocolSocket().pipe(
        Layer.provide([Socket.layer(WebSocketClient.connect(`${url}/rpc`)), RpcSerialization.layerJson])
      )
    )
  )

const chat = (url: string) =>
  Effect.gen(function*() {
    const client = yield* TopicClient.make(() => WebSocketClient.connect(`${url}/chat`), { token: name })
    const { stdin } = yield* Stdio.Stdio
    yield* stdin.pipe(
      Stream.decodeText,
      Stream.splitLines,
      Stream.runForEach((text) => client.publish(Room, { room }, { by: name, text })),
      Effect.forkScoped
    )
    yield* Stream.runForEach(client.subscribe(Room, { room }), (event) => {
      switch (event._tag) {
        case "Subscribed":
          return Console.log(`in ${room}: ${event.members.map(({ member }) => member.name).join(", ")}`)
        case "Message":
          return Console.log(`heard ${event.message.by}: ${event.message.text}`)
        case "Gap":
          return Console.log(`missed ${event.missed ?? "some"} messages`)
        case "Joined":
          return Console.log(`${event.member.name} has joined`)
        case "Left":
          return Console.log(`${event.member.name} has left`)
      }
    })
  })

const program = Effect.gen(function*() {
  const url = yield* Config.String("URL").pipe(Config.withDefault("ws://127.0.0.1:8080"))
  yield* Effect.forkScoped(follow(url))
  yield* chat(url)
})

NodeRuntime.runMain(program.pipe(Effect.scoped, Effect.provide(NodeStdio.layer)))
