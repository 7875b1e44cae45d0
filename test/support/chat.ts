/** The chat example, as a person uses it: the server in a process of its own, the page in Chromium. */
import { Effect, Schedule } from "effect"
import { TopicClient, WebSocketClient } from "effect-ws"
import type { BrowserContext, Page } from "playwright-core"
import { runExample } from "./process.ts"

export const startChat = (port = 0, environment: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function*() {
    const program = yield* runExample("chat/server.js", { PORT: String(port), ...environment })
    const [, url] = yield* program.printed(/the chat is at (http:\/\/127\.0\.0\.1:\d+\/)\n/)
    return { ...program, url, port: Number(new URL(url).port) }
  })

/** Reads again and again until a value is as expected. */
export const until = <A>(
  read: () => Promise<A>,
  holds: (value: A) => boolean,
  what = "a value"
): Effect.Effect<A> => {
  let latest: A | undefined
  const look = Effect.map(Effect.promise(read), (value) => latest = value)
  return Effect.repeat(look, { until: holds, schedule: Schedule.spaced("20 millis") }).pipe(
    Effect.timeoutOrElse({
      duration: "20 seconds",
      orElse: () => Effect.die(new Error(`${what} is not as expected; the latest is ${JSON.stringify(latest)}`))
    })
  )
}

/** A person in front of a tab. */
export const openTab = (browser: BrowserContext, url: string, name: string) =>
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
    yield* tab.sees("#state", /Connected/)
    yield* tab.sees("#log", /You are in, as/)
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
    click: (name: string) => Effect.promise(() => page.getByRole("button", { name, exact: true }).click()),
    enter: (room: string) => Effect.promise(() => page.getByRole("link", { name: room }).click()),
    /** Waits until an element shows text that matches. */
    sees: (selector: string, pattern: RegExp) => until(() => text(selector), (shown) => pattern.test(shown)),
    say: (words: string) =>
      Effect.promise(async () => {
        await page.getByLabel("Message", { exact: true }).fill(words)
        await page.getByRole("button", { name: "Send", exact: true }).click()
      }),
    /** The colour of the visitor. */
    hue: Effect.promise(() => page.locator("#people li:has(.tag) .face").getAttribute("style")),
    /** How many points a chart's path has. */
    points: async (selector: string) =>
      ((await page.locator(selector).getAttribute("d")) ?? "").match(/[ML]/g)?.length ?? 0
  }
}

/** A visitor without a page. */
export const visit = (port: number, name: string) =>
  TopicClient.make(() => WebSocketClient.connect(`ws://127.0.0.1:${port}/chat`), { token: name })
