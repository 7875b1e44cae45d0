import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { AlreadyServing } from "../../../src/internal/server/alreadyServing.ts"
import { serve } from "../../support/net.ts"
import { echo } from "../../support/serving.ts"

describe("AlreadyServing", () => {
  it.live("a second handler is a defect that tells what to change", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo)
      const exit = yield* Effect.exit(server.serve(echo))
      const [reason] = Exit.isFailure(exit) ? exit.cause.reasons : []
      if (reason?._tag !== "Die") return assert.fail(String(exit))
      assert.instanceOf(reason.defect, AlreadyServing)
      assert.match(
        (reason.defect as AlreadyServing).message,
        /^WebSocketServer.serve: expected a server without a handler, got one .*; use a server for each handler, or close/
      )
    }))
})
