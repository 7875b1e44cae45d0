import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer } from "effect"
import { SocketServer as EffectSocketServer } from "effect/socket"
import { Connection, SocketServer, WebSocketClient, WebSocketServer } from "effect-ws"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { contentOf } from "../support/memory.ts"

describe("SocketServer.layer", () => {
  it.live("connections wait for run, and the latest run gets them until it is interrupted", () =>
    Effect.gen(function*() {
      const context = yield* Layer.build(
        SocketServer.layer().pipe(Layer.provideMerge(WebSocketServer.layer({ host: "127.0.0.1" })))
      )
      const { url } = Context.get(context, WebSocketServer.WebSocketServer)
      const server = Context.get(context, EffectSocketServer.SocketServer)
      const answer = (text: string) =>
        server.run((socket) =>
          Effect.scoped(Effect.gen(function*() {
            const writer = yield* socket.writer
            yield* writer.write(`${text} ${(yield* Connection.Connection).role}`)
            const { pull } = yield* socket.reader
            yield* pull
          })).pipe(Effect.ignore)
        )
      const first = yield* WebSocketClient.connect(url)
      const outer = yield* Effect.forkChild(Effect.provideService(answer("outer"), Connection.Connection, first))
      assert.strictEqual(contentOf(yield* first.receive), "outer server")
      const inner = yield* Effect.forkChild(Effect.provideService(answer("inner"), Connection.Connection, first), {
        startImmediately: true
      })
      const second = yield* WebSocketClient.connect(url)
      assert.strictEqual(contentOf(yield* second.receive), "inner server")
      yield* Fiber.interrupt(inner)
      yield* second.closed
      const third = yield* WebSocketClient.connect(url)
      assert.strictEqual(contentOf(yield* third.receive), "outer server")
      yield* Fiber.interrupt(outer)
      assert.isTrue((yield* first.closed).clean)
    }))

  it.live("serves connections on a Unix socket", () =>
    Effect.gen(function*() {
      const directory = mkdtempSync(join(tmpdir(), "effect-ws-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(directory, { recursive: true })))
      const socketPath = join(directory, "socket")
      const context = yield* Layer.build(
        SocketServer.layer().pipe(Layer.provide(WebSocketServer.layer({ socketPath })))
      )
      const { address } = Context.get(context, EffectSocketServer.SocketServer)
      assert.deepInclude(address, { _tag: "UnixPathAddress", path: socketPath })
    }))
})
