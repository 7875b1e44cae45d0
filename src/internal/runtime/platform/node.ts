/**
 * The host's facilities, on Node: memory, UTF-8, entropy, hashing, turns of the
 * event loop. `browser.ts` exports the same names for browsers; `#platform`, in
 * package.json, selects one of the two. Below `internal/node`, no other module
 * imports `node:*`.
 */
import { format } from "effect/Formatter"
import type { Socket } from "node:net"
import type { Duplex } from "node:stream"
import * as builtins from "../builtins.ts"

// What Node loads when it starts.
const { Buffer, constants, isUtf8: isValidUtf8 } = builtins.buffer()
const { setImmediate } = builtins.timers()
const { getSystemErrorName, inspect: inspectValue, types } = builtins.util()

// Whether a value, of any realm, has a type. A Proxy has none of them.
export const { isProxy, isSharedArrayBuffer, isUint8Array } = types

/** Shows a value in an error message. It does not throw if the value does. */
export const inspect = (value: unknown): string => {
  try {
    return inspectValue(value, { depth: 1 })
  } catch {
    return format(value)
  }
}

// -----------------------------------------------------------------------------
// Memory
// -----------------------------------------------------------------------------

/** The maximum size of one array, in bytes: the limit of a Buffer on Node 20. */
export const maxBytes: number = Math.min(constants.MAX_LENGTH, 2 ** 32)

/** The maximum length of a text, in bytes of UTF-8: V8 cannot make a longer string of ASCII. */
export const maxTextBytes: number = constants.MAX_STRING_LENGTH

/** The prototype of the host's own subclass of Uint8Array. */
export const hostBytesPrototype: object = Buffer.prototype

/** Allocates uninitialized memory, possibly a part of a pool. */
export const allocatePooled = (size: number): Uint8Array => {
  const { buffer, byteOffset } = Buffer.allocUnsafe(size)
  return new Uint8Array(buffer, byteOffset, size)
}

/** Allocates uninitialized memory with an ArrayBuffer that belongs to it alone. */
export const allocateUnpooled = (size: number): Uint8Array<ArrayBuffer> =>
  new Uint8Array(Buffer.allocUnsafeSlow(size).buffer)

/** Prevents a transfer to another thread, which would detach all views of the buffer. */
export const markUntransferable = (buffer: ArrayBuffer): void => {
  try {
    builtins.workerThreads().markAsUntransferable(buffer)
  } catch {
    // Other runtimes export the function without implementing it.
  }
}

/** Copies arrays into one. */
export const concatBytes = (parts: ReadonlyArray<Uint8Array>): Uint8Array => Buffer.concat(parts)

/** Whether two arrays have the same bytes. */
export const equalBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0

// -----------------------------------------------------------------------------
// Text
// -----------------------------------------------------------------------------

/** Bytes that texts are written into as UTF-8. */
export interface TextBuffer extends Uint8Array {
  /** Writes a text at an offset, as far as there is room, and returns the number of bytes. */
  readonly write: (text: string, offset: number) => number
}

/** Allocates uninitialized memory for texts, with an ArrayBuffer that belongs to it alone. */
export const allocateTextBuffer = (size: number): TextBuffer => Buffer.allocUnsafeSlow(size)

/** The same, possibly as a part of a pool. */
export const allocatePooledText = (size: number): TextBuffer => Buffer.allocUnsafe(size)

/** Whether bytes are valid UTF-8. */
export const isUtf8: (bytes: Uint8Array) => boolean = isValidUtf8

/** The length of a text in UTF-8. */
export const utf8Length = (text: string): number => Buffer.byteLength(text)

/** Encodes bytes in base64. */
export const toBase64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64")

// -----------------------------------------------------------------------------
// Entropy, hashing, turns
// -----------------------------------------------------------------------------

/** Fills an array of at most 64 KiB with random bytes that no peer can predict. */
export const fillRandom = (array: Uint8Array<ArrayBuffer> | Int32Array<ArrayBuffer>): void =>
  void builtins.crypto().randomFillSync(array)

/** The SHA-1 hash of a text in ASCII, in base64. */
export const sha1Base64 = (text: string): string => builtins.crypto().hash("sha1", text, "base64")

/** Runs `step` in the next turn of the event loop, after the sockets were read. */
export const nextTurn: (step: () => void) => void = setImmediate

let idleTime = 0

/** Whether the event loop has waited for events since the last call. */
export const hasIdled = (): boolean => {
  const before = idleTime
  idleTime = builtins.perfHooks().performance.nodeTiming.idleTime
  return idleTime > before
}

/** Returns the class of TCP sockets, if the host has any. */
export const netSocket = (): typeof Socket | undefined => builtins.net().Socket

/** The same on Node, undefined in other runtimes. The sockets of Node have undocumented parts. */
export const nodeSocket = (): typeof Socket | undefined =>
  "bun" in process.versions || "deno" in process.versions ? undefined : builtins.net().Socket

/** The error of a system call that has failed, from the negative number of the error. */
export const systemError = (status: number, syscall: string): NodeJS.ErrnoException => {
  const code = getSystemErrorName(status)
  return Object.assign(new Error(`${syscall} ${code}`), { errno: status, code, syscall })
}

/** Destroys a stream with the error of an abort, which an HTTP/2 stream sends as CANCEL. No other error does that. */
export const abortStream = (stream: Duplex): void => void builtins.stream().addAbortSignal(AbortSignal.abort(), stream)
