/** Turns chunks of bytes into frames (RFC 6455 §5). */
import type { Decoded, Decoder, DecoderOptions, PartialFrame } from "../../Frame.ts"
import { allocate, emptyBytes, ensureCapacity, maxBytes } from "../runtime/buffers.ts"
import { defaultMaxFrameSize, Frame, Opcode, Piece } from "./frame.ts"
import { HeaderReader, type HeaderRules } from "./frameHeader.ts"
import { maskInto } from "./masking.ts"

/** Where a decoder is: the header that it has read last, and the payload behind it. */
class Progress extends HeaderReader {
  /** The payload that continues in the next chunk: the whole payload, or its current piece. */
  payload: Uint8Array | undefined
  /** The number of bytes of the payload so far, with all its pieces. */
  received = 0
  /** Where in the payload the current piece begins and ends. */
  pieceStart = 0
  pieceEnd = 0

  /** Whether the next chunk begins a frame. */
  get isBetweenFrames(): boolean {
    return this.payload === undefined && this.isIdle
  }
}

/** The progress of all decoders that are between two frames. A decoder that ends within a frame keeps it. */
let idle = new Progress()

export class FrameDecoder implements Decoder, HeaderRules {
  readonly masked: boolean
  readonly maxFrameSize: number
  readonly reservedBits: number
  private readonly pieceSize: number
  /** Undefined between two frames, as most decoders are: thousands of connections wait for a frame. */
  private progress: Progress | undefined

  constructor({ maxFrameSize, pieceSize, reservedBits, role }: DecoderOptions) {
    this.pieceSize = pieceSize ?? Number.POSITIVE_INFINITY
    this.masked = role === "server"
    this.maxFrameSize = Math.min(maxFrameSize ?? defaultMaxFrameSize, maxBytes)
    this.reservedBits = reservedBits ?? 0
  }

  decode(chunk: Uint8Array): Decoded {
    // Most chunks hold one frame. An array literal of one element takes an eighth of the memory of one that is pushed to.
    let frames: Array<Frame> | undefined
    const progress = this.progress ?? idle
    const end = chunk.length
    let at = 0
    let latest = emptyBytes
    while (progress.error === undefined) {
      let frame: Frame
      if (progress.payload !== undefined) {
        const size = Math.min(progress.pieceEnd - progress.received, end - at)
        latest = this.append(progress, progress.payload, chunk, at, size)
        at += size
        if (progress.received < progress.pieceEnd) break
        frame = this.endPiece(progress, progress.payload)
      } else {
        at = progress.read(chunk, at, this)
        if (at < 0) break
        if (end - at < progress.length) {
          // Before anything can throw, such as an allocation: other decoders use it next.
          this.keep(progress)
          progress.received = 0
          this.beginPiece(progress)
          continue
        }
        frame = this.readFrame(progress, chunk, at)
        at += progress.length
      }
      if (frames === undefined) frames = [frame]
      else frames.push(frame)
    }
    if (progress.isBetweenFrames) this.progress = undefined
    else this.keep(progress)
    return {
      frames: frames ?? [],
      partial: this.partial(progress, latest),
      needed: this.needed(progress),
      error: progress.error
    }
  }

  /** Keeps the progress from the other decoders, because it is within a frame, or at an error. */
  private keep(progress: Progress): void {
    if (progress === idle) idle = new Progress()
    this.progress = progress
  }

  private needed(progress: Progress): number {
    if (progress.error !== undefined) return 0
    return progress.payload === undefined ? progress.missing : progress.length - progress.received
  }

  private partial(progress: Progress, latest: Uint8Array): PartialFrame | undefined {
    if (progress.payload === undefined) return undefined
    const { fin, length, opcode, reserved } = progress
    return { opcode, fin, reserved, length, received: progress.received, latest }
  }

  /** Reads a frame. Its whole payload is in `chunk` at `at`. */
  private readFrame(progress: Progress, chunk: Uint8Array, at: number): Frame {
    const { fin, length, opcode, reserved } = progress
    const payload = length === 0 ? emptyBytes : allocate(length)
    this.copy(progress, payload, 0, chunk, at, length, 0)
    return new Frame(opcode, payload, fin, reserved)
  }

  private beginPiece(progress: Progress): void {
    const { length, opcode } = progress
    progress.payload = emptyBytes
    progress.pieceStart = progress.received
    // Control frames are never divided.
    progress.pieceEnd = opcode < Opcode.Close ? Math.min(length, progress.received + this.pieceSize) : length
  }

  /** Returns the frame, or the piece of it, that the last byte completed. */
  private endPiece(progress: Progress, payload: Uint8Array): Frame {
    const { fin, length, opcode, reserved } = progress
    const offset = progress.pieceStart
    const remaining = length - progress.pieceEnd
    if (remaining > 0) this.beginPiece(progress)
    else progress.payload = undefined
    if (payload.length === length) return new Frame(opcode, payload, fin, reserved)
    const position = { offset, remaining }
    return offset === 0
      ? new Piece(opcode, payload, false, reserved, position)
      : new Piece(Opcode.Continuation, payload, fin && remaining === 0, 0, position)
  }

  /** Appends bytes to the payload, and returns a view of them in it. */
  private append(progress: Progress, payload: Uint8Array, chunk: Uint8Array, at: number, size: number): Uint8Array {
    const from = progress.received - progress.pieceStart
    const end = from + size
    progress.payload = ensureCapacity(payload, from, end, progress.pieceEnd - progress.pieceStart)
    this.copy(progress, progress.payload, from, chunk, at, size, progress.received)
    progress.received += size
    return progress.payload.subarray(from, end)
  }

  /** Copies bytes unmasked. `offset` is the position of the first one in the payload of the frame. */
  private copy(
    { maskKey }: Progress,
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
