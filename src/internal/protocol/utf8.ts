/**
 * Checks UTF-8 (RFC 3629) as it arrives. A text message may be cut anywhere,
 * inside a code point too (RFC 6455 §8.1): the check keeps its state between
 * parts, and fails at the first byte that no valid text has at that position.
 */
import { isUtf8 } from "#platform"

/** Below this many bytes a loop is cheaper than a call into native code. */
const nativeFrom = 64

export class Utf8Validator {
  /** The number of continuation bytes that the current code point lacks. */
  private needed = 0
  /** The range of the next continuation byte. */
  private lower = 0x80
  private upper = 0xbf

  /** Whether the bytes so far end between two code points. */
  get complete(): boolean {
    return this.needed === 0
  }

  /** Checks the next bytes. Returns the index of the first invalid one, or -1. */
  push(bytes: Uint8Array): number {
    if (bytes.length < nativeFrom) return this.scan(bytes, 0, bytes.length)
    // A code point may straddle either end: `scan` checks those few bytes, native code the middle.
    let start = 0
    while (this.needed > 0) {
      if (this.step(bytes[start]) === false) return start
      start++
    }
    const end = completeUpTo(bytes, start)
    const middle = start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end)
    return this.scan(bytes, isUtf8(middle) ? end : start, bytes.length)
  }

  private scan(bytes: Uint8Array, from: number, to: number): number {
    for (let i = from; i < to; i++) {
      const byte = bytes[i]
      if (this.needed === 0 && byte < 0x80) continue
      if (this.step(byte) === false) return i
    }
    return -1
  }

  /** Applies the table of RFC 3629 §4 to one byte, which is not ASCII or continues a code point. */
  private step(byte: number): boolean {
    if (this.needed === 0) {
      if (byte >= 0xc2 && byte <= 0xdf) this.needed = 1
      else if (byte >= 0xe0 && byte <= 0xef) {
        this.needed = 2
        if (byte === 0xe0) this.lower = 0xa0 // no overlong forms
        else if (byte === 0xed) this.upper = 0x9f // no surrogates
      } else if (byte >= 0xf0 && byte <= 0xf4) {
        this.needed = 3
        if (byte === 0xf0) this.lower = 0x90 // no overlong forms
        else if (byte === 0xf4) this.upper = 0x8f // nothing above U+10FFFF
      } else return false
      return true
    }
    if (byte < this.lower || byte > this.upper) return false
    this.lower = 0x80
    this.upper = 0xbf
    this.needed--
    return true
  }
}

/** The index, at or after `from`, at which an unfinished code point at the end of `bytes` begins. */
const completeUpTo = (bytes: Uint8Array, from: number): number => {
  const end = bytes.length
  for (let i = end - 1, size = 1; i >= from && size <= 3; i--, size++) {
    const byte = bytes[i]
    if (byte < 0x80) return end
    if (byte >= 0xc0) {
      const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
      return length > size ? i : end
    }
  }
  return end
}

/** Whether `bytes` is UTF-8 from the first byte to the last. */
export const isWellFormed = (bytes: Uint8Array): boolean => {
  if (bytes.length >= nativeFrom) return isUtf8(bytes)
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] >= 0x80) return isUtf8(bytes)
  }
  return true
}

/**
 * Checks texts that arrive in parts, one text after the other, and locates the
 * first invalid byte by its offset in its text.
 */
export class TextValidator {
  private readonly utf8 = new Utf8Validator()
  /** The bytes of the current text so far. */
  private size = 0

  /**
   * Checks the next part of a text. Returns the offset of the first invalid byte,
   * or -1. A text that ends inside a code point is invalid at its end.
   */
  check(part: Uint8Array, isLast: boolean): number {
    const invalidAt = this.utf8.push(part)
    if (invalidAt >= 0) return this.size + invalidAt
    this.size += part.length
    if (!isLast) return -1
    if (!this.utf8.complete) return this.size
    this.size = 0
    return -1
  }
}

/** Returns the offset of the first invalid byte of a whole text, or -1. */
export const findInvalid = (text: Uint8Array): number => isWellFormed(text) ? -1 : new TextValidator().check(text, true)
