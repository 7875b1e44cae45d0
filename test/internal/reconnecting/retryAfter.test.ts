import { assert, describe, it } from "@effect/vitest"
import { readRetryAfter } from "../../../src/internal/reconnecting/retryAfter.ts"

const now = Date.UTC(1994, 10, 6, 8, 49, 7)

describe("readRetryAfter (RFC 9110 §10.2.3)", () => {
  it("reads seconds", () => {
    assert.strictEqual(readRetryAfter("120", now), 120_000)
    assert.strictEqual(readRetryAfter("0", now), 0)
    assert.strictEqual(readRetryAfter("007", now), 7000)
    assert.strictEqual(readRetryAfter("9".repeat(400), now), Infinity)
  })

  it("reads the three formats of a date (RFC 9110 §5.6.7)", () => {
    assert.strictEqual(readRetryAfter("Sun, 06 Nov 1994 08:49:37 GMT", now), 30_000)
    assert.strictEqual(readRetryAfter("Sunday, 06-Nov-94 08:49:37 GMT", now), 30_000)
    assert.strictEqual(readRetryAfter("Sun Nov  6 08:49:37 1994", now), 30_000)
    assert.strictEqual(readRetryAfter("Wed Nov 16 08:49:07 1994", now), 10 * 86_400_000)
    assert.strictEqual(readRetryAfter("Thu, 29 Feb 1996 00:00:00 GMT", Date.UTC(1996, 1, 28)), 86_400_000)
  })

  it("reads the dates that Date writes", () => {
    for (let at = 0; at < 4e12; at += 123_456_789_000) {
      assert.strictEqual(readRetryAfter(new Date(at + 5000).toUTCString(), at), 5000)
    }
  })

  it("reads a leap second as the first second of the next minute", () => {
    assert.strictEqual(readRetryAfter("Sat, 31 Dec 2016 23:59:60 GMT", Date.UTC(2016, 11, 31, 23, 59, 59)), 1000)
  })

  it("reads a year of two digits as one of the last century if it is more than 50 years ahead", () => {
    assert.strictEqual(readRetryAfter("Friday, 01-Jan-44 00:00:00 GMT", Date.UTC(1994, 0, 1)), 0)
    assert.isAbove(readRetryAfter("Friday, 01-Jan-44 00:00:00 GMT", Date.UTC(2043, 0, 1))!, 0)
    assert.strictEqual(readRetryAfter("Friday, 01-Jan-94 00:00:00 GMT", Date.UTC(2030, 0, 1)), 0)
  })

  it("returns 0 for a date in the past", () => {
    assert.strictEqual(readRetryAfter("Sun, 06 Nov 1994 08:49:06 GMT", now), 0)
  })

  for (
    const value of [
      "",
      " ",
      "-1",
      "+1",
      "1.5",
      "1e3",
      "0x10",
      "30s",
      "30, 30",
      "١",
      "tomorrow",
      "1994-11-06T08:49:37Z",
      "Sun, 06 Nov 1994 08:49:37",
      "Sun, 06 Nov 1994 08:49:37 +0100",
      "Sun, 6 Nov 1994 08:49:37 GMT",
      "Sun, 31 Nov 1994 08:49:37 GMT",
      "Sun, 00 Nov 1994 08:49:37 GMT",
      "Sun, 06 Foo 1994 08:49:37 GMT",
      "Sun, 06 Nov 1994 24:00:00 GMT",
      "Sun, 06 Nov 1994 08:60:00 GMT",
      "Sun, 06 Nov 1994 08:49:61 GMT",
      "Sun Nov 06 1994 08:49:37 GMT"
    ]
  ) {
    it(`returns undefined for ${JSON.stringify(value)}`, () => {
      assert.isUndefined(readRetryAfter(value, now))
    })
  }
})
