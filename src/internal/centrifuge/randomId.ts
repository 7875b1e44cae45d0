/** Ids of connections, and keys of publications. */
import { fillRandom } from "#platform"

/** Returns 128 random bits, as 32 hexadecimal digits. */
export const randomId = (): string => {
  const bytes = new Uint8Array(16)
  fillRandom(bytes)
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")
}
