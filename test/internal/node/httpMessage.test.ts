import { assert, describe, it } from "@effect/vitest"
import type * as Http from "node:http"
import { Duplex } from "node:stream"
import { headerLinesKept, isEncrypted, isTruncated, toHeaderPairs } from "../../../src/internal/node/httpMessage.ts"

describe("toHeaderPairs", () => {
  it("pairs names with values, in order, and repeats names", () => {
    assert.deepStrictEqual(toHeaderPairs([]), [])
    assert.deepStrictEqual(toHeaderPairs(["A", "1", "b", "2", "A", "3"]), [["A", "1"], ["b", "2"], ["A", "3"]])
    assert.deepStrictEqual(toHeaderPairs(["A", "1", "cut"]), [["A", "1"]])
  })
})

describe("isTruncated", () => {
  const message = (lines: number) =>
    ({ rawHeaders: Array.from({ length: 2 * lines }, () => "x") }) as Http.IncomingMessage

  it("returns true once a message has as many lines as Node keeps, because more may have been dropped", () => {
    for (
      const [by, kept] of [[undefined, 1000], [{ maxHeadersCount: null }, 1000], [{ maxHeadersCount: 5 }, 5], [{
        maxHeadersCount: headerLinesKept
      }, 1001]] as const
    ) {
      assert.isFalse(isTruncated(message(kept - 1), by), JSON.stringify(by))
      assert.isTrue(isTruncated(message(kept), by), JSON.stringify(by))
    }
  })

  it("returns false with a maxHeadersCount of 0, which keeps all", () => {
    assert.isFalse(isTruncated(message(5000), { maxHeadersCount: 0 }))
  })
})

describe("isEncrypted", () => {
  it("returns true for TLS sockets, and false for other streams, also if they have the property", () => {
    const stream = () => new Duplex({ read() {}, write() {} })
    assert.isTrue(isEncrypted(Object.assign(stream(), { encrypted: true })))
    assert.isFalse(isEncrypted(Object.assign(stream(), { encrypted: false })))
    assert.isFalse(isEncrypted(stream()))
  })
})
