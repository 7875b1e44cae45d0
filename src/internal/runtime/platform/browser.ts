/** The host's facilities, in a browser: the same names as in `node.ts`. */
import { format } from "effect/Formatter"
import type { Socket } from "node:net"
import type { Duplex } from "node:stream"

// -----------------------------------------------------------------------------
// Values
// -----------------------------------------------------------------------------

const typeOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)!.get!

/** Whether a value is a Uint8Array of any realm. */
export const isUint8Array = (value: unknown): value is Uint8Array => typeOf.call(value) === "Uint8Array"

const sharedLength = typeof SharedArrayBuffer === "undefined"
  ? undefined
  : Object.getOwnPropertyDescriptor(SharedArrayBuffer.prototype, "byteLength")!.get!

/** Whether a value is a SharedArrayBuffer of any realm. */
export const isSharedArrayBuffer = (value: unknown): value is SharedArrayBuffer => {
  if (sharedLength === undefined) return false
  try {
    sharedLength.call(value)
    return true
  } catch {
    return false
  }
}

/** A browser does not tell. */
export const isProxy: (value: unknown) => boolean = () => false

export const inspect = (value: unknown): string => format(value)

// -----------------------------------------------------------------------------
// Memory
// -----------------------------------------------------------------------------

/** The maximum size of one array, in bytes: the smallest limit of the current browsers. */
export const maxBytes: number = 2 ** 31 - 1

/** The maximum length of a text, in bytes of UTF-8: the smallest limit of the current browsers. */
export const maxTextBytes: number = 2 ** 29 - 24

/** The prototype of the host's own subclass of Uint8Array: there is no subclass. */
export const hostBytesPrototype: object = Uint8Array.prototype

export const allocateUnpooled = (size: number): Uint8Array<ArrayBuffer> => new Uint8Array(size)

export const allocatePooled: (size: number) => Uint8Array = allocateUnpooled

/** A browser has no such mark. */
export const markUntransferable: (buffer: ArrayBuffer) => void = () => {}

export const concatBytes = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

export const equalBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i])

// -----------------------------------------------------------------------------
// Text
// -----------------------------------------------------------------------------

const encoder = new TextEncoder()
const fatalDecoder = new TextDecoder("utf-8", { fatal: true })

export interface TextBuffer extends Uint8Array {
  readonly write: (text: string, offset: number) => number
}

class EncodedText extends Uint8Array implements TextBuffer {
  write(text: string, offset: number): number {
    return encoder.encodeInto(text, this.subarray(offset)).written
  }
}

export const allocateTextBuffer = (size: number): TextBuffer => new EncodedText(size)

export const allocatePooledText: (size: number) => TextBuffer = allocateTextBuffer

export const isUtf8 = (bytes: Uint8Array): boolean => {
  try {
    fatalDecoder.decode(bytes)
    return true
  } catch {
    return false
  }
}

export const utf8Length = (text: string): number => encoder.encode(text).length

export const toBase64 = (bytes: Uint8Array): string => {
  let binary = ""
  for (const byte of bytes) binary += String.fromCharCode(byte)
  return btoa(binary)
}

// -----------------------------------------------------------------------------
// Entropy, hashing, turns
// -----------------------------------------------------------------------------

export const fillRandom = (array: Uint8Array<ArrayBuffer> | Int32Array<ArrayBuffer>): void =>
  void crypto.getRandomValues(array)

const rotate = (word: number, bits: number): number => (word << bits) | (word >>> (32 - bits))

/** FIPS 180-4 §5.1.1: a one bit, zeros, and the length in bits, in whole blocks of 64 bytes. */
const paddedBlocks = (bytes: Uint8Array): DataView => {
  const blocks = new DataView(new ArrayBuffer(((bytes.length + 8 >>> 6) + 1) << 6))
  new Uint8Array(blocks.buffer).set(bytes)
  blocks.setUint8(bytes.length, 0x80)
  blocks.setUint32(blocks.byteLength - 8, bytes.length >>> 29)
  blocks.setUint32(blocks.byteLength - 4, bytes.length << 3)
  return blocks
}

/** FIPS 180-4 §4.1.1 and §4.2.1: the function and the constant of a round. */
const round = (t: number, b: number, c: number, d: number): number =>
  t < 20
    ? ((b & c) | (~b & d)) + 0x5a827999
    : t < 40
    ? (b ^ c ^ d) + 0x6ed9eba1
    : t < 60
    ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
    : (b ^ c ^ d) + 0xca62c1d6

/** FIPS 180-4 §6.1.2. `crypto.subtle` has SHA-1 too, but only asynchronously. */
export const sha1Base64 = (text: string): string => {
  const blocks = paddedBlocks(encoder.encode(text))
  const state = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0)
  const words = new Int32Array(80)
  for (let block = 0; block < blocks.byteLength; block += 64) {
    for (let t = 0; t < 80; t++) {
      words[t] = t < 16
        ? blocks.getInt32(block + t * 4)
        : rotate(words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16], 1)
    }
    let [a, b, c, d, e] = state
    for (let t = 0; t < 80; t++) {
      const next = (rotate(a, 5) + round(t, b, c, d) + e + words[t]) | 0
      e = d
      d = c
      c = rotate(b, 30)
      b = a
      a = next
    }
    state[0] += a
    state[1] += b
    state[2] += c
    state[3] += d
    state[4] += e
  }
  const digest = new DataView(new ArrayBuffer(20))
  state.forEach((word, i) => digest.setInt32(i * 4, word))
  return toBase64(new Uint8Array(digest.buffer))
}

const steps: Array<() => void> = []

/** A message, because nested timers run after 4 ms at the earliest. */
const openChannel = (): () => void => {
  const { port1, port2 } = new MessageChannel()
  port1.addEventListener("message", () => steps.shift()!())
  port1.start()
  return () => port2.postMessage(undefined)
}

let postMessage: (() => void) | undefined

export const nextTurn = (step: () => void): void => {
  steps.push(step)
  postMessage ??= openChannel()
  postMessage()
}

/** A browser does not tell. */
export const hasIdled = (): boolean => false

export const netSocket = (): typeof Socket | undefined => undefined
export const nodeSocket: typeof netSocket = netSocket

/** A browser has no system calls. */
export const systemError = (status: number, syscall: string): NodeJS.ErrnoException =>
  Object.assign(new Error(`${syscall} ${status}`), { errno: status, syscall })

/** A browser has no such streams. */
export const abortStream: (stream: Duplex) => void = () => {}
