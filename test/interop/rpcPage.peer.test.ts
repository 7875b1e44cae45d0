/** The page of the RPC example in Chromium: calls over the WebSocket of the browser. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { launchChromium } from "../support/chromium.ts"
import { relay } from "../support/net.ts"
import { withPeer } from "../support/peers.ts"
import { runExample } from "../support/process.ts"

withPeer("Chromium", (version) => {
  describe(`an RPC client in ${version}`, () => {
    it.live("follows a stream, calls, and connects again after the connection is lost", () =>
      Effect.gen(function*() {
        const server = yield* runExample("rpc/server.js", { PORT: "0" })
        const [, port] = yield* server.printed(/LISTENING ws:\/\/127\.0\.0\.1:(\d+)/)
        const network = yield* relay(Number(port))
        const browser = yield* launchChromium
        const problems: Array<string> = []
        yield* Effect.promise(async () => {
          const page = await browser.newPage()
          page.on("pageerror", ({ message }) => problems.push(message))
          await page.goto(`http://127.0.0.1:${network.port}/`)
          const add = async (title: string) => {
            await page.getByLabel("Task").fill(title)
            await page.getByRole("button").click()
          }
          await add("one")
          await page.locator("#tasks li").first().waitFor()
          await Effect.runPromise(network.cut("reset"))
          // A call fails if the connection is lost before its reply.
          const second = page.locator("#tasks li").nth(1)
          while (!await second.isVisible()) await add("two")
          const [first, ...others] = await page.locator("#tasks li").allInnerTexts()
          assert.strictEqual(first, "· one")
          assert.isTrue(others.length > 0 && others.every((title) => title === "· two"))
        })
        assert.deepStrictEqual(problems, [])
      }).pipe(Effect.scoped))
  })
})
