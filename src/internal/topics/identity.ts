/**
 * What a member is besides its value: bytes behind the value, of which only the server of the client protocol knows. JSON
 * never has the byte that separates them.
 */
import { concatBytes } from "#platform"

const separator = Uint8Array.of(0)

export const withIdentity = (value: Uint8Array, identity: Uint8Array): Uint8Array =>
  concatBytes([value, separator, identity])

/** Returns the value of a member, in JSON. */
export const valueOf = (info: Uint8Array): Uint8Array => {
  const end = info.indexOf(0)
  return end < 0 ? info : info.subarray(0, end)
}

/** Returns the bytes behind the value; undefined if nothing is there. */
export const identityOf = (info: Uint8Array): Uint8Array | undefined => {
  const end = info.indexOf(0)
  return end < 0 ? undefined : info.subarray(end + 1)
}
