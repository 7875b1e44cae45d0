/**
 * The two directions of permessage-deflate in one connection (RFC 7692 §7.2):
 * payloads in, payloads out.
 *
 * What takes no more than a slice of 64 KiB, in and out, is done at once. More
 * is done slice by slice, with a turn of the event loop in between.
 */
import * as Effect from "effect/Effect"
import { isUint8Array } from "node:util/types"
import type { DecodeError, SizeBudget } from "../../Extension.ts"
import { InvalidExtensionData, MessageTooLarge } from "../../ProtocolError.ts"
import { ByteBuilder, emptyBytes } from "../runtime/buffers.ts"
import type { Lease, LeaseHolder, ZlibPool } from "./streamPool.ts"
import { copyOutput, noFlush, sliceSize, syncFlush, tail } from "./zlibStream.ts"

/** How one direction is compressed. */
export interface Direction {
  readonly contexts: ZlibPool
  readonly windowBits: number
  /** Whether a message may refer to those before it. */
  readonly takeover: boolean
}

/** Work that is done in slices. A step answers whether it was the last. */
interface SlicedTask {
  readonly step: () => boolean
}

const runToEnd = (work: SlicedTask): Effect.Effect<void> =>
  Effect.flatMap(Effect.yieldNow, () => work.step() ? Effect.void : runToEnd(work))

/** What comes out, most often in one part; many small ones are put together. */
class Output {
  private first: Uint8Array | undefined
  private pieces: ByteBuilder | undefined

  push(part: Uint8Array): void {
    if (this.first === undefined) {
      this.first = part
      return
    }
    if (this.pieces === undefined) {
      this.pieces = new ByteBuilder()
      this.pieces.push(this.first)
    }
    this.pieces.push(part)
  }

  concat(): Uint8Array {
    return this.pieces?.concat() ?? this.first ?? emptyBytes
  }
}

// -----------------------------------------------------------------------------
// Compression
// -----------------------------------------------------------------------------

/** Compresses what a connection sends. */
export class Deflater implements LeaseHolder {
  private readonly direction: Direction
  private held: Lease | undefined
  private closed = false

  constructor(direction: Direction) {
    this.direction = direction
  }

  /** Compresses the payload of a frame, whole: nothing of it is left inside (§7.2.1). */
  deflate(payload: Uint8Array, final: boolean): Uint8Array | Effect.Effect<Uint8Array> {
    if (this.closed) return payload
    if (payload.length === 0) {
      // zlib would not flush twice in a row, and need not: the frame before this ended with a whole block.
      if (!final) return payload
      this.rest(true)
      // The header of an empty stored block; what the receiver adds is the rest of it (§7.2.3.6).
      return Uint8Array.of(0)
    }
    this.held ??= this.direction.contexts.deflater(this.direction.windowBits)
    this.held.busy = true
    const { stream } = this.held
    // Most often that is all, and nothing has to be remembered of it.
    const length = Math.min(sliceSize, payload.length)
    const last = length === payload.length
    const size = stream.step(last ? syncFlush : noFlush, payload, 0, length)
    if (last && size < sliceSize) {
      const compressed = copyOutput(final ? size - tail.length : size)
      this.rest(final)
      return compressed
    }
    // The rest is compressed in later turns: by then the program may have transferred its buffer.
    const work = new DeflateTask(stream, payload.slice(), final)
    work.took(size, length)
    return Effect.map(runToEnd(work), () => {
      this.rest(final)
      return work.result()
    })
  }

  private rest(final: boolean): void {
    const { held } = this
    if (held === undefined) return
    const { contexts, takeover } = this.direction
    if (final && !takeover) {
      this.held = undefined
      return contexts.release(held)
    }
    // It may go now, even within a message: what comes after it just refers to nothing before.
    contexts.markIdle(held, this)
  }

  onEvict(): void {
    this.held = undefined
  }

  close(): void {
    this.closed = true
    const { held } = this
    this.held = undefined
    if (held?.busy === false) this.direction.contexts.release(held)
    else if (held !== undefined) this.direction.contexts.discard(held)
  }
}

class DeflateTask implements SlicedTask {
  private readonly stream: Lease["stream"]
  private readonly payload: Uint8Array
  private readonly final: boolean
  private readonly output = new Output()
  private at = 0

  constructor(stream: Lease["stream"], payload: Uint8Array, final: boolean) {
    this.stream = stream
    this.payload = payload
    this.final = final
  }

  step(): boolean {
    const { at, payload, stream } = this
    // The connection is over; nobody will send this.
    if (stream.closed) return true
    const length = Math.min(sliceSize, payload.length - at)
    const last = at + length === payload.length
    const size = stream.step(last ? syncFlush : noFlush, payload, at, length)
    this.took(size, length)
    return last && size < sliceSize
  }

  /** A step made so much of so much. */
  took(size: number, length: number): void {
    this.at += length - this.stream.inputRemaining
    this.output.push(copyOutput(size))
  }

  result(): Uint8Array {
    const whole = this.output.concat()
    return this.final ? whole.subarray(0, -tail.length) : whole
  }
}

