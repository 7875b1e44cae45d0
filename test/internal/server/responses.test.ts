import { assert, describe, it } from "@effect/vitest"
import { Handshake } from "effect-ws"
import { rejection, serviceUnavailable, upgradeRequired } from "../../../src/internal/server/responses.ts"
import { requestHead } from "../../support/memoryUpgrade.ts"

describe("serviceUnavailable", () => {
  it("spreads Retry-After over 5 to 15 seconds", () => {
    const seconds = Array.from(
      { length: 1000 },
      () => Number(Handshake.foldHeaders(serviceUnavailable().rawHeaders)["retry-after"])
    )
    assert.deepStrictEqual(
      Array.from(new Set(seconds)).toSorted((a, b) => a - b),
      Array.from({ length: 11 }, (_, i) => 5 + i)
    )
  })
})

describe("upgradeRequired", () => {
  it("rejects a truncated head with 431 before any other rule", () => {
    assert.strictEqual(upgradeRequired(requestHead({ isTruncated: true, rawHeaders: [] })).status, 431)
  })

  it("rejects a request with the first error of its handshake", () => {
    assert.strictEqual(upgradeRequired(requestHead({ rawHeaders: [["Host", "localhost"]] })).status, 426)
    assert.strictEqual(upgradeRequired(requestHead({ method: "POST" })).status, 405)
  })

  it("blames the Connection header if the handshake has no error", () => {
    const { body, status } = upgradeRequired(requestHead())
    assert.strictEqual(status, 400)
    assert.include(String(body), "Connection")
  })
})

describe("rejection", () => {
  it("makes a response with a body, and throws for a status that cannot reject", () => {
    assert.deepInclude(rejection(404, "not here"), { status: 404, body: "not here" })
    assert.throws(() => rejection(101))
  })
})
