/** What stands on the wire, written and read without the code under test. */
import { strict as assert } from "node:assert"
import type { Choices } from "./random.ts"

export type Role = "client" | "server"

/** A frame as it stands on the wire, valid or not. */
export interface WireFrame {
  readonly fin: boolean
  readonly reserved: number
  readonly opcode: number
  readonly payload: Uint8Array
  /** Four bytes. */
  readonly mask: Uint8Array | undefined
  /** In how many bits the length is written; as few as can be, if it is not said. */
  readonly bits?: 7 | 16 | 64
  /** The length that is declared, if it is not the payload's. */
  readonly declared?: bigint
}

const xor = (payload: Uint8Array, mask: Uint8Array): Uint8Array => {
  const bytes = Uint8Array.from(payload)
  for (let i = 0; i < bytes.length; i++) bytes[i] ^= mask[i % 4]
  return bytes
}

export const encode = ({ bits, declared, fin, mask, opcode, payload, reserved }: WireFrame): Uint8Array => {
  const length = declared ?? BigInt(payload.length)
  const form = bits ?? (length < 126n ? 7 : length < 65536n ? 16 : 64)
  const first = (fin ? 0x80 : 0) | reserved << 4 | opcode
  const masked = mask === undefined ? 0 : 0x80
  const header = Buffer.alloc(form === 7 ? 2 : form === 16 ? 4 : 10)
  header[0] = first
  if (form === 7) header[1] = masked | Number(length & 0x7fn)
  else if (form === 16) {
    header[1] = masked | 126
    header.writeUInt16BE(Number(length & 0xffffn), 2)
  } else {
    header[1] = masked | 127
    header.writeBigUInt64BE(length & 0xffff_ffff_ffff_ffffn, 2)
  }
  if (mask === undefined) return Buffer.concat([header, payload])
  return Buffer.concat([header, mask, xor(payload, mask)])
}

/** Reads the frame at the beginning, as strictly as RFC 6455 §5.2 allows, and answers it with its size; undefined if it is cut. */
export const parseFrame = (
  rest: Buffer,
  writer: Role
): { readonly frame: WireFrame; readonly size: number } | undefined => {
  if (rest.length < 2) return undefined
  const short = rest[1] & 0x7f
  const head = short === 127 ? 10 : short === 126 ? 4 : 2
  const masked = (rest[1] & 0x80) !== 0
  assert.equal(masked, writer === "client", "a frame is masked if and only if a client sends it")
  const payloadAt = head + (masked ? 4 : 0)
  if (rest.length < payloadAt) return undefined
  const length = short === 127 ? Number(rest.readBigUInt64BE(2)) : short === 126 ? rest.readUInt16BE(2) : short
  assert.ok(short !== 126 || length > 125, "a length is written in as few bytes as can be")
  assert.ok(short !== 127 || length > 65535, "a length is written in as few bytes as can be")
  if (rest.length < payloadAt + length) return undefined
  const mask = masked ? Uint8Array.from(rest.subarray(head, payloadAt)) : undefined
  const raw = rest.subarray(payloadAt, payloadAt + length)
  const payload = mask === undefined ? raw : xor(raw, mask)
  const opcode = rest[0] & 0xf
  assert.ok([0, 1, 2, 8, 9, 10].includes(opcode), `opcode ${opcode} is reserved`)
  const fin = (rest[0] & 0x80) !== 0
  assert.ok(opcode < 8 || (fin && length <= 125), "control frames are whole and short")
  return { frame: { fin, reserved: rest[0] >> 4 & 7, opcode, payload, mask }, size: payloadAt + length }
}

/** Reads whole frames, and answers them with the bytes that are left. */
export const parse = (
  bytes: Uint8Array,
  writer: Role
): { readonly frames: Array<WireFrame>; readonly rest: Uint8Array } => {
  const frames: Array<WireFrame> = []
  let rest = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  for (;;) {
    const next = parseFrame(rest, writer)
    if (next === undefined) return { frames, rest }
    frames.push(next.frame)
    rest = rest.subarray(next.size)
  }
}

/**
 * Checks that frames are what one end may send: data frames in sequence, no
 * reserved bits, one close frame, and nothing behind it. Answers the messages.
 */
export const messagesOf = (
  frames: ReadonlyArray<WireFrame>
): Array<{ readonly opcode: number; readonly data: Buffer }> => {
  const messages: Array<{ readonly opcode: number; readonly data: Buffer }> = []
  let opcode = 0
  let parts: Array<Uint8Array> = []
  for (const [i, frame] of frames.entries()) {
    assert.equal(frame.reserved, 0, "no reserved bit is set")
    if (frame.opcode === 8) {
      assert.notEqual(frame.payload.length, 1, "a close frame is empty or has a code")
      assert.equal(i, frames.length - 1, "nothing follows a close frame")
    }
    if (frame.opcode >= 8) continue
    assert.equal(frame.opcode === 0, opcode !== 0, "a continuation continues a message, and nothing else does")
    if (frame.opcode !== 0) opcode = frame.opcode
    parts.push(frame.payload)
    if (!frame.fin) continue
    messages.push({ opcode, data: Buffer.concat(parts) })
    opcode = 0
    parts = []
  }
  return messages
}

// -----------------------------------------------------------------------------
// Conversations
// -----------------------------------------------------------------------------

