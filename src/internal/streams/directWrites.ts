/**
 * Writes to TCP and Unix sockets past their streams.
 *
 * For each write, a stream makes a request, changes its state and runs a step in the
 * next tick. The handle of the socket takes the same bytes in one call, and if the
 * system takes all of them, nothing remains to be done. That saves a tenth of the
 * CPU time of a small message, and a sixth of that of a broadcast. Node does not
 * document handles. Where one is not as expected, and in Bun and Deno, bytes are
 * written to the stream.
 */
import { nodeSocket, systemError } from "#platform"
import type { Socket } from "node:net"
import type { Duplex } from "node:stream"
import { once } from "../runtime/loadOnce.ts"

/** Undocumented: a write that the system has not finished. The handle accepts no other class than Node's own. */
interface Request {
  /** Returns a number above 0 from when a write has to wait, and -1 before. */
  readonly getAsyncId: () => number
  oncomplete?: (status: number) => void
  /** Keeps the memory until the system has taken it. */
  chunks?: ReadonlyArray<Uint8Array>
}

/** Undocumented: the system's end of a socket. */
export interface Handle {
  /** Both functions return 0, or the negative number of an error if they have written nothing. */
  readonly writeBuffer: (request: Request, bytes: Uint8Array) => number
  readonly writev: (request: Request, chunks: ReadonlyArray<Uint8Array>, areAllBytes: true) => number
}

/** Finds Node's class of requests: a socket writes to a handle that keeps the request. */
const findRequestClass = (NodeSocket: typeof Socket): (new() => Request) | undefined => {
  let found: (new() => Request) | undefined
  const handle = {
    writeBuffer: (request: Request) => {
      found = request.constructor as new() => Request
      return 0
    },
    close: () => {}
  }
  try {
    const socket = new NodeSocket({ handle, manualStart: true } as {})
    socket.write(new Uint8Array(1))
    socket.destroy()
    return found && isWaiting(new found()) ? undefined : found
  } catch {
    // This Node uses handles in another way.
    return undefined
  }
}

/**
 * Whether the system did not take all bytes in the call that wrote them to the handle. The size of the handle's queue
 * does not tell: the rest may leave before the call returns, but the request completes later.
 */
const isWaiting = (request: Request): boolean => request.getAsyncId() > 0

/** Node's classes of sockets and of requests, looked for when the first socket is there. */
const classes = once(() => {
  const NodeSocket = nodeSocket()
  const RequestClass = NodeSocket && findRequestClass(NodeSocket)
  return NodeSocket && RequestClass && { NodeSocket, RequestClass }
})

/** The request of the next write, unless a write had to wait with it or failed: Node aborts if a request is used twice. */
let spare: Request | undefined

/** Returns the handle of a connected socket. Undefined if bytes must be written to the stream. */
export const handleOf = (duplex: Duplex): Handle | undefined => {
  const found = classes()
  if (found === undefined) return undefined
  // A TLS socket encrypts in its handle. A program may have replaced the function of one socket.
  if (Object.getPrototypeOf(duplex) !== found.NodeSocket.prototype || Object.hasOwn(duplex, "write")) return undefined
  if (Reflect.get(duplex, "connecting") === true) return undefined
  const handle: Partial<Handle> | null | undefined = Reflect.get(duplex, "_handle")
  return handle && isComplete(handle) ? handle : undefined
}

const isComplete = (handle: Partial<Handle>): handle is Handle =>
  typeof handle.writeBuffer === "function" && typeof handle.writev === "function"

/**
 * Writes. Returns true if the system has taken all bytes, and false if it has taken
 * none because of an error, which the stream finds as well. Otherwise it returns
 * the request. Node calls its `oncomplete` once the system has taken the rest.
 */
export const writeTo = (handle: Handle, chunks: ReadonlyArray<Uint8Array>): boolean | Request => {
  const request = spare ??= new (classes()!.RequestClass)()
  const status = chunks.length === 1 ? handle.writeBuffer(request, chunks[0]) : handle.writev(request, chunks, true)
  if (status === 0 && !isWaiting(request)) return true
  spare = undefined
  if (status !== 0) return false
  request.chunks = chunks
  return request
}

/** Returns the error of a write that the system could not finish, as a stream would report it. */
export const writeError = (status: number): NodeJS.ErrnoException => systemError(status, "write")
