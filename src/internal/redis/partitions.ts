/**
 * Where the keys of a channel are. A channel belongs to one of a fixed number of
 * partitions. Its hash tag keeps all keys of the channel in one slot of a Redis
 * Cluster, as scripts require.
 */

/** The number of slots of a Redis Cluster. */
export const slotCount = 16384

const partitionCount = 128

/** CRC16 as Redis Cluster uses it: XMODEM, with the polynomial 0x1021. */
const crc16 = (text: string): number => {
  let crc = 0
  for (let i = 0; i < text.length; i++) {
    crc ^= text.charCodeAt(i) << 8
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1) & 0xffff
  }
  return crc
}

/** The slot of an ASCII hash tag. */
export const slotOf = (tag: string): number => crc16(tag) % slotCount

/** Tags with slots that are spread evenly: for each 128th of all slots, the first number with a slot in it. */
const makeTags = (): ReadonlyArray<string> => {
  const width = slotCount / partitionCount
  const tags: Array<string> = []
  for (let number = 0, found = 0; found < partitionCount; number++) {
    const index = Math.floor(slotOf(String(number)) / width)
    if (tags[index] !== undefined) continue
    tags[index] = String(number)
    found++
  }
  return tags
}

/** The hash tags of all partitions. */
export const tags: ReadonlyArray<string> = makeTags()

/** FNV-1a over UTF-16 code units. All processes must agree on it. */
const hash = (text: string): number => {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value >>> 0
}

/** The hash tag of a channel's partition. */
export const tagOf = (channel: string): string => tags[hash(channel) % partitionCount]
