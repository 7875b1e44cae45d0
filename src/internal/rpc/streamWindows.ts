/**
 * The flow control of the streams of one client, without I/O. `effect/rpc` sends a chunk of a stream and waits for
 * its acknowledgement. A window lets a stream send more of them first, so that neither end waits for the other.
 */

/** The chunks of a stream that were sent and not acknowledged. */
interface Unacknowledged {
  /** The size of each, in order. */
  readonly sizes: Array<number>
  total: number
  /** Whether the stream waits for an acknowledgement. */
  isWaiting: boolean
}

type RequestId = string | number

export class StreamWindows {
  private readonly limit: number
  /** Only streams with unacknowledged chunks: a client cannot fill it with streams that have ended. */
  private readonly streams = new Map<RequestId, Unacknowledged>()

  /** `limit` is the number of bytes that a stream sends before it waits. */
  constructor(limit: number) {
    this.limit = limit
  }

  /** Counts a chunk that is sent. */
  send(requestId: RequestId, size: number): void {
    // Without a limit no stream waits, and a client that acknowledges nothing would let the list grow.
    if (this.limit === Infinity) return
    const stream = this.streams.get(requestId)
    if (stream === undefined) this.streams.set(requestId, { sizes: [size], total: size, isWaiting: false })
    else {
      stream.sizes.push(size)
      stream.total += size
    }
  }

  /** Returns whether a stream that has sent a chunk may send another one now. Otherwise it waits. */
  hasRoom(requestId: RequestId): boolean {
    const stream = this.streams.get(requestId)
    // The client has acknowledged all chunks, or the stream has ended.
    if (stream === undefined) return true
    stream.isWaiting = stream.total >= this.limit
    return !stream.isWaiting
  }

  /** Counts an acknowledgement. Returns whether a stream that waits may go on: once it has room, or all is acknowledged. */
  acknowledge(requestId: RequestId): boolean {
    const stream = this.streams.get(requestId)
    if (stream === undefined) return false
    stream.total -= stream.sizes.shift()!
    const isLast = stream.sizes.length === 0
    if (isLast) this.streams.delete(requestId)
    const resumes = stream.isWaiting && (isLast || stream.total < this.limit)
    if (resumes) stream.isWaiting = false
    return resumes
  }

  /** Forgets a stream that has ended. */
  end(requestId: RequestId): void {
    this.streams.delete(requestId)
  }

  /** Forgets all streams: the client has ended all of its requests. */
  clear(): void {
    this.streams.clear()
  }
}
