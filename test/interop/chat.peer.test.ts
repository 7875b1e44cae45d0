/** The chat example, built and started as a user would, in Chromium: what a person sees. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { WebSocketClient } from "effect-ws"
import type { BrowserContext, Page } from "playwright-core"
import { launchChromium } from "../support/chromium.ts"
import { contentOf } from "../support/memory.ts"
import { runExample } from "../support/process.ts"

const startChat = (port = 0) =>
  Effect.gen(function*() {
    const program = yield* runExample("chat/server.js", { PORT: String(port) })
    const [, url] = yield* program.printed(/(http:\/\/127\.0\.0\.1:\d+\/)\n/)
    return { ...program, url, port: Number(new URL(url).port) }
  })

/** Reads again and again until what is read is what is waited for. */
const until = <A>(read: () => Promise<A>, holds: (value: A) => boolean): Effect.Effect<A> => {
  let latest: A | undefined
  const look = Effect.map(Effect.promise(read), (value) => latest = value)
  return Effect.repeat(look, { until: holds, schedule: Schedule.spaced("20 millis") }).pipe(
    Effect.timeoutOrElse({
      duration: "20 seconds",
      orElse: () => Effect.die(new Error(`what was waited for did not come; the latest was ${JSON.stringify(latest)}`))
    })
  )
}

/** A person in front of a tab. */
const openTab = (browser: BrowserContext, url: string, name: string) =>
  Effect.gen(function*() {
    const page = yield* Effect.promise(() => browser.newPage())
    const problems: Array<string> = []
    page.on("pageerror", (error) => problems.push(error.message))
    page.on("response", (response) => {
      if (response.status() >= 400) problems.push(`${response.status()} ${response.url()}`)
    })
    page.on("console", (message) => {
      if (message.type() === "error" && !message.text().includes("ERR_CONNECTION_REFUSED")) {
        problems.push(message.text())
      }
    })
    yield* Effect.promise(() => page.goto(url))
    const tab = { page, problems, ...eyes(page) }
    yield* tab.sees("#state", /Open/)
    yield* Effect.promise(() => page.getByLabel("You are").fill(name))
    yield* Effect.promise(() => page.getByLabel("You are").press("Enter"))
    yield* tab.sees("#log", new RegExp(`You are ${name} now`))
    return tab
  })

const eyes = (page: Page) => {
  const text = (selector: string) => page.locator(selector).innerText()
  const number = async (selector: string) => Number((await text(selector)).replace(",", ""))
  return {
    text,
    number,
    /** Waits until an element shows text that matches. */
    sees: (selector: string, pattern: RegExp) => until(() => text(selector), (shown) => pattern.test(shown)),
    say: (words: string) =>
      Effect.promise(async () => {
        await page.getByLabel("Message", { exact: true }).fill(words)
        await page.getByRole("button", { name: "Send", exact: true }).click()
      }),
    /** How many points a chart's path has. */
    points: async (selector: string) =>
      ((await page.locator(selector).getAttribute("d")) ?? "").match(/[ML]/g)?.length ?? 0
  }
}

