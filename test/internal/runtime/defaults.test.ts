import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { turn } from "../../support/memory.ts"
import { rawServer } from "../../support/net.ts"
import { eventually } from "../../support/resources.ts"

describe("defaultHandshakeTimeout", () => {
  it.effect("a client fails with HandshakeTimeout after 10 seconds, and not before", () =>
    Effect.gen(function*() {
      const { peers, port } = yield* rawServer(() => {})
      const connecting = yield* Effect.forkChild(Effect.flip(WebSocketClient.connect(`ws://127.0.0.1:${port}/`)))
      yield* eventually(() => peers.some((peer) => peer.received().length > 0))
      yield* TestClock.adjust(9999)
      yield* turn
      assert.isUndefined(connecting.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* Fiber.join(connecting))._tag, "HandshakeTimeout")
    }))
})
