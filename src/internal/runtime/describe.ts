/**
 * Describes values of unknown type: what a program, its stream or its agent threw,
 * failed with or passed. Such a value may be no error at all, have no prototype, or
 * throw when it is read. None of these functions throws.
 */
import { inspect } from "#platform"
import { opensslReason } from "./opensslReason.ts"

/**
 * Says why something failed: the message of an error, the messages of all errors
 * of an AggregateError, or the value itself. For an error with an empty message:
 * `code`, or else the error's name.
 */
export const reasonOf = (cause: unknown, code?: string): string => {
  const messages = errorsOf(cause).map((error) => messageOf(error).trim()).filter((message) => message !== "")
  return messages.join(", ") || code || textOf(cause)
}

/** Errors of another realm are no instances of Error. */
const messageOf = (cause: unknown): string => {
  if (typeof cause === "string") return cause
  const message = fieldOf(cause, "message")
  return typeof message === "string" ? opensslReason(message) : inspect(cause)
}

/** The errors of an AggregateError, such as those of all addresses of a host; otherwise the value alone. */
export const errorsOf = (cause: unknown): ReadonlyArray<unknown> => {
  try {
    return cause instanceof AggregateError && cause.errors.length > 0 ? [...cause.errors] : [cause]
  } catch {
    return [cause]
  }
}

/** The error code of the system, such as ECONNRESET, if an error has one. */
export const codeOf = (cause: unknown): string | undefined => {
  const code = fieldOf(cause, "code")
  return typeof code === "string" ? code : undefined
}

/** A field of a value; undefined if it throws. */
export const fieldOf = (value: unknown, name: string): unknown => {
  try {
    return Object(value)[name]
  } catch {
    return undefined
  }
}

/** An error as it is, and an error with the reason for any other value. */
export const toError = (cause: unknown): Error => isError(cause) ? cause : new Error(reasonOf(cause), { cause })

const isError = (value: unknown): value is Error => {
  try {
    return value instanceof Error
  } catch {
    return false
  }
}

/** Converts a value that should be a text or an object with a text, such as a URL. */
export const textOf = (value: unknown): string => {
  try {
    return String(value)
  } catch {
    return inspect(value)
  }
}
