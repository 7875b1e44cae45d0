/**
 * Tells reconnecting clients when another attempt is worthwhile at once, and whether the page is hidden.
 *
 * In a browser, the default listens to `online` and `offline`, `visibilitychange` and `pageshow`. On other platforms, there
 * are no such events, and the default does nothing.
 *
 * **Example** (Retry when the user asks for it)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Wake, WebSocketClient } from "effect-ws"
 *
 * const program = Effect.gen(function*() {
 *   const wake = yield* Wake.make
 *   const feed = yield* Effect.provide(WebSocketClient.reconnecting("wss://example.com/feed"), Wake.layer(wake))
 *   // The button "try again": ends the wait before the next attempt.
 *   const retry = wake.signal("retry")
 *   return { feed, retry }
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { browserWake, defaultWake, makeWake, noWake } from "./internal/reconnecting/wakeSources.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * What has happened: the network is there again or was lost; the page is visible or hidden; the browser has restored the page
 * from its cache; the user or the program wants to try again.
 *
 * "online", "visible", "restored" and "retry" wake a reconnecting client. "offline" and "hidden" only change its state.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type Signal = "online" | "offline" | "visible" | "hidden" | "restored" | "retry"

/**
 * A source of signals.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Wake {
  /** Whether the page is hidden now. */
  readonly isHidden: Effect.Effect<boolean>
  /** Whether the platform knows that there is no network. */
  readonly isOffline: Effect.Effect<boolean>
  /** Calls a function for each signal, until the Scope closes. The function must not throw. */
  readonly listen: (listener: (signal: Signal) => void) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * A source of signals that the program controls.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Controlled extends Wake {
  /** Sends a signal to all listeners, and remembers whether the page is hidden and whether the network is there. */
  readonly signal: (signal: Signal) => Effect.Effect<void>
}

// -----------------------------------------------------------------------------
// Services
// -----------------------------------------------------------------------------

/**
 * The source in use. Default: `browser` where there is a `document` or a worker's `addEventListener`, and `none` elsewhere, such as
 * on Node.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export const Wake: Context.Reference<Wake> = Context.Reference<Wake>("effect-ws/Wake", {
  defaultValue: defaultWake
})

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * A source without signals: the page is never hidden, and the network never known to be lost.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const none: Wake = noWake

/**
 * The events of the browser: `online` and `offline` of the window or the worker, `visibilitychange` of the document, and
 * `pageshow` when the page comes from the cache. What the global object lacks never happens.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const browser: Wake = browserWake

/**
 * Makes a source that the program controls: for tests, for a button, and for platforms with events of their own, such as React
 * Native. At first, the page is visible and the network is there.
 *
 * **Example** (A test of what a hidden page does)
 *
 * ```ts
 * import { assert, it } from "@effect/vitest"
 * import { Effect } from "effect"
 * import { Wake } from "effect-ws"
 *
 * it.effect("knows that the page is hidden", () =>
 *   Effect.gen(function*() {
 *     const wake = yield* Wake.make
 *     yield* wake.signal("hidden")
 *     assert.isTrue(yield* wake.isHidden)
 *   }))
 * ```
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<Controlled> = Effect.sync(makeWake)

// -----------------------------------------------------------------------------
// Layers
// -----------------------------------------------------------------------------

/**
 * Provides a source to reconnecting clients.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (wake: Wake): Layer.Layer<never> => Layer.succeed(Wake, wake)
