/** Limits the number of connections at a time, in total and per client address. */

const defaultMax = 65_536
const defaultMaxPerAddress = 16_384

export interface Limits {
  /** Default 65,536. */
  readonly max?: number | undefined
  /** Default 16,384. */
  readonly maxPerAddress?: number | undefined
}

export class ConnectionLimiter {
  private readonly byAddress = new Map<string, number>()
  private count = 0

  /** Counts a connection from an address. Returns false above a limit. */
  tryAcquire(address: string | undefined, { max = defaultMax, maxPerAddress = defaultMaxPerAddress }: Limits): boolean {
    if (this.count >= max) return false
    const key = addressKey(address)
    // Connections without an address are local, over a Unix socket or a stream given to `accept`.
    if (key !== "" && this.countFor(key) >= maxPerAddress) return false
    this.count++
    this.byAddress.set(key, this.countFor(key) + 1)
    return true
  }

  /** Stops counting a connection that `tryAcquire` counted. */
  release(address: string | undefined): void {
    this.count--
    const key = addressKey(address)
    const remaining = this.countFor(key) - 1
    if (remaining === 0) this.byAddress.delete(key)
    else this.byAddress.set(key, remaining)
  }

  private countFor(key: string): number {
    return this.byAddress.get(key) ?? 0
  }
}

/**
 * Returns what counts as one address: an IPv4 address, or the /64 network of an
 * IPv6 address, because a client with one address of a network has all of them.
 */
export const addressKey = (address: string | undefined): string => {
  if (address === undefined || !address.includes(":")) return address ?? ""
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped !== null) return mapped[1]
  const [leading, trailing = []] = address.split("::").map((groups) => groups === "" ? [] : groups.split(":"))
  const zeros = Array.from({ length: 8 - leading.length - trailing.length }, () => "0")
  return [...leading, ...zeros, ...trailing].slice(0, 4).join(":") + "::/64"
}
