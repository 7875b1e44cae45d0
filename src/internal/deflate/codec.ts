/**
 * Compresses and decompresses the payloads of one connection (RFC 7692 §7.2).
 *
 * A payload of up to one slice, 64 KiB in and out, is processed at once. A larger
 * one is processed slice by slice, with a turn of the event loop in between.
 */
import * as Effect from "effect/Effect"
import { isUint8Array } from "#platform"
import type { DecodeError, SizeBudget } from "../../Extension.ts"
import { InvalidExtensionData, MessageTooLarge } from "../../ProtocolError.ts"
import { ByteBuilder, emptyBytes } from "../runtime/buffers.ts"
import type { Direction } from "./negotiation.ts"
import type { Lease, LeaseHolder, ZlibPool } from "./streamPool.ts"
import { copyOutput, flushMarker, noFlush, sliceSize, syncFlush, type ZlibStream } from "./zlibStream.ts"

/** Work in slices. `step` processes one, and returns whether it was the last. */
interface SlicedTask {
  readonly step: () => boolean
}

const runToEnd = (task: SlicedTask): Effect.Effect<void> =>
  Effect.flatMap(Effect.yieldNow, () => task.step() ? Effect.void : runToEnd(task))

/** Collects the output of the steps. Most payloads have one part, which is kept as it is. */
class Output {
  private first: Uint8Array | undefined
  private builder: ByteBuilder | undefined

  push(part: Uint8Array): void {
    if (this.first === undefined) {
      this.first = part
      return
    }
    if (this.builder === undefined) {
      this.builder = new ByteBuilder()
      this.builder.push(this.first)
    }
    this.builder.push(part)
  }

  concat(): Uint8Array {
    return this.builder?.concat() ?? this.first ?? emptyBytes
  }
}

// -----------------------------------------------------------------------------
// Compression
// -----------------------------------------------------------------------------

/** Compresses the messages that a connection sends. */
export class Deflater implements LeaseHolder {
  private readonly pool: ZlibPool
  private readonly direction: Direction
  private lease: Lease | undefined
  /** Whether the window of the lease is not what the peer has received. */
  private isStale = false
  private isClosed = false

  constructor(pool: ZlibPool, direction: Direction) {
    this.pool = pool
    this.direction = direction
  }

  /** Compresses the payload of a frame, and flushes: zlib keeps no byte of it back (§7.2.1). */
  deflate(payload: Uint8Array, isFinal: boolean): Uint8Array | Effect.Effect<Uint8Array> {
    if (this.isClosed) return payload
    if (payload.length === 0) {
      // zlib does not flush twice in a row, and need not: the frame before this one ended between two blocks.
      if (!isFinal) return payload
      this.endFrame(true)
      // The first byte of an empty stored block; the receiver appends the rest (§7.2.3.6).
      return Uint8Array.of(0)
    }
    this.lease ??= this.pool.leaseDeflater(this.direction.windowBits)
    this.lease.isBusy = true
    const { stream } = this.lease
    if (this.isStale) {
      stream.reset()
      this.isStale = false
    }
    const length = Math.min(sliceSize, payload.length)
    const isLast = length === payload.length
    const size = stream.step(isLast ? syncFlush : noFlush, payload, 0, length)
    if (isLast && size < sliceSize) {
      const compressed = copyOutput(isFinal ? size - flushMarker.length : size)
      this.endFrame(isFinal)
      return compressed
    }
    // The other slices are compressed in later turns. The program may have transferred its buffer by then.
    const task = new DeflateTask(stream, payload.slice(), isFinal)
    task.onStep(size, length)
    return Effect.map(runToEnd(task), () => {
      this.endFrame(isFinal)
      return task.result()
    })
  }

  /** Lets the next message refer to nothing before it. The stream is kept, because it takes long to make. */
  restart(): void {
    this.isStale = this.lease !== undefined
  }

