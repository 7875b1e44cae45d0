/**
 * The server of the laws: it does what the client asks it to, in a text that
 * begins with "please", and sends all other messages back.
 */
import { Deferred, Effect, Stream } from "effect"
import { Connection, Handshake, type WebSocketServer } from "effect-ws"

interface Seen {
  readonly code: number
  readonly reason: string
}

/** A server with its own memory of how connections ended. */
export const makeLawServer = () => {
  const ends = new Map<string, Deferred.Deferred<Seen>>()
  const endOf = (path: string) => {
    const end = ends.get(path) ?? Deferred.makeUnsafe<Seen>()
    ends.set(path, end)
    return end
  }

  const obey = (connection: Connection.Connection, text: string): Effect.Effect<unknown, unknown> => {
    const [, verb, code, reason] = /^please (\w+) ?(\d*) ?(.*)$/s.exec(text)!
    if (verb === "close") return connection.close(code === "" ? 1005 : Number(code), reason)
    if (verb === "terminate") return connection.terminate
    if (verb === "count") return connection.sendAll(Array.from({ length: Number(code) }, (_, i) => String(i)))
    if (verb === "subprotocol") return connection.send(String(connection.subprotocol))
    return Effect.die(new Error(`the law server cannot ${verb}`))
  }

  const handler = Effect.gen(function*() {
    const connection = yield* Connection.Connection
    const { path, query } = connection.request
    if (path === "/ended") {
      return yield* connection.send(JSON.stringify(yield* Deferred.await(endOf(query.get("of")!))))
    }
    // Reads all that arrives within one message of the client, and says how much it was.
    if (path === "/slow") yield* Effect.sleep("300 millis")
    yield* Effect.ignore(
      Stream.runForEach(connection.messages, (message) =>
        message._tag === "Text" && message.text.startsWith("please ")
          ? Effect.ignore(obey(connection, message.text))
          : path === "/slow"
          ? connection.send(`${message.bytes.length} bytes`)
          : connection.send(message))
    )
    const { received } = yield* connection.closed
    Deferred.doneUnsafe(endOf(path), Effect.succeed(received ?? { code: 1006, reason: "" }))
  })

  const options: WebSocketServer.ServeOptions = {
    protocols: ["v3", "v2"],
    origin: "any",
    decide: ({ path }) =>
      path === "/reject"
        ? Effect.fail(Handshake.reject({ status: 403 }))
        : path === "/hang"
        ? Effect.never
        : Effect.succeed(Handshake.accept())
  }
  return { handler, options }
}
