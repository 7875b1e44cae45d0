/** Where the signals that wake a client come from. */
import * as Effect from "effect/Effect"
import type * as Wake from "../../Wake.ts"

type Listener = (signal: Wake.Signal) => void

export const noWake: Wake.Wake = {
  isHidden: Effect.succeed(false),
  isOffline: Effect.succeed(false),
  listen: () => Effect.void
}

export const makeWake = (): Wake.Controlled => {
  const listeners = new Set<{ readonly call: Listener }>()
  let hidden = false
  let offline = false
  return {
    isHidden: Effect.sync(() => hidden),
    isOffline: Effect.sync(() => offline),
    listen: (call) => {
      // A function may listen twice.
      const entry = { call }
      return subscribed(() => listeners.add(entry), () => listeners.delete(entry))
    },
    signal: (signal) =>
      Effect.sync(() => {
        if (signal === "hidden" || signal === "visible") hidden = signal === "hidden"
        if (signal === "offline" || signal === "online") offline = signal === "offline"
        for (const { call } of listeners) call(signal)
      })
  }
}

// -----------------------------------------------------------------------------
// Browsers
// -----------------------------------------------------------------------------

interface PageEvent {
  readonly persisted?: boolean
}

interface EventSource {
  readonly addEventListener?: (type: string, listener: (event: PageEvent) => void) => void
  readonly removeEventListener?: (type: string, listener: (event: PageEvent) => void) => void
}

/** The parts of a window or of a worker's global that this module uses. */
interface BrowserGlobal extends EventSource {
  readonly document?: EventSource & { readonly visibilityState?: string }
  readonly navigator?: { readonly onLine?: boolean }
}

const page = globalThis as BrowserGlobal

const isHidden = () => page.document?.visibilityState === "hidden"

export const browserWake: Wake.Wake = {
  isHidden: Effect.sync(isHidden),
  isOffline: Effect.sync(() => page.navigator?.onLine === false),
  listen: (listener) => {
    const online = () => listener("online")
    const offline = () => listener("offline")
    const visibility = () => listener(isHidden() ? "hidden" : "visible")
    // The first `pageshow` follows the page's loading: nothing was lost by then.
    const shown = (event: PageEvent) => {
      if (event.persisted === true) listener("restored")
    }
    const events: ReadonlyArray<readonly [EventSource | undefined, string, (event: PageEvent) => void]> = [
      [page, "online", online],
      [page, "offline", offline],
      [page, "pageshow", shown],
      [page.document, "visibilitychange", visibility]
    ]
    return subscribed(
      () => events.forEach(([source, type, call]) => source?.addEventListener?.(type, call)),
      () => events.forEach(([source, type, call]) => source?.removeEventListener?.(type, call))
    )
  }
}

/** Returns the source of the platform. */
export const defaultWake = (): Wake.Wake => typeof page.addEventListener === "function" ? browserWake : noWake

const subscribed = (subscribe: () => unknown, unsubscribe: () => unknown) =>
  Effect.acquireRelease(Effect.sync(subscribe), () => Effect.sync(unsubscribe)).pipe(Effect.asVoid)
