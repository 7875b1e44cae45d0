/** What every peer does that is asked to, over a connection of this library. */
import { Effect, Stream } from "effect"
import { type ConnectionError, Frame } from "effect-ws"
import type { Shape } from "./memory.ts"

/** Does what every peer does, over a connection of ours. */
export const obey = (connection: Shape) =>
  Stream.runForEach(
    connection.messages,
    (message): Effect.Effect<void, ConnectionError.ConnectionClosed | ConnectionError.SendError> => {
      const [, verb, rest] = /^please (\w+) ?(.*)$/.exec(message._tag === "Text" ? message.text : "") ?? []
      const words = rest?.split(" ") ?? []
      switch (verb) {
        case "close":
          return rest === ""
            ? connection.sendFrame(Frame.close())
            : connection.sendFrame(Frame.close(Number(words[0]), words.slice(1).join(" ")))
        case "ping":
          return Effect.andThen(connection.ping(rest), connection.send(`pong ${rest}`))
        case "fragments":
          return connection.sendFragments(Stream.fromIterable(words))
        case "subprotocol":
          return connection.send(connection.subprotocol ?? "")
        default:
          return connection.send(message)
      }
    }
  )
