/** The chat example, built and started as a user would, in Chromium: what a person sees. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Room } from "../../examples/chat/room.ts"
import { openTab, startChat, until, visit } from "../support/chat.ts"
import { launchChromium } from "../support/chromium.ts"
import { runExample } from "../support/process.ts"

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
      yield* ada.sees("#log", /\S+ joined[^]*\S+ left[^]*Bob joined/)

      yield* ada.say("Hello from <b>Ada</b>")
      yield* bob.sees("#log", /Ada\s[^]*Hello from <b>Ada<\/b>/)
      yield* bob.say("Hello back")
      yield* ada.sees("#log", /Bob\s[^]*Hello back/)
      yield* ada.sees("#unsent", /^$/)

      // The round trip is a number, which is measured again and again.
      const first = yield* ada.sees("#rtt", /^[\d.,]+$/)
      yield* until(() => ada.text("#rtt"), (shown) => shown !== first)
      yield* until(() => ada.points("#rtt-chart .stroke"), (points) => points >= 3)
      yield* ada.sees("#rtt-foot", /median [\d.,]+ · worst [\d.,]+/)

      yield* ada.click("Flood: send 1,000")
      yield* ada.sees("#flood-result", /all confirmed in [\d,]+ ms/)
      for (const tab of [ada, bob]) {
        yield* tab.sees("#log", /flood 1,000 of 1,000$/)
        yield* until(() => tab.points("#rate-chart .area"), (points) => points >= 1)
        yield* tab.sees("#rate-foot", /1,002 in all/)
        assert.strictEqual(yield* Effect.promise(() => tab.page.locator("#log > *").count()), 200)
      }

      yield* Effect.promise(() => bob.page.close())
      yield* ada.sees("#count", /^1$/)
      yield* ada.sees("#log", /Bob left/)
      yield* server.printed(/Bob is gone/)
      assert.deepStrictEqual([...ada.problems, ...bob.problems], [])
    }))

  it.live("shows the history of a room to those who join, and keeps rooms apart", () =>
    Effect.gen(function*() {
      const server = yield* startChat()
      const browser = yield* launchChromium
      const ada = yield* openTab(browser, server.url, "Ada")
      yield* ada.say("in the lobby")
      yield* ada.sees("#log", /in the lobby/)
      yield* ada.enter("Garden")
      yield* ada.say("in the garden")
      const garden = yield* ada.sees("#log", /in the garden/)
      assert.notInclude(garden, "in the lobby")

      const bob = yield* openTab(browser, server.url, "Bob")
      yield* bob.sees("#log", /Ada[^]*in the lobby/)
      yield* bob.sees("#people", /^B\s+Bob\s+you$/)
      yield* bob.enter("Garden")
      yield* bob.sees("#log", /Ada[^]*in the garden[^]*You are in, as Bob/)
      yield* bob.sees("#count", /^2$/)
      yield* ada.sees("#log", /Bob joined/)
      // The address leads to the room, and one that the page does not list.
      assert.strictEqual(new URL(bob.page.url()).hash, "#garden")
      yield* Effect.promise(() => bob.page.goto(`${server.url}#caf%C3%A9`))
      yield* bob.sees("#rooms [aria-current]", /^café$/)
      yield* bob.sees("#log", /^You are in, as Bob$/)
      assert.deepStrictEqual([...ada.problems, ...bob.problems], [])
    }))

  it.live("a page resumes when the server is back, and sends what was said meanwhile", () =>
    Effect.gen(function*() {
      const browser = yield* launchChromium
      const server = yield* startChat()
      const ada = yield* openTab(browser, server.url, "Ada")
      yield* ada.say("before")
      yield* ada.sees("#log", /before/)
      const hue = yield* ada.hue
      server.child.kill("SIGTERM")
      yield* ada.sees("#state", /Connection lost[^]*trying again in\s+\d+ s/)
      yield* ada.sees("#log", /before[^]*Connection lost/)
      yield* server.ended
      yield* ada.say("during")
      yield* ada.sees("#unsent", /during/)

      yield* startChat(server.port)
      yield* ada.sees("#state", /Connected/)
      yield* ada.sees("#count", /^1$/)
      yield* ada.sees("#log", /before[^]*Connected again[^]*started anew[^]*during$/)
      yield* ada.sees("#unsent", /^$/)
      yield* ada.say("after")
      const log = yield* ada.sees("#log", /after$/)
      for (const text of ["before", "during", "after"]) assert.lengthOf(log.split(text), 2, text)
      assert.strictEqual(yield* ada.hue, hue)
      assert.deepStrictEqual(ada.problems, [])
    }))

  it.live("a visitor leaves and returns with a button, and reads what was said meanwhile", () =>
    Effect.gen(function*() {
      const browser = yield* launchChromium
      const server = yield* startChat()
      const ada = yield* openTab(browser, server.url, "Ada")
      const bob = yield* openTab(browser, server.url, "Bob")
      yield* ada.click("Disconnect")
      yield* ada.sees("#state", /Disconnected/)
      yield* bob.sees("#log", /Ada left$/)
      yield* bob.say("for Ada")
      yield* bob.sees("#log", /for Ada$/)
      yield* ada.click("Connect")
      yield* ada.sees("#state", /Connected/)
      yield* ada.sees("#log", /for Ada$/)
      assert.deepStrictEqual([...ada.problems, ...bob.problems], [])
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
      assert.strictEqual((yield* get("/page.js")).headers.get("content-type"), "text/javascript; charset=utf-8")
      assert.strictEqual((yield* get("/server.js")).status, 404)
      assert.strictEqual((yield* get("/%2e%2e/%2e%2e/package.json")).status, 404)
      assert.strictEqual((yield* get("/", "POST")).status, 405)
    }))

  it.live("writes the name of the user on each message, and rejects messages that are not allowed", () =>
    Effect.gen(function*() {
      const { port } = yield* startChat()
      const client = yield* visit(port, "Ada")
      const lobby = { name: "lobby" }
      const said = (text: string) => ({ by: "Bob", text, at: 0 })
      yield* client.publish(Room, lobby, said("hello"))
      const { messages } = yield* client.history(Room, lobby)
      assert.deepStrictEqual(messages.map(({ message: { by, text } }) => [by, text]), [["Ada", "hello"]])
      const inSecret = yield* Effect.flip(client.publish(Room, { name: "\u001b" }, said("hello")))
      assert.strictEqual(inSecret._tag === "Rejected" && inSecret.code, 103)
    }))

  it.live("rejects visitors without a name", () =>
    Effect.gen(function*() {
      const { port } = yield* startChat()
      const client = yield* visit(port, "\u001b")
      const closed = yield* Effect.flip(client.connection.closed)
      assert.strictEqual(closed._tag === "ConnectionClosed" && closed.code, 3500)
    }))

  it.live("prints one line if its port is in use, or if its processes share no rooms", () =>
    Effect.gen(function*() {
      const { port } = yield* startChat()
      const second = yield* runExample("chat/server.js", { PORT: String(port) })
      assert.strictEqual(yield* second.ended, 1)
      assert.match(second.output(), /^.*EADDRINUSE.*\n$/)
      const apart = yield* runExample("chat/server.js", { PORT: "0", WORKERS: "2" })
      assert.strictEqual(yield* apart.ended, 1)
      assert.match(apart.output(), /^WORKERS: expected REDIS_URL.*\n$/)
    }))
})
