import { assert, describe, it } from "@effect/vitest"
import { PassThrough } from "node:stream"
import { Attempt } from "../../../src/internal/node/attempt.ts"
import { hostileValues } from "../../support/hostile.ts"

const nodeError = (code: string, address?: string) =>
  Object.assign(new Error(code), { code, ...address === undefined ? {} : { address, port: 80 } })

describe("the phase of an attempt", () => {
  it("an attempt shares the phase of the attempt that it joins, until it leaves", () => {
    const [attempt, other] = [new Attempt(new URL("ws://a.example/")), new Attempt(new URL("ws://a.example/"))]
    assert.strictEqual(attempt.phase, "lookup")
    other.phase = "tls"
    attempt.join(other)
    assert.strictEqual(attempt.phase, "tls")
    attempt.leave("response")
    assert.deepStrictEqual([attempt.phase, other.phase], ["response", "tls"])
  })
})

describe("Attempt.release", () => {
  it("leaves a socket without a listener of the attempt, which destroys only the others", () => {
    const attempt = new Attempt(new URL("ws://a.example/"))
    const [released, owned] = [new PassThrough(), new PassThrough()].map((socket) => attempt.own(socket))
    attempt.release(released)
    attempt.destroy()
    assert.strictEqual(released.listenerCount("error"), 0)
    assert.deepStrictEqual([released.destroyed, owned.destroyed], [false, true])
  })
})

describe("Attempt.failed", () => {
  const refused = nodeError("ECONNREFUSED", "::1")
  const timedOut = nodeError("ETIMEDOUT", "127.0.0.1")
  const both = Object.assign(new AggregateError([refused, timedOut, nodeError("EINVAL")]), { code: "ECONNREFUSED" })

  for (
    const [what, cause, addresses] of [
      ["of each error that Node joins", both, [
        { address: "::1", port: 80, code: "ECONNREFUSED" },
        { address: "127.0.0.1", port: 80, code: "ETIMEDOUT" }
      ]],
      ["of one error", refused, [{ address: "::1", port: 80, code: "ECONNREFUSED" }]],
      ["of no error without an address", nodeError("ENOTFOUND"), []]
    ] as const
  ) {
    it(`names the address ${what}, if the attempt has tried none itself`, () => {
      const error = new Attempt(new URL("ws://a.example/")).failed(cause)
      assert.deepStrictEqual([error.addresses, error.code, error.cause], [addresses, cause.code, cause])
    })
  }

  it("returns an error for anything that an agent fails with", () => {
    for (const [name, value] of hostileValues) {
      const error = new Attempt(new URL("ws://a.example/")).failed(value)
      assert.match(error.message, /^could not connect to ws:\/\/a.example\/: /, name)
      assert.isTrue(error.cause === value || error.cause.cause === value, name)
    }
  })

  it("names the addresses that the attempt has tried, as they were when it failed", () => {
    const attempt = new Attempt(new URL("ws://a.example/"))
    const tried = attempt.addAddress("192.0.2.1", 81)
    const { addresses } = attempt.failed(both)
    tried.code = "EHOSTUNREACH"
    assert.deepStrictEqual(addresses, [{ address: "192.0.2.1", port: 81, code: undefined }])
  })
})
