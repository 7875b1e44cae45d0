import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import { HandshakeError } from "effect-ws"
import {
  assertValid,
  atLeast,
  type Checked,
  integerBetween,
  invalidOption,
  nonNegativeDuration,
  positiveDuration
} from "../../../src/internal/runtime/optionChecks.ts"

const problemOf = (checked: Checked) => checked?.problem

describe("atLeast", () => {
  it("allows no value, the minimum, numbers above it and Infinity", () => {
    for (const value of [undefined, 2, 2.5, 3, Infinity]) assert.isUndefined(atLeast(2, "limit", value))
  })

  it("rejects numbers below the minimum, NaN and other types, and tells how to disable the limit", () => {
    for (const [value, shown] of [[1.9, "1.9"], [NaN, "NaN"], ["3", `"3"`], [null, "null"]] as const) {
      assert.strictEqual(
        problemOf(atLeast(2, "limit", value as number)),
        `expected a number >= 2 (Infinity disables the limit), got ${shown}`
      )
    }
  })
})

describe("integerBetween", () => {
  it("allows no value and the integers of the range", () => {
    for (const value of [undefined, 8, 9, 15]) assert.isUndefined(integerBetween(8, 15, "bits", value))
  })

  it("rejects integers outside of the range, fractions and other types", () => {
    for (const value of [7, 16, 8.5, NaN, Infinity, "9"]) {
      assert.include(
        problemOf(integerBetween(8, 15, "bits", value as number)),
        "expected an integer from 8 to 15, got "
      )
    }
  })
})

/** Values that `Duration.fromInput` reads as 0, or not at all. */
const notDurations: ReadonlyArray<unknown> = [
  NaN,
  "soon",
  null,
  true,
  {},
  { second: 1 },
  { seconds: NaN },
  { seconds: 1, millis: 1 },
  { seconds: undefined },
  [],
  [NaN, 0],
  [0, NaN]
]

describe("nonNegativeDuration", () => {
  it("allows no value, durations from 0 and Infinity, in each form", () => {
    const valid: ReadonlyArray<Duration.Input | undefined> = [
      undefined,
      0,
      0.5,
      Infinity,
      "0 millis",
      Duration.zero,
      Duration.infinity,
      { seconds: 1 },
      { seconds: 0, milliseconds: 0.5 },
      { seconds: 1, minutes: undefined } as unknown as Duration.Input,
      [0, 5]
    ]
    for (const value of valid) assert.isUndefined(nonNegativeDuration("timeout", value))
  })

  it("rejects durations below 0, and values that are no durations", () => {
    for (const value of [-1, "-1 second", Duration.negativeInfinity, ...notDurations]) {
      const problem = problemOf(nonNegativeDuration("timeout", value as Duration.Input))
      assert.include(problem, "expected a duration >= 0, got ")
    }
  })
})

describe("positiveDuration", () => {
  it("allows no value, durations above 0 and Infinity", () => {
    for (const value of [undefined, 0.5, "1 milli", Infinity] as const) {
      assert.isUndefined(positiveDuration("timeout", value))
    }
  })

  it("rejects 0, durations below 0 and values that are no durations, and tells how to disable the timeout", () => {
    for (const value of [0, -1, Duration.zero, ...notDurations]) {
      const problem = problemOf(positiveDuration("timeout", value as Duration.Input))
      assert.include(problem, "expected a duration > 0 (Infinity disables it), got ")
    }
    assert.include(problemOf(positiveDuration("keepalive", 0, "false disables it")), "(false disables it)")
  })
})

describe("assertValid", () => {
  it("throws an invalid option, and nothing for a valid one", () => {
    assertValid(undefined)
    const invalid = invalidOption("limit", "a number", "x")
    assert.instanceOf(invalid, HandshakeError.InvalidOption)
    assert.deepInclude(invalid, { option: "limit", problem: `expected a number, got "x"` })
    assert.throws(() => assertValid(invalid), invalid.message)
  })
})
