/** Against Bun, in both roles; and a route of this library under Bun. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { WebSocketClient } from "effect-ws"
import { fileURLToPath } from "node:url"
import { contentOf } from "../support/memory.ts"
import { headEnd, rawConnect, requestText, splitHead } from "../support/net.ts"
import { bun, withPeer } from "../support/peers.ts"
import { runProgram } from "../support/process.ts"
import { interop } from "./exchanges.ts"
import { startProgram } from "./program.ts"

withPeer("Bun", (title) =>
  interop({
    title,
    roles: ["client", "server"],
    start: startProgram(bun, "bun_peer.js"),
    cannot: {
      fragments: "it has no way to send fragments",
      server: { "close without a code": "its server closes with 1000 then" }
    }
  }))

withPeer("Bun", (title) =>
  describe(`a route under ${title}`, () => {
    const route = Effect.gen(function*() {
      const program = yield* runProgram(bun, [fileURLToPath(new URL("peers/bun_route.ts", import.meta.url))])
      const [, port] = yield* program.printed(/"port": ?(\d+)/)
      return Number(port)
    })

    it.live("responds with 101, and sends nothing before it", () =>
      Effect.gen(function*() {
        const port = yield* route
        const peer = yield* rawConnect(port)
        peer.write(requestText({}, "GET /echo HTTP/1.1"))
        const { head } = splitHead(yield* peer.until((received) => received.includes(headEnd)))
        assert.match(head, /^HTTP\/1\.1 101 /)
      }))

    it.live("echoes, accepts pages of its host, and closes in order", () =>
      Effect.gen(function*() {
        const port = yield* route
        const connection = yield* WebSocketClient.connect(`ws://127.0.0.1:${port}/echo`, {
          headers: { Origin: `http://127.0.0.1:${port}` }
        })
        yield* connection.sendAll(["one", "x".repeat(100_000)])
        assert.strictEqual(contentOf(yield* connection.receive), "one")
        assert.strictEqual((yield* connection.receive).bytes.length, 100_000)
        assert.isTrue((yield* connection.close()).clean)
      }))
  }))
