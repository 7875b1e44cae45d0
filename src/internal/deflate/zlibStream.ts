/**
 * Raw DEFLATE (RFC 1951) in steps that end before the next statement, on Node's
 * own zlib.
 *
 * Node has no public way to do this and keep the context from one message to
 * the next: its streams take each chunk through a thread pool, and its `*Sync`
 * functions begin anew each time. So this calls what those functions call. Of
 * what was measured on JSON of 1 KiB, in microseconds a message, level 6:
 *
 * ```text
 *                                  deflate   inflate
 * writeSync, with context             14       2.5
 * writeSync, reset for each           10
 * _processChunk, close disarmed       16
 * deflateRawSync                      26
 * minizlib                            27
 * fflate, no context                  42
 * pako                                47       35
 * streams, as ws uses them            60 for both, one after the other
 * ```
 *
 * Large data in slices of 64 KiB, with a turn of the event loop in between,
 * took as long as in the thread pool, and held the loop up for about as long;
 * eight at once on two cores took 1.4 times as long. Slices need no queue, and
 * what they hold is known.
 */
import { Buffer } from "node:buffer"
import * as Zlib from "node:zlib"
import { allocate } from "../runtime/buffers.ts"

/** What is used of a stream's inner life; the same in Node 20, 22 and 24. */
export interface Internals {
  readonly _handle: {
    readonly writeSync: (
      flush: number,
      input: Uint8Array,
      inputAt: number,
      inputLength: number,
      output: Uint8Array,
      outputAt: number,
      outputLength: number
    ) => void
    readonly reset: () => void
  }
  /** What the last write left: room for output, and input. */
  readonly _writeState: Uint32Array
  readonly close: () => void
}

/** The most that a step takes or makes, in bytes: about a millisecond's work at most levels. */
export const sliceSize = 64 * 1024

/** Where every step leaves its output, for all streams: it has to be copied before the next step of any. */
const outputBuffer = Buffer.allocUnsafeSlow(sliceSize).buffer
const output = new Uint8Array(outputBuffer)

/** A copy of the first bytes of `output`, and no more than them. */
export const copyOutput = (size: number): Uint8Array => {
  const copy = allocate(size)
  copy.set(new Uint8Array(outputBuffer, 0, size))
  return copy
}

export const noFlush = Zlib.constants.Z_NO_FLUSH
export const syncFlush = Zlib.constants.Z_SYNC_FLUSH
/** Stops an inflater behind each block. */
const stopBehindBlock = Zlib.constants.Z_BLOCK

/** What a flush ends with. A sender takes it off the end of a message (RFC 7692 §7.2.1), a receiver puts it back (§7.2.2). */
export const tail = Uint8Array.of(0x00, 0x00, 0xff, 0xff)
/** A byte that the inflater leaves if it stops behind the tail. */
const tailAndMore = Uint8Array.of(...tail, 0x00)
/** Two blocks that hold nothing: between two blocks, at a whole byte, they change nothing. */
const emptyBlocks = Uint8Array.of(0x00, ...tail, 0x00, ...tail)

/** A raw DEFLATE stream, in one direction. */
export class ZlibStream {
  readonly windowBits: number
  /** About how much memory zlib has for it, in bytes. */
  readonly memory: number
  /** Whether it began with a dictionary, to which `reset` would go back. */
  readonly hasDictionary: boolean
  /** The bytes of input that the last step left. */
  inputRemaining = 0
  /** What is wrong with the data, once something is; there is no way on then. */
  problem: string | undefined
  closed = false
  /** The bytes that have come out, as far as the window still knows them. */
  private windowFill: number
  private readonly internals: Internals

  constructor(internals: Internals, windowBits: number, memory: number, dictionarySize: number) {
    this.internals = internals
    this.windowBits = windowBits
    this.memory = memory
    this.hasDictionary = dictionarySize > 0
    this.windowFill = dictionarySize
    // In place of Node's own, which destroys the stream and emits the error.
    const onerror = (message: string) => {
      this.problem = message
    }
    Object.assign(internals._handle, { onerror })
  }

  /**
   * Takes input and answers how many bytes of `output` it made, at most `room`.
   * Where that is all of `room`, there may be more to come.
   */
  step(flush: number, input: Uint8Array, at: number, length: number, room = sliceSize): number {
    // Node would end the process.
    if (this.closed) throw new Error("a zlib stream was used after its end")
    const { _handle, _writeState } = this.internals
    _handle.writeSync(flush, input, at, length, output, 0, room)
    if (this.problem !== undefined) return 0
    this.inputRemaining = _writeState[1]
    const made = room - _writeState[0]
    this.windowFill = Math.min(this.windowFill + made, 1 << this.windowBits)
    return made
  }

  /** Back to the beginning, with an empty window. Not for one that began with a dictionary. */
  reset(): void {
    this.internals._handle.reset()
    this.windowFill = 0
  }

