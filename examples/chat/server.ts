/**
 * A chat for people in several browser tabs: the page over HTTP and the talk over WebSocket, on one port. Beside it, at
 * /browser/, the notebook: a page whose client is written with this library, and also runs on Node.
 */
import { NodeRuntime } from "@effect/platform-node"
import {
  Cause,
  Config,
  Console,
  Context,
  Duration,
  Effect,
  Layer,
  Logger,
  PubSub,
  Schedule,
  Schema,
  type Scope
} from "effect"
import { CloseCode, Connection, type ConnectionError, Handshake, type Message, WebSocketServer } from "effect-ws"
import { readFile } from "node:fs/promises"
import type { RequestListener } from "node:http"
import { makeStore, serveNotes, type Store } from "../browser/store.ts"
import { decode, encode, Name, Request } from "./protocol.ts"
import { type Member, Room } from "./room.ts"

// -- The talk ----------------------------------------------------------------

/** Does what a page asks for. */
const answer = Effect.fnUntraced(function*(member: Member, message: Message.Message) {
  const connection = yield* Connection.Connection
  const refuse = (problem: string) => connection.send(encode({ _tag: "Refused", problem }))
  if (message._tag === "Binary") return yield* refuse("only text is understood here")
  yield* decode(message.text).pipe(
    Effect.flatMap(Request.match({
      Say: ({ text }) => member.say(text),
      Rename: ({ name }) => member.rename(name)
    })),
    Effect.catchTag("SchemaError", (error) => refuse(error.message))
  )
})

/** A visitor's time in the room, from joining it to the end of the connection. */
const visit = Effect.fnUntraced(function*(name: string) {
  const connection = yield* Connection.Connection
  const room = yield* Room
  const member = yield* room.join(name)
  const you = yield* member.person
  const people = yield* room.people
  yield* Effect.log(`${you.name} joined, ${people.length} here`)
  yield* connection.send(encode({ _tag: "Welcome", you, people }))

  const tell = Effect.flatMap(PubSub.takeBetween(member.events, 1, 64), connection.sendAll)
  yield* Effect.forkScoped(Effect.forever(tell))

  const measure = Effect.gen(function*() {
    const roundTrip = yield* connection.ping()
    yield* connection.send(encode({ _tag: "RoundTrip", millis: Duration.toMillis(roundTrip) }))
  })
  yield* Effect.forkScoped(Effect.repeat(measure, Schedule.spaced("1 second")))

  const listen = Effect.flatMap(connection.receive, (message) => answer(member, message))
  const closed = yield* Effect.flip(Effect.forever(listen))
  const { messagesIn, messagesOut } = yield* connection.stats
  const person = yield* member.person
  yield* Effect.log(
    `${person.name} left: ${closed.code} ${
      CloseCode.nameOf(closed.code)
    } (messages: ${messagesIn} in, ${messagesOut} out)`
  )
})

/** What runs for a connection. The path of its request decides. */
class Visit extends Context.Service<
  Visit,
  Effect.Effect<unknown, ConnectionError.ConnectionClosed, Connection.Connection | Room | Scope.Scope>
>()("chat/Visit") {}

/** `/chat?name=Ada` visits the room, with the name that the visitor chooses. */
const decide = (store: Store) => ({ path, query }: Handshake.Request) => {
  if (path === "/browser/notes") {
    return Effect.succeed(Handshake.accept({ services: Context.make(Visit, serveNotes(store)) }))
  }
  if (path !== "/chat") return Effect.fail(Handshake.reject({ status: 404 }))
  return Schema.decodeUnknownEffect(Name)(query.get("name")).pipe(
    Effect.map((name) => Handshake.accept({ services: Context.make(Visit, visit(name)) })),
    Effect.mapError((error) => Handshake.reject({ status: 400, body: `name: ${error.message}` }))
  )
}

const Chat = Layer.unwrap(
  Effect.map(
    makeStore,
    (store) =>
      WebSocketServer.serve(Effect.flatten(Effect.service(Visit)), { decide: decide(store), maxMessageSize: 16 * 1024 })
  )
).pipe(Layer.provide(Room.layer))

// -- The pages ---------------------------------------------------------------

const sources = new URL("../../../examples/", import.meta.url)
const built = new URL("../", import.meta.url)

const headers = {
  "Content-Security-Policy":
    "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cache-Control": "no-cache"
}

const file = (name: string, type: string, folder = sources) =>
  Effect.map(Effect.promise(() => readFile(new URL(name, folder))), (body) => ({
    body,
    headers: { "Content-Type": `${type}; charset=utf-8`, "Content-Length": body.length }
  }))

/** The files of the pages, read once, and nothing else. */
const pages = Effect.gen(function*() {
  const index = yield* file("chat/public/index.html", "text/html")
  const files = new Map([
    ["/", index],
    ["/index.html", index],
    ["/style.css", yield* file("chat/public/style.css", "text/css")],
    ["/client.js", yield* file("chat/public/client.js", "text/javascript")],
    ["/browser/", yield* file("browser/public/index.html", "text/html")],
    ["/browser/style.css", yield* file("browser/public/style.css", "text/css")],
    ["/browser/page.js", yield* file("browser/page.bundle.js", "text/javascript", built)]
  ])
  const onRequest: RequestListener = ({ method, url = "" }, response) => {
    const found = files.get(url.replace(/\?.*/, ""))
    if (found === undefined) response.writeHead(404, headers).end()
    else if (method !== "GET" && method !== "HEAD") response.writeHead(405, { ...headers, Allow: "GET, HEAD" }).end()
    else response.writeHead(200, { ...headers, ...found.headers }).end(found.body)
  }
  return onRequest
})

// -- The program -------------------------------------------------------------

const announce = Effect.gen(function*() {
  const { url } = yield* WebSocketServer.WebSocketServer
  const home = url.replace("ws://", "http://")
  yield* Effect.log(`the chat is at ${new URL("/", home)}`)
  yield* Effect.log(`the notebook is at ${new URL("/browser/", home)}`)
  yield* Effect.addFinalizer(() => Effect.log("stopping"))
})

const Server = Layer.unwrap(Effect.gen(function*() {
  const port = yield* Config.Int("PORT").pipe(Config.withDefault(8080))
  const host = yield* Config.String("HOST").pipe(Config.withDefault("127.0.0.1"))
  return WebSocketServer.layer({ port, host, onRequest: yield* pages })
}))

const tidy = Logger.make(({ cause, date, message }) => {
  const time = date.toTimeString().slice(0, 8)
  return [time, message, ...cause.reasons.length === 0 ? [] : [Cause.pretty(cause)]].flat().join("  ")
})

const Main = Layer.effectDiscard(announce).pipe(
  Layer.provideMerge(Chat),
  Layer.provide(Server),
  Layer.provide(Logger.layer([Logger.withConsoleLog(tidy)]))
)

Layer.launch(Main).pipe(
  Effect.tapError((error) => Console.error(error.message)),
  Effect.tapDefect((defect) => Effect.logFatal("this should not have happened", defect)),
  NodeRuntime.runMain({ disableErrorReporting: true })
)
