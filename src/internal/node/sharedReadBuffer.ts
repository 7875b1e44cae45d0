/**
 * Sockets that read into one buffer, which all of them share.
 *
 * For each read Node sets 64 KiB aside, hands out the part that was filled, and
 * takes it through a stream: half of the instructions of an echo over bare
 * sockets, and a quarter of ours. A socket that is made with the option `onread`
 * does without; but a server's are made by Node, and a client's first belong to
 * HTTP. So they are given the option afterwards. That is not in Node's
 * documentation: where it cannot be done, data comes as from any other stream.
 */
import { Buffer } from "node:buffer"
import { type OnReadOpts, Socket } from "node:net"
import type { Duplex } from "node:stream"

/** Is told how many bytes were read; false has the socket read no more. */
type Callback = OnReadOpts["callback"]

/** Of Node's own: it has the socket's reads fill the buffer. */
interface Handle {
  readonly useUserBuffer?: (buffer: Uint8Array) => void
}

/** As much as Node reads at a time. */
const buffer = Buffer.allocUnsafeSlow(64 * 1024)
// To ask a Buffer for it costs more than to make a view of it.
const memory = buffer.buffer

/** What was read: it is there until the next read of any socket. */
export const sharedView = (size: number): Uint8Array => new Uint8Array(memory, 0, size)

/** Where a socket keeps the option: found by what is there in one that was made with it. */
const findKeys = (): { readonly buffer: symbol; readonly callback: symbol } | undefined => {
  const onread: OnReadOpts = { buffer, callback: () => true }
  const socket = new Socket({ onread })
  const keyOf = (value: unknown) =>
    Object.getOwnPropertySymbols(socket).find((key) => Reflect.get(socket, key) === value)
  const found = { buffer: keyOf(onread.buffer), callback: keyOf(onread.callback) }
  return found.buffer && found.callback && { buffer: found.buffer, callback: found.callback }
}

const keys = findKeys()

/**
 * Has a socket hand what it reads from now on to `callback`, which is called on
 * it, and not to its stream; what the stream has already still comes from there.
 * Answers whether it could.
 */
export const readIntoSharedBuffer = (duplex: Duplex, callback: Callback): boolean => {
  if (keys === undefined || !(duplex instanceof Socket)) return false
  const handle: Handle | null | undefined = Reflect.get(duplex, "_handle")
  if (handle?.useUserBuffer === undefined) return false
  try {
    handle.useUserBuffer(buffer)
  } catch {
    // Other runtimes have it, and cannot do it.
    return false
  }
  Object.assign(duplex, { [keys.buffer]: buffer, [keys.callback]: callback })
  return true
}
