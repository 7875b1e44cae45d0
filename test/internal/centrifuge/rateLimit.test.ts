/** Buckets of tokens, with a clock by hand. */
import { assert, describe, it } from "@effect/vitest"
import { RateLimit } from "../../../src/internal/centrifuge/rateLimit.ts"

describe("a rate limit", () => {
  const setUp = (perSecond: number, burst: number) => {
    const clock = { now: 0 }
    const limit = new RateLimit({ perSecond, burst }, () => clock.now)
    const take = (count: number) => Array.from({ length: count }, () => limit.take())
    return { clock, take }
  }

  it("allows a burst, rejects as many, then ends", () => {
    const { take } = setUp(1, 2)
    assert.deepStrictEqual(take(5), ["allow", "allow", "reject", "reject", "end"])
  })

  it("allows perSecond more in each second, up to a burst", () => {
    const { clock, take } = setUp(2, 3)
    take(3)
    clock.now = 1000
    assert.deepStrictEqual(take(3), ["allow", "allow", "reject"])
    clock.now = 100_000
    assert.deepStrictEqual(take(4), ["allow", "allow", "allow", "reject"])
  })

  it("counts rejections anew after a command that is allowed", () => {
    const { clock, take } = setUp(1, 1)
    assert.deepStrictEqual(take(2), ["allow", "reject"])
    clock.now = 1000
    assert.deepStrictEqual(take(3), ["allow", "reject", "end"])
  })

  it("loses no token when the clock goes back", () => {
    const { clock, take } = setUp(1, 2)
    clock.now = -5000
    assert.deepStrictEqual(take(3), ["allow", "allow", "reject"])
  })

  it("allows everything with an infinite burst", () => {
    const { take } = setUp(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)
    assert.deepStrictEqual(new Set(take(5000)), new Set(["allow"]))
  })
})
