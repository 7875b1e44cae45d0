import { assert, describe, it } from "@effect/vitest"
import type * as Http2 from "node:http2"
import { failureOf } from "../../../src/internal/http2/streamFailure.ts"

const stream = (state: { readonly id?: number; readonly rstCode: number; readonly errored?: Error }) =>
  state as unknown as Http2.ClientHttp2Stream

const internal = Object.assign(new Error("Stream closed with error code NGHTTP2_INTERNAL_ERROR"), { code: "X" })

describe("failureOf", () => {
  for (
    const [name, state, lastProcessed, kind, message] of [
      ["REFUSED_STREAM", { id: 1, rstCode: 7, errored: internal }, Infinity, "refused", /REFUSED_STREAM/],
      ["a stream above that of GOAWAY", { id: 3, rstCode: 2, errored: internal }, 1, "refused", /GOAWAY/],
      ["a stream that was not sent", { rstCode: 8 }, Infinity, "refused", /GOAWAY/],
      ["HTTP_1_1_REQUIRED", { id: 1, rstCode: 13, errored: internal }, Infinity, "http1", /HTTP_1_1_REQUIRED/],
      ["CANCEL", { id: 1, rstCode: 8 }, 1, "failed", /CANCEL/],
      ["NO_ERROR", { id: 1, rstCode: 0 }, Infinity, "failed", /NO_ERROR/]
    ] as const
  ) {
    it(`${name} is "${kind}"`, () => {
      const failure = failureOf(stream(state), lastProcessed)
      assert.strictEqual(failure.kind, kind)
      assert.match(failure.cause.message, message)
      assert.strictEqual(failure.cause.code, "ECONNRESET")
    })
  }

  it("another code is the error of Node, which names it", () => {
    const failure = failureOf(stream({ id: 1, rstCode: 2, errored: internal }), Infinity)
    assert.deepStrictEqual([failure.kind, failure.cause], ["failed", internal])
  })
})
