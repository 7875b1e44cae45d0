import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Newcomers } from "../../src/internal/newcomers.ts"
import { Timers } from "../../src/internal/timers.ts"
import { socketPair } from "../support/net.ts"

describe("Newcomers", () => {
  it.live("cuts who is there when it stops, and who comes after, but nobody whose request has come", () =>
    Effect.gen(function*() {
      const newcomers = new Newcomers(10, 60_000, Timers.of(yield* Effect.context<never>()), "")
      const [there] = yield* socketPair
      const [asked] = yield* socketPair
      const [late] = yield* socketPair
      newcomers.add(there)
      newcomers.add(asked)
      newcomers.remove(asked)
      newcomers.stop()
      newcomers.add(late)
      assert.deepStrictEqual([there, asked, late].map((socket) => socket.destroyed), [true, false, true])
    }))
})
