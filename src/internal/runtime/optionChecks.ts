/**
 * Checks of option values. Each returns an `InvalidOption`, or undefined for a
 * valid value or one that is not given; `??` chains them. The docstring of an
 * option states the same rule.
 *
 * Types exclude most invalid values, but not NaN, which `Number(text)` returns for
 * most texts and which would disable a limit, and not a duration of 0, which would
 * time out at once.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { inspect } from "#platform"
import { InvalidOption } from "../../HandshakeError.ts"

export type Checked = InvalidOption | undefined

/** Makes the error for a value that an option does not allow. */
export const invalidOption = (option: string, expected: string, value: unknown): InvalidOption =>
  new InvalidOption({
    option,
    problem: `expected ${expected}, got ${typeof value === "string" ? JSON.stringify(value) : inspect(value)}`
  })

/** Throws an invalid option, for constructors that do not return an Effect. */
export const assertValid = (checked: Checked): void => {
  if (checked !== undefined) throw checked
}

/** Allows numbers from `min` up to Infinity. */
export const atLeast = (min: number, option: string, value: number | undefined): Checked =>
  value === undefined || (typeof value === "number" && value >= min)
    ? undefined
    : invalidOption(option, `a number >= ${min} (Infinity disables the limit)`, value)

/** Allows integers from `min` to `max`. */
export const integerBetween = (min: number, max: number, option: string, value: number | undefined): Checked =>
  value === undefined || (Number.isInteger(value) && value >= min && value <= max)
    ? undefined
    : invalidOption(
      option,
      max === Number.MAX_SAFE_INTEGER ? `an integer >= ${min}` : `an integer from ${min} to ${max}`,
      value
    )

const units = /^(?:weeks|days|hours|minutes|seconds|milliseconds|microseconds|nanoseconds)$/

/** Excludes what `Duration.fromInput` reads as 0: NaN, alone or as a part, and objects without known units. */
const isDuration = (value: unknown): boolean => {
  if (typeof value === "number") return !Number.isNaN(value)
  if (typeof value !== "object" || value === null || Duration.isDuration(value)) return true
  const parts = Object.entries(value).filter(([, part]) => part !== undefined)
  return parts.length > 0 &&
    parts.every(([unit, part]) => (Array.isArray(value) || units.test(unit)) && !Number.isNaN(Number(part)))
}

const duration = (accept: (millis: number) => boolean, expected: string, option: string, value: unknown): Checked => {
  if (value === undefined) return undefined
  const parsed = isDuration(value) ? Duration.fromInput(value as Duration.Input) : Option.none()
  return Option.isSome(parsed) && accept(Duration.toMillis(parsed.value))
    ? undefined
    : invalidOption(option, expected, value)
}

/** Allows durations from 0 up to Infinity. */
export const nonNegativeDuration = (option: string, value: Duration.Input | undefined): Checked =>
  duration((millis) => millis >= 0, "a duration >= 0", option, value)

/** Allows durations above 0 up to Infinity. `disable` tells how to do without. */
export const positiveDuration = (
  option: string,
  value: Duration.Input | undefined,
  disable = "Infinity disables it"
): Checked => duration((millis) => millis > 0, `a duration > 0 (${disable})`, option, value)

/** Allows the maximum number of messages of a history: integers from 0, and Infinity. */
export const historyLimit = (limit: number | undefined): Checked =>
  limit === Number.POSITIVE_INFINITY ? undefined : integerBetween(0, 2 ** 31 - 1, "limit", limit)
