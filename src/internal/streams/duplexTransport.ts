/** A transport over a Node stream. */
import type { Socket } from "node:net"
import type { Duplex } from "node:stream"
import { TransportError } from "../../ConnectionError.ts"
import type { Receiver, Transport } from "../../Transport.ts"
import { codeOf, toError } from "../runtime/describe.ts"
import { soon } from "../runtime/turns.ts"
import { type Handle, handleOf, writeError, writeTo } from "./directWrites.ts"
import { readIntoSharedBuffer, sharedView } from "./sharedReadBuffer.ts"

/** The property of a stream that holds its transport, so that all streams share their listeners. */
const transportOf = Symbol("effect-ws/transport")

type Carrier = Duplex & {
  [transportOf]?: DuplexTransport
  readonly connecting?: boolean
  // Undocumented properties of Node. A stream may lack them.
  readonly _handle?: { readonly writeQueueSize?: number } | null
  readonly _writableState?: { readonly writelen?: number }
}

export class DuplexTransport implements Transport {
  receiver: Receiver | undefined
  private readonly duplex: Carrier
  /** Takes writes as long as no bytes wait in the stream. Undefined if all writes go to the stream. */
  private handle: Handle | undefined
  /** Whether bytes may wait for the system: in the stream, or of a write to the handle. */
  private mayWait = true
  /** Whether the handle waits for the system to take the rest of a write. */
  private isWriting = false
  paused = false
  /** Whether the stream may still have bytes from before it read into the shared buffer: later reads go behind them. */
  hasEarlierBytes = true
  private head: Uint8Array | undefined
  private closed = false
  /** Delivers what the stream had before `start`, if that is still to be done. */
  private deliverRest: (() => void) | undefined
  /** The first error of the stream. It precedes the `close` event; later errors are ignored. */
  private error: TransportError | undefined

  constructor(duplex: Duplex, head: Uint8Array | undefined) {
    this.duplex = duplex
    this.head = head
  }

  start(receiver: Receiver): void {
    const { duplex, head } = this
    const { destroyed, readableEnded } = duplex
    this.receiver = receiver
    this.head = undefined
    duplex[transportOf] = this
    duplex.on("error", onError)
    duplex.on("close", onClose)
    // If the stream has ended or is destroyed, some events of it were emitted before there were listeners.
    if (destroyed || readableEnded) this.deliverLater(head, readableEnded, destroyed)
    else if (head !== undefined && head.length > 0) duplex.unshift(head)
    // What a destroyed stream still has comes behind the head, part of which may be lost.
    if (destroyed) return
    readIntoSharedBuffer(duplex, onRead)
    duplex.on("data", onData)
    // The stream may be paused. What it has read already precedes what it reads from now on.
    duplex.resume()
    duplex.on("drain", onDrain)
    duplex.on("end", onEnd)
    if (isSocket(duplex)) {
      duplex.setTimeout(0)
      duplex.setNoDelay(true)
    }
    this.handle = handleOf(duplex)
  }

  /** Delivers the head, the end and the close of a stream, because nothing else will. */
  private deliverLater(head: Uint8Array | undefined, ended: boolean, destroyed: boolean): void {
    this.deliverRest = () => {
      this.deliverRest = undefined
      if (head !== undefined && head.length > 0) this.receiver!.onData(head)
      if (ended) this.receiver!.onEnd()
    }
    soon(() => {
      this.deliverRest?.()
      if (destroyed) this.close()
    })
  }

  /** The stream is closed: reports that once, with the error of the stream. */
  close(): void {
    if (this.closed) return
    // `process.nextTick` runs before the microtask of `deliverLater`.
    this.deliverRest?.()
    this.closed = true
    const { errored } = this.duplex
    if (errored) this.fail(errored)
    this.receiver!.onClose(this.error)
  }

  /** The peer has ended its side. */
  peerEnded(): void {
    this.receiver!.onEnd()
  }

