import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { Wake } from "effect-ws"
import { defaultWake } from "../src/internal/reconnecting/wakeSources.ts"

/** Records the signals of a source until the Scope closes. */
const record = (wake: Wake.Wake) =>
  Effect.gen(function*() {
    const signals: Array<Wake.Signal> = []
    yield* wake.listen((signal) => signals.push(signal))
    return signals
  })

describe("make", () => {
  it.effect("sends each signal to all that listen, until their Scopes close", () =>
    Effect.gen(function*() {
      const wake = yield* Wake.make
      const scope = yield* Scope.make()
      const short = yield* Scope.provide(record(wake), scope)
      const long = yield* record(wake)
      yield* wake.signal("online")
      yield* Scope.close(scope, Exit.void)
      yield* wake.signal("retry")
      assert.deepStrictEqual([short, long], [["online"], ["online", "retry"]])
    }))

  it.effect("remembers whether the page is hidden and the network is lost", () =>
    Effect.gen(function*() {
      const wake = yield* Wake.make
      const state = Effect.all([wake.isHidden, wake.isOffline])
      const states = [yield* state]
      for (const signal of ["hidden", "offline", "retry", "visible", "online"] as const) {
        yield* wake.signal(signal)
        states.push(yield* state)
      }
      assert.deepStrictEqual(states, [
        [false, false],
        [true, false],
        [true, true],
        [true, true],
        [false, true],
        [false, false]
      ])
    }))
})

describe("the default on Node", () => {
  it.effect("the default on Node is never hidden or offline, and sends no signals", () =>
    Effect.gen(function*() {
      const wake = yield* Wake.Wake
      assert.strictEqual(wake, Wake.none)
      assert.deepStrictEqual(yield* record(wake), [])
      assert.isFalse(yield* wake.isHidden)
      assert.isFalse(yield* wake.isOffline)
    }))

  it.effect("layer replaces it", () =>
    Effect.gen(function*() {
      const mine = yield* Wake.make
      assert.strictEqual(yield* Effect.provide(Wake.Wake, Wake.layer(mine)), mine)
    }))
})

describe("browser", () => {
  /** Gives the global object the members of a window, until the Scope closes. */
  const makePage = Effect.gen(function*() {
    const window = new EventTarget()
    const document = Object.assign(new EventTarget(), { visibilityState: "visible" })
    const navigator = { onLine: true }
    const members = {
      document,
      navigator,
      addEventListener: window.addEventListener.bind(window),
      removeEventListener: window.removeEventListener.bind(window)
    }
    const before = new Map(Object.keys(members).map((key) => [key, Object.getOwnPropertyDescriptor(globalThis, key)]))
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        for (const [key, value] of Object.entries(members)) {
          Object.defineProperty(globalThis, key, { value, configurable: true, writable: true })
        }
      }),
      () =>
        Effect.sync(() => {
          for (const [key, descriptor] of before) {
            if (descriptor === undefined) Reflect.deleteProperty(globalThis, key)
            else Object.defineProperty(globalThis, key, descriptor)
          }
        })
    )
    return { window, document, navigator }
  })

  it.effect("turns the events of window and document into signals", () =>
    Effect.gen(function*() {
      const { document, navigator, window } = yield* makePage
      const scope = yield* Scope.make()
      const signals = yield* Scope.provide(record(Wake.browser), scope)
      const showPage = (persisted: boolean) => window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted }))
      navigator.onLine = false
      window.dispatchEvent(new Event("offline"))
      assert.isTrue(yield* Wake.browser.isOffline)
      navigator.onLine = true
      window.dispatchEvent(new Event("online"))
      assert.isFalse(yield* Wake.browser.isOffline)
      document.visibilityState = "hidden"
      document.dispatchEvent(new Event("visibilitychange"))
      assert.isTrue(yield* Wake.browser.isHidden)
      document.visibilityState = "visible"
      document.dispatchEvent(new Event("visibilitychange"))
      assert.isFalse(yield* Wake.browser.isHidden)
      // A page that is loaded has lost nothing.
      showPage(false)
      showPage(true)
      assert.deepStrictEqual(signals, ["offline", "online", "hidden", "visible", "restored"])
      yield* Scope.close(scope, Exit.void)
      window.dispatchEvent(new Event("online"))
      document.dispatchEvent(new Event("visibilitychange"))
      assert.strictEqual(signals.length, 5)
    }))

  it.effect("defaults to the events of the browser where the global object has them", () =>
    Effect.gen(function*() {
      assert.isFalse(yield* defaultWake().isHidden)
      const { document } = yield* makePage
      document.visibilityState = "hidden"
      assert.isTrue(yield* defaultWake().isHidden)
    }))

  it.effect("sends no signals where the global object lacks the events", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* record(Wake.browser), [])
      assert.isFalse(yield* Wake.browser.isHidden)
      assert.isFalse(yield* Wake.browser.isOffline)
    }))
})
