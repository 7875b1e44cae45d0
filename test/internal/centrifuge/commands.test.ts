import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { subscribe } from "../../../src/internal/centrifuge/commands.ts"
import { protobufCodec } from "../../../src/internal/centrifuge/protobufCodec.ts"

describe("subscribe", () => {
  it.effect("rejects data that is not JSON, before anything is subscribed", () =>
    Effect.gen(function*() {
      const session = { environment: { codec: protobufCodec } }
      const request = { channel: "room:lobby", data: new TextEncoder().encode("{") }
      const error = yield* Effect.flip(subscribe<never>(session as never, {} as never, request))
      assert.deepInclude(error, { _tag: "Rejected", code: 107 })
    }))
})
