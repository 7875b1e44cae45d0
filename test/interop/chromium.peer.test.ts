/** Against the WebSocket of Chromium. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { Connection, type Handshake, type WebSocketServer } from "effect-ws"
import type { Page } from "playwright-core"
import { launchChromium } from "../support/chromium.ts"
import { serve } from "../support/net.ts"
import { withPeer } from "../support/peers.ts"
import { interop, makeEnds } from "./exchanges.ts"
import { obey } from "./peers/standard.ts"

const openPage = (url: string) =>
  Effect.flatMap(launchChromium, (browser) =>
    Effect.promise(async () => {
      const page = await browser.newPage()
      await page.goto(url)
      return page
    }))

const table = (title: string) =>
  interop({
    title,
    roles: ["client"],
    cannot: {
      ping: "the standard has no way to ping",
      fragments: "the standard has no way to send fragments",
      "close with a code of the protocol": "the standard allows 1000 and what is of applications"
    },
    start: Effect.gen(function*() {
      const { ended, report } = makeEnds()
      const page = yield* pageOf(yield* serve(Effect.void, withPage))
      yield* Effect.promise(() => page.exposeFunction("report", report))
      yield* Effect.promise(() => page.evaluate(`globalThis.obey = ${obey.toString()}`))
      return {
        ended,
        connect: (url, protocols) =>
          Effect.promise(() =>
            page.evaluate(
              ([address, path, offered]) => {
                const inPage = globalThis as unknown as InPage
                inPage.obey(new WebSocket(address, [...offered]), (code, reason) => inPage.report(path, code, reason))
              },
              [url, new URL(url).pathname, protocols] as const
            )
          )
      }
    })
  })

interface InPage {
  readonly obey: (socket: WebSocket, report: (code: number, reason: string) => void) => void
  readonly report: (path: string, code: number, reason: string) => void
}

/** A server that has a page. */
const withPage: WebSocketServer.MakeOptions = {
  onRequest: (_request, response) => {
    response.setHeader("Content-Type", "text/html")
    response.end("<!doctype html><title>test</title>")
  }
}

const pageOf = (server: { readonly url: string }) => openPage(server.url.replace("ws:", "http:"))

interface Closed {
  readonly code: number
  readonly reason: string
  readonly wasClean: boolean
}

/** Connects in the page, sends, and answers how it was closed. */
const closedInPage = (page: Page, url: string, message: string) =>
  Effect.promise(() =>
    page.evaluate(([address, text]) =>
      new Promise<Closed>((resolve) => {
        const socket = new WebSocket(address)
        socket.onopen = () => socket.send(text)
        socket.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean })
      }), [url, message] as const)
  )

const echo = Effect.flatMap(
  Connection.Connection,
  (connection) => Stream.runForEach(connection.messages, connection.send)
)

withPeer("Chromium", (title) => {
  table(title)

  describe("pages", () => {
    it.live("pages may connect to their own host, and to no other", () =>
      Effect.gen(function*() {
        const own = yield* serve(echo, withPage)
        const page = yield* pageOf(own)
        const opened = yield* Effect.promise(() =>
          page.evaluate((address) =>
            new Promise<boolean>((resolve) => {
              const socket = new WebSocket(address)
              socket.onopen = () => resolve(true)
              socket.onerror = () => resolve(false)
            }), own.url)
        )
        assert.isTrue(opened)
        const other = yield* serve(echo)
        assert.strictEqual((yield* closedInPage(page, other.url, "let me in")).code, 1006)
      }))

    it.live("pages of another origin cannot act as a logged-in user, unless the server allows them", () =>
      Effect.gen(function*() {
        /** What a page of another origin gets to read of a server that greets who is logged in. */
        const stolen = (origin: (attacker: string) => Handshake.OriginPolicy) =>
          Effect.scoped(Effect.gen(function*() {
            const attacker = yield* serve(Effect.void, withPage)
            const attackerOrigin = attacker.url.replace("ws:", "http:")
            const victim = yield* serve(
              Effect.flatMap(Connection.Connection, (connection) =>
                connection.send(`welcome, ${connection.request.headers["cookie"]}`)),
              {
                serve: { origin: origin(attackerOrigin) },
                onRequest: (_request, response) => {
                  response.setHeader("Set-Cookie", "session=alice")
                  response.end("logged in")
                }
              }
            )
            const page = yield* pageOf(victim)
            yield* Effect.promise(() =>
              page.goto(attackerOrigin)
            )
            return yield* Effect.promise(() =>
              page.evaluate((address) =>
                new Promise<string>((resolve) => {
                  const socket = new WebSocket(address)
                  socket.onmessage = ({ data }) => resolve(String(data))
                  socket.onerror = () => resolve("refused")
                }), victim.url)
            )
          }))
        assert.strictEqual(yield* stolen(() => "any"), "welcome, session=alice")
        assert.strictEqual(yield* stolen(() => "same-origin"), "refused")
        assert.strictEqual(yield* stolen(() => ["https://example.com"]), "refused")
        assert.strictEqual(yield* stolen((attacker) => [attacker]), "welcome, session=alice")
      }))

    it.live("pages receive the close code of a handler that ended", () =>
      Effect.gen(function*() {
        const handler = Effect.gen(function*() {
          const connection = yield* Connection.Connection
          const message = yield* connection.receive
          if (message._tag === "Text" && message.text === "fail") return yield* Effect.die("on purpose")
        })
        const server = yield* serve(handler, withPage)
        const page = yield* pageOf(server)
        assert.deepStrictEqual(yield* closedInPage(page, server.url, "end"), { code: 1000, reason: "", wasClean: true })
        assert.deepStrictEqual(yield* closedInPage(page, server.url, "fail"), {
          code: 1011,
          reason: "",
          wasClean: true
        })
      }))

    it.live("pages that are closed send 1001", () =>
      Effect.gen(function*() {
        const server = yield* serve(echo, withPage)
        const page = yield* pageOf(server)
        yield* Effect.promise(() =>
          page.evaluate((address) =>
            new Promise<void>((resolve) => {
              const socket = new WebSocket(address)
              socket.onopen = () => {
                Object.assign(globalThis, { socket })
                resolve()
              }
            }), server.url)
        )
        const [connection] = yield* server.connections
        const ended = yield* Effect.forkChild(connection.closed)
        yield* Effect.promise(() => page.goto("about:blank"))
        assert.strictEqual((yield* Fiber.join(ended)).code, 1001)
      }))
  })
})
