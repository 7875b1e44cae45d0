/**
 * Raw DEFLATE (RFC 1951) in synchronous steps, on Node's own zlib.
 *
 * Node has no public synchronous function that keeps the window from one message
 * to the next: its streams use a thread pool, and its `*Sync` functions begin with
 * an empty window. So this module calls the function that those call,
 * `writeSync`. Alternatives, measured on JSON of 1 KiB at level 6, in microseconds
 * a message:
 *
 * ```text
 *                                  deflate   inflate
 * writeSync, window kept              14       2.5
 * writeSync, reset for each           10
 * _processChunk, close disarmed       16
 * deflateRawSync                      26
 * minizlib                            27
 * fflate, no window kept              42
 * pako                                47       35
 * streams, as ws uses them            60 for both, one after the other
 * ```
 *
 * A large payload in slices of 64 KiB, with a turn of the event loop in between,
 * takes as long as in the thread pool and blocks the loop for about as long. Eight
 * at once take 1.4 times as long on two cores. Slices need no queue, and the
 * memory that they hold is known.
 */
import { allocate } from "../runtime/buffers.ts"
import { buffer, zlib } from "../runtime/builtins.ts"

/** The private parts of Node's streams that this module uses. They are the same in Node 20, 22 and 24. */
export interface Internals {
  readonly _handle: {
    readonly writeSync: (
      flush: number,
      input: Uint8Array,
      inputOffset: number,
      inputLength: number,
      output: Uint8Array,
      outputOffset: number,
      outputLength: number
    ) => void
    readonly reset: () => void
  }
  /** After a write: the bytes of output space that remain, and the bytes of input that remain. */
  readonly _writeState: Uint32Array
  readonly close: () => void
}

/** The most bytes of input or output of a step: about a millisecond of work at most levels. */
export const sliceSize = 64 * 1024

/** The output of the last step of any stream. The caller copies it before the next step. */
const outputBuffer = buffer().Buffer.allocUnsafeSlow(sliceSize).buffer
const output = new Uint8Array(outputBuffer)

/** Copies the first `size` bytes of the last step's output. */
export const copyOutput = (size: number): Uint8Array => {
  const copy = allocate(size)
  copy.set(new Uint8Array(outputBuffer, 0, size))
  return copy
}

/** `Z_NO_FLUSH` of zlib. */
export const noFlush = 0
/** `Z_SYNC_FLUSH`. */
export const syncFlush = 2
/** `Z_BLOCK`: stops an inflater behind each block. */
const stopBehindBlock = 5

/** The last bytes of a flush. A sender removes them from a message (RFC 7692 §7.2.1), a receiver appends them (§7.2.2). */
export const flushMarker = Uint8Array.of(0x00, 0x00, 0xff, 0xff)
/** The marker and a byte that an inflater does not consume if it stops behind the marker. */
const markerAndByte = Uint8Array.of(...flushMarker, 0x00)
/** Two empty stored blocks. Between two blocks, at the start of a byte, they have no effect. */
const emptyBlocks = Uint8Array.of(0x00, ...flushMarker, 0x00, ...flushMarker)

/** A raw DEFLATE stream, in one direction. */
export class ZlibStream {
  readonly windowBits: number
  /** An estimate of zlib's memory for this stream, in bytes. */
  readonly memory: number
  /** Whether the stream began with a dictionary. `reset` would restore it. */
  readonly hasDictionary: boolean
  /** The bytes of input that the last step did not consume. */
  inputRemaining = 0
  /** zlib's message, if the data is invalid. The stream is unusable then. */
  problem: string | undefined
  isClosed = false
  /** The number of bytes in the window. */
  private windowFill: number
  private readonly internals: Internals

  constructor(internals: Internals, windowBits: number, memory: number, dictionarySize: number) {
    this.internals = internals
    this.windowBits = windowBits
    this.memory = memory
    this.hasDictionary = dictionarySize > 0
    this.windowFill = dictionarySize
    // Replaces Node's handler, which destroys the stream and emits the error.
    const onerror = (message: string) => {
      this.problem = message
    }
    Object.assign(internals._handle, { onerror })
  }

  /**
   * Processes `length` bytes of input from `offset`. Returns the number of bytes
   * that it produced, at most `space`; if that is all of `space`, zlib may have more.
   */
  step(flush: number, input: Uint8Array, offset: number, length: number, space = sliceSize): number {
    // Node would end the process.
    if (this.isClosed) throw new Error("expected an open zlib stream, got one that was closed")
    const { _handle, _writeState } = this.internals
    _handle.writeSync(flush, input, offset, length, output, 0, space)
    if (this.problem !== undefined) return 0
    this.inputRemaining = _writeState[1]
    const size = space - _writeState[0]
    this.windowFill = Math.min(this.windowFill + size, 1 << this.windowBits)
    return size
  }

  /** Begins a new DEFLATE stream with an empty window. The stream must not have a dictionary. */
  reset(): void {
    this.internals._handle.reset()
    this.windowFill = 0
  }

