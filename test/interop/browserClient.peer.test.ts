/** The laws of every `MessageConnection` over the WebSocket of Chromium, in a page and in a worker, and over those of Bun and Deno. */
import { assert, describe, it, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Page } from "playwright-core"
import { fileURLToPath } from "node:url"
import { bundle } from "../support/bundle.ts"
import { launchChromium } from "../support/chromium.ts"
import { laws } from "../support/laws/laws.ts"
import { makeLawServer } from "../support/laws/server.ts"
import { serve } from "../support/net.ts"
import { bun, deno, withPeer } from "../support/peers.ts"
import { runProgram } from "../support/process.ts"

/** Runs a law in the browser. Returns what is wrong, or undefined. */
class Runner extends Context.Service<Runner, (title: string) => Effect.Effect<string | undefined>>()("test/Runner") {}

const program = fileURLToPath(new URL("../support/laws/program.ts", import.meta.url))

/** Answers the titles that a page posts with what is wrong. */
const worker = `import { run } from ${JSON.stringify(program)}
  onmessage = ({ data: [url, title] }) => run(url, title).then((problem) => postMessage(problem))`

/** A text, because the test runner rewrites a dynamic import. */
const inPage = (page: Page, url: string, title: string): Promise<string | undefined> =>
  page.evaluate(`import("/program.js").then(({ run }) => run(${JSON.stringify(url)}, ${JSON.stringify(title)}))`)

interface InPage {
  readonly Worker: new(url: string, options: { readonly type: "module" }) => {
    onmessage: ((event: { readonly data: string | undefined }) => void) | null
    onerror: ((event: { readonly message: string }) => void) | null
    postMessage(data: unknown, transfer: ReadonlyArray<unknown>): void
    terminate(): void
  }
}

const inWorker = (page: Page, url: string, title: string) =>
  page.evaluate(
    ([address, law]) =>
      new Promise<string | undefined>((resolve) => {
        const { Worker } = globalThis as unknown as InPage
        const made = new Worker("/worker.js", { type: "module" })
        const end = (problem: string | undefined) => {
          made.terminate()
          resolve(problem)
        }
        made.onmessage = ({ data }) => end(data)
        made.onerror = ({ message }) => end(message)
        made.postMessage([address, law], [])
      }),
    [url, title] as const
  )

const runner = (run: typeof inPage) =>
  Layer.effect(Runner)(Effect.gen(function*() {
    const files: Readonly<Record<string, string>> = {
      "/program.js": (yield* bundle({ path: program })).code,
      "/worker.js": (yield* bundle({ contents: worker })).code
    }
    const { handler, options } = makeLawServer()
    const server = yield* serve(handler, {
      serve: options,
      onRequest: ({ url = "" }, response) => {
        response.setHeader("Content-Type", url in files ? "text/javascript" : "text/html")
        response.end(files[url] ?? "<!doctype html><title>laws</title>")
      }
    })
    const browser = yield* launchChromium
    const page = yield* Effect.promise(() => browser.newPage())
    yield* Effect.promise(() => page.goto(server.url.replace("ws:", "http:")))
    return (title) => Effect.promise(() => run(page, server.url, title))
  }))

withPeer("Chromium", (version) => {
  for (const [place, run] of [["a page", inPage], ["a worker", inWorker]] as const) {
    describe(`a connection of BrowserClient in ${place} of ${version}`, () => {
      layer(Layer.orDie(runner(run)), { excludeTestServices: true })((test) => {
        for (const { title } of laws) {
          test.effect(title, () =>
            Effect.gen(function*() {
              const runLaw = yield* Runner
              assert.strictEqual(yield* runLaw(title), undefined)
            }))
        }
      })
    })
  }
})

/** Runs all laws, and prints what is wrong. */
const printAll = `import { run, titles } from ${JSON.stringify(program)}
  const url = process.argv[2]
  for (const title of titles) console.log(title, "=>", await run(url, title) ?? "holds")
  console.log("THE END")`

const hosts = [["Bun", bun, []], ["Deno", deno, ["run", "--quiet", "--allow-net"]]] as const

for (const [name, command, args] of hosts) {
  withPeer(name, (version) => {
    describe(`a connection of BrowserClient in ${version}`, () => {
      it.live("keeps all laws", () =>
        Effect.gen(function*() {
          const { handler, options } = makeLawServer()
          const server = yield* serve(handler, { serve: options })
          const folder = yield* Effect.acquireRelease(
            Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-ws-laws-"))),
            (path) => Effect.sync(() => rmSync(path, { recursive: true }))
          )
          const file = join(folder, "laws.mjs")
          const { code } = yield* bundle({ contents: printAll }, {
            banner: { js: `import process from "node:process"` }
          })
          yield* Effect.sync(() => writeFileSync(file, code))
          const running = yield* runProgram(command, [...args, file, server.url])
          yield* running.printed(/THE END/)
          assert.deepStrictEqual(
            running.output().split("\n").filter((line) => line !== "" && line !== "THE END"),
            laws.map(({ title }) => `${title} => holds`)
          )
        }))
    })
  })
}
