/** Compresses messages once for all connections with the same window. */
import type { SendOptions, SharedEncoder } from "../../Extension.ts"
import { Frame, Reserved } from "../protocol/frame.ts"
import { DeflateTask } from "./codec.ts"
import type { ZlibPool } from "./streamPool.ts"
import type { TrafficCounter } from "./trafficCounter.ts"

/** A larger payload is left to each connection, which compresses in slices, with turns of the event loop in between. */
const maxPayload = 1024 * 1024

/**
 * It begins each message with an empty window, so that any peer can decompress it,
 * whatever it has received before.
 */
export class SharedDeflater implements SharedEncoder {
  private readonly pool: ZlibPool
  private readonly windowBits: number
  private readonly threshold: number
  private readonly sent: TrafficCounter

  constructor(pool: ZlibPool, windowBits: number, threshold: number, sent: TrafficCounter) {
    this.pool = pool
    this.windowBits = windowBits
    this.threshold = threshold
    this.sent = sent
  }

  encode(frame: Frame, { compress }: SendOptions): Frame | undefined {
    const { opcode, payload, reserved } = frame
    if (compress === false || payload.length === 0 || payload.length < this.threshold) return frame
    if (payload.length > maxPayload) return undefined
    const compressed = this.deflate(payload)
    if (compressed.length >= payload.length) return frame
    this.sent.add(payload.length, compressed.length)
    return new Frame(opcode, compressed, true, reserved | Reserved.Rsv1)
  }

  private deflate(payload: Uint8Array): Uint8Array {
    const lease = this.pool.leaseDeflater(this.windowBits)
    const task = new DeflateTask(lease.stream, payload, true)
    while (!task.step()) continue
    this.pool.release(lease)
    return task.result()
  }
}