// -----------------------------------------------------------------------------
// Decompression
// -----------------------------------------------------------------------------

const invalidData = (problem: string): InvalidExtensionData =>
  new InvalidExtensionData({ extension: "permessage-deflate", problem })

/** Decompresses what a connection receives. */
export class Inflater implements LeaseHolder {
  private readonly direction: Direction
  private held: Lease | undefined
  /** What the next message may refer to, while there is no decompressor that knows it. */
  private window: Uint8Array | undefined
  /** Why there is no way on. */
  private failure: DecodeError | undefined

  constructor(direction: Direction) {
    this.direction = direction
  }

  /** Decompresses the payload of a frame, into the room that its message has left. */
  inflate(
    payload: Uint8Array,
    final: boolean,
    room: SizeBudget
  ): Uint8Array | DecodeError | Effect.Effect<Uint8Array, DecodeError> {
    if (payload.length === 0 && !final) return payload
    const work = new InflateTask(this, payload, final, room)
    if (work.step()) return this.end(work, final)
    return Effect.flatMap(runToEnd(work), () => {
      const result = this.end(work, final)
      return isUint8Array(result) ? Effect.succeed(result) : Effect.fail(result)
    })
  }

  /** The stream at work. It has to stay until the end of a message: only there it is between two blocks. */
  get stream(): Lease["stream"] | undefined {
    if (this.failure !== undefined) return undefined
    if (this.held === undefined) {
      this.held = this.direction.contexts.inflater(this.direction.windowBits, this.window)
      this.setWindow(undefined)
    }
    this.held.busy = true
    return this.held.stream
  }

  /** What was a stream of its own has ended, with a final block; what follows is another (§7.2.3.4). */
  restart(): void {
    const { held } = this
    if (held === undefined) return
    if (!held.stream.hasDictionary) return held.stream.reset()
    this.held = undefined
    this.direction.contexts.discard(held)
  }

  private end(work: InflateTask, final: boolean): Uint8Array | DecodeError {
    const failure = this.failure ?? work.failure
    if (failure !== undefined) {
      this.fail(failure)
      return failure
    }
    if (final) this.rest()
    return work.output.concat()
  }

  private rest(): void {
    const { held } = this
    if (held === undefined) return
    const { contexts, takeover } = this.direction
    if (takeover) return contexts.markIdle(held, this)
    this.held = undefined
    contexts.release(held)
  }

  onEvict({ stream }: Lease): void {
    this.held = undefined
    this.setWindow(stream.takeWindow())
  }

  private setWindow(window: Uint8Array | undefined): void {
    this.direction.contexts.usage.windows += (window?.length ?? 0) - (this.window?.length ?? 0)
    this.window = window
  }

  private fail(failure: DecodeError): void {
    this.failure = failure
    this.setWindow(undefined)
    const { held } = this
    this.held = undefined
    if (held !== undefined) this.direction.contexts.discard(held)
  }

  close(): void {
    const { held } = this
    if (held?.busy === false) {
      this.held = undefined
      this.direction.contexts.release(held)
    }
    this.fail(invalidData("the connection is over"))
  }
}

class InflateTask implements SlicedTask {
  readonly output = new Output()
  failure: DecodeError | undefined
  private readonly inflater: Inflater
  private readonly payload: Uint8Array
  private readonly final: boolean
  private readonly room: SizeBudget
  private at = 0
  private size = 0

  constructor(inflater: Inflater, payload: Uint8Array, final: boolean, room: SizeBudget) {
    this.inflater = inflater
    this.payload = payload
    this.final = final
    this.room = room
  }

  /** A slice, of at most so much input and output, and so many final blocks. */
  step(): boolean {
    const until = { at: this.at + sliceSize, size: this.size + sliceSize }
    for (let count = 0; count < 64 && this.at < until.at && this.size < until.size; count++) {
      if (this.advance()) return true
    }
    return false
  }

  private advance(): boolean {
    const { at, inflater, payload, room } = this
    const { stream } = inflater
    // The connection is over; nothing waits for this.
    if (stream === undefined) return true
    // One byte more than there may be is enough to know.
    const space = Math.min(sliceSize, Math.max(0, room.limit - room.used - this.size) + 1)
    const length = Math.min(sliceSize, payload.length - at)
    const made = stream.step(syncFlush, payload, at, length, space)
    if (stream.problem !== undefined) return this.failWith(invalidData(stream.problem))
    this.at += length - stream.inputRemaining
    this.size += made
    if (room.used + this.size > room.limit) {
      return this.failWith(new MessageTooLarge({ size: room.used + this.size, limit: room.limit }))
    }
    if (made > 0) this.output.push(copyOutput(made))
    if (made === space) return false
    // It took less than there was, although there was room: a final block.
    if (stream.inputRemaining > 0) inflater.restart()
    if (this.at < payload.length) return false
    return this.final ? this.complete(stream) : true
  }

  /** A message ends between two blocks, or with a final block: there is nothing left to complete then. */
  private complete(stream: Lease["stream"]): true {
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
