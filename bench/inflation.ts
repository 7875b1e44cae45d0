/** Whether what a server compresses are the messages that it was sent. */
import { Buffer } from "node:buffer"
import * as Zlib from "node:zlib"
import * as Wire from "./wire.ts"

const finishFlush = Zlib.constants.Z_SYNC_FLUSH

/** Inflates the messages of one connection, and compares them with those of a load, in turn. */
export class Inflation {
  private readonly payloads: ReadonlyArray<Buffer>
  private readonly fail: (problem: string) => void
  /** With context takeover, a message may refer to those before it. */
  private readonly stream: Zlib.InflateRaw | undefined
  /** What the messages in the stream inflate to, the oldest first, and how much of the oldest has come. */
  private readonly expected: Array<Buffer> = []
  private inflated = 0
  private count = 0

  constructor(payloads: ReadonlyArray<Buffer>, deflate: Wire.Deflate, fail: (problem: string) => void) {
    this.payloads = payloads
    this.fail = fail
    if (deflate === "noTakeover") return
    this.stream = Zlib.createInflateRaw()
    this.stream.on("error", ({ message }) => fail(message)).on("data", (part: Buffer) => this.compare(part))
  }

  /** Takes a message: the first byte of its frame, and its payload. */
  accept(first: number, payload: Buffer): void {
    const message = this.payloads[this.count++ % this.payloads.length]
    if (!Wire.isCompressed(first)) return this.check(payload.equals(message))
    const deflated = Buffer.concat([payload, Wire.flushTail])
    if (this.stream === undefined) return this.check(Zlib.inflateRawSync(deflated, { finishFlush }).equals(message))
    this.expected.push(message)
    this.stream.write(deflated)
  }

  /** How many messages are being inflated. */
  get pending(): number {
    return this.expected.length
  }

  private compare(part: Buffer): void {
    for (let at = 0; at < part.length;) {
      const message = this.expected[0] ?? Buffer.alloc(0)
      const end = Math.min(part.length, at + message.length - this.inflated)
      this.check(end > at && message.subarray(this.inflated, this.inflated + end - at).equals(part.subarray(at, end)))
      this.inflated += end - at
      at = Math.max(end, at + 1)
      if (this.inflated < message.length) continue
      this.expected.shift()
      this.inflated = 0
    }
  }

  private check(isRight: boolean): void {
    if (!isRight) this.fail("expected the compressed messages that were sent, got others")
  }
}
