import { assert, describe, it } from "@effect/vitest"
import { withDefaults } from "../../../src/internal/topics/memoryBroker.ts"

describe("withDefaults", () => {
  it("remembers 100,000 keys and 100,000 idle channels, unless options say otherwise", () => {
    assert.deepStrictEqual(withDefaults({}), { maxIdempotencyKeys: 100_000, maxIdleChannels: 100_000 })
    const limits = { maxIdempotencyKeys: 1, maxIdleChannels: 2 }
    assert.deepStrictEqual(withDefaults(limits), limits)
  })
})
