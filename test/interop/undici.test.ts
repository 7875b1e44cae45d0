/** Against the WebSocket of undici, which is also Node's own. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { Connection } from "effect-ws"
import { createRequire } from "node:module"
import { type CloseEvent, type MessageEvent, WebSocket } from "undici"
import { serve } from "../support/net.ts"

const { version } = createRequire(import.meta.url)("undici/package.json") as { version: string }

const echo = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  yield* Stream.runForEach(connection.messages, connection.send)
})

const open = (url: string, protocols: Array<string> = []) =>
  Effect.acquireRelease(
    Effect.callback<WebSocket, string>((resume) => {
      const socket = new WebSocket(url, protocols)
      socket.binaryType = "arraybuffer"
      socket.addEventListener("open", () => resume(Effect.succeed(socket)))
      socket.addEventListener("error", () => resume(Effect.fail("error")))
    }),
    (socket) => Effect.sync(() => socket.close())
  )

const nextMessage = (socket: WebSocket) =>
  Effect.callback<unknown>((resume) => {
    socket.addEventListener("message", (event: MessageEvent) => resume(Effect.succeed(event.data)), { once: true })
  })

const closed = (socket: WebSocket) =>
  Effect.callback<{ readonly code: number; readonly reason: string; readonly wasClean: boolean }>((resume) => {
    socket.addEventListener(
      "close",
      ({ code, reason, wasClean }: CloseEvent) => resume(Effect.succeed({ code, reason, wasClean }))
    )
  })

describe(`our server, the WebSocket of undici ${version}`, () => {
  it.live("exchanges text, binary, empty messages and a megabyte of each", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const socket = yield* open(server.url)
      for (const text of ["hello", "", "añ€😀", "añ€😀".repeat(100_000)]) {
        const got = yield* Effect.forkChild(nextMessage(socket), { startImmediately: true })
        socket.send(text)
        assert.strictEqual(yield* Fiber.join(got), text)
      }
      for (const bytes of [Uint8Array.of(0, 255), new Uint8Array(0), new Uint8Array(1024 * 1024).fill(3)]) {
        const got = yield* Effect.forkChild(nextMessage(socket), { startImmediately: true })
        socket.send(bytes)
        assert.isTrue(Buffer.from((yield* Fiber.join(got)) as ArrayBuffer).equals(bytes))
      }
    }))

  it.live("takes messages in fragments, and answers pings", () =>
    Effect.gen(function*() {
      const server = yield* serve(Effect.gen(function*() {
        const connection = yield* Connection.Connection
        yield* connection.receive
        yield* connection.ping()
        yield* connection.sendFragments(Stream.make("a", "b", "c"))
        yield* connection.closed
      }))
      const socket = yield* open(server.url)
      socket.send("begin")
      assert.strictEqual(yield* nextMessage(socket), "abc")
    }))

  it.live("agrees on a subprotocol", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { serve: { protocols: ["v2"] } })
      assert.strictEqual((yield* open(server.url, ["v1", "v2"])).protocol, "v2")
    }))

  it.live("is closed from either side, and knows how", () =>
    Effect.gen(function*() {
      const server = yield* serve(Effect.gen(function*() {
        const connection = yield* Connection.Connection
        const message = yield* connection.receive
        if (message._tag === "Text" && message.text === "close") return yield* connection.close(4000, "asked for")
        return yield* connection.closed
      }))
      const asks = yield* open(server.url)
      asks.send("close")
      assert.deepStrictEqual(yield* closed(asks), { code: 4000, reason: "asked for", wasClean: true })

      const closes = yield* open(server.url)
      closes.send("stay")
      const [connection] = yield* server.connections
      closes.close(3001, "leaving")
      const ended = yield* connection.closed
      assert.deepStrictEqual([ended.code, ended.reason, ended.clean], [3001, "leaving", true])
    }))
})
