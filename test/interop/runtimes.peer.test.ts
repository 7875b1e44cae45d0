/** This library under other runtimes than Node: its server and its client in all exchanges, and a route. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { PerMessageDeflate, WebSocketClient } from "effect-ws"
import { fileURLToPath } from "node:url"
import { contentOf } from "../support/memory.ts"
import { headEnd, rawConnect, requestText, splitHead } from "../support/net.ts"
import { bun, deno, type PeerName, withPeer } from "../support/peers.ts"
import { runProgram } from "../support/process.ts"
import { interop } from "./exchanges.ts"
import { startProgram } from "./program.ts"

interface Runtime {
  readonly name: PeerName
  readonly command: string
  /** What precedes a file in the command. */
  readonly args: ReadonlyArray<string>
}

const runtimes: ReadonlyArray<Runtime> = [
  { name: "Bun", command: bun, args: [] },
  { name: "Deno", command: deno, args: ["run", "--allow-all"] }
]

for (const { args, command, name } of runtimes) {
  withPeer(name, (title) =>
    interop({
      title: `this library under ${title}`,
      roles: ["client", "server"],
      start: startProgram(command, "own_peer.ts", args),
      protocols: ["v1", "v2"]
    }))

  withPeer(name, (title) =>
    describe(`a route under ${title}`, () => {
      const route = Effect.gen(function*() {
        const script = fileURLToPath(new URL("peers/route.ts", import.meta.url))
        const program = yield* runProgram(command, [...args, script])
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
            headers: { Origin: `http://127.0.0.1:${port}` },
            extensions: [PerMessageDeflate.make()]
          })
          assert.deepStrictEqual(connection.extensions.map((entry) => entry.name), ["permessage-deflate"])
          const long = Array.from({ length: 20_000 }, (_, i) => i.toString(36)).join(" ")
          yield* connection.sendAll(["one", long])
          assert.strictEqual(contentOf(yield* connection.receive), "one")
          assert.strictEqual(contentOf(yield* connection.receive), long)
          assert.isTrue((yield* connection.close()).clean)
        }))
    }))
}
