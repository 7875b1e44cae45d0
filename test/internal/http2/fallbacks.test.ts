import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Fallbacks } from "../../../src/internal/http2/fallbacks.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"

const make = Effect.map(Effect.context<never>(), (context) => new Fallbacks(Timers.of(context)))

describe("Fallbacks", () => {
  it.effect("remembers a server for 10 minutes after it was last added", () =>
    Effect.gen(function*() {
      const fallbacks = yield* make
      assert.isFalse(fallbacks.has("a"))
      fallbacks.add("a")
      yield* TestClock.adjust("5 minutes")
      fallbacks.add("a")
      yield* TestClock.adjust(599_999)
      assert.isTrue(fallbacks.has("a"))
      yield* TestClock.adjust(1)
      assert.isFalse(fallbacks.has("a"))
    }))

  it.effect("remembers at most 1,000 servers, those that were added last", () =>
    Effect.gen(function*() {
      const fallbacks = yield* make
      for (let i = 0; i < 1000; i++) fallbacks.add(`server ${i}`)
      fallbacks.add("server 0")
      fallbacks.add("another")
      assert.deepStrictEqual(
        ["server 0", "server 1", "server 2", "another"].map((server) => fallbacks.has(server)),
        [true, false, true, true]
      )
    }))
})
