/**
 * A server that decides for itself whom to accept: a token is checked before
 * there is a connection, what it stands for is handed to the handler, and the
 * subprotocol says how the two will talk.
 *
 *   PORT=9002 TOKENS=s3cret:Ada,hunter2:Grace node build/examples/subprotocol-auth.js
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Context, Effect, Layer, Stream } from "effect"
import { Connection, Handshake, Message, WebSocketServer } from "effect-ws"
import { createHash, timingSafeEqual } from "node:crypto"

/** Who is connected. */
class User extends Context.Service<User, { readonly name: string }>()("example/User") {}

const digest = (text: string) => createHash("sha256").update(text).digest()

/** Whom a token stands for. */
class Tokens extends Context.Service<Tokens, {
  readonly lookup: (token: string) => Effect.Effect<string | undefined>
}>()("example/Tokens") {
  static readonly layer = Layer.effect(Tokens)(Effect.gen(function*() {
    const list = yield* Config.String("TOKENS").pipe(Config.withDefault("s3cret:Ada"))
    const known = list.split(",").map((entry) => {
      const [token = "", name] = entry.split(":")
      return { digest: digest(token), name }
    })
    return {
      // Compared in constant time, so that a wrong token does not tell how wrong it is.
      lookup: (token) =>
        Effect.sync(() => {
          const asked = digest(token)
          return known.find((entry) => timingSafeEqual(entry.digest, asked))?.name
        })
    }
  }))
}

const decide = Effect.fnUntraced(function*(request: Handshake.Request) {
  const token = /^Bearer (.+)$/.exec(request.headers["authorization"] ?? "")?.[1]
  const tokens = yield* Tokens
  const name = token === undefined ? undefined : yield* tokens.lookup(token)
  if (name === undefined) {
    return yield* Effect.fail(Handshake.reject({
      status: 401,
      headers: { "WWW-Authenticate": "Bearer" },
      body: "a valid token is needed\n"
    }))
  }
  return Handshake.accept({ services: Context.make(User, { name }) })
})

const handler = Effect.gen(function*() {
  const user = yield* User
  const connection = yield* Connection.Connection
  const shout = connection.subprotocol === "shout"
  yield* connection.send(`welcome, ${user.name}`)
  yield* Stream.runForEach(
    connection.messages,
    (message) =>
      shout && Message.isText(message) ? connection.send(message.text.toUpperCase()) : connection.send(message)
  )
})

const Main = WebSocketServer.serve(handler, { protocols: ["shout", "whisper"], decide }).pipe(
  Layer.merge(Layer.effectDiscard(
    Effect.flatMap(WebSocketServer.WebSocketServer, ({ url }) => Console.log(`LISTENING ${url}`))
  )),
  Layer.provide(WebSocketServer.layerConfig({
    port: Config.Int("PORT").pipe(Config.withDefault(9002)),
    host: Config.succeed("127.0.0.1")
  })),
  Layer.provide(Tokens.layer)
)

NodeRuntime.runMain(Layer.launch(Main))
