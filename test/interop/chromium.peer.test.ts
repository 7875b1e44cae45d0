/** Chromium's WebSocket against our server. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { Connection, type WebSocketServer } from "effect-ws"
import type { Page } from "playwright-core"
import { launchChromium } from "../support/chromium.ts"
import { serve } from "../support/net.ts"

const echo = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  yield* Stream.runForEach(connection.messages, connection.send)
})

/** A page that our server has served, so that it is of the same origin. */
const openPage = (url: string) =>
  Effect.gen(function*() {
    const browser = yield* launchChromium
    console.log(`Chromium ${browser.browser()?.version() ?? "?"}`)
    return yield* Effect.promise(async () => {
      const page = await browser.newPage()
      await page.goto(url.replace("ws:", "http:"))
      return page
    })
  })

const page: WebSocketServer.MakeOptions = {
  onRequest: (_request, response) => {
    response.setHeader("Content-Type", "text/html")
    response.end("<!doctype html><title>test</title>")
  }
}

interface Closed {
  readonly code: number
  readonly reason: string
  readonly wasClean: boolean
}

/** Connects in the page, sends, and answers how it was closed. */
const closedInPage = (target: Page, url: string, message: string) =>
  Effect.promise(() =>
    target.evaluate(([address, text]) =>
      new Promise<Closed>((resolve) => {
        const socket = new WebSocket(address)
        socket.onopen = () => socket.send(text)
        socket.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean })
      }), [url, message] as const)
  )

describe("our server, Chromium", () => {
  it.live("exchanges text, binary, empty messages and a megabyte of each", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, page)
      const target = yield* openPage(server.url)
      const results = yield* Effect.promise(() =>
        target.evaluate(async (address) => {
          const socket = new WebSocket(address)
          socket.binaryType = "arraybuffer"
          await new Promise((resolve) => socket.onopen = resolve)
          const exchange = (data: string | Uint8Array<ArrayBuffer>) =>
            new Promise<boolean>((resolve) => {
              socket.onmessage = ({ data: got }) => {
                if (typeof data === "string") return resolve(got === data)
                const bytes = new Uint8Array(got)
                resolve(bytes.length === data.length && bytes.every((byte, i) => byte === data[i]))
              }
              socket.send(data)
            })
          return [
            await exchange("hello"),
            await exchange(""),
            await exchange("añ€😀".repeat(100_000)),
            await exchange(Uint8Array.of(0, 255)),
            await exchange(new Uint8Array(0)),
            await exchange(new Uint8Array(1024 * 1024).map((_, i) => i % 251))
          ]
        }, server.url)
      )
      assert.deepStrictEqual(results, [true, true, true, true, true, true])
    }))

  it.live("takes fragments, and answers pings", () =>
    Effect.gen(function*() {
      const server = yield* serve(
        Effect.gen(function*() {
          const connection = yield* Connection.Connection
          yield* connection.receive
          yield* connection.ping()
          yield* connection.sendFragments(Stream.make("frag", "men", "ted"))
          yield* connection.closed
        }),
        page
      )
      const target = yield* openPage(server.url)
      const got = yield* Effect.promise(() =>
        target.evaluate((address) =>
          new Promise<string>((resolve) => {
            const socket = new WebSocket(address)
            socket.onopen = () => socket.send("go")
            socket.onmessage = ({ data }) => resolve(data)
          }), server.url)
      )
      assert.strictEqual(got, "fragmented")
    }))

  it.live("agrees on a subprotocol, and keeps pages of other origins out", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { ...page, serve: { protocols: ["v2"] } })
      const target = yield* openPage(server.url)
      const agreed = yield* Effect.promise(() =>
        target.evaluate((address) =>
          new Promise<string>((resolve) => {
            const socket = new WebSocket(address, ["v1", "v2"])
            socket.onopen = () => resolve(socket.protocol)
          }), server.url)
      )
      assert.strictEqual(agreed, "v2")
      const elsewhere = yield* serve(echo)
      const refused = yield* closedInPage(target, elsewhere.url, "let me in")
      assert.strictEqual(refused.code, 1006)
    }))

  it.live("is closed from either side, and knows how", () =>
    Effect.gen(function*() {
      const server = yield* serve(
        Effect.gen(function*() {
          const connection = yield* Connection.Connection
          const message = yield* connection.receive
          const text = message._tag === "Text" ? message.text : ""
          if (text === "close") return yield* connection.close(4000, "asked for")
          if (text === "end") return
          if (text === "fail") return yield* Effect.die("on purpose")
          return yield* connection.closed
        }),
        page
      )
      const target = yield* openPage(server.url)
      const closed = (message: string) => closedInPage(target, server.url, message)
      assert.deepStrictEqual(yield* closed("close"), { code: 4000, reason: "asked for", wasClean: true })
      assert.deepStrictEqual(yield* closed("end"), { code: 1000, reason: "", wasClean: true })
      assert.deepStrictEqual(yield* closed("fail"), { code: 1011, reason: "", wasClean: true })

      // The page closes: with a code, without one, and by going away.
      const seen = (script: string) =>
        Effect.gen(function*() {
          yield* Effect.promise(() =>
            target.evaluate((address) =>
              new Promise<void>((resolve) => {
                const socket = new WebSocket(address)
                socket.onopen = () => {
                  socket.send("stay")
                  Object.assign(globalThis, { socket })
                  resolve()
                }
              }), server.url)
          )
          const [connection] = yield* server.connections
          const ended = yield* Effect.forkChild(connection.closed)
          yield* Effect.promise(() => target.evaluate(script))
          return yield* Fiber.join(ended)
        })
      const withCode = yield* seen("socket.close(3001, 'leaving')")
      assert.deepStrictEqual([withCode.code, withCode.reason, withCode.clean], [3001, "leaving", true])
      const withoutCode = yield* seen("socket.close()")
      assert.deepStrictEqual([withoutCode.code, withoutCode.normal], [1005, true])
      const gone = yield* seen("location.href = 'about:blank'")
      assert.strictEqual(gone.code, 1001)
    }))
})
