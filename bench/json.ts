/** JSON as programs send it. */
import { Buffer } from "node:buffer"

/** Orders of a market, as JSON of about a given size. */
export const json = (seed: number, size: number): Buffer => {
  const items: Array<object> = []
  for (let length = 40, i = 0; length < size - 80; i++) {
    const key = (seed * 7919 + i * 104_729) % 1_000_003
    const item = {
      id: key,
      user: `user-${key % 977}`,
      price: key % 10_007 / 100,
      side: key % 2 === 0 ? "sell" : "buy",
      at: 1_700_000_000_000 + key * 13
    }
    items.push(item)
    length += JSON.stringify(item).length + 1
  }
  return Buffer.from(JSON.stringify({ type: "update", seq: seed, items }))
}
