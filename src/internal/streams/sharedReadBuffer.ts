/**
 * Sockets that read into one buffer, which all of them share.
 *
 * For each read, Node allocates 64 KiB, slices off the part that was filled, and
 * passes it through a stream. That is half of the instructions of an echo over
 * bare sockets, and a quarter of ours. A socket that is constructed with the
 * option `onread` avoids it. But Node constructs the sockets of a server, and HTTP
 * reads the response of a client's handshake first, so this module sets the option
 * later. Node does not document that. If it is not possible, a socket delivers its
 * data through its stream: it is possible on Node and in Deno 2.9, not in Bun 1.4.
 */
import { allocateUnpooled, netSocket } from "#platform"
import type { OnReadOpts } from "node:net"
import type { Duplex } from "node:stream"
import { once } from "../runtime/loadOnce.ts"

/** Receives the number of bytes that were read. If it returns false, the socket stops reading. */
type Callback = OnReadOpts["callback"]

/** Undocumented: makes the reads of the socket fill the buffer. */
interface Handle {
  readonly useUserBuffer?: (buffer: Uint8Array) => void
}

/** The size of one read of Node. */
const buffer = allocateUnpooled(64 * 1024)
const memory = buffer.buffer

/** The bytes that were read. The next read of any socket overwrites them. */
export const sharedView = (size: number): Uint8Array => new Uint8Array(memory, 0, size)

/** The class of sockets, and the symbols under which a socket keeps the option. */
interface Sockets {
  readonly NetSocket: abstract new(...args: never) => Duplex
  readonly buffer: symbol
  readonly callback: symbol
}

/** Finds the symbols in a socket that was constructed with the option. */
const sockets = once((): Sockets | null => {
  const NetSocket = netSocket()
  if (NetSocket === undefined) return null
  const onread: OnReadOpts = { buffer, callback: () => true }
  const socket = new NetSocket({ onread })
  const keyOf = (value: unknown) =>
    Object.getOwnPropertySymbols(socket).find((key) => Reflect.get(socket, key) === value)
  const found = { buffer: keyOf(onread.buffer), callback: keyOf(onread.callback) }
  return found.buffer && found.callback ? { NetSocket, buffer: found.buffer, callback: found.callback } : null
})

/**
 * Makes a socket pass what it reads from now on to `callback`, with the socket as
 * `this`. What its stream holds already is still delivered by the stream. Returns
 * whether that is possible.
 */
export const readIntoSharedBuffer = (duplex: Duplex, callback: Callback): boolean => {
  const keys = sockets()
  if (keys === null || !(duplex instanceof keys.NetSocket)) return false
  const handle: Handle | null | undefined = Reflect.get(duplex, "_handle")
  if (handle?.useUserBuffer === undefined) return false
  try {
    handle.useUserBuffer(buffer)
  } catch {
    // Other runtimes export the function without implementing it.
    return false
  }
  Object.assign(duplex, { [keys.buffer]: buffer, [keys.callback]: callback })
  return true
}
