/** The laws of every `MessageConnection`, in memory: over the Node client, and over a WebSocket as the standard describes it. */
import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { BrowserClient, MessageClient, WebSocketClient, WebSocketServer } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { laws, runLaw, type Subject } from "../support/laws/laws.ts"
import { makeLawServer } from "../support/laws/server.ts"
import { memoryWebSocket } from "../support/memoryWebSocket.ts"

const overNode: Effect.Effect<Subject> = Effect.succeed({
  isBrowser: false,
  connect: (path, options) =>
    Effect.provide(MessageClient.connect(`ws://there${path}`, options), WebSocketClient.layerMessageClient())
})

const overFake = Effect.map(memoryWebSocket(WebSocketClient.connect), (construct): Subject => ({
  isBrowser: true,
  connect: (path, options) =>
    BrowserClient.connect(`ws://there${path}`, options).pipe(
      Effect.provideService(BrowserClient.WebSocketConstructor, construct)
    )
}))

for (
  const [name, make] of Object.entries({ "WebSocketClient in memory": overNode, "BrowserClient over a fake": overFake })
) {
  describe(`a connection of ${name}`, () => {
    for (const law of laws) {
      it.live(law.title, () =>
        Effect.gen(function*() {
          const { handler, options } = makeLawServer()
          const server = yield* WebSocketServer.WebSocketServer
          yield* server.serve(handler, options)
          yield* runLaw(law, yield* make)
        }).pipe(Effect.scoped, Effect.provide(Testing.layer())))
    }
  })
}
