/** The list of tasks in a page: RPCs over the WebSocket of the browser. The build bundles it. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RpcClient from "effect/rpc/RpcClient"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as BrowserClient from "effect-ws/BrowserClient"
import * as Socket from "effect-ws/Socket"
import { Tasks } from "./api.ts"

/** What the page uses of the DOM, whose types this project does not load. */
interface Element {
  textContent: string
  value: string
  readonly replaceChildren: (...children: ReadonlyArray<Element>) => void
  readonly addEventListener: (type: string, listener: (event: { readonly preventDefault: () => void }) => void) => void
}
const { document } = globalThis as unknown as {
  readonly document: { readonly querySelector: (selector: string) => Element; createElement: (name: string) => Element }
}

const list = document.querySelector("#tasks")
const form = document.querySelector("#form")
const title = document.querySelector("#title")

const Protocol = RpcClient.layerProtocolSocket().pipe(
  Layer.provide([Socket.layer(BrowserClient.connect("/")), RpcSerialization.layerJson])
)

const program = Effect.gen(function*() {
  const client = yield* RpcClient.make(Tasks)

  form.addEventListener("submit", (event) => {
    event.preventDefault()
    const words = title.value
    title.value = ""
    Effect.runFork(client.Add({ title: words }))
  })

  const watch = Stream.runForEach(client.Watch(), (tasks) =>
    Effect.sync(() => {
      list.replaceChildren(...tasks.map((task) => {
        const item = document.createElement("li")
        item.textContent = `${task.done ? "✓" : "·"} ${task.title}`
        return item
      }))
    }))
  // Streams fail when the connection is lost. The client connects again, and the page asks for the list again.
  yield* Effect.retry(watch, Schedule.spaced("1 second"))
})

Effect.runFork(Effect.scoped(program).pipe(Effect.provide(Protocol)))
