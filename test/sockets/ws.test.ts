/** Against `ws`, in both roles. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { Connection, type HandshakeError, WebSocketClient } from "effect-ws"
import { createRequire } from "node:module"
import type { AddressInfo } from "node:net"
import { WebSocket, WebSocketServer } from "ws"
import { serve } from "../support/net.ts"
import { interop, makeEnds } from "../interop/exchanges.ts"

const { version } = createRequire(import.meta.url)("ws/package.json") as { version: string }

type Report = (code: number, reason: string) => void

const obey = (socket: WebSocket, report: Report) => {
  socket.on("error", () => {})
  socket.on("close", (code, reason) => report(code, reason.toString()))
  socket.on("pong", (data) => {
    if (data.length > 0) socket.send(`pong ${data.toString()}`)
  })
  socket.on("message", (data, binary) => {
    const [, verb, rest] = /^please (\w+) ?(.*)$/.exec(binary ? "" : data.toString()) ?? []
    const words = rest?.split(" ") ?? []
    switch (verb) {
      case "close":
        return rest === "" ? socket.close() : socket.close(Number(words[0]), words.slice(1).join(" "))
      case "ping":
        return socket.ping(rest)
      case "fragments":
        return words.forEach((word, i) => socket.send(word, { fin: i === words.length - 1 }))
      case "subprotocol":
        return socket.send(socket.protocol)
      default:
        return socket.send(data, { binary })
    }
  })
}

/** A server of ws, for as long as the Scope lives. */
const listen = (
  onConnection: (socket: WebSocket, path: string) => void,
  options: ConstructorParameters<typeof WebSocketServer>[0] = {}
): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<WebSocketServer>((resume) => {
        const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: true, ...options })
        server.on("listening", () => resume(Effect.succeed(server)))
        server.on("connection", (socket, request) => onConnection(socket, request.url ?? ""))
      }),
      (server) =>
        Effect.callback<void>((resume) => {
          for (const client of server.clients) client.terminate()
          server.close(() => resume(Effect.void))
        })
    ),
    (server) => `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
  )

interop({
  title: `ws ${version}`,
  roles: ["client", "server"],
  start: Effect.gen(function*() {
    const { ended, report } = makeEnds()
    const follow = (socket: WebSocket, path: string) => obey(socket, (code, reason) => report(path, code, reason))
    const url = yield* listen(follow, {
      handleProtocols: (offered) => offered.has("v2") && "v2"
    })
    const connect = (to: string, protocols: ReadonlyArray<string>) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const socket = new WebSocket(to, [...protocols])
          follow(socket, new URL(to).pathname)
          return socket
        }),
        (socket) => Effect.sync(() => socket.terminate())
      )
    return { url, connect, ended }
  })
})

/** A client of ws, open. */
const open = (url: string) =>
  Effect.acquireRelease(
    Effect.callback<WebSocket, Error>((resume) => {
      const socket = new WebSocket(url)
      socket.on("open", () => resume(Effect.succeed(socket)))
      socket.on("error", (error) => resume(Effect.fail(error)))
    }),
    (socket) => Effect.sync(() => socket.terminate())
  )

describe("ws as a client of our server", () => {
  it.live("reads the close code and reason of a protocol violation", () =>
    Effect.gen(function*() {
      const server = yield* serve(Effect.flatMap(Connection.Connection, (connection) => connection.closed))
      const socket = yield* open(server.url)
      const told = Effect.callback<ReadonlyArray<string>>((resume) => {
        socket.on("close", (code, reason) => resume(Effect.succeed([String(code), reason.toString()])))
        socket.send(Buffer.from([0xff, 0xfe]), { binary: false })
      })
      assert.deepStrictEqual(yield* told, ["1007", "InvalidUtf8"])
    }))

  it.live("reads the status of a rejection", () =>
    Effect.gen(function*() {
      const server = yield* serve(Effect.void, { path: "/chat" })
      const error = yield* Effect.flip(open(`${server.url}/other`))
      assert.strictEqual(error.message, "Unexpected server response: 404")
    }))
})

describe("our client of a ws server", () => {
  it.live("fails with HandshakeRejected for a rejection", () =>
    Effect.gen(function*() {
      const url = yield* listen(() => {}, { verifyClient: (_info, done) => done(false, 429, "slow down") })
      const error = yield* Effect.flip(WebSocketClient.connect(url))
      assert.deepInclude(error as HandshakeError.HandshakeRejected, { status: 429, body: "slow down" })
    }))
})
