/** The notebook of the examples over a network that breaks: no note is lost, and none is delivered twice. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { BrowserClient, type MessageClient, WebSocketClient, WebSocketServer } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { TestClock } from "effect/testing"
import { type Notebook, open } from "../../examples/browser/notebook.ts"
import { makeStore, serveNotes } from "../../examples/browser/store.ts"
import { settle } from "../support/memory.ts"
import { memoryWebSocket } from "../support/memoryWebSocket.ts"

const overFake = Layer.unwrap(
  Effect.map(
    memoryWebSocket(WebSocketClient.connect),
    (construct) =>
      BrowserClient.layer().pipe(Layer.provide(Layer.succeed(BrowserClient.WebSocketConstructor, construct)))
  )
)

const clients: Record<string, Layer.Layer<MessageClient.MessageClient, never, never>> = {
  WebSocketClient: WebSocketClient.layerMessageClient(),
  "BrowserClient over a fake": Layer.effectContext(
    Effect.flatMap(Effect.scope, (scope) => Layer.buildWithScope(overFake, scope))
  )
}

/** Collects what a notebook delivers. */
const collect = (notebook: Notebook) =>
  Effect.gen(function*() {
    const notes: Array<string> = []
    yield* Effect.forkScoped(notebook.runForEach(({ text }) => Effect.sync(() => notes.push(text))))
    return notes
  })

for (const [name, client] of Object.entries(clients)) {
  const layer = Layer.provideMerge(client, Testing.layer())

  describe(`a notebook over ${name}`, () => {
    it.effect("delivers each note once and in order, whatever breaks", () =>
      Effect.gen(function*() {
        const store = yield* makeStore
        const server = yield* WebSocketServer.WebSocketServer
        const network = yield* Testing.Network
        yield* server.serve(serveNotes(store))
        const notebooks = yield* Effect.replicateEffect(open("ws://there/notes"), 2)
        const delivered = yield* Effect.forEach(notebooks, collect)
        const added: Array<string> = []
        for (let round = 0; round < 40; round++) {
          for (const [i, notebook] of notebooks.entries()) {
            const text = `${i}:${round}`
            added.push(text)
            yield* notebook.add(text)
          }
          const links = yield* network.links
          // Each breaks in another step of its exchange.
          const link = links.at(-1 - (round % 2))
          if (round % 3 === 0) yield* link?.reset ?? Effect.void
          if (round % 4 === 0) yield* settle
          if (round % 5 === 0) yield* TestClock.adjust("1 minute")
          if (round % 7 === 0) yield* TestClock.adjust("300 millis")
        }
        for (let i = 0; i < 5; i++) yield* Effect.andThen(TestClock.adjust("1 minute"), settle)
        assert.deepStrictEqual(delivered[0].toSorted(), added.toSorted())
        assert.deepStrictEqual(delivered[1], delivered[0])
      }).pipe(Effect.scoped, Effect.provide(layer)))

    it.effect("delivers a note once that was unread when the connection was lost", () =>
      Effect.gen(function*() {
        const server = yield* WebSocketServer.WebSocketServer
        const network = yield* Testing.Network
        yield* server.serve(serveNotes(yield* makeStore))
        const notebook = yield* open("ws://there/notes")
        yield* settle
        yield* notebook.add("a")
        yield* settle
        yield* (yield* network.links)[0].reset
        for (let i = 0; i < 3; i++) yield* Effect.andThen(TestClock.adjust("1 minute"), settle)
        const delivered = yield* collect(notebook)
        yield* notebook.add("b")
        yield* settle
        assert.deepStrictEqual(delivered, ["a", "b"])
      }).pipe(Effect.scoped, Effect.provide(layer)))

    it.effect("begins anew with a server that has forgotten its notes", () =>
      Effect.gen(function*() {
        let store = yield* makeStore
        const server = yield* WebSocketServer.WebSocketServer
        const network = yield* Testing.Network
        yield* server.serve(Effect.suspend(() => serveNotes(store)))
        const notebook = yield* open("ws://there/notes")
        const delivered = yield* collect(notebook)
        yield* settle
        yield* notebook.add("a")
        yield* notebook.add("b")
        yield* settle
        store = yield* makeStore
        yield* (yield* network.links)[0].reset
        yield* notebook.add("c")
        for (let i = 0; i < 3; i++) yield* Effect.andThen(TestClock.adjust("1 minute"), settle)
        assert.deepStrictEqual(delivered, ["a", "b", "c"])
      }).pipe(Effect.scoped, Effect.provide(layer)))

    it.effect("rejects a note that is not allowed, and goes on", () =>
      Effect.gen(function*() {
        const server = yield* WebSocketServer.WebSocketServer
        yield* server.serve(serveNotes(yield* makeStore))
        const notebook = yield* open("ws://there/notes")
        const delivered = yield* collect(notebook)
        assert.strictEqual((yield* Effect.flip(notebook.add("")))._tag, "InvalidValue")
        yield* notebook.add("a")
        yield* settle
        assert.deepStrictEqual(delivered, ["a"])
      }).pipe(Effect.scoped, Effect.provide(layer)))

    it.effect("rejects notes above the number that may be unconfirmed", () =>
      Effect.gen(function*() {
        const notebook = yield* open("ws://there/notes")
        for (let i = 0; i < 100; i++) yield* notebook.add(String(i))
        assert.strictEqual((yield* Effect.flip(notebook.add("a")))._tag, "TooManyUnconfirmed")
      }).pipe(Effect.scoped, Effect.provide(layer)))
  })
}
