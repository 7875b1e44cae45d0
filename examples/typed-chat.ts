/**
 * A chat whose messages have a schema, server and clients in one program: what
 * they say to each other is typed at both ends, and checked where it comes in.
 *
 *   node build/examples/typed-chat.js
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Schema, Stream } from "effect"
import { Connection, TypedConnection, WebSocketClient, WebSocketServer } from "effect-ws"

/** What clients say. */
const Command = Schema.Union([
  Schema.TaggedStruct("Join", { name: Schema.NonEmptyString }),
  Schema.TaggedStruct("Say", { text: Schema.String })
])

/** What the server says. */
const Event = Schema.Union([
  Schema.TaggedStruct("Joined", { name: Schema.String, at: Schema.Date }),
  Schema.TaggedStruct("Said", { by: Schema.String, text: Schema.String })
])

const guests = new Set<Connection.Connection>()

const encode = TypedConnection.encoder(Event)

/** Encodes the event once for all connections. Connections that have ended are skipped. */
const tellAll = (event: typeof Event.Type) =>
  Effect.flatMap(encode(event), (message) => Connection.broadcast(guests, message))

const handler = Effect.gen(function*() {
  const guest = TypedConnection.make(yield* Connection.Connection, { receives: Command, sends: Event })
  yield* Effect.acquireRelease(
    Effect.sync(() => guests.add(guest.connection)),
    () => Effect.sync(() => guests.delete(guest.connection))
  )
  let name = "somebody"
  yield* Stream.runForEach(guest.messages, (command) => {
    if (command._tag === "Say") return tellAll({ _tag: "Said", by: name, text: command.text })
    name = command.name
    return tellAll({ _tag: "Joined", name, at: new Date() })
  })
})

const program = Effect.gen(function*() {
  const { url } = yield* WebSocketServer.WebSocketServer

  const ada = TypedConnection.make(yield* WebSocketClient.connect(url), { receives: Event, sends: Command })
  yield* ada.sendAll([{ _tag: "Join", name: "Ada" }, { _tag: "Say", text: "hello?" }])
  yield* ada.messages.pipe(
    Stream.take(2),
    Stream.runForEach((event) =>
      Console.log(
        event._tag === "Joined" ? `${event.name} is here, since ${typeof event.at}` : `${event.by}: ${event.text}`
      )
    )
  )

  // What the types forbid does not get past the schema either.
  const wrong = yield* Effect.flip(ada.send({ _tag: "Join", name: "" }))
  yield* Console.log(wrong._tag)

  // A client that does not know the schema.
  const stranger = yield* WebSocketClient.connect(url)
  yield* stranger.send("hello")
  const end = yield* stranger.closed
  yield* Console.log(`${end.code} ${end.reason}`)
}).pipe(Effect.scoped)

NodeRuntime.runMain(
  program.pipe(
    Effect.provide(
      WebSocketServer.serve(handler).pipe(Layer.provideMerge(WebSocketServer.layer({ host: "127.0.0.1" })))
    )
  )
)
