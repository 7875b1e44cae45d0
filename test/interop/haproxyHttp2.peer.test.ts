/** Clients over HTTP/2 behind HAProxy, which speaks HTTP/1.1 or HTTP/2 with the server. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { WebSocketClient } from "effect-ws"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ca, tls } from "../support/certificates.ts"
import { handingOut, serve } from "../support/net.ts"
import { withPeer } from "../support/peers.ts"
import { listening } from "../support/port.ts"
import { runProgram } from "../support/process.ts"
import { echo, textOf } from "../support/serving.ts"

const configOf = (port: number, certificate: string, server: string): string => `
global
  tune.h2.initial-window-size 65535
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
frontend web
  bind 127.0.0.1:${port} ssl crt ${certificate} alpn h2,http/1.1
  default_backend app
backend app
  server app ${server}
`

/** Starts HAProxy with HTTP/2 in front of a server. */
const haproxy = (server: string) =>
  Effect.gen(function*() {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-ws-haproxy-"))),
      (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
    )
    const certificate = join(directory, "server.pem")
    writeFileSync(certificate, tls.cert + tls.key)
    const { port } = yield* listening((free) => {
      writeFileSync(join(directory, "config"), configOf(free, certificate, server))
      return runProgram("haproxy", ["-db", "-f", join(directory, "config")])
    })
    return `wss://localhost:${port}/`
  })

const Client = WebSocketClient.layer({ http2: "only", keepalive: false, tls: { ca } })

withPeer("HAProxy", (title) => {
  const backends = {
    "HTTP/1.1": [{}, (port: number) => `127.0.0.1:${port}`],
    "HTTP/2": [{ cleartextHttp2: true }, (port: number) => `127.0.0.1:${port} proto h2 ws h2`]
  } as const
  for (const [version, [options, server]] of Object.entries(backends)) {
    describe(`${title}, HTTP/2 to the client and ${version} to the server`, () => {
      it.live("connections of a layer share a session and exchange messages", () =>
        Effect.gen(function*() {
          const { port } = yield* serve(echo, { ...options, serve: { protocols: ["v1"] } })
          const url = yield* haproxy(server(port))
          const connections = yield* Effect.forEach(
            [1, 2, 3],
            () => WebSocketClient.connect(url, { protocols: ["v1"] }),
            { concurrency: "unbounded" }
          )
          for (const connection of connections) {
            assert.deepStrictEqual([connection.request.httpVersion, connection.subprotocol], ["2", "v1"])
            for (const size of [0, 5, 70_000, 1_000_000]) {
              yield* connection.send("x".repeat(size))
              assert.strictEqual(textOf(yield* connection.receive).length, size)
            }
          }
          for (const connection of connections) {
            assert.deepInclude(yield* connection.close(4000, "enough"), { code: 4000, clean: true })
          }
        }).pipe(Effect.provide(Client)))

      it.live("both ends see a close of the server", () =>
        Effect.gen(function*() {
          const handler = yield* handingOut
          const { port } = yield* serve(handler.handler, options)
          const client = yield* WebSocketClient.connect(yield* haproxy(server(port)))
          const closing = yield* Effect.forkChild((yield* handler.connection).close(4001, "gone"))
          assert.deepInclude(yield* client.closed, { code: 4001, reason: "gone", clean: true, closedBy: "remote" })
          assert.deepInclude(yield* Fiber.join(closing), { code: 4001, clean: true, closedBy: "local" })
        }).pipe(Effect.provide(Client)))
    })
  }
})
