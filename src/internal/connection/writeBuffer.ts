/**
 * The frames of a connection that its next flush writes.
 *
 * The frames of one turn are encoded one behind the other and leave in one write.
 * What connections share for that is module state which only `WriteBuffer`
 * touches: the slab, the flush schedule and the chunk cache.
 */
import { allocatePooled, allocateTextBuffer, concatBytes, hasIdled } from "#platform"
import { encodeHeader, encodeInto, type Frame, headerSize, Opcode } from "../../Frame.ts"
import type { Transport } from "../../Transport.ts"
import { maskInPlace } from "../protocol/masking.ts"
import { soon } from "../runtime/turns.ts"
import { isFixed, type Sendable, toFrame } from "./input.ts"

/** Payloads up to this size are copied into the slab; each larger one gets a chunk of its own. */
const maxSlabPayload = 4 * 1024

/**
 * Payloads above this size are written without a copy, behind a chunk that holds their header, if the transport takes
 * them at once. At 16 KiB a copy takes as long as the rest of an echo.
 */
const copyThreshold = 8 * 1024

/** A turn that has collected this much flushes at once, so that `send` learns of a full transport in time. */
const flushThreshold = 64 * 1024

const slabSize = 32 * 1024

/** The UTF-8 size of a code unit: a surrogate pair, which is two units, takes four bytes. */
const maxBytesPerCodeUnit = 3

const textHeader = { opcode: Opcode.Text, fin: true, reserved: 0 }

/** The empty list of chunks, which is never changed: most turns write one chunk, and make an array with it. */
const noChunks: Array<Uint8Array> = []

/**
 * Memory into which all connections encode small frames, one behind the other.
 * When another connection claims the slab, or the writer flushes, the bytes of the
 * writer become one chunk. So the small frames of a turn are one chunk, and no
 * byte is copied twice.
 */
class Slab {
  bytes = allocateTextBuffer(slabSize)
  /** Where the next frame begins. */
  end = 0
  private start = 0
  private writer: WriteBuffer | undefined

  /** Makes room for `size` bytes of a writer at `end`. */
  claim(writer: WriteBuffer, size: number): void {
    if (this.writer === writer && this.end + size <= slabSize) return
    if (this.writer !== undefined) this.seal(this.writer)
    this.writer = writer
    if (this.end + size <= slabSize) return
    this.bytes = allocateTextBuffer(slabSize)
    this.start = 0
    this.end = 0
  }

  /** Turns the bytes that a writer has encoded into one of its chunks. */
  seal(writer: WriteBuffer): void {
    if (this.writer !== writer) return
    writer.pushChunk(this.bytes.subarray(this.start, this.end))
    this.writer = undefined
    this.start = this.end
  }
}

/** The connections that flush at the end of this turn. */
class FlushSchedule {
  private buffers: Array<WriteBuffer> = []

  /**
   * Adds a connection. Returns whether it should write its first frame at once: it is
   * the first of this turn, and the process was idle before, as the peer may be.
   * Otherwise the two would take turns, where each waits for all that the other does.
   * The other connections of a turn write once: a second write would cost them more.
   */
  add(buffer: WriteBuffer): boolean {
    if (this.buffers.push(buffer) > 1) return false
    soon(this.flushAll)
    return hasIdled()
  }

  private readonly flushAll = (): void => {
    const { buffers } = this
    this.buffers = []
    for (const buffer of buffers) buffer.flush()
  }
}

/** The last results, because a broadcast asks for the same ones for each of its connections. */
class ChunkCache {
  private chunks = noChunks
  private chunk: Uint8Array = new Uint8Array()
  private appended = noChunks
  private parts = noChunks
  private coalesced = noChunks

  /** Returns a list of `chunks` and `chunk` that connections share and do not change. */
  append(chunks: Array<Uint8Array>, chunk: Uint8Array): Array<Uint8Array> {
    if (chunks !== this.chunks || chunk !== this.chunk) {
      this.chunks = chunks
      this.chunk = chunk
      this.appended = [...chunks, chunk]
    }
    return this.appended
  }

  /** Concatenates small chunks. Connections that wrote equal chunks in a turn share one buffer. */
  coalesce(parts: Array<Uint8Array>): Array<Uint8Array> {
    const { parts: cached } = this
    if (parts !== cached && (parts.length !== cached.length || parts.some((part, i) => part !== cached[i]))) {
      this.parts = parts
      this.coalesced = [concatBytes(parts)]
    }
    return this.coalesced
  }
}

const slab = new Slab()
const schedule = new FlushSchedule()
const cache = new ChunkCache()

export interface WriteBufferHost {
  /** A flush has filled the transport: it is above its high-water mark. */
  readonly onFull: () => void
}

export interface WriteBufferOptions {
  /** Whether the frames of one turn leave in one write. */
  readonly coalesce: boolean
  /** Returns the key of the next mask. Servers do not mask (§5.1). */
  readonly maskKey?: (() => number) | undefined
}

export class WriteBuffer {
  private readonly host: WriteBufferHost
  private readonly transport: Transport
  private readonly coalesce: boolean
  private readonly maskKey: (() => number) | undefined

