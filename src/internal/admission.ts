/** Who is let in: how many there may be at a time, in all and from one address. */

const defaultMax = 65_536
const defaultMaxPerAddress = 16_384

export class Admission {
  private readonly max: number
  private readonly maxPerAddress: number
  private readonly byAddress = new Map<string, number>()
  private count = 0

  constructor(max = defaultMax, maxPerAddress = defaultMaxPerAddress) {
    this.max = max
    this.maxPerAddress = maxPerAddress
  }

  /** Whether there is a place for someone from this source. */
  admits(source: string): boolean {
    // Who comes without an address comes through this machine, and is not one of many.
    return this.count < this.max && (source === "" || this.from(source) < this.maxPerAddress)
  }

  /** Takes a place, for someone from this source. Answers false where there is none. */
  enter(source: string): boolean {
    if (!this.admits(source)) return false
    this.count++
    this.byAddress.set(source, this.from(source) + 1)
    return true
  }

  /** Gives the place back. */
  leave(source: string): void {
    this.count--
    const others = this.from(source) - 1
    if (others === 0) this.byAddress.delete(source)
    else this.byAddress.set(source, others)
  }

  private from(source: string): number {
    return this.byAddress.get(source) ?? 0
  }
}

/**
 * What counts as one address: an address of IPv4, and of IPv6 the 64 bits that a
 * network is given, because whoever has one address there has all of them.
 */
export const sourceOf = (address: string | undefined): string => {
  if (address === undefined || !address.includes(":")) return address ?? ""
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped !== null) return mapped[1]
  const [before, after] = address.replace(/%.*$/, "").split("::")
  const groups = before === "" ? [] : before.split(":")
  const rest = after === undefined || after === "" ? [] : after.split(":")
  const zeros = after === undefined ? 0 : Math.max(0, 8 - groups.length - rest.length)
  return [...groups, ...Array.from({ length: zeros }, () => "0"), ...rest].slice(0, 4).join(":") + "::/64"
}
