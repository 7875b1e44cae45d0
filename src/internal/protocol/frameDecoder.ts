/** Turns chunks of bytes into frames (RFC 6455 §5). */
import type { Decoded, Decoder, DecoderOptions, PartialFrame } from "../../Frame.ts"
import { allocate, emptyBytes, ensureCapacity, maxBytes } from "../runtime/buffers.ts"
import { defaultMaxFrameSize, Frame, Opcode, Piece } from "./frame.ts"
import { HeaderReader, type HeaderRules } from "./frameHeader.ts"
import { maskInto } from "./masking.ts"

/** The reader of all decoders that are between two frames. A decoder that ends within a frame keeps it. */
let idleHeader = new HeaderReader()

export class FrameDecoder implements Decoder, HeaderRules {
  readonly masked: boolean
  readonly maxFrameSize: number
  readonly reservedBits: number
  private readonly pieceSize: number
  /** Undefined between two frames, as most decoders are: thousands of connections wait for a frame. */
  private header: HeaderReader | undefined

  /** The payload that continues in the next chunk: the whole payload, or its current piece. */
  private payload: Uint8Array | undefined
  /** The number of bytes of the payload so far, with all its pieces. */
  private received = 0
  /** Where in the payload the current piece begins and ends. */
  private pieceStart = 0
  private pieceEnd = 0

  constructor({ maxFrameSize, pieceSize, reservedBits, role }: DecoderOptions) {
    this.pieceSize = pieceSize ?? Number.POSITIVE_INFINITY
    this.masked = role === "server"
    this.maxFrameSize = Math.min(maxFrameSize ?? defaultMaxFrameSize, maxBytes)
    this.reservedBits = reservedBits ?? 0
  }

  decode(chunk: Uint8Array): Decoded {
    // Most chunks hold one frame. An array literal of one element takes an eighth of the memory of one that is pushed to.
    let frames: Array<Frame> | undefined
    const header = this.header ?? idleHeader
    const end = chunk.length
    let at = 0
    let latest = emptyBytes
    while (header.error === undefined) {
      let frame: Frame
      if (this.payload !== undefined) {
        const size = Math.min(this.pieceEnd - this.received, end - at)
        latest = this.append(header, this.payload, chunk, at, size)
        at += size
        if (this.received < this.pieceEnd) break
        frame = this.endPiece(header, this.payload)
      } else {
        at = header.read(chunk, at, this)
        if (at < 0) break
        if (end - at < header.length) {
          this.received = 0
          this.beginPiece(header)
          continue
        }
        frame = this.readFrame(header, chunk, at)
        at += header.length
      }
      if (frames === undefined) frames = [frame]
      else frames.push(frame)
    }
    if (this.payload !== undefined || !header.isIdle) this.keep(header)
    else this.header = undefined
    return {
      frames: frames ?? [],
      partial: this.partial(header, latest),
      needed: this.needed(header),
      error: header.error
    }
  }

  /** The next chunk continues this header, or its payload. */
  private keep(header: HeaderReader): void {
    if (header === idleHeader) idleHeader = new HeaderReader()
    this.header = header
  }

  private needed(header: HeaderReader): number {
    if (header.error !== undefined) return 0
    return this.payload === undefined ? header.missing : header.length - this.received
  }

  private partial(header: HeaderReader, latest: Uint8Array): PartialFrame | undefined {
    if (this.payload === undefined) return undefined
    const { fin, length, opcode, reserved } = header
    return { opcode, fin, reserved, length, received: this.received, latest }
  }

  /** Reads a frame. Its whole payload is in `chunk` at `at`. */
  private readFrame(header: HeaderReader, chunk: Uint8Array, at: number): Frame {
    const { fin, length, opcode, reserved } = header
    const payload = length === 0 ? emptyBytes : allocate(length)
    this.copy(header, payload, 0, chunk, at, length, 0)
    return new Frame(opcode, payload, fin, reserved)
  }

  private beginPiece({ length, opcode }: HeaderReader): void {
    this.payload = emptyBytes
    this.pieceStart = this.received
    // Control frames are never divided.
    this.pieceEnd = opcode < Opcode.Close ? Math.min(length, this.received + this.pieceSize) : length
  }

  /** Returns the frame, or the piece of it, that the last byte completed. */
  private endPiece(header: HeaderReader, payload: Uint8Array): Frame {
    const { fin, length, opcode, reserved } = header
    const offset = this.pieceStart
    const remaining = length - this.pieceEnd
    if (remaining > 0) this.beginPiece(header)
    else this.payload = undefined
    if (payload.length === length) return new Frame(opcode, payload, fin, reserved)
    const position = { offset, remaining }
    return offset === 0
      ? new Piece(opcode, payload, false, reserved, position)
      : new Piece(Opcode.Continuation, payload, fin && remaining === 0, 0, position)
  }

  /** Appends bytes to the payload, and returns a view of them in it. */
  private append(header: HeaderReader, payload: Uint8Array, chunk: Uint8Array, at: number, size: number): Uint8Array {
    const from = this.received - this.pieceStart
    const end = from + size
    this.payload = ensureCapacity(payload, from, end, this.pieceEnd - this.pieceStart)
    this.copy(header, this.payload, from, chunk, at, size, this.received)
    this.received += size
    return this.payload.subarray(from, end)
  }

  /** Copies bytes unmasked. `offset` is the position of the first one in the payload of the frame. */
  private copy(
    { maskKey }: HeaderReader,
    target: Uint8Array,
    to: number,
    chunk: Uint8Array,
    at: number,
    size: number,
    offset: number
  ): void {
    if (this.masked) maskInto(target, to, chunk, at, at + size, maskKey, offset)
    else target.set(size === chunk.length ? chunk : chunk.subarray(at, at + size), to)
  }
}