  private endFrame(isFinal: boolean): void {
    const { lease } = this
    if (lease === undefined) return
    if (isFinal && !this.direction.takeover) {
      this.lease = undefined
      return this.pool.release(lease)
    }
    // Also within a message: after an eviction, the next frame refers to nothing before it.
    this.pool.markIdle(lease, this)
  }

  onEvict(): void {
    this.lease = undefined
    this.isStale = false
  }

  close(): void {
    this.isClosed = true
    const { lease } = this
    this.lease = undefined
    if (lease?.isBusy === false) this.pool.release(lease)
    else if (lease !== undefined) this.pool.discard(lease)
  }
}

/** Compresses the payload of one frame, a slice in each step. */
export class DeflateTask implements SlicedTask {
  private readonly stream: ZlibStream
  private readonly payload: Uint8Array
  private readonly isFinal: boolean
  private readonly output = new Output()
  private consumed = 0

  constructor(stream: ZlibStream, payload: Uint8Array, isFinal: boolean) {
    this.stream = stream
    this.payload = payload
    this.isFinal = isFinal
  }

  step(): boolean {
    const { consumed, payload, stream } = this
    // The connection has ended: the frame is not sent.
    if (stream.isClosed) return true
    const length = Math.min(sliceSize, payload.length - consumed)
    const isLast = consumed + length === payload.length
    const size = stream.step(isLast ? syncFlush : noFlush, payload, consumed, length)
    this.onStep(size, length)
    return isLast && size < sliceSize
  }

  /** Records that a step was given `length` bytes and produced `size` bytes. */
  onStep(size: number, length: number): void {
    this.consumed += length - this.stream.inputRemaining
    this.output.push(copyOutput(size))
  }

  result(): Uint8Array {
    const compressed = this.output.concat()
    return this.isFinal ? compressed.subarray(0, -flushMarker.length) : compressed
  }
}

// -----------------------------------------------------------------------------
// Decompression
// -----------------------------------------------------------------------------

const invalidData = (problem: string): InvalidExtensionData =>
  new InvalidExtensionData({ extension: "permessage-deflate", problem })

/** Decompresses the messages that a connection receives. */
export class Inflater implements LeaseHolder {
  private readonly pool: ZlibPool
  private readonly direction: Direction
  private lease: Lease | undefined
  /** The window of an evicted stream, to which the next message may refer. */
  private window: Uint8Array | undefined
  /** Why no further frame is decoded: each gets this failure. */
  private failure: DecodeError | undefined

  constructor(pool: ZlibPool, direction: Direction) {
    this.pool = pool
    this.direction = direction
  }

  /** Decompresses the payload of a frame into what the budget of its message has left. */
  inflate(
    payload: Uint8Array,
    isFinal: boolean,
    budget: SizeBudget
  ): Uint8Array | DecodeError | Effect.Effect<Uint8Array, DecodeError> {
    if (payload.length === 0 && !isFinal) return payload
    const task = new InflateTask(this, payload, isFinal, budget)
    if (task.step()) return this.endFrame(task, isFinal)
    return Effect.flatMap(runToEnd(task), () => {
      const result = this.endFrame(task, isFinal)
      return isUint8Array(result) ? Effect.succeed(result) : Effect.fail(result)
    })
  }

  /**
   * Returns a busy stream, or undefined after a failure. The stream stays busy until
   * the end of a message: only there it is between two blocks.
   */
  busyStream(): ZlibStream | undefined {
    if (this.failure !== undefined) return undefined
    if (this.lease === undefined) {
      this.lease = this.pool.leaseInflater(this.direction.windowBits, this.window)
      this.setWindow(undefined)
    }
    this.lease.isBusy = true
    return this.lease.stream
  }

  /** Begins a new DEFLATE stream behind a final block (§7.2.3.4). */
  restart(): void {
    const { lease } = this
    if (lease === undefined) return
    if (!lease.stream.hasDictionary) return lease.stream.reset()
    this.lease = undefined
    this.pool.discard(lease)
  }