  /** A program's own stream may emit anything as its error. */
  fail(cause: unknown): void {
    this.error ??= new TransportError({ code: codeOf(cause), cause: toError(cause) })
  }

  write(chunks: ReadonlyArray<Uint8Array>): boolean {
    const { handle } = this
    if (handle === undefined || this.hasWaiting()) return this.writeToStream(chunks)
    const written = writeTo(handle, chunks)
    if (written === true) return true
    if (written === false) return this.writeToStream(chunks)
    this.mayWait = this.isWriting = true
    written.oncomplete = (status) => this.onWritten(status)
    return false
  }

  private writeToStream(chunks: ReadonlyArray<Uint8Array>): boolean {
    const { duplex } = this
    if (!duplex.writable) return false
    this.mayWait = true
    try {
      let room = true
      if (chunks.length > 1) duplex.cork()
      for (const chunk of chunks) room = duplex.write(chunk)
      if (chunks.length > 1) duplex.uncork()
      return room && !this.isWriting
    } catch (cause) {
      // A program's own stream may throw. The caller goes on to write to other streams in this turn.
      duplex.destroy(toError(cause))
      return false
    }
  }

  /** Bytes go to the stream while others wait, so that they stay in order. */
  private hasWaiting(): boolean {
    return this.mayWait &&= this.isWriting || this.duplex.writableLength > 0
  }

  /** The system has taken the rest of a write to the handle, or has failed. */
  private onWritten(status: number): void {
    const { duplex } = this
    this.isWriting = false
    if (duplex.destroyed) return
    if (status < 0) duplex.destroy(writeError(status))
    // Otherwise the stream drains later.
    else if (!duplex.writableNeedDrain) this.receiver!.onDrain()
  }

  /** A socket with an empty queue hands bytes to the system at once. Otherwise a stream keeps views of them. */
  immediate(): boolean {
    const { duplex } = this
    return isSocket(duplex) && !this.hasWaiting() && !duplex.connecting
  }

  eager(): boolean {
    return this.immediate()
  }

  pause(): void {
    this.paused = true
    this.duplex.pause()
  }

  resume(): void {
    this.paused = false
    this.duplex.resume()
  }

  end(): void {
    // The stream drops what is written from now on. The handle learns of the end later.
    this.handle = undefined
    if (!this.duplex.writableEnded) this.duplex.end()
  }

  destroy(): void {
    this.handle = undefined
    this.duplex.destroy()
  }

  bufferedAmount(): number {
    const { _handle: handle, _writableState: state, connecting, writableLength } = this.duplex
    if (connecting === true || handle?.writeQueueSize === undefined || state?.writelen === undefined) {
      return writableLength
    }
    // The stream counts a write until all of it has left. The handle of a socket knows how much of it has.
    const amount = writableLength - state.writelen + handle.writeQueueSize
    // The handle of a TLS socket counts what encryption adds.
    return this.isWriting ? amount : Math.min(writableLength, amount)
  }
}

function onError(this: Carrier, cause: unknown): void {
  this[transportOf]!.fail(cause)
}

function onData(this: Carrier, chunk: Uint8Array): void {
  this[transportOf]!.receiver!.onData(chunk)
}

/** The callback of a socket that reads into the shared buffer. */
function onRead(this: Carrier, size: number): boolean {
  const transport = this[transportOf]!
  if (transport.hasEarlierBytes && (transport.hasEarlierBytes = this.readableLength > 0)) {
    this.push(sharedView(size).slice())
  } else transport.receiver!.onData(sharedView(size))
  // Node may have begun to read for the stream itself, which it considers to be flowing.
  return !transport.paused
}

function onDrain(this: Carrier): void {
  this[transportOf]!.receiver!.onDrain()
}

function onEnd(this: Carrier): void {
  this[transportOf]!.peerEnded()
}

function onClose(this: Carrier): void {
  this[transportOf]!.close()
}

const isSocket = (duplex: Duplex): duplex is Socket => "setNoDelay" in duplex && "setTimeout" in duplex
