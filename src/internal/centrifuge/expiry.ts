/** The lifetime of tokens, as programs give it and as the protocol tells it. */
import * as Duration from "effect/Duration"

/** The longest lifetime that the protocol can tell, in seconds. */
const longest = 2 ** 32 - 1

/** Returns the time until a token expires; undefined if it does not. Clients are told whole seconds, at least 1. */
export const ttlOf = (
  expiresIn: Duration.Input | undefined
): { readonly millis: number; readonly seconds: number } | undefined => {
  if (expiresIn === undefined) return undefined
  const millis = Duration.toMillis(expiresIn)
  return millis > longest * 1000 ? undefined : { millis, seconds: Math.max(1, Math.ceil(millis / 1000)) }
}

export const isExpired = (expiresIn: Duration.Input | undefined): boolean =>
  expiresIn !== undefined && Duration.toMillis(expiresIn) <= 0
