/** Choices: at random from a seed, or as a tape of bytes says. */

export abstract class Choices {
  /** An integer from 0 to `count` - 1. */
  abstract below(count: number): number

  between(least: number, most: number): number {
    return least + this.below(most - least + 1)
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === n - 1
  }

  pick<A>(values: ReadonlyArray<A>): A {
    return values[this.below(values.length)]
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256))
  }

  /** Small numbers mostly, and every now and then a large one. */
  size(most: number): number {
    return this.below(1 + Math.min(most, this.pick([0, 4, 16, 140, 600, 5000, most])))
  }
}

/** All choices come from the seed. */
export class Random extends Choices {
  private state: number

  constructor(seed: number) {
    super()
    this.state = seed | 0
  }

  /** splitmix32 */
  private next(): number {
    this.state = this.state + 0x9e3779b9 | 0
    let z = this.state
    z = Math.imul(z ^ z >>> 16, 0x21f0aaad)
    z = Math.imul(z ^ z >>> 15, 0x735a2d97)
    return (z ^ z >>> 15) >>> 0
  }

  override below(count: number): number {
    return Math.floor(this.next() / 0x1_0000_0000 * count)
  }
}

/**
 * Choices are read from bytes, so that what mutates and minimises bytes does so
 * with whatever is made of choices. Past its end, all choices are 0.
 */
export class Tape extends Choices {
  private readonly bytesLeft: Uint8Array
  private at = 0

  constructor(bytes: Uint8Array) {
    super()
    this.bytesLeft = bytes
  }

  get done(): boolean {
    return this.at >= this.bytesLeft.length
  }

  override below(count: number): number {
    let value = this.next()
    for (let limit = 256; limit < count; limit *= 256) value = value * 256 + this.next()
    return value % count
  }

  private next(): number {
    return this.done ? 0 : this.bytesLeft[this.at++]
  }
}