  /**
   * Takes the tail of a message, and answers where that leaves an inflater that
   * has taken the message itself and given all its output (RFC 7692 §7.2.2):
   * between two blocks, behind a final block, or within a block, where no message
   * ends. Between two blocks, a message changes nothing but the window.
   */
  endMessage(): "between" | "final" | "within" {
    const made = this.step(stopBehindBlock, tailAndMore, 0, tailAndMore.length)
    const more = this.inputRemaining
    // It takes nothing behind a final block.
    if (more === tailAndMore.length) return "final"
    if (made > 0 || more !== 1) return "within"
    // A block that is not stored may end within a byte. The bits behind it, ones of the tail, begin another block then.
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
   * The last bytes that came out of an inflater which is between two blocks, as
   * many as later data may refer to. The inflater is of no more use after this.
   *
   * zlib does not hand its window out, but a block that repeats what was at that
   * distance does. So nothing has to be copied as long as the inflater lives.
   */
  takeWindow(): Uint8Array {
    const size = this.windowFill
    const block = backReferenceBlock(size)
    const made = this.step(syncFlush, block, 0, block.length)
    // A buffer of its own: in one that is shared with others, it would hold on to them.
    return Uint8Array.from(output.subarray(0, Math.min(size, made)))
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.internals.close()
  }
}

/** The beginning of a block in fixed Huffman codes that repeats the last `distance` bytes (RFC 1951 §3.2.5, §3.2.6). */
const backReferenceBlock = (distance: number): Uint8Array => {
  const matches = Math.ceil(distance / 258)
  const block = new Uint8Array(Math.ceil((3 + matches * 26) / 8))
  let at = 0
  const write = (value: number, bits: number) => {
    for (let i = 0; i < bits; i++, at++) block[at >> 3] |= (value >> i & 1) << (at & 7)
  }
  const writeCode = (code: number, bits: number) => {
    for (let i = bits - 1; i >= 0; i--) write(code >> i & 1, 1)
  }
  const offset = distance - 1
  const extraBits = Math.max(0, 30 - Math.clz32(offset))
  const distanceCode = extraBits === 0 ? offset : 2 * extraBits + 2 + (offset >> extraBits & 1)
  write(0b010, 3)
  for (let i = 0; i < matches; i++) {
    // 285: a match of 258 bytes.
    writeCode(0b11000101, 8)
    writeCode(distanceCode, 5)
    write(offset & (1 << extraBits) - 1, extraBits)
  }
  return block.subarray(0, Math.ceil(at / 8))
}

/** Makes Node's streams; their own buffers are not used, and as small as can be. */
const streams = {
  deflate: (windowBits: number, level: number, memLevel: number): unknown =>
    Zlib.createDeflateRaw({ windowBits, level, memLevel, chunkSize: 64 }),
  inflate: (windowBits: number, dictionary: Uint8Array | undefined): unknown =>
    Zlib.createInflateRaw(
      dictionary === undefined ? { windowBits, chunkSize: 64 } : {
        windowBits,
        dictionary,
        chunkSize: 64
      }
    )
}

/**
 * zlib has no raw DEFLATE with a window of 2^8 bytes. With one of 2^9 it never
 * refers to more than 250 bytes back, which leaves room for a whole match and
 * what it looks at ahead of it (262 bytes): who asked for 2^8 can read that.
 */
const leastWindowBits = 9

export const makeDeflate = (windowBits: number, level: number, memLevel: number, from = streams): ZlibStream => {
  const bits = Math.max(windowBits, leastWindowBits)
  // The window and its chains, hashes (never fewer than 2^15 in Node's zlib), the block at hand, and what is about them.
  const memory = (1 << bits + 2) + (1 << Math.max(memLevel + 8, 16)) + (1 << memLevel + 8) + 8 * 1024
  return new ZlibStream(from.deflate(bits, level, memLevel) as Internals, bits, memory, 0)
}

export const makeInflate = (windowBits: number, dictionary?: Uint8Array, from = streams): ZlibStream => {
  const bits = Math.max(windowBits, leastWindowBits)
  const memory = (1 << bits) + 9 * 1024
  return new ZlibStream(from.inflate(bits, dictionary) as Internals, bits, memory, dictionary?.length ?? 0)
}

/** Whether this Node has within its streams what is used here, tried out. */
export const selfTest = (from = streams): boolean => {
  try {
    const sample = Buffer.from("what goes in, goes in, comes out")
    const deflate = makeDeflate(15, 6, 8, from)
    const compressed = [1, 2].map(() => copyOutput(deflate.step(syncFlush, sample, 0, sample.length) - tail.length))
    deflate.close()
    const inflate = makeInflate(15, undefined, from)
    const same = compressed.every((data) =>
      sample.equals(copyOutput(inflate.step(syncFlush, data, 0, data.length))) && inflate.inputRemaining === 0 &&
      inflate.endMessage() === "between"
    )
    // The second refers to the first; the end of a block is noticed, and a block of the reserved type.
    const shorter = compressed[1].length < compressed[0].length
    const cut = makeInflate(15, undefined, from)
    const noticed = cut.endMessage() === "within" && inflate.step(syncFlush, Uint8Array.of(7), 0, 1) === 0 &&
      inflate.problem !== undefined
    cut.close()
    inflate.close()
    return same && shorter && noticed
  } catch {
    return false
  }
}

let supported: boolean | undefined

/** Whether this Node can do it; found out once. */
export const isSupported = (): boolean => supported ??= selfTest()
