/** The page of the notebook: what a person sees and does. The build bundles it. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as BrowserClient from "effect-ws/BrowserClient"
import { open } from "./notebook.ts"

/** What the page uses of the DOM, whose types this project does not load. */
interface Element {
  textContent: string
  value: string
  readonly dataset: Record<string, string>
  readonly append: (...children: ReadonlyArray<Element>) => void
  readonly addEventListener: (type: string, listener: (event: { readonly preventDefault: () => void }) => void) => void
}
const { document } = globalThis as unknown as {
  readonly document: { readonly querySelector: (selector: string) => Element; createElement: (name: string) => Element }
}

const state = document.querySelector("#state")
const problem = document.querySelector("#problem")
const list = document.querySelector("#notes")
const form = document.querySelector("#form")
const text = document.querySelector("#text")

const program = Effect.gen(function*() {
  const notebook = yield* open("notes")

  const showState = Stream.runForEach(SubscriptionRef.changes(notebook.state), (now) =>
    Effect.sync(() => {
      state.textContent = now._tag
      problem.textContent = now._tag === "Waiting" ? now.cause.message : ""
    }))

  const showNotes = notebook.runForEach(({ n, text: words }) =>
    Effect.sync(() => {
      const item = document.createElement("li")
      item.textContent = words
      item.dataset["n"] = String(n)
      list.append(item)
    })
  )

  form.addEventListener("submit", (event) => {
    event.preventDefault()
    const words = text.value
    text.value = ""
    Effect.runFork(Effect.catch(notebook.add(words), (error) =>
      Effect.sync(() => {
        problem.textContent = error.message
      })))
  })

  yield* Effect.forkScoped(showState)
  yield* showNotes
})

Effect.runFork(Effect.scoped(program).pipe(Effect.provide(BrowserClient.layer())))