  /**
   * Appends the flush marker to a message that an inflater has consumed, with all
   * its output read (RFC 7692 §7.2.2). Returns where the message ends: between two
   * blocks, behind a final block, or within a block, which is invalid.
   */
  endMessage(): "between" | "final" | "within" {
    const size = this.step(stopBehindBlock, markerAndByte, 0, markerAndByte.length)
    const remaining = this.inputRemaining
    // zlib consumes nothing behind a final block.
    if (remaining === markerAndByte.length) return "final"
    if (size > 0 || remaining !== 1) return "within"
    // A block that is not stored may end within a byte. The marker's next bits would begin another block then.
    this.step(syncFlush, emptyBlocks, 0, emptyBlocks.length)
    return this.problem !== undefined
      ? "within"
      : this.inputRemaining === 0
      ? "between"
      : this.inputRemaining === emptyBlocks.length
      ? "final"
      : "within"
  }

  /**
   * Returns the window of an inflater that is between two blocks: the last bytes
   * of its output, to which later data may refer. The inflater is unusable after this.
   *
   * zlib does not expose its window, but it inflates a block that refers back to
   * all of it. So no window is copied while its inflater exists.
   */
  takeWindow(): Uint8Array {
    const fill = this.windowFill
    const block = backReferenceBlock(fill)
    const size = this.step(syncFlush, block, 0, block.length)
    // Not from a shared buffer, all of which the window would retain.
    return Uint8Array.from(output.subarray(0, Math.min(fill, size)))
  }

  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.internals.close()
  }
}

/** Returns the start of a block in fixed Huffman codes that repeats the last `distance` bytes (RFC 1951 §3.2.5, §3.2.6). */
const backReferenceBlock = (distance: number): Uint8Array => {
  const matches = Math.ceil(distance / 258)
  const block = new Uint8Array(Math.ceil((3 + matches * 26) / 8))
  let bit = 0
  const write = (value: number, bits: number) => {
    for (let i = 0; i < bits; i++, bit++) block[bit >> 3] |= (value >> i & 1) << (bit & 7)
  }
  const writeCode = (code: number, bits: number) => {
    for (let i = bits - 1; i >= 0; i--) write(code >> i & 1, 1)
  }
  const offset = distance - 1
  const extraBits = Math.max(0, 30 - Math.clz32(offset))
  const distanceCode = extraBits === 0 ? offset : 2 * extraBits + 2 + (offset >> extraBits & 1)
  write(0b010, 3)
  for (let i = 0; i < matches; i++) {
    // Code 285: a match of 258 bytes.
    writeCode(0b11000101, 8)
    writeCode(distanceCode, 5)
    write(offset & (1 << extraBits) - 1, extraBits)
  }
  return block.subarray(0, Math.ceil(bit / 8))
}

/** Makes Node's streams. Their own buffers are unused, so they have the smallest size that Node allows. */
const streams = {
  deflate: (windowBits: number, level: number, memLevel: number): unknown =>
    zlib().createDeflateRaw({ windowBits, level, memLevel, chunkSize: 64 }),
  inflate: (windowBits: number, dictionary: Uint8Array | undefined): unknown =>
    zlib().createInflateRaw(
      dictionary === undefined ? { windowBits, chunkSize: 64 } : {
        windowBits,
        dictionary,
        chunkSize: 64
      }
    )
}

/**
 * zlib has no raw DEFLATE with a window of 2^8 bytes. With a window of 2^9 bytes it
 * refers back 250 bytes at most, because it keeps 262 bytes free for a match and
 * its lookahead. So a peer with a window of 2^8 bytes can decompress its output.
 */
const minWindowBits = 9

export const makeDeflate = (windowBits: number, level: number, memLevel: number, from = streams): ZlibStream => {
  const bits = Math.max(windowBits, minWindowBits)
  // The window and its chains, the hashes (2^15 or more in Node's zlib), the current block, and the stream's structs.
  const memory = (1 << bits + 2) + (1 << Math.max(memLevel + 8, 16)) + (1 << memLevel + 8) + 8 * 1024
  return new ZlibStream(from.deflate(bits, level, memLevel) as Internals, bits, memory, 0)
}

export const makeInflate = (windowBits: number, dictionary?: Uint8Array, from = streams): ZlibStream => {
  const bits = Math.max(windowBits, minWindowBits)
  const memory = (1 << bits) + 9 * 1024
  return new ZlibStream(from.inflate(bits, dictionary) as Internals, bits, memory, dictionary?.length ?? 0)
}

/** Compresses and decompresses a sample. Returns whether the private parts of this Node's streams work as expected. */
export const selfTest = (from = streams): boolean => {
  try {
    const sample = buffer().Buffer.from("a sample, a sample that repeats")
    const deflate = makeDeflate(15, 6, 8, from)
    const compressed = [1, 2].map(() =>
      copyOutput(deflate.step(syncFlush, sample, 0, sample.length) - flushMarker.length)
    )
    deflate.close()
    const inflate = makeInflate(15, undefined, from)
    const same = compressed.every((data) =>
      sample.equals(copyOutput(inflate.step(syncFlush, data, 0, data.length))) && inflate.inputRemaining === 0 &&
      inflate.endMessage() === "between"
    )
    // The second message refers to the first.
    const isShorter = compressed[1].length < compressed[0].length
    const truncated = makeInflate(15, undefined, from)
    // A message that ends within a block, and a block of the reserved type.
    const rejects = truncated.endMessage() === "within" && inflate.step(syncFlush, Uint8Array.of(7), 0, 1) === 0 &&
      inflate.problem !== undefined
    truncated.close()
    inflate.close()
    return same && isShorter && rejects
  } catch {
    return false
  }
}

let supported: boolean | undefined

/** Whether this Node passes the self-test, which runs on the first call. */
export const isSupported = (): boolean => supported ??= selfTest()
