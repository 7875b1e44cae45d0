/**
 * Masking (RFC 6455 §5.3): octet i of the payload is XORed with octet i mod 4 of
 * the key. A key is an int32 with octet 0 as its low byte: the number that a
 * little-endian machine reads from the wire.
 *
 * Short payloads are XORed byte by byte, longer ones word by word. Above 768 bytes,
 * a WebAssembly kernel XORs sixteen bytes at a time. Although the bytes are copied
 * into its memory, it is five times as fast at 16 KiB.
 */

/** Below this many bytes, setting up a word view costs more than it saves. */
const wordWiseFrom = 48

/** Below this many bytes, copying to the kernel's memory and back costs more than it saves. */
const kernelFrom = 768

const keyBytes = new Uint8Array(4)
const keyWord = new Int32Array(keyBytes.buffer)

/** The key's four octets, starting at octet `phase`, as one word of this machine's byte order. */
const rotatedWord = (key: number, phase: number): number => {
  keyBytes[0] = key >>> ((phase & 3) << 3)
  keyBytes[1] = key >>> (((phase + 1) & 3) << 3)
  keyBytes[2] = key >>> (((phase + 2) & 3) << 3)
  keyBytes[3] = key >>> (((phase + 3) & 3) << 3)
  return keyWord[0]
}

const xorBytes = (bytes: Uint8Array, start: number, end: number, key: number, phase: number): void => {
  for (let i = start; i < end; i++, phase++) bytes[i] ^= key >>> ((phase & 3) << 3)
}

const xorWords = (words: Int32Array, word: number): void => {
  const unrolled = words.length & ~7
  let i = 0
  for (; i < unrolled; i += 8) {
    words[i] ^= word
    words[i + 1] ^= word
    words[i + 2] ^= word
    words[i + 3] ^= word
    words[i + 4] ^= word
    words[i + 5] ^= word
    words[i + 6] ^= word
    words[i + 7] ^= word
  }
  for (; i < words.length; i++) words[i] ^= word
}

// -----------------------------------------------------------------------------
// The kernel
// -----------------------------------------------------------------------------

/** The size of the kernel's memory, in bytes. */
const kernelSize = 64 * 1024

/** local.get 0, local.get 0, v128.load, local.get 3, v128.xor, v128.store */
const xorAt = (offset: number) => [0x20, 0, 0x20, 0, 0xfd, 0x00, 4, offset, 0x20, 3, 0xfd, 0x51, 0xfd, 0x0b, 4, offset]

const section = (id: number, ...content: ReadonlyArray<number>) => [id, content.length, ...content]

/**
 * A module with 64 KiB of memory, exported as "m", and a function "x":
 *
 * ```wat
 * (func (param $at i32) (param $end i32) (param $word i32) (local $key v128)
 *   (local.set $key (i32x4.splat (local.get $word)))
 *   (loop
 *     ;; four times, at offsets 0, 16, 32 and 48:
 *     (v128.store (local.get $at) (v128.xor (v128.load (local.get $at)) (local.get $key)))
 *     (br_if 0 (i32.lt_u
 *       (local.tee $at (i32.add (local.get $at) (i32.const 64)))
 *       (local.get $end)))))
 * ```
 */
const kernelModule = (): Uint8Array => {
  const code = [
    [1, 1, 0x7b], // one local, a v128
    [0x20, 2, 0xfd, 0x11, 0x21, 3], // local.get 2, i32x4.splat, local.set 3
    [0x03, 0x40], // loop
    [0, 16, 32, 48].flatMap(xorAt),
    [0x20, 0, 0x41, 0xc0, 0x00, 0x6a, 0x22, 0], // local.get 0, i32.const 64, i32.add, local.tee 0
    [0x20, 1, 0x49, 0x0d, 0], // local.get 1, i32.lt_u, br_if 0
    [0x0b, 0x0b] // end, end
  ].flat()
  const module = [
    [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // "\0asm", version 1
    section(1, 1, 0x60, 3, 0x7f, 0x7f, 0x7f, 0), // a function type: three i32, no result
    section(3, 1, 0), // a function of that type
    section(5, 1, 0, 1), // a memory of one page
    section(7, 2, 1, 0x6d, 2, 0, 1, 0x78, 0, 0), // exports: memory "m", function "x"
    section(10, 1, code.length, ...code)
  ]
  return Uint8Array.from(module.flat())
}

interface Kernel {
  readonly memory: Uint8Array
  readonly xor: (at: number, end: number, word: number) => void
}

/** The part of the global that this module uses: the types of Node do not declare it. */
declare const WebAssembly: {
  readonly Module: new(bytes: Uint8Array) => object
  readonly Instance: new(
    module: object
  ) => { readonly exports: { readonly m: { readonly buffer: ArrayBuffer }; readonly x: Kernel["xor"] } }
}

/** Undefined without WebAssembly (`node --jitless`) or SIMD: then all payloads are XORed word by word. */
const kernel: Kernel | undefined = (() => {
  try {
    const { m, x } = new WebAssembly.Instance(new WebAssembly.Module(kernelModule())).exports
    return { memory: new Uint8Array(m.buffer), xor: x }
  } catch {
    return undefined
  }
})()

/** Writes `source[start, end)`, XORed with a rotated key, to `target` at `at`. Both may be the same array. */
const xorWithKernel = (
  { memory, xor }: Kernel,
  target: Uint8Array,
  at: number,
  source: Uint8Array,
  start: number,
  end: number,
  word: number
): void => {
  for (let from = start; from < end; from += kernelSize) {
    const size = Math.min(kernelSize, end - from)
    memory.set(new Uint8Array(source.buffer, source.byteOffset + from, size))
    xor(0, size, word)
    target.set(size === kernelSize ? memory : new Uint8Array(memory.buffer, 0, size), at + from - start)
  }
}

// -----------------------------------------------------------------------------
// Payloads
// -----------------------------------------------------------------------------

/**
 * XORs `bytes[start, end)` in place. `phase` is the index in the payload of the
 * octet at `start`: a payload can be masked in parts.
 */
export const maskInPlace = (bytes: Uint8Array, start: number, end: number, key: number, phase: number): void => {
  const size = end - start
  if (size < wordWiseFrom) return xorBytes(bytes, start, end, key, phase)
  if (size >= kernelFrom && kernel !== undefined) {
    return xorWithKernel(kernel, bytes, start, bytes, start, end, rotatedWord(key, phase))
  }
  const offset = bytes.byteOffset + start
  const first = start + (-offset & 3)
  xorBytes(bytes, start, first, key, phase)
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + first, (end - first) >> 2)
  xorWords(words, rotatedWord(key, phase + first - start))
  const last = first + (words.length << 2)
  xorBytes(bytes, last, end, key, phase + last - start)
}

/**
 * Copies `source[start, end)`, XORed, to `target` at `at`. `phase` is the index in
 * the payload of the octet at `start`.
 */
export const maskInto = (
  target: Uint8Array,
  at: number,
  source: Uint8Array,
  start: number,
  end: number,
  key: number,
  phase: number
): void => {
  const size = end - start
  if (size < wordWiseFrom) {
    for (let i = start; i < end; i++, phase++) target[at++] = source[i] ^ (key >>> ((phase & 3) << 3))
  } else if (size >= kernelFrom && kernel !== undefined) {
    xorWithKernel(kernel, target, at, source, start, end, rotatedWord(key, phase))
  } else {
    target.set(start === 0 && end === source.length ? source : source.subarray(start, end), at)
    maskInPlace(target, at, at + size, key, phase)
  }
}
