/** The header of a frame (RFC 6455 §5.2), written and read. */
import type { FrameError } from "../../ProtocolError.ts"
import {
  ControlFrameTooLong,
  FragmentedControlFrame,
  FrameTooLarge,
  LengthOutOfRange,
  MaskedFrame,
  NonMinimalLength,
  ReservedBits,
  ReservedOpcode,
  UnmaskedFrame
} from "../../ProtocolError.ts"
import { maxControlPayload, Opcode } from "./frame.ts"

const maxHeaderSize = 14

/** The high 32 bits of the largest length that a number represents exactly: 2^53 - 1. */
const maxHighBits = 0x1f_ffff

/** The size of a header: 2, 4 or 10 bytes, and 4 more for a mask key. */
export const headerSize = (length: number, masked: boolean): number =>
  (length < 126 ? 2 : length < 65536 ? 4 : 10) + (masked ? 4 : 0)

/** Writes a header to `target` at `at`. Returns the offset behind it. */
export const encodeHeader = (
  target: Uint8Array,
  at: number,
  frame: { readonly opcode: Opcode; readonly fin: boolean; readonly reserved: number },
  length: number,
  maskKey: number | undefined
): number => {
  const mask = maskKey === undefined ? 0 : 0x80
  target[at++] = (frame.fin ? 0x80 : 0) | frame.reserved << 4 | frame.opcode
  if (length < 126) {
    target[at++] = mask | length
  } else if (length < 65536) {
    target[at++] = mask | 126
    target[at++] = length >>> 8
    target[at++] = length
  } else {
    target[at++] = mask | 127
    const high = Math.floor(length / 0x1_0000_0000)
    for (let shift = 24; shift >= 0; shift -= 8) target[at++] = high >>> shift
    for (let shift = 24; shift >= 0; shift -= 8) target[at++] = length >>> shift
  }
  if (maskKey !== undefined) {
    for (let shift = 0; shift <= 24; shift += 8) target[at++] = maskKey >>> shift
  }
  return at
}

export interface HeaderRules {
  /** Whether frames must be masked. If not, they must not be. */
  readonly masked: boolean
  /** The maximum length of a data frame. */
  readonly maxFrameSize: number
  /** The reserved bits that may be set. */
  readonly reservedBits: number
}

/** Reads headers, wherever chunks divide them. Its fields are those of the last header. */
export class HeaderReader {
  opcode: Opcode = Opcode.Continuation
  fin = true
  reserved = 0
  /** The length of the payload. */
  length = 0
  maskKey = 0
  /** The first rule that a header broke. */
  error: FrameError | undefined

  /** The bytes of a header that continues in the next chunk. */
  private buffer: Uint8Array | undefined
  private buffered = 0
  /** The size of the header, as far as it is known. */
  private size = 2

  /** Whether it holds nothing that the next header needs. */
  get isIdle(): boolean {
    return this.buffered === 0 && this.error === undefined
  }

  /** The number of bytes that the header still needs, as far as it is known. */
  get missing(): number {
    return this.size - this.buffered
  }

  /**
   * Reads the header at `at`. Returns the offset of the payload, or -1 if the header
   * broke a rule (`error`) or continues in the next chunk.
   */
  read(chunk: Uint8Array, at: number, rules: HeaderRules): number {
    return this.buffered === 0 ? this.begin(chunk, at, chunk.length, rules) : this.resume(chunk, at, rules)
  }

  private begin(bytes: Uint8Array, at: number, end: number, rules: HeaderRules): number {
    const size = this.parse(bytes, at, end, rules)
    if (size > 0) return at + size
    if (size === 0 && at < end) {
      this.buffer ??= new Uint8Array(maxHeaderSize)
      this.buffer.set(bytes.subarray(at, end))
      this.buffered = end - at
    }
    return -1
  }

  private resume(chunk: Uint8Array, at: number, rules: HeaderRules): number {
    const buffer = this.buffer!
    const before = this.buffered
    const added = chunk.subarray(at, at + maxHeaderSize - before)
    buffer.set(added, before)
    this.buffered = 0
    const payloadAt = this.begin(buffer, 0, before + added.length, rules)
    return payloadAt < 0 ? -1 : at + payloadAt - before
  }

  /** Returns the size of the header, 0 if it is incomplete, or -1 if it breaks a rule. */
  private parse(bytes: Uint8Array, at: number, end: number, rules: HeaderRules): number {
    const available = end - at
    if (available < 2) return this.incomplete(2)
    const masked = bytes[at + 1] >= 0x80
    const shortLength = bytes[at + 1] & 0x7f
    this.fin = bytes[at] >= 0x80
    this.reserved = bytes[at] >>> 4 & 0x7
    this.opcode = (bytes[at] & 0xf) as Opcode
    const broken = this.checkFirstBytes(masked, shortLength, rules)
    if (broken !== undefined) return this.reject(broken)
    this.length = shortLength
    let size = 2
    if (shortLength >= 126) {
      size = shortLength === 126 ? 4 : 10
      if (available < size) return this.incomplete(masked ? size + 4 : size)
      const wrong = this.readLongLength(bytes, at)
      if (wrong !== undefined) return this.reject(wrong)
    }
    const { maxFrameSize } = rules
    if (this.opcode < Opcode.Close && !(this.length <= maxFrameSize)) {
      return this.reject(new FrameTooLarge({ length: this.length, limit: maxFrameSize }))
    }
    if (!masked) return size
    if (available < size + 4) return this.incomplete(size + 4)
    this.maskKey = bytes[at + size] | bytes[at + size + 1] << 8 | bytes[at + size + 2] << 16 |
      bytes[at + size + 3] << 24
    return size + 4
  }

  /** The rules that the first two bytes can break (RFC 6455 §5.1, §5.2, §5.5). */
  private checkFirstBytes(masked: boolean, shortLength: number, rules: HeaderRules): FrameError | undefined {
    const { opcode, reserved } = this
    if ((reserved & ~rules.reservedBits) !== 0) return new ReservedBits({ reserved, allowed: rules.reservedBits })
    if (opcode > Opcode.Pong || (opcode > Opcode.Binary && opcode < Opcode.Close)) return new ReservedOpcode({ opcode })
    if (masked !== rules.masked) return masked ? new MaskedFrame() : new UnmaskedFrame()
    if (opcode < Opcode.Close) return undefined
    if (!this.fin) return new FragmentedControlFrame({ opcode })
    return shortLength > maxControlPayload ? new ControlFrameTooLong({ opcode }) : undefined
  }

  /** Reads a length of 16 or 64 bits. "The minimal number of bytes MUST be used" (RFC 6455 §5.2). */
  private readLongLength(bytes: Uint8Array, at: number): FrameError | undefined {
    if (this.length === 126) {
      const length = this.length = bytes[at + 2] << 8 | bytes[at + 3]
      return length < 126 ? new NonMinimalLength({ length, bits: 16 }) : undefined
    }
    const high = readUint32(bytes, at + 2)
    const low = readUint32(bytes, at + 6)
    if (high > maxHighBits) return new LengthOutOfRange({ length: BigInt(high) << 32n | BigInt(low) })
    const length = this.length = high * 0x1_0000_0000 + low
    return length < 65536 ? new NonMinimalLength({ length, bits: 64 }) : undefined
  }

  private incomplete(size: number): 0 {
    this.size = size
    return 0
  }

  private reject(error: FrameError): -1 {
    this.error = error
    return -1
  }
}

const readUint32 = (bytes: Uint8Array, at: number): number =>
  (bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3]) >>> 0
