import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import { PassThrough } from "node:stream"
import { ResponseBody } from "../../../src/internal/node/responseBody.ts"
import { turn } from "../../support/memory.ts"

describe("ResponseBody", () => {
  const ends: Record<string, (stream: PassThrough) => void> = {
    "its end": (stream) => stream.end(),
    "an error": (stream) => stream.destroy(new Error("lost")),
    "its close": (stream) => stream.destroy()
  }
  for (const [name, end] of Object.entries(ends)) {
    it.live(`is complete after ${name}, with what was received`, () =>
      Effect.gen(function*() {
        const stream = new PassThrough()
        const body = new ResponseBody(stream)
        stream.write(Buffer.from("caf\u00e9"))
        yield* turn
        assert.strictEqual(body.text(), "café")
        end(stream)
        yield* Deferred.await(body.complete)
        assert.strictEqual(body.text(), "café")
      }))
  }

  it.live("keeps 64 KiB, and completes after them", () =>
    Effect.gen(function*() {
      const stream = new PassThrough()
      const body = new ResponseBody(stream)
      stream.write("x".repeat(70_000))
      yield* Deferred.await(body.complete)
      assert.strictEqual(body.text().length, 65_536)
    }))
})
