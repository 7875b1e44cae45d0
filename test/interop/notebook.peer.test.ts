/**
 * The notebook of the examples, on Node and in Chromium at the same time: one program, over a network that goes away, a
 * server that restarts, a page that is frozen, hidden or asleep. No note is lost, and none appears twice.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Schedule, Scope, SubscriptionRef } from "effect"
import { WebSocketClient, WebSocketServer } from "effect-ws"
import { readFileSync } from "node:fs"
import type { CDPSession, Page } from "playwright-core"
import { open } from "../../examples/browser/notebook.ts"
import { makeStore, serveNotes, type Store } from "../../examples/browser/store.ts"
import { launchChromium } from "../support/chromium.ts"
import { relay } from "../support/net.ts"
import { withPeer } from "../support/peers.ts"

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url))

/** The page, as the chat serves it. */
const files = () => ({
  "/": ["text/html", read("examples/browser/public/index.html")],
  "/style.css": ["text/css", read("examples/browser/public/style.css")],
  "/page.js": ["text/javascript", read("build/examples/browser/page.bundle.js")]
} as const)

const contentSecurityPolicy = "default-src 'self'; img-src 'self' data:; base-uri 'none'"

/** A server on a port, for as long as a Scope of its own lives. The store outlives it. */
const startServer = (store: Store, port = 0) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    const pages = files()
    const server = yield* WebSocketServer.make({
      host: "127.0.0.1",
      port,
      onRequest: ({ url = "" }, response) => {
        const [type, body] = pages[url as keyof typeof pages] ?? ["text/plain", ""]
        response.writeHead(200, { "Content-Type": type, "Content-Security-Policy": contentSecurityPolicy }).end(body)
      }
    }).pipe(Scope.provide(scope))
    yield* server.serve(serveNotes(store)).pipe(Scope.provide(scope))
    return {
      port: server.address._tag === "Tcp" ? server.address.port : 0,
      stop: Scope.close(scope, Exit.void)
    }
  })

/** Looks again and again until a value is as expected. */
const until = <A>(get: Effect.Effect<A>, holds: (value: A) => boolean): Effect.Effect<A> =>
  Effect.repeat(get, { until: holds, schedule: Schedule.spaced("20 millis") })

/** The two clients, and what can happen to them. */
const makeScene = Effect.gen(function*() {
  const store = yield* makeStore
  let server = yield* startServer(store)
  const network = yield* relay(server.port)
  const browser = yield* launchChromium
  const page = yield* Effect.promise(() => browser.newPage())
  const problems: Array<string> = []
  page.on("pageerror", ({ message }) => problems.push(message))
  const devTools = yield* Effect.promise(() => browser.newCDPSession(page))
  const onNode: Array<string> = []
  const added: Array<string> = []

  const inPage = Effect.promise(() => page.locator("#notes li").allInnerTexts())
  const state = Effect.promise(() => page.locator("#state").innerText())
  const notebook = yield* open(`ws://127.0.0.1:${network.port}/notes`).pipe(
    Effect.provide(WebSocketClient.layerMessageClient())
  )
  yield* Effect.forkScoped(notebook.runForEach(({ text }) => Effect.sync(() => onNode.push(text))))

  const add = (where: "page" | "Node") =>
    Effect.gen(function*() {
      const text = `${added.length} ${where}`
      added.push(text)
      if (where === "Node") return yield* notebook.add(text)
      // Not through the mouse, for which a frozen or hidden page does not wait.
      yield* Effect.promise(() =>
        page.evaluate(`{
          document.querySelector("#text").value = ${JSON.stringify(text)}
          document.querySelector("#form").requestSubmit()
        }`)
      )
    })

  return {
    page,
    devTools,
    network,
    add,
    state,
    load: Effect.promise(() => page.goto(`http://127.0.0.1:${network.port}/`)),
    stopServer: Effect.suspend(() => server.stop),
    startServer: Effect.flatMap(Effect.suspend(() => startServer(store, server.port)), (next) =>
      Effect.sync(() => {
        server = next
      })),
    nodeIs: (tag: string) => until(SubscriptionRef.get(notebook.state), ({ _tag }) => _tag === tag),
    pageIs: (tag: string) => until(state, (shown) => shown === tag),
    /** Waits until both have all notes, and checks that they have nothing else. */
    bothHaveAll: Effect.gen(function*() {
      yield* until(SubscriptionRef.get(store.notes), ({ length }) => length >= added.length)
      const all = (yield* SubscriptionRef.get(store.notes)).map(({ text }) => text)
      assert.deepStrictEqual(all.toSorted(), added.toSorted())
      yield* until(inPage, ({ length }) => length >= all.length)
      yield* until(Effect.sync(() => onNode.length), (length) => length >= all.length)
      assert.deepStrictEqual(yield* inPage, all)
      assert.deepStrictEqual(onNode, all)
      assert.deepStrictEqual(problems, [])
    })
  }
})

