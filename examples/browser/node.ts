/**
 * The notebook on Node, with the same client as the page: adds the lines that are typed, and prints all notes.
 *
 *   URL=ws://127.0.0.1:8080/browser/notes node build/examples/browser/node.js
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Stream } from "effect"
import { WebSocketClient } from "effect-ws"
import { createInterface } from "node:readline"
import { open } from "./notebook.ts"

const program = Effect.gen(function*() {
  const url = yield* Config.String("URL").pipe(Config.withDefault("ws://127.0.0.1:8080/browser/notes"))
  const notebook = yield* open(url)
  const lines = Stream.fromAsyncIterable(createInterface(process.stdin), (error) => error)
  yield* Effect.forkScoped(
    Stream.runForEach(lines, (line) => Effect.catch(notebook.add(line), ({ message }) => Console.error(message)))
  )
  yield* notebook.runForEach(({ n, text }) => Console.log(`${n} ${text}`))
})

NodeRuntime.runMain(Effect.scoped(program).pipe(Effect.provide(WebSocketClient.layerMessageClient())))
