import type { Traffic } from "../../PerMessageDeflate.ts"

/** The payload bytes of all connections of an extension, with and without compression. */
export class TrafficCounter {
  private uncompressed = 0
  private compressed = 0

  add(uncompressed: number, compressed: number): void {
    this.uncompressed += uncompressed
    this.compressed += compressed
  }

  get snapshot(): Traffic {
    return { uncompressed: this.uncompressed, compressed: this.compressed }
  }
}