  /** The chunks of the next flush. The bytes in the slab follow them. */
  private chunks = noChunks
  /** Whether other connections have this list too, so that it must not be changed. */
  private isShared = true
  /**
   * Whether a chunk is memory of the program. It is written before `send` returns: if the program transferred or
   * resized its buffer first, the header would be sent without its payload.
   */
  private isBorrowed = false
  /** The number of bytes that the next flush writes. */
  private pending = 0
  private isCorked = false
  private isScheduled = false

  framesOut = 0
  bytesOut = 0

  constructor(host: WriteBufferHost, transport: Transport, { coalesce, maskKey }: WriteBufferOptions) {
    this.host = host
    this.transport = transport
    this.coalesce = coalesce
    this.maskKey = maskKey
  }

  get masks(): boolean {
    return this.maskKey !== undefined
  }

  /** The number of bytes that were encoded and have not left this process. */
  get bufferedAmount(): number {
    return this.pending + this.transport.bufferedAmount()
  }

  /** The number of bytes that have left this process. */
  get bytesFlushed(): number {
    return this.bytesOut - this.bufferedAmount
  }

  // -- encoding --------------------------------------------------------------

  encodeMessage(message: Sendable): void {
    if (typeof message === "string" && message.length * maxBytesPerCodeUnit <= maxSlabPayload) this.encodeText(message)
    else this.encode(toFrame(message))
  }

  encode(frame: Frame): void {
    const { payload } = frame
    const maskKey = this.maskKey?.()
    const header = headerSize(payload.length, maskKey !== undefined)
    const size = header + payload.length
    this.count(1, size)
    if (payload.length <= maxSlabPayload) {
      slab.claim(this, size)
      slab.end = encodeInto(slab.bytes, slab.end, frame, maskKey)
      return
    }
    slab.seal(this)
    if (maskKey === undefined && this.canBorrow(payload)) {
      const bytes = new Uint8Array(header)
      encodeHeader(bytes, 0, frame, payload.length, undefined)
      this.pushChunk(bytes)
      this.pushChunk(payload)
      this.isBorrowed = true
    } else {
      const bytes = allocatePooled(size)
      encodeInto(bytes, 0, frame, maskKey)
      this.pushChunk(bytes)
    }
  }

  /**
   * Encodes a short string where its bytes belong. With a frame and an array in
   * between it would take five times as long.
   */
  private encodeText(string: string): void {
    const maskKey = this.maskKey?.()
    const masked = maskKey !== undefined
    // The size for ASCII. Other text may need a longer header.
    const asciiHeader = headerSize(string.length, masked)
    slab.claim(this, asciiHeader + 2 + string.length * maxBytesPerCodeUnit)
    const { bytes, end } = slab
    const length = bytes.write(string, end + asciiHeader)
    const header = headerSize(length, masked)
    if (header > asciiHeader) bytes.copyWithin(end + header, end + asciiHeader, end + asciiHeader + length)
    encodeHeader(bytes, end, textHeader, length, maskKey)
    slab.end = end + header + length
    if (masked) maskInPlace(bytes, end + header, slab.end, maskKey, 0)
    this.count(1, header + length)
  }

  /** Adds frames that were encoded for other connections too. */
  appendEncoded(bytes: Uint8Array, frames: number): void {
    slab.seal(this)
    this.count(frames, bytes.length)
    if (this.isShared && this.pending <= maxSlabPayload) this.chunks = cache.append(this.chunks, bytes)
    else this.pushChunk(bytes)
  }

  private canBorrow(payload: Uint8Array): boolean {
    return payload.length > copyThreshold && this.transport.immediate?.() === true && isFixed(payload)
  }

  private count(frames: number, size: number): void {
    this.framesOut += frames
    this.bytesOut += size
    this.pending += size
  }

  pushChunk(chunk: Uint8Array): void {
    if (this.isShared) {
      this.chunks = this.chunks === noChunks ? [chunk] : [...this.chunks, chunk]
      this.isShared = false
    } else {
      this.chunks.push(chunk)
    }
  }

  // -- flushing --------------------------------------------------------------

  /** Flushes at the end of this turn, or at once if there is a reason to. */
  scheduleFlush(): void {
    if (!this.coalesce || this.isBorrowed || this.pending >= flushThreshold) this.flush()
    else if (!this.isCorked && !this.isScheduled) {
      this.isScheduled = true
      if (schedule.add(this) && this.transport.eager?.() === true) this.write()
    }
  }

  /** Collects frames until `uncork`, or up to the flush threshold. */
  cork(): void {
    this.isCorked = true
  }

  uncork(): void {
    this.isCorked = false
    this.flush()
  }

  /** Hands all frames to the transport. */
  flush(): void {
    this.isScheduled = false
    this.write()
  }

  private write(): void {
    this.isBorrowed = false
    slab.seal(this)
    if (this.chunks.length === 0) return
    const chunks = this.chunks.length > 1 && this.pending <= maxSlabPayload ? cache.coalesce(this.chunks) : this.chunks
    this.chunks = noChunks
    this.isShared = true
    this.pending = 0
    if (!this.transport.write(chunks)) this.host.onFull()
  }
}
