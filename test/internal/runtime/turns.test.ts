import { Effect, Scope } from "effect"
import { Connection, Transport } from "effect-ws"
import { afterEach, assert, describe, it, vi } from "vitest"
import { nextTurn, soon } from "../../../src/internal/runtime/turns.ts"

/** The functions that vitest can fake in a worker. It cannot fake `nextTick`. */
const everything = {
  toFake: [
    "setTimeout",
    "clearTimeout",
    "setInterval",
    "clearInterval",
    "setImmediate",
    "clearImmediate",
    "queueMicrotask",
    "Date",
    "performance"
  ] as const
}

describe("turns under fake timers", () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  it("soon and nextTurn run their steps", async () => {
    vi.useFakeTimers({ toFake: [...everything.toFake] })
    await new Promise<void>(soon)
    await new Promise<void>(nextTurn)
  })

  it("connections exchange messages in both directions", async () => {
    vi.useFakeTimers({ toFake: [...everything.toFake] })
    const scope = Scope.makeUnsafe()
    const [left, right] = Effect.runSync(Transport.makePair())
    const open = (transport: Transport.Transport, role: "client" | "server") =>
      Effect.runSync(Scope.provide(Connection.make(transport, { role, keepalive: false }), scope))
    const client = open(left, "client")
    const server = open(right, "server")
    for (const text of ["first", "second"]) {
      Effect.runSync(client.send(text))
      const message = await Effect.runPromise(server.receive)
      Effect.runSync(server.send(message))
      assert.deepStrictEqual((await Effect.runPromise(client.receive)).bytes, message.bytes)
    }
    const closed = await Effect.runPromise(client.close())
    assert.isTrue(closed.clean)
  })
})
