/** The laws of every `MessageConnection`, over real sockets: the Node client, and the browser client over each WebSocket that Node programs have. */
import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { BrowserClient, WebSocketClient } from "effect-ws"
import * as Undici from "undici"
import * as Ws from "ws"
import { laws, runLaw, type Subject } from "../support/laws/laws.ts"
import { makeLawServer } from "../support/laws/server.ts"
import { serve } from "../support/net.ts"

type Connect = (url: string) => Subject

const over = (construct: BrowserClient.WebSocketConstructor): Connect => (url) => ({
  isBrowser: true,
  connect: (path, options) =>
    Effect.provideService(
      BrowserClient.connect(`${url}${path}`, options),
      BrowserClient.WebSocketConstructor,
      construct
    )
})

const subjects: Record<string, Connect> = {
  WebSocketClient: (url) => ({
    isBrowser: false,
    connect: (path, options) => WebSocketClient.connect(`${url}${path}`, options)
  }),
  "BrowserClient over undici": over((url, protocols) => new Undici.WebSocket(url, [...protocols])),
  "BrowserClient over ws": over((url, protocols) =>
    new Ws.WebSocket(url, [...protocols]) as unknown as BrowserClient.WebSocketLike
  ),
  // Node has one from version 22.
  ..."WebSocket" in globalThis
    ? { "BrowserClient over the global WebSocket": over(BrowserClient.WebSocketConstructor.defaultValue()) }
    : {}
}

/** The laws that an implementation breaks, whatever uses it. */
const broken: Record<string, ReadonlyArray<string>> = {
  // It decodes text with a decoder that removes the mark.
  "BrowserClient over undici": ["carries a byte order mark unchanged"],
  "BrowserClient over the global WebSocket": ["carries a byte order mark unchanged"]
}

for (const [name, subject] of Object.entries(subjects)) {
  describe(`a connection of ${name}`, () => {
    for (const law of laws) {
      const run = broken[name]?.includes(law.title) ? it.live.skip : it.live
      run(law.title, () =>
        Effect.gen(function*() {
          const { handler, options } = makeLawServer()
          const { url } = yield* serve(handler, { serve: options })
          yield* runLaw(law, subject(url.replace(/\/$/, "")))
        }).pipe(Effect.scoped))
    }
  })
}
