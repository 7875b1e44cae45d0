/**
 * Masking (RFC 6455 §5.3): octet i of the payload is XORed with octet i mod 4 of
 * the key. A key is held as an int32 whose low byte is octet 0, as it would be
 * read from the wire by a little-endian machine.
 */

/** Below this many bytes, setting up a word view costs more than it saves. */
const wordWiseFrom = 48

const keyBytes = new Uint8Array(4)
const keyWord = new Int32Array(keyBytes.buffer)

/** The key's four octets, starting at octet `phase`, as one word of this machine's byte order. */
const rotatedWord = (key: number, phase: number): number => {
  keyBytes[0] = key >>> ((phase & 3) << 3)
  keyBytes[1] = key >>> (((phase + 1) & 3) << 3)
  keyBytes[2] = key >>> (((phase + 2) & 3) << 3)
  keyBytes[3] = key >>> (((phase + 3) & 3) << 3)
  return keyWord[0]
}

const xorBytes = (bytes: Uint8Array, start: number, end: number, key: number, phase: number): void => {
  for (let i = start; i < end; i++, phase++) bytes[i] ^= key >>> ((phase & 3) << 3)
}

/**
 * XORs `bytes[start, end)` in place. `phase` is the index, in the payload, of
 * the octet at `start`, so that a payload can be masked piece by piece.
 */
export const maskInPlace = (bytes: Uint8Array, start: number, end: number, key: number, phase: number): void => {
  if (end - start < wordWiseFrom) return xorBytes(bytes, start, end, key, phase)
  const offset = bytes.byteOffset + start
  const first = start + (-offset & 3)
  xorBytes(bytes, start, first, key, phase)
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + first, (end - first) >> 2)
  const word = rotatedWord(key, phase + first - start)
  for (let i = 0; i < words.length; i++) words[i] ^= word
  const last = first + (words.length << 2)
  xorBytes(bytes, last, end, key, phase + last - start)
}

/** Copies `source[start, end)` to `target` at `at`, XORed with the key from octet 0 on. */
export const maskInto = (
  target: Uint8Array,
  at: number,
  source: Uint8Array,
  start: number,
  end: number,
  key: number
): void => {
  if (end - start < wordWiseFrom) {
    for (let i = start, phase = 0; i < end; i++, phase++) target[at++] = source[i] ^ (key >>> ((phase & 3) << 3))
    return
  }
  target.set(start === 0 && end === source.length ? source : source.subarray(start, end), at)
  maskInPlace(target, at, at + end - start, key, 0)
}
