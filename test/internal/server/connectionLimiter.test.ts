import { assert, describe, it } from "@effect/vitest"
import { addressKey, ConnectionLimiter } from "../../../src/internal/server/connectionLimiter.ts"

describe("ConnectionLimiter", () => {
  it("enforces the total and the per-address limit, and counts releases", () => {
    const admission = new ConnectionLimiter()
    const places = { max: 3, maxPerAddress: 2 }
    const entered = ["a", "a", "a", "b", "b"].map((source) => admission.tryAcquire(source, places))
    assert.deepStrictEqual(entered, [true, true, false, true, false])
    admission.release("a")
    assert.deepStrictEqual(["a", "b"].map((source) => admission.tryAcquire(source, places)), [true, false])
  })

  it("allows 65,536 connections and 16,384 per address by default", () => {
    const admission = new ConnectionLimiter()
    const enter = (source: string, count: number) => {
      for (let i = 0; i < count; i++) assert.isTrue(admission.tryAcquire(source, {}))
      assert.isFalse(admission.tryAcquire(source, {}))
    }
    for (const source of ["a", "b", "c"]) enter(source, 16_384)
    admission.release("a")
    enter("", 16_384 + 1)
    assert.isFalse(admission.tryAcquire("d", {}))
  })

  it("applies no per-address limit to connections without an address", () => {
    const admission = new ConnectionLimiter()
    const entered = ["", "", "", ""].map((source) => admission.tryAcquire(source, { max: 3, maxPerAddress: 1 }))
    assert.deepStrictEqual(entered, [true, true, true, false])
  })

  it("allows one more connection from an address for each that is released", () => {
    const limiter = new ConnectionLimiter()
    const limits = { maxPerAddress: 3 }
    const enter = () => limiter.tryAcquire("a", limits)
    for (let i = 0; i < 3; i++) assert.isTrue(enter())
    limiter.release("a")
    assert.deepStrictEqual([enter(), enter()], [true, false])
    limiter.release("a")
    limiter.release("a")
    assert.deepStrictEqual([enter(), enter(), enter()], [true, true, false])
  })

  it("removes an address when its last connection is released, and not before", () => {
    const limiter = new ConnectionLimiter()
    for (const source of ["a", "b", "b"]) assert.isTrue(limiter.tryAcquire(source, {}))
    for (const source of ["a", "b"]) limiter.release(source)
    assert.deepStrictEqual(Array.from(limiter["byAddress"]), [["b", 1]])
  })
})

describe("addressKey", () => {
  const cases: ReadonlyArray<readonly [string | undefined, string]> = [
    [undefined, ""],
    ["127.0.0.1", "127.0.0.1"],
    ["::ffff:10.0.0.7", "10.0.0.7"],
    ["::1", "0:0:0:0::/64"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8:1:2::9", "2001:db8:1:2::/64"],
    ["2001:db8::9", "2001:db8:0:0::/64"],
    ["2001:db8::3:4:5:6:7", "2001:db8:0:3::/64"],
    ["2001::2:3:4:5:6:7", "2001:0:2:3::/64"],
    ["1:2:3:4:5:6:7:8%eth0", "1:2:3:4::/64"],
    ["::FFFF:10.0.0.7", "10.0.0.7"],
    ["a::ffff:10.0.0.7", "a:0:0:0::/64"],
    ["2001:db8::", "2001:db8:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"]
  ]
  for (const [address, source] of cases) {
    it(`maps ${address} to ${source}`, () => assert.strictEqual(addressKey(address), source))
  }
})
