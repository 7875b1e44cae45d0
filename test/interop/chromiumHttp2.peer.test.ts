/** Against Chromium with a page over HTTP/2, whose WebSockets are streams of the page's session (RFC 8441). */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope, Stream } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { Connection, type ConnectionError, WebSocketServer } from "effect-ws"
import type { Page } from "playwright-core"
import { application } from "../support/application.ts"
import { tls } from "../support/certificates.ts"
import { launchChromium } from "../support/chromium.ts"
import { secureServer } from "../support/http2Servers.ts"
import { serve } from "../support/net.ts"
import { withPeer } from "../support/peers.ts"
import { eventually } from "../support/resources.ts"

interface Seen {
  readonly version: string
  readonly end: ConnectionError.ConnectionClosed
}

/** An echo that records the HTTP version of each connection and how it ended. */
const recording = () => {
  const seen: Array<Seen> = []
  const handler = Effect.flatMap(Connection.Connection, (connection) =>
    Effect.andThen(
      Effect.ignore(Stream.runForEach(connection.messages, connection.send)),
      Effect.map(connection.closed, (end) => void seen.push({ version: connection.request.httpVersion, end }))
    ))
  return { seen, handler }
}

const html = "<!doctype html><title>test</title>"

const servers: Readonly<
  Record<
    string,
    (handler: ReturnType<typeof recording>["handler"]) => Effect.Effect<{ readonly port: number }, unknown, Scope.Scope>
  >
> = {
  "a server": (handler) =>
    serve(handler, {
      tls,
      http2: true,
      onRequest: (_request, response) => {
        response.setHeader("Content-Type", "text/html")
        response.end(html)
      }
    }),
  "a route of an application": (handler) =>
    application(
      HttpRouter.addAll([
        HttpRouter.route("GET", "/", HttpServerResponse.html(html)),
        HttpRouter.route("GET", "/ws", WebSocketServer.upgrade(handler))
      ]),
      secureServer
    )
}

interface InPage {
  readonly performance: {
    readonly getEntriesByType: (type: "navigation") => ReadonlyArray<{ readonly nextHopProtocol: string }>
  }
}

/** Connects in the page, has a message sent back, and closes. Returns the close code that the page saw. */
const exchange = (page: Page, url: string, size: number) =>
  Effect.promise(() =>
    page.evaluate(([address, length]) =>
      new Promise<readonly [code: number, received: number]>((resolve) => {
        const socket = new WebSocket(address)
        let received = -1
        socket.onopen = () => socket.send("x".repeat(length))
        socket.onmessage = ({ data }) => {
          received = data.length
          socket.close(1000)
        }
        socket.onclose = ({ code }) => resolve([code, received])
      }), [url, size] as const)
  )

withPeer("Chromium", (title) => {
  describe(`${title} over HTTP/2`, () => {
    for (const [name, start] of Object.entries(servers)) {
      it.live(`opens one WebSocket after another on the session of the page, on ${name}`, () =>
        Effect.gen(function*() {
          const { handler, seen } = recording()
          const { port } = yield* start(handler)
          const browser = yield* launchChromium
          const page = yield* Effect.promise(() => browser.newPage())
          yield* Effect.promise(() => page.goto(`https://localhost:${port}/`))
          const protocol = yield* Effect.promise(() =>
            page.evaluate(() => {
              const { performance } = globalThis as unknown as InPage
              return performance.getEntriesByType("navigation")[0].nextHopProtocol
            })
          )
          assert.strictEqual(protocol, "h2")
          for (let i = 1; i <= 4; i++) {
            assert.deepStrictEqual(yield* exchange(page, `wss://localhost:${port}/ws`, i * 100_000), [
              1000,
              i * 100_000
            ])
            yield* eventually(() => seen.length === i)
          }
          assert.deepStrictEqual(
            seen.map(({ end: { cause, clean, code }, version }) => [version, code, clean, cause]),
            seen.map(() => ["2", 1000, true, undefined])
          )
        }))
    }
  })
})
