/** Bytes that arrive in pieces and are wanted whole. */
import { allocateUnpooled, markUntransferable } from "#platform"

export { maxBytes, maxTextBytes } from "#platform"

const blockSize = 16 * 1024

/** A buffer of this size or less may be held on to for the sake of a few bytes. */
const smallBuffer = 8 * 1024

/**
 * Whether `size` bytes of a buffer may be kept as a view: the buffer is small,
 * or the view is at least half of it. Otherwise they are copied, so that a few
 * bytes do not hold on to a whole socket read of 64 KiB.
 */
export const canRetainView = (size: number, buffer: ArrayBufferLike): boolean =>
  buffer.byteLength <= smallBuffer || size * 2 >= buffer.byteLength

/** Allocates a buffer that many views share. It is untransferable: transferring one view would detach all others. */
const allocateShared = (size: number): ArrayBuffer => {
  const { buffer } = allocateUnpooled(size)
  markUntransferable(buffer)
  return buffer
}

/** No bytes, for all who have none. */
export const emptyBytes: Uint8Array = new Uint8Array(allocateShared(0))

let pool = allocateShared(smallBuffer)
let poolAt = 0

/** Whether room of this size is a part of a block, of which others have parts too. */
const isPooled = (size: number): boolean => size > 0 && size <= smallBuffer / 2

/**
 * Room for bytes that may be kept for long, with anything in it. Not from Node's
 * own pool, which is 64 KiB in newer versions, and stays for the sake of any of them.
 */
export const allocate = (size: number): Uint8Array => {
  if (!isPooled(size)) return allocateUnpooled(size)
  if (poolAt + size > smallBuffer) {
    pool = allocateShared(smallBuffer)
    poolAt = 0
  }
  const room = new Uint8Array(pool, poolAt, size)
  // The next begins at a whole word.
  poolAt += (size + 7) & ~7
  return room
}

/**
 * What `roomFor` gave, or a copy that holds on to nothing else: for as long as a
 * peer can have it kept, since what others share a block with is up to peers too.
 */
export const detach = (bytes: Uint8Array): Uint8Array => isPooled(bytes.length) ? bytes.slice() : bytes

/**
 * Room for `size` bytes, of which the first `used` of `bytes` are some: that
 * itself, or more of it, up to twice `size`, and to `limit`, which is what it
 * will be in the end.
 */
export const ensureCapacity = (bytes: Uint8Array, used: number, size: number, limit: number): Uint8Array => {
  if (size <= bytes.length) return bytes
  const room = allocateUnpooled(Math.min(limit, Math.max(256, size * 2)))
  room.set(bytes.subarray(0, used))
  return room
}

/**
 * Collects pieces. A piece that is most of its buffer is kept as a view; small
 * ones are copied together into blocks, so that a message sent a byte at a time
 * costs a little more than its bytes, and not an object a byte.
 */
export class ByteBuilder {
  private readonly parts: Array<Uint8Array> = []
  private block: Uint8Array | undefined
  private blockEnd = 0
  length = 0

  push(piece: Uint8Array): void {
    this.length += piece.byteLength
    if (piece.byteLength >= blockSize / 4 && canRetainView(piece.byteLength, piece.buffer)) {
      this.sealBlock()
      this.parts.push(piece)
      return
    }
    for (let from = 0; from < piece.byteLength;) {
      if (this.block === undefined) {
        this.block = new Uint8Array(Math.min(blockSize, Math.max(256, this.length)))
        this.blockEnd = 0
      }
      const size = Math.min(this.block.length - this.blockEnd, piece.byteLength - from)
      this.block.set(from === 0 && size === piece.byteLength ? piece : piece.subarray(from, from + size), this.blockEnd)
      this.blockEnd += size
      from += size
      if (this.blockEnd === this.block.length) this.sealBlock()
    }
  }

  /** All pieces in one array; the collection is spent after this. */
  concat(): Uint8Array {
    this.sealBlock()
    if (this.parts.length === 1) return this.parts[0]
    const whole = allocateUnpooled(this.length)
    let at = 0
    for (const part of this.parts) {
      whole.set(part, at)
      at += part.byteLength
    }
    return whole
  }

  private sealBlock(): void {
    if (this.block === undefined) return
    this.parts.push(this.block.subarray(0, this.blockEnd))
    this.block = undefined
  }
}
