/** Two transports that are each other's peer. */
import { concatBytes } from "#platform"
import { TransportError } from "../../ConnectionError.ts"
import type { Receiver, Transport } from "../../Transport.ts"
import { soon } from "../runtime/turns.ts"

export const makeMemoryPair = (highWaterMark: number): readonly [Transport, Transport] => {
  const left = new MemoryTransport(highWaterMark)
  const right = new MemoryTransport(highWaterMark)
  left.peer = right
  right.peer = left
  return [left.transport, right.transport]
}

class MemoryTransport {
  peer!: MemoryTransport
  private readonly highWaterMark: number
  private receiver: Receiver | undefined
  /** The chunks that the peer wrote and this end has not delivered. */
  private inbound: Array<Uint8Array> = []
  private inboundBytes = 0
  private peerWaits = false
  private paused = false
  private ended = false
  private endDelivered = false
  private closed = false
  private scheduled = false

  constructor(highWaterMark: number) {
    this.highWaterMark = highWaterMark
  }

  readonly transport: Transport = {
    start: (receiver) => {
      this.receiver = receiver
      this.schedule()
    },
    immediate: () => true,
    write: (chunks) => {
      if (this.ended || this.closed) return false
      if (this.peer.closed) {
        this.close(new TransportError({ code: "EPIPE", cause: new Error("write EPIPE") }))
        return false
      }
      return this.peer.accept(chunks)
    },
    pause: () => {
      this.paused = true
    },
    resume: () => {
      this.paused = false
      this.schedule()
    },
    end: () => {
      this.ended = true
      this.peer.schedule()
      this.schedule()
    },
    destroy: () => this.close(undefined),
    bufferedAmount: () => this.peer.inboundBytes
  }

  private accept(chunks: ReadonlyArray<Uint8Array>): boolean {
    // One write to a socket is one chunk as well.
    const chunk = concatBytes(chunks)
    this.inbound.push(chunk)
    this.inboundBytes += chunk.length
    this.schedule()
    if (this.inboundBytes < this.highWaterMark) return true
    this.peerWaits = true
    return false
  }

  private close(error: TransportError | undefined): void {
    if (this.closed) return
    this.closed = true
    this.ended = true
    this.inbound = []
    this.inboundBytes = 0
    this.peer.schedule()
    soon(() => this.receiver?.onClose(error))
  }

  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    soon(() => {
      this.scheduled = false
      this.deliver()
    })
  }

  private deliver(): void {
    const { receiver } = this
    if (receiver === undefined || this.closed) return
    if (!this.paused && this.inbound.length > 0) this.deliverChunk(receiver)
    else this.deliverEnd(receiver)
  }

  private deliverChunk(receiver: Receiver): void {
    const chunk = this.inbound.shift()!
    this.inboundBytes -= chunk.length
    receiver.onData(chunk)
    // The chunk was lent: the next read of a socket would overwrite it as well.
    chunk.fill(0)
    if (this.inboundBytes === 0 && this.peerWaits) {
      this.peerWaits = false
      this.peer.drained()
    }
    this.schedule()
  }

  private deliverEnd(receiver: Receiver): void {
    if (this.inbound.length === 0 && this.peer.ended && !this.endDelivered) {
      this.endDelivered = true
      receiver.onEnd()
    }
    if (this.ended && this.endDelivered && this.peer.inbound.length === 0) this.close(undefined)
  }

  private drained(): void {
    if (!this.closed) this.receiver?.onDrain()
  }
}
