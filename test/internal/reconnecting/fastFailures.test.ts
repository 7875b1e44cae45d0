import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import { FastFailures } from "../../../src/internal/reconnecting/fastFailures.ts"
import { refused, rejected } from "../../support/reconnecting.ts"

describe("FastFailures", () => {
  it("counts attempts that fail with ConnectFailed within the time, one after the other", () => {
    const failures = new FastFailures({ max: 2, within: "1 second" })
    assert.isFalse(failures.isTooMany(refused, 1000, false))
    assert.isTrue(failures.isTooMany(refused, 1000, false))
  })

  for (
    const [about, failure, millis] of [
      ["a slow failure", refused, 1001],
      ["a failure that tells its reason", rejected(503), 0]
    ] as const
  ) {
    it(`starts anew after ${about}`, () => {
      const failures = new FastFailures({ max: 2, within: Duration.seconds(1) })
      failures.isTooMany(refused, 0, false)
      assert.isFalse(failures.isTooMany(failure, millis, false))
      assert.isFalse(failures.isTooMany(refused, 0, false))
      assert.isTrue(failures.isTooMany(refused, 0, false))
    })
  }

  it("neither counts nor forgets while the network is down", () => {
    const failures = new FastFailures({ max: 2 })
    failures.isTooMany(refused, 0, false)
    for (let i = 0; i < 5; i++) assert.isFalse(failures.isTooMany(refused, 0, true))
    assert.isTrue(failures.isTooMany(refused, 5000, false))
  })

  it("takes up to 5 seconds for fast by default", () => {
    for (const [millis, tooMany] of [[5000, true], [5001, false]] as const) {
      const failures = new FastFailures({ max: 1 })
      assert.strictEqual(failures.isTooMany(refused, millis, false), tooMany)
    }
  })

  it("counts without a limit by default", () => {
    const failures = new FastFailures(undefined)
    for (let i = 0; i < 1000; i++) assert.isFalse(failures.isTooMany(refused, 0, false))
  })
})
