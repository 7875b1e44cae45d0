/** A headless Chromium, which must be on the machine: `CHROMIUM` says where, if it is not /usr/bin/chromium. */
import { Effect, type Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type BrowserContext, chromium } from "playwright-core"

/** Where it is. */
export const chromiumPath = process.env["CHROMIUM"] ?? "/usr/bin/chromium"

export const launchChromium: Effect.Effect<BrowserContext, never, Scope.Scope> = Effect.gen(function*() {
  const profile = mkdtempSync(join(tmpdir(), "effect-ws-chromium-"))
  yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(profile, { recursive: true, force: true })))
  return yield* Effect.acquireRelease(
    Effect.promise(() =>
      chromium.launchPersistentContext(profile, {
        executablePath: chromiumPath,
        // The certificates of test/support are of an authority that it does not know.
        ignoreHTTPSErrors: true,
        headless: true,
        args: [
          "--no-sandbox",
          "--disable-gpu",
          "--disable-quic",
          "--no-first-run",
          "--disable-background-networking",
          "--disable-component-update",
          "--disable-sync"
        ]
      })
    ),
    (context) => Effect.promise(() => context.close())
  )
})
