/**
 * Frames to bytes and back (RFC 6455 §5.2), for the peer of the conformance
 * tests alone: it shares nothing with the library, so that no mistake of the
 * one hides behind the same mistake in the other.
 */

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

/** A frame to send, valid or not. */
export interface Frame {
  readonly opcode: number
  readonly payload: Buffer
  readonly fin: boolean
  /** RSV1 as 4, RSV2 as 2, RSV3 as 1. */
  readonly rsv: number
  /** The field that the length stands in. Default: the shortest that holds it. */
  readonly lengthField?: 16 | 64 | undefined
  /** The length that the header declares. Default: that of the payload. */
  readonly declared?: bigint | undefined
  /** Masked where it must not be, and not where it must be. */
  readonly wrongMask?: boolean | undefined
  /** The masking key, where the frame has one. */
  readonly key?: number | undefined
}

/** What of a frame is sent: its header, unless `from` is over 0, and this much of the payload. */
export interface Part {
  readonly frame: Frame
  readonly from: number
  readonly to: number
}

export type Piece = Frame | Part

const headerOf = (frame: Frame, masked: boolean, key: number): Buffer => {
  const length = frame.declared ?? BigInt(frame.payload.length)
  const field = frame.lengthField ?? (length < 126n ? 7 : length < 65536n ? 16 : 64)
  const first = (frame.fin ? 0x80 : 0) | (frame.rsv << 4) | frame.opcode
  const mask = masked ? 0x80 : 0
  const header = Buffer.alloc(2 + (field === 7 ? 0 : field / 8) + (masked ? 4 : 0))
  header[0] = first
  header[1] = mask | (field === 7 ? Number(length) : field === 16 ? 126 : 127)
  if (field === 16) header.writeUInt16BE(Number(length), 2)
  if (field === 64) header.writeBigUInt64BE(length, 2)
  if (masked) header.writeUInt32BE(key, header.length - 4)
  return header
}

/** The bytes of a frame, or of part of one, as a client sends them (masked) or a server does. */
export const encode = (piece: Piece, byClient: boolean): Buffer => {
  const { frame, from, to } = "frame" in piece ? piece : { frame: piece, from: 0, to: piece.payload.length }
  const masked = byClient !== (frame.wrongMask ?? false)
  // A key for each length: any will do, and the parts of a frame must have the same one.
  const key = frame.key ?? (0x37fa213d ^ Math.imul(frame.payload.length, 0x9e3779b1)) >>> 0
  const payload = Buffer.from(frame.payload.subarray(from, to))
  if (masked) {
    const bytes = [key >>> 24, (key >>> 16) & 255, (key >>> 8) & 255, key & 255]
    for (let i = 0; i < payload.length; i++) payload[i] ^= bytes[(from + i) & 3]
  }
  return from === 0 ? Buffer.concat([headerOf(frame, masked, key), payload]) : payload
}

/** A frame that came. */
export interface Received {
  readonly opcode: number
  readonly fin: boolean
  /** As in `Frame`. */
  readonly rsv: number
  readonly payload: Buffer
  readonly key: number | undefined
}

/** Reads frames from the chunks that TCP gives, and finds fault with them. */
export class Reader {
  readonly frames: Array<Received> = []
  /** What is wrong with what came, if anything is. */
  fault: string | undefined
  /** The reserved bits that were agreed on, as in `Frame`. */
  reservedBits = 0
  private readonly fromClient: boolean
  private pending: Array<Buffer> = []
  private size = 0
  private needed = 2

  constructor(fromClient: boolean) {
    this.fromClient = fromClient
  }

  push(chunk: Buffer): void {
    this.pending.push(chunk)
    this.size += chunk.length
    if (this.size < this.needed) return
    let rest = Buffer.concat(this.pending)
    while (this.fault === undefined) {
      const taken = this.take(rest)
      if (taken === 0) break
      rest = rest.subarray(taken)
    }
    this.pending = [rest]
    this.size = rest.length
  }

  /** Whether what came ends within a frame. */
  get torn(): boolean {
    return this.size > 0
  }

  /** Takes the frame that `bytes` begin with, and answers its size; 0 where there is more to come. */
  private take(bytes: Buffer): number {
    const missing = (size: number): boolean => {
      this.needed = size
      return bytes.length < size
    }
    if (missing(2)) return 0
    const [first, second] = bytes
    const short = second & 0x7f
    const at = 2 + (short === 126 ? 2 : short === 127 ? 8 : 0)
    const masked = (second & 0x80) !== 0
    const head = at + (masked ? 4 : 0)
    if (missing(head)) return 0
    const length = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short
    const opcode = first & 0x0f
    const fin = (first & 0x80) !== 0
    const rsv = (first & 0x70) >> 4
    this.fault = (rsv & ~this.reservedBits) !== 0
      ? "sent reserved bits"
      : !(Object.values(opcodes) as Array<number>).includes(opcode)
      ? `sent the opcode ${opcode}`
      : masked !== this.fromClient
      ? `sent a frame ${masked ? "with" : "without"} a mask`
      : (short === 126 && length < 126) || (short === 127 && length < 65536)
      ? "sent a length that is not minimal"
      : opcode >= 8 && (length > 125 || !fin)
      ? "sent a control frame that is too long or not final"
      : undefined
    if (this.fault !== undefined || missing(head + length)) return 0
    const payload = Buffer.from(bytes.subarray(head, head + length))
    if (masked) { for (let i = 0; i < length; i++) payload[i] ^= bytes[at + (i & 3)] }
    this.frames.push({ opcode, fin, rsv, payload, key: masked ? bytes.readUInt32BE(at) : undefined })
    return head + length
  }
}