interface Scene extends Effect.Success<typeof makeScene> {}

const both = ({ add }: Scene) => Effect.andThen(add("page"), add("Node"))

const setLifecycle = (devTools: CDPSession, state: "frozen" | "active") =>
  Effect.promise(() => devTools.send("Page.setWebLifecycleState", { state }))

const hide = (page: Page, hidden: boolean) =>
  Effect.promise(() =>
    page.evaluate(`{
      Object.defineProperty(document, "visibilityState", { configurable: true, value: ${
      JSON.stringify(hidden ? "hidden" : "visible")
    } })
      Object.defineProperty(document, "hidden", { configurable: true, value: ${hidden} })
      document.dispatchEvent(new Event("visibilitychange"))
    }`)
  )

const events: Record<string, (scene: Scene) => Effect.Effect<void, unknown, Scope.Scope>> = {
  "the network resets all connections": (scene) =>
    Effect.gen(function*() {
      yield* scene.network.cut("reset")
      yield* both(scene)
    }),
  "the server restarts": (scene) =>
    Effect.gen(function*() {
      yield* scene.stopServer
      yield* both(scene)
      yield* scene.pageIs("Waiting")
      yield* scene.nodeIs("Waiting")
      yield* both(scene)
      yield* scene.startServer
    }),
  "the page is offline for a while": (scene) =>
    Effect.gen(function*() {
      const offline = (value: boolean) => Effect.promise(() => scene.page.context().setOffline(value))
      yield* offline(true)
      yield* scene.network.cut("end")
      yield* both(scene)
      yield* scene.pageIs("Waiting")
      yield* scene.nodeIs("Open")
      yield* both(scene)
      yield* offline(false)
    }),
  "the page is frozen for a while": (scene) =>
    Effect.gen(function*() {
      yield* setLifecycle(scene.devTools, "frozen")
      yield* scene.add("Node")
      yield* scene.network.cut("reset")
      yield* scene.add("Node")
      yield* setLifecycle(scene.devTools, "active")
      yield* scene.add("page")
    }),
  "the page is hidden for a while": (scene) =>
    Effect.gen(function*() {
      yield* hide(scene.page, true)
      yield* both(scene)
      yield* scene.network.cut("reset")
      yield* both(scene)
      yield* hide(scene.page, false)
    }),
  "the computer sleeps for a day": (scene) =>
    Effect.gen(function*() {
      yield* scene.network.cut("reset")
      yield* Effect.promise(() => scene.page.clock.fastForward("24:00:00"))
      yield* both(scene)
    })
}

withPeer("Chromium", (version) => {
  describe(`a notebook on Node and in ${version}`, () => {
    for (const [event, happen] of Object.entries(events)) {
      it.live(`delivers each note once and in order when ${event}`, () =>
        Effect.gen(function*() {
          const scene = yield* makeScene
          if (event.includes("sleeps")) yield* Effect.promise(() => scene.page.clock.install())
          yield* scene.load
          yield* scene.pageIs("Open")
          yield* scene.nodeIs("Open")
          yield* both(scene)
          yield* scene.bothHaveAll
          yield* happen(scene)
          yield* scene.pageIs("Open")
          yield* both(scene)
          yield* scene.bothHaveAll
        }).pipe(Effect.scoped))
    }
  })
})
