/** The page of the chat in Chromium, in windows of which a keyboard leaves little, and with the keyboard alone. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { openTab, startChat, until } from "../support/chat.ts"
import { launchChromium } from "../support/chromium.ts"

/** What there is of the page in its window. Runs in the page. */
const measure = `(() => {
  const { innerWidth, innerHeight } = window
  const boxOf = (selector) => document.querySelector(selector).getBoundingClientRect()
  const isInside = ({ top, bottom, left, right, height }) =>
    height > 0 && top >= 0 && left >= 0 && bottom <= innerHeight && right <= innerWidth
  const hidden = ["#text", "#send", "#name", "#state-word", "#toggle", "#rooms [aria-current]"]
    .filter((selector) => !isInside(boxOf(selector)))
  const scroller = document.querySelector("#scroller")
  return {
    talk: Math.round(boxOf("#scroller").height),
    hidden,
    overflow: [document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight - innerHeight],
    isAtEnd: scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 2
  }
})()`

interface Seen {
  readonly talk: number
  /** Selectors of elements that are not wholly in the window. */
  readonly hidden: ReadonlyArray<string>
  readonly overflow: ReadonlyArray<number>
  readonly isAtEnd: boolean
}

/** Width and height of a window, and the height that the talk has at least. */
const sizes = [
  ["a phone with its keyboard up", 375, 420, 250],
  ["a phone on its side", 700, 400, 240],
  ["a small phone with its keyboard up", 320, 300, 130],
  ["a phone", 375, 812, 350],
  ["a low window", 1024, 420, 250],
  ["a large window", 1280, 900, 500]
] as const

describe("chat", () => {
  it.live(
    "leaves room for the talk on each screen, with a keyboard up or not, connected or not",
    () =>
      Effect.gen(function*() {
        const server = yield* startChat()
        const browser = yield* launchChromium
        const ada = yield* openTab(browser, server.url, "Ada")
        for (let i = 1; i <= 30; i++) {
          yield* ada.say(`message ${i} of thirty, with some words more than a phone has room for`)
        }
        yield* ada.sees("#log", /message 30 of[^]*$/)
        const fits = Effect.forEach(sizes, ([name, width, height, talk]) =>
          Effect.gen(function*() {
            yield* Effect.promise(() => ada.page.setViewportSize({ width, height }))
            yield* until(
              () => ada.page.evaluate(measure) as Promise<Seen>,
              (seen) => seen.talk >= talk && seen.isAtEnd && seen.hidden.length === 0 && seen.overflow.join() === "0,0",
              name
            )
          }))
        yield* fits
        server.child.kill("SIGTERM")
        yield* ada.sees("#state", /Connection lost/)
        yield* fits
      }),
    60_000
  )

  it.live("can be used with the keyboard alone", () =>
    Effect.gen(function*() {
      const { url } = yield* startChat()
      const browser = yield* launchChromium
      const { page, ...ada } = yield* openTab(browser, url, "Ada")
      const press = (...keys: ReadonlyArray<string>) =>
        Effect.forEach(keys, (key) => Effect.promise(() => page.keyboard.press(key)))
      const type = (text: string) => Effect.promise(() => page.keyboard.type(text))
      const focused = Effect.promise(() =>
        page.evaluate("document.activeElement.id || document.activeElement.textContent") as Promise<string>
      )
      // Once named, a visitor is in the field for messages.
      assert.strictEqual(yield* focused, "text")
      yield* type("hello")
      yield* press("Enter")
      yield* ada.sees("#log", /hello$/)

      // Backwards through the page: the talk, the panels, the name, the rooms.
      const passed: Array<string> = []
      for (let i = 0; i < 10 && passed.at(-1) !== "Garden"; i++) {
        yield* press("Shift+Tab")
        passed.push(yield* focused)
      }
      assert.deepStrictEqual(passed, ["scroller", "flood", "toggle", "name", "Library", "Garden"])
      const outline = yield* Effect.promise(() =>
        page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
      )
      assert.strictEqual(outline, "solid")
      yield* press("Enter")
      yield* ada.sees("#rooms [aria-current]", /^Garden$/)
      yield* ada.sees("#log", /^You are in, as Ada$/)

      yield* press("Tab", "Tab")
      assert.strictEqual(yield* focused, "name")
      yield* press("ControlOrMeta+A")
      yield* type("Countess")
      yield* press("Enter")
      yield* ada.sees("#log", /You are Countess now$/)
      assert.strictEqual(yield* focused, "text")
      assert.deepStrictEqual(ada.problems, [])
    }))

  it.live("gives a name the same colour on all pages and servers", () =>
    Effect.gen(function*() {
      const browser = yield* launchChromium
      const colours = yield* Effect.forEach(["Ada", "Ada", "Bob"], (name) =>
        Effect.gen(function*() {
          const { url } = yield* startChat()
          const { hue } = yield* openTab(browser, url, name)
          return yield* hue
        }))
      assert.match(String(colours[0]), /--hue: \d+/)
      assert.strictEqual(colours[0], colours[1])
      assert.notStrictEqual(colours[0], colours[2])
    }))
})
