import { assert, describe, it } from "@effect/vitest"
import { offerProblem } from "../../../src/internal/handshake/offeredProtocols.ts"

describe("offerProblem (RFC 6455 §4.1)", () => {
  it("allows no subprotocols, and tokens that differ, in case too", () => {
    for (const protocols of [[], ["v1"], ["v1", "v2", "V1"]]) assert.isUndefined(offerProblem(protocols))
  })

  it("rejects a subprotocol that is no token", () => {
    for (const protocol of ["", "a b", "a,b", "ü", "a\r\n"]) {
      const problem = offerProblem(["v1", protocol])
      assert.deepInclude(problem, { _tag: "InvalidProtocol", protocol })
      assert.match(problem!.problem, /^expected a token/)
    }
  })

  it("rejects a subprotocol that is offered twice", () => {
    const problem = offerProblem(["v1", "v2", "v1"])
    assert.deepInclude(problem, { protocol: "v1", problem: "expected each subprotocol once, got it twice" })
  })
})
