/** A transport of which the test is the network: nothing happens in it unless it is told to. */
import type { ConnectionError, Transport } from "effect-ws"

export interface Network {
  readonly transport: Transport.Transport
  /** What was written, each write as one. */
  readonly writes: Array<Uint8Array>
  /** Whether bytes can be delivered: the connection listens, and has not paused. */
  readonly listens: () => boolean
  /** Whether the connection has ended its side. */
  readonly ended: () => boolean
  /** Whether the connection has cut the transport, or the network has. */
  readonly gone: () => boolean
  /** How many bytes wait for the network. */
  readonly buffered: () => number
  readonly deliver: (bytes: Uint8Array) => void
  /** Takes bytes away that were written; there may be room again. */
  readonly drain: (count: number) => void
  readonly peerEnds: () => void
  /** The transport is gone. */
  readonly close: (error?: ConnectionError.TransportError) => void
}

export const makeNetwork = (highWaterMark: number): Network => {
  const writes: Array<Uint8Array> = []
  let receiver: Transport.Receiver | undefined
  let paused = false
  let ended = false
  let destroyed = false
  let peerEnded = false
  let gone = false
  let buffered = 0
  let full = false
  const close = (error?: ConnectionError.TransportError): void => {
    if (gone) return
    gone = true
    receiver?.onClose(error)
  }
  return {
    writes,
    listens: () => receiver !== undefined && !paused && !destroyed && !gone,
    ended: () => ended,
    gone: () => gone || destroyed,
    buffered: () => buffered,
    deliver: (bytes) => receiver!.onData(bytes),
    drain: (count) => {
      buffered -= Math.min(count, buffered)
      if (!full || buffered >= highWaterMark || gone || destroyed) return
      full = false
      receiver!.onDrain()
    },
    peerEnds: () => {
      if (peerEnded) return
      peerEnded = true
      receiver!.onEnd()
    },
    close,
    transport: {
      start: (listener) => {
        receiver = listener
      },
      write: (chunks) => {
        if (ended || destroyed || gone) return false
        const bytes = Buffer.concat(chunks)
        writes.push(bytes)
        buffered += bytes.length
        full ||= buffered >= highWaterMark
        return !full
      },
      pause: () => {
        paused = true
      },
      resume: () => {
        paused = false
      },
      end: () => {
        ended = true
      },
      destroy: () => {
        if (destroyed) return
        destroyed = true
        queueMicrotask(() => close())
      },
      bufferedAmount: () => buffered
    }
  }
}