  private endFrame(task: InflateTask, isFinal: boolean): Uint8Array | DecodeError {
    const failure = this.failure ?? task.failure
    if (failure !== undefined) {
      this.fail(failure)
      return failure
    }
    if (isFinal) this.endMessage()
    return task.output.concat()
  }

  private endMessage(): void {
    const { lease } = this
    if (lease === undefined) return
    if (this.direction.takeover) return this.pool.markIdle(lease, this)
    this.lease = undefined
    this.pool.release(lease)
  }

  onEvict({ stream }: Lease): void {
    this.lease = undefined
    this.setWindow(stream.takeWindow())
  }

  private setWindow(window: Uint8Array | undefined): void {
    this.pool.usage.windows += (window?.length ?? 0) - (this.window?.length ?? 0)
    this.window = window
  }

  private fail(failure: DecodeError): void {
    this.failure = failure
    this.setWindow(undefined)
    const { lease } = this
    this.lease = undefined
    if (lease !== undefined) this.pool.discard(lease)
  }

  close(): void {
    const { lease } = this
    if (lease?.isBusy === false) {
      this.lease = undefined
      this.pool.release(lease)
    }
    this.fail(invalidData("the connection has ended"))
  }
}

/** The most final blocks in a slice, each of which restarts the stream. */
const maxStepsPerSlice = 64

class InflateTask implements SlicedTask {
  readonly output = new Output()
  failure: DecodeError | undefined
  private readonly inflater: Inflater
  private readonly payload: Uint8Array
  private readonly isFinal: boolean
  private readonly budget: SizeBudget
  private consumed = 0
  private produced = 0

  constructor(inflater: Inflater, payload: Uint8Array, isFinal: boolean, budget: SizeBudget) {
    this.inflater = inflater
    this.payload = payload
    this.isFinal = isFinal
    this.budget = budget
  }

  /** Ends after a slice of input, a slice of output, or `maxStepsPerSlice` steps of zlib. */
  step(): boolean {
    const consumedLimit = this.consumed + sliceSize
    const producedLimit = this.produced + sliceSize
    for (let steps = 0; steps < maxStepsPerSlice; steps++) {
      if (this.consumed >= consumedLimit || this.produced >= producedLimit) return false
      if (this.advance()) return true
    }
    return false
  }

  /** Lets zlib take one step. Returns whether the frame is done, or has failed. */
  private advance(): boolean {
    const { budget, consumed, inflater, payload } = this
    const stream = inflater.busyStream()
    // The connection has ended.
    if (stream === undefined) return true
    // One byte more than the budget shows that the message exceeds it.
    const space = Math.min(sliceSize, Math.max(0, budget.limit - budget.used - this.produced) + 1)
    const length = Math.min(sliceSize, payload.length - consumed)
    const size = stream.step(syncFlush, payload, consumed, length, space)
    if (stream.problem !== undefined) return this.failWith(invalidData(stream.problem))
    this.consumed += length - stream.inputRemaining
    this.produced += size
    const messageSize = budget.used + this.produced
    if (messageSize > budget.limit) {
      return this.failWith(new MessageTooLarge({ size: messageSize, limit: budget.limit }))
    }
    if (size > 0) this.output.push(copyOutput(size))
    if (size === space) return false
    // zlib left input although it had space for output: it stopped behind a final block.
    if (stream.inputRemaining > 0) inflater.restart()
    if (this.consumed < payload.length) return false
    return this.isFinal ? this.endMessage(stream) : true
  }

  /** Checks that the message ends between two blocks, or with a final block (§7.2.2). */
  private endMessage(stream: ZlibStream): true {
    const end = stream.endMessage()
    if (end === "within") return this.failWith(invalidData(stream.problem ?? "a message ended within a block"))
    if (end === "final") this.inflater.restart()
    return true
  }

  private failWith(failure: DecodeError): true {
    this.failure = failure
    return true
  }
}
