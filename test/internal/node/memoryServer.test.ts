import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { once } from "node:events"
import { Duplex } from "node:stream"
import { memoryAddress, MemoryServer } from "../../../src/internal/node/memoryServer.ts"

/** A stream that never ends by itself. */
const silent = () => new Duplex({ read: () => undefined, write: (_chunk, _encoding, callback) => callback() })

const listening = Effect.promise(() => {
  const server = new MemoryServer()
  return new Promise<MemoryServer>((resolve) => server.listen({ port: 1 }, () => resolve(server)))
})

describe("MemoryServer", () => {
  it.effect("listens without a port, at an address for documentation", () =>
    Effect.gen(function*() {
      const server = yield* listening
      assert.isTrue(server.listening)
      assert.deepStrictEqual(server.address(), { address: memoryAddress.host, family: "IPv4", port: 80 })
      const later = new MemoryServer()
      const emitted = once(later, "listening")
      assert.isFalse(later.listening)
      later.listen()
      yield* Effect.promise(() => emitted)
    }))

  it.effect("accepts streams only while it listens", () =>
    Effect.gen(function*() {
      const accepted: Array<Duplex> = []
      const server = yield* listening
      server.on("connection", (socket: Duplex) => accepted.push(socket))
      const socket = silent()
      assert.isTrue(server.accept(socket))
      server.close()
      assert.isFalse(server.accept(silent()))
      assert.isFalse(new MemoryServer().accept(silent()))
      assert.deepStrictEqual(accepted, [socket])
    }))

  it.effect("closes once all of its streams are closed", () =>
    Effect.gen(function*() {
      const server = yield* listening
      const sockets = [silent(), silent()]
      for (const socket of sockets) server.accept(socket)
      let isClosed = false
      const closed = new Promise<void>((resolve) =>
        server.close(() => {
          isClosed = true
          resolve()
        })
      )
      for (const socket of sockets) {
        assert.isFalse(isClosed)
        const socketClosed = once(socket, "close")
        socket.destroy()
        yield* Effect.promise(() => socketClosed)
      }
      yield* Effect.promise(() => closed)
    }))

  it.effect("close fails as Node's if the server does not listen", () =>
    Effect.gen(function*() {
      const error = yield* Effect.promise(() =>
        new Promise<NodeJS.ErrnoException | undefined>((resolve) => new MemoryServer().close(resolve))
      )
      assert.strictEqual(error?.code, "ERR_SERVER_NOT_RUNNING")
    }))
})
