import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { evaluate, separateOptions } from "../../../src/internal/client/attemptOptions.ts"

describe("separateOptions", () => {
  it("separates the options of a reconnecting client from all others, and adds none", () => {
    const onOpen = () => Effect.void
    const options = { onOpen, resetAfter: 1, heartbeat: { message: "ping" }, headers: { a: "b" }, tls: undefined }
    assert.deepStrictEqual(separateOptions(options), [
      { onOpen, resetAfter: 1, heartbeat: { message: "ping" } },
      { headers: { a: "b" }, tls: undefined }
    ])
  })
})

describe("evaluate", () => {
  it.effect("returns a value, and runs an effect", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* evaluate("a"), "a")
      assert.strictEqual(yield* evaluate(Effect.succeed("b")), "b")
      assert.strictEqual(yield* Effect.flip(evaluate(Effect.fail("c"))), "c")
    }))
})
