import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { attemptTo } from "../../../src/internal/client/attempts.ts"

const connect = (url: string | URL, options: object) => Effect.succeed([url, options])

describe("attemptTo", () => {
  it.effect("passes values on, and leaves out subprotocols that are not given", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* attemptTo(connect, "ws://there/", { closeTimeout: 1 }), [
        "ws://there/",
        { closeTimeout: 1 }
      ])
      assert.deepStrictEqual(yield* attemptTo(connect, "ws://there/", { protocols: ["a"] }), [
        "ws://there/",
        { protocols: ["a"] }
      ])
    }))

  it.effect("runs the effects of URL and subprotocols each time", () =>
    Effect.gen(function*() {
      let runs = 0
      const next = (name: string) => Effect.sync(() => `${name}${++runs}`)
      const attempt = attemptTo(connect, next("ws://there/"), { protocols: Effect.map(next("v"), (one) => [one]) })
      assert.deepStrictEqual(yield* attempt, ["ws://there/1", { protocols: ["v2"] }])
      assert.deepStrictEqual(yield* attempt, ["ws://there/3", { protocols: ["v4"] }])
    }))

  it.effect("fails with the errors of the effects, and does not connect", () =>
    Effect.gen(function*() {
      const never = () => Effect.die("connected")
      assert.strictEqual(yield* Effect.flip(attemptTo(never, Effect.fail("no URL"), {})), "no URL")
      assert.strictEqual(
        yield* Effect.flip(attemptTo(never, "ws://there/", { protocols: Effect.fail("no token") })),
        "no token"
      )
    }))
})