const texts = [
  "",
  "a",
  "hello",
  "\u00e9\u20ac",
  "\u{1f600}",
  "\ufeffx",
  "\u07ff\u0800\uffff\u{10ffff}",
  "lorem ipsum ".repeat(30)
]
const notUtf8 = ["ff", "c3", "c080", "eda080", "f48fbfbf80", "f4908080", "e282", "61c328", "f0808080"]
const closeCodes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
const badCloseCodes = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]

const encodeText = (text: string): Uint8Array => new TextEncoder().encode(text)

const codeBytes = (code: number): Uint8Array => Uint8Array.of(code >> 8, code)

/** The payload of a close frame, mostly a valid one. */
const closePayload = (choices: Choices): Uint8Array => {
  if (choices.oneIn(6)) return choices.bytes(choices.below(2))
  const code = choices.oneIn(4) ? choices.pick(badCloseCodes) : choices.pick(closeCodes)
  const reason = choices.oneIn(6) ? Buffer.from(choices.pick(notUtf8), "hex") : encodeText(choices.pick(texts))
  return Buffer.concat([codeBytes(code), reason.subarray(0, choices.oneIn(8) ? undefined : 123)])
}

/** The frames of one message, cut into fragments anywhere, with control frames between them. */
const message = (choices: Choices, control: () => WireFrame, mask: () => Uint8Array | undefined): Array<WireFrame> => {
  const opcode = choices.oneIn(2) ? 1 : 2
  const data = opcode === 2
    ? choices.bytes(choices.size(70_000))
    : choices.oneIn(6)
    ? Buffer.from(choices.pick(notUtf8), "hex")
    : encodeText(Array.from({ length: choices.below(4) }, () => choices.pick(texts)).join(""))
  const frames: Array<WireFrame> = []
  const count = choices.oneIn(2) ? 1 + choices.below(5) : 1
  let from = 0
  for (let i = 1; i <= count; i++) {
    const to = i === count ? data.length : choices.between(from, data.length)
    const payload = data.subarray(from, to)
    frames.push({ fin: i === count, reserved: 0, opcode: i === 1 ? opcode : 0, payload, mask: mask() })
    if (i < count && choices.oneIn(4)) frames.push(control())
    from = to
  }
  return frames
}

/** Breaks a rule, or only looks as if. */
const spoil = (choices: Choices, frame: WireFrame): WireFrame => {
  const { length } = frame.payload
  switch (choices.below(8)) {
    case 0:
      return { ...frame, fin: !frame.fin }
    case 1:
      return { ...frame, reserved: 1 + choices.below(7) }
    case 2:
      return { ...frame, opcode: choices.below(16) }
    case 3:
      return { ...frame, mask: frame.mask === undefined ? choices.bytes(4) : undefined }
    case 4:
      return { ...frame, bits: choices.pick([16, 64]) }
    case 5:
      return {
        ...frame,
        bits: 64,
        declared: choices.pick([
          0n,
          125n,
          65535n,
          65536n,
          1n << 24n,
          1n << 31n,
          1n << 32n,
          (1n << 53n) - 1n,
          1n << 53n,
          1n << 63n,
          (1n << 64n) - 1n
        ])
      }
    case 6:
      return { ...frame, bits: 7, declared: BigInt(choices.below(126)) }
    default:
      return { ...frame, payload: frame.payload.subarray(0, choices.below(length + 1)), declared: BigInt(length) }
  }
}

/** What an end may say, as bytes: mostly valid frames, a few spoilt, a few bytes changed. */
export const conversation = (choices: Choices, writer: Role): Uint8Array => {
  const mask = () => writer === "server" ? undefined : choices.oneIn(8) ? new Uint8Array(4) : choices.bytes(4)
  const control = (): WireFrame => ({
    fin: true,
    reserved: 0,
    opcode: choices.pick([9, 10]),
    payload: choices.bytes(choices.oneIn(8) ? choices.between(120, 130) : choices.below(10)),
    mask: mask()
  })
  let frames: Array<WireFrame> = []
  for (let count = 1 + choices.below(6); count > 0; count--) {
    if (choices.oneIn(3)) frames.push(control())
    else frames.push(...message(choices, control, mask))
  }
  if (choices.oneIn(3)) frames.push({ fin: true, reserved: 0, opcode: 8, payload: closePayload(choices), mask: mask() })
  if (choices.oneIn(3)) frames.splice(choices.below(frames.length), 0, ...message(choices, control, mask))
  if (choices.oneIn(4)) frames = frames.toSpliced(choices.below(frames.length), 1)
  const spoilt = choices.oneIn(2) ? choices.below(frames.length) : -1
  const bytes = Buffer.concat(frames.map((frame, i) => encode(i === spoilt ? spoil(choices, frame) : frame)))
  if (choices.oneIn(6) && bytes.length > 0) bytes[choices.below(bytes.length)] ^= 1 << choices.below(8)
  return choices.oneIn(8) ? bytes.subarray(0, choices.below(bytes.length + 1)) : bytes
}

/** Bytes in pieces, each a copy: whole, one at a time, or anyhow. */
export const cut = (bytes: Uint8Array, choices: Choices): Array<Uint8Array> => {
  const most = choices.pick([bytes.length, 1, 3, 20, 300, 65536])
  const pieces: Array<Uint8Array> = []
  for (let at = 0; at < bytes.length;) {
    // One at a time is slow, and says nothing new about the middle of a payload.
    const size = at > 2000 ? 4096 : 1 + choices.below(Math.max(1, most))
    pieces.push(bytes.slice(at, at + size))
    at += size
  }
  return pieces
}
