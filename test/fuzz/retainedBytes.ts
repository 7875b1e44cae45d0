/** How much memory an object holds on to. */

/** The bytes of all buffers that can be reached from an object, each counted once, as large as it was allocated. */
export const heldBytes = (root: object): number => {
  const seen = new Set<object>([root])
  const queue: Array<object> = [root]
  let bytes = 0
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null || seen.has(value)) return
    seen.add(value)
    queue.push(value)
  }
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    if (next instanceof ArrayBuffer) bytes += next.byteLength
    else if (ArrayBuffer.isView(next)) visit(next.buffer)
    else if (next instanceof Map || next instanceof Set) { for (const entry of next) visit(entry) }
    else for (const value of Object.values(next)) visit(value)
  }
  return bytes
}
