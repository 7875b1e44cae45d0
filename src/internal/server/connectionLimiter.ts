/** Who is let in: how many there may be at a time, in all and from one address. */

const defaultMax = 65_536
const defaultMaxPerAddress = 16_384

/** How many places there are. */
export interface Limits {
  /** Default 65,536. */
  readonly max?: number | undefined
  /** Default 16,384. */
  readonly maxPerAddress?: number | undefined
}

export class ConnectionLimiter {
  private readonly byAddress = new Map<string, number>()
  private count = 0

  /** Takes one of so many places, for someone from this source. Answers false where there is none. */
  tryAcquire(source: string, { max = defaultMax, maxPerAddress = defaultMaxPerAddress }: Limits): boolean {
    if (this.count >= max) return false
    // Who comes without an address comes through this machine, and is not one of many.
    if (source !== "" && this.countFor(source) >= maxPerAddress) return false
    this.count++
    this.byAddress.set(source, this.countFor(source) + 1)
    return true
  }

  /** Gives the place back. */
  release(source: string): void {
    this.count--
    const others = this.countFor(source) - 1
    if (others === 0) this.byAddress.delete(source)
    else this.byAddress.set(source, others)
  }

  private countFor(source: string): number {
    return this.byAddress.get(source) ?? 0
  }
}

/**
 * What counts as one address: an address of IPv4, and of IPv6 the 64 bits that a
 * network is given, because whoever has one address there has all of them.
 */
export const addressKey = (address: string | undefined): string => {
  if (address === undefined || !address.includes(":")) return address ?? ""
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped !== null) return mapped[1]
  const [leading, trailing = []] = address.split("::").map((groups) => groups === "" ? [] : groups.split(":"))
  const zeros = Array.from({ length: 8 - leading.length - trailing.length }, () => "0")
  return [...leading, ...zeros, ...trailing].slice(0, 4).join(":") + "::/64"
}