describe("chat", () => {
  it.live("two visitors exchange messages, and see how they are connected", () =>
    Effect.gen(function*() {
      const server = yield* startChat()
      const browser = yield* launchChromium
      const ada = yield* openTab(browser, server.url, "Ada")
      const bob = yield* openTab(browser, server.url, "Bob")

      yield* ada.sees("#count", /^2$/)
      yield* bob.sees("#count", /^2$/)
      yield* ada.sees("#people", /Ada\s+you\s+\S+\s+Bob/)
      yield* ada.sees("#log", /\S+ joined[^]*is Bob now/)

      yield* ada.say("Hello from <b>Ada</b>")
      yield* bob.sees("#log", /Ada\s[^]*Hello from <b>Ada<\/b>/)
      yield* bob.say("Hello back")
      yield* ada.sees("#log", /Bob\s[^]*Hello back/)

      // The round trip is a number, which is measured again and again.
      const first = yield* ada.sees("#rtt", /^[\d.,]+$/)
      yield* until(() => ada.text("#rtt"), (shown) => shown !== first)
      yield* until(() => ada.points("#rtt-chart .stroke"), (points) => points >= 3)
      yield* ada.sees("#rtt-foot", /median [\d.,]+ · worst [\d.,]+/)

      yield* Effect.promise(() => ada.page.getByRole("button", { name: "Flood" }).click())
      yield* until(() => bob.number("#rate"), (rate) => rate > 100)
      yield* ada.sees("#flood-result", /back in [\d,]+ ms/)
      for (const tab of [ada, bob]) {
        yield* tab.sees("#log", /flood 1,000 of 1,000$/)
        yield* until(() => tab.points("#rate-chart .area"), (points) => points >= 1)
        yield* tab.sees("#rate-foot", /1,002 in all/)
        assert.strictEqual(yield* Effect.promise(() => tab.page.locator("#log > *").count()), 200)
      }

      yield* Effect.promise(() => bob.page.close())
      yield* ada.sees("#count", /^1$/)
      yield* ada.sees("#log", /Bob left/)
      yield* server.printed(/Bob left: 1001 GoingAway/)
      assert.deepStrictEqual([...ada.problems, ...bob.problems], [])
    }))

  it.live("a page shows how its connection closed, and reconnects when the server is back", () =>
    Effect.gen(function*() {
      const browser = yield* launchChromium
      const server = yield* startChat()
      const ada = yield* openTab(browser, server.url, "Ada")
      server.child.kill("SIGTERM")
      yield* ada.sees("#state", /Closed\s+1001\s[^]*Going Away · reconnecting in\s+\d+ s/)
      yield* ada.sees("#log", /Closed with 1001 Going Away/)
      assert.isTrue(
        yield* Effect.promise(() => ada.page.getByRole("button", { name: "Send", exact: true }).isDisabled())
      )
      yield* server.ended
      assert.include(server.output(), "Ada left: 1001 GoingAway")

      yield* startChat(server.port)
      yield* ada.sees("#state", /Open/)
      yield* ada.sees("#count", /^1$/)
      yield* ada.sees("#log", /You are in, as Ada$/)
      yield* ada.say("Here again")
      yield* ada.sees("#log", /Here again$/)
      assert.deepStrictEqual(ada.problems, [])
    }))

  it.live("a visitor leaves and returns with a button", () =>
    Effect.gen(function*() {
      const browser = yield* launchChromium
      const server = yield* startChat()
      const ada = yield* openTab(browser, server.url, "Ada")
      yield* Effect.promise(() => ada.page.getByRole("button", { name: "Disconnect" }).click())
      yield* ada.sees("#state", /Closed\s+1000\s/)
      yield* server.printed(/Ada left: 1000 NormalClosure/)
      yield* Effect.promise(() => ada.page.getByRole("button", { name: "Connect", exact: true }).click())
      yield* ada.sees("#state", /Open/)
    }))

  it.live("serves its page and no other file", () =>
    Effect.gen(function*() {
      const { url } = yield* startChat()
      const get = (path: string, method = "GET") => Effect.promise(() => fetch(new URL(path, url), { method }))
      const index = yield* get("/?from=a+friend")
      assert.strictEqual(index.status, 200)
      assert.strictEqual(index.headers.get("content-type"), "text/html; charset=utf-8")
      assert.include(index.headers.get("content-security-policy"), "default-src 'self'")
      assert.strictEqual((yield* get("/style.css")).headers.get("content-type"), "text/css; charset=utf-8")
      assert.strictEqual((yield* get("/client.js")).headers.get("content-type"), "text/javascript; charset=utf-8")
      assert.strictEqual((yield* get("/server.js")).status, 404)
      assert.strictEqual((yield* get("/%2e%2e/%2e%2e/package.json")).status, 404)
      assert.strictEqual((yield* get("/", "POST")).status, 405)
    }))

  it.live("responds to invalid input with an error, and continues", () =>
    Effect.gen(function*() {
      const { port } = yield* startChat()
      const connection = yield* WebSocketClient.connect(`ws://127.0.0.1:${port}/chat?name=Ada`)
      const answered = (message: string | Uint8Array, tag: string) =>
        Effect.andThen(
          connection.send(message),
          Effect.repeat(Effect.map(connection.receive, contentOf), {
            until: (text) => String(text).includes(`"${tag}"`)
          })
        )
      yield* answered("nonsense", "Refused")
      yield* answered(`{"_tag":"Say","text":" "}`, "Refused")
      yield* answered(`{"_tag":"Say","text":"${"x".repeat(1001)}"}`, "Refused")
      yield* answered(`{"_tag":"Rename","name":"\\u001b[31mred"}`, "Refused")
      yield* answered(Uint8Array.of(1), "Refused")
      yield* answered(`{"_tag":"Say","text":"Hello"}`, "Said")
    }))

  it.live("rejects visitors without a name", () =>
    Effect.gen(function*() {
      const { port } = yield* startChat()
      const rejected = yield* Effect.flip(WebSocketClient.connect(`ws://127.0.0.1:${port}/chat?name=%1b`))
      assert.strictEqual(rejected._tag === "HandshakeRejected" && rejected.status, 400)
    }))

  it.live("prints one line if its port is in use", () =>
    Effect.gen(function*() {
      const { port } = yield* startChat()
      const second = yield* runExample("chat/server.js", { PORT: String(port) })
      assert.strictEqual(yield* second.ended, 1)
      assert.match(second.output(), /^.*EADDRINUSE.*\n$/)
    }))
})
