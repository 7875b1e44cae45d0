/**
 * The socket of an upgrade request without a connection: until the request is
 * decided, and after a response that rejects it. The socket is read in both phases,
 * because Node reports that a client has left only while it reads the socket.
 */
import { constVoid } from "effect/Function"
import type { Duplex } from "node:stream"
import { ByteBuilder } from "../runtime/buffers.ts"
import type { Timers } from "../runtime/timers.ts"
import { watchInactivity } from "../connection/inactivity.ts"
import { DuplexTransport } from "../streams/duplexTransport.ts"

/**
 * How many bytes a client may send before its request is decided. A client should
 * wait for the response (RFC 6455 §4.1). The socket of a client that sends more is destroyed.
 */
const maxEarly = 256 * 1024
/** How many bytes all clients together may send before their requests are decided. */
const maxEarlyInTotal = 64 * 2 ** 20
let earlyInTotal = 0

/**
 * Reads a socket while its request is decided, and keeps the data. Destroys the
 * socket if the client ends its side, because the client could no longer end a
 * connection in order. Returns a function that stops reading and returns the data.
 */
export const readEarly = (socket: Duplex): () => Uint8Array => {
  const early = new ByteBuilder()
  const onData = (chunk: Uint8Array) => {
    early.push(chunk)
    earlyInTotal += chunk.length
    if (early.length > maxEarly || earlyInTotal > maxEarlyInTotal) socket.destroy()
  }
  const onEnd = () => void socket.destroy()
  socket.on("data", onData)
  socket.on("end", onEnd)
  return () => {
    socket.off("data", onData)
    socket.off("end", onEnd)
    socket.pause()
    earlyInTotal -= early.length
    return early.concat()
  }
}

/** Whether a program reads the socket. Node itself stops reading it once it has emitted the upgrade. */
const isRead = (socket: Duplex): boolean => socket.listenerCount("data") + socket.listenerCount("readable") > 0

/**
 * Destroys the socket of a client that does not read its response. The client has
 * `millis` to read the response and to end its side, counted anew whenever a part
 * of the response has left. The time starts with the response. If a program reads
 * the socket, the limit ends. Returns a function that ends it.
 */
export const limitResponse = (socket: Duplex, timers: Timers, millis: number): () => void => {
  const transport = new DuplexTransport(socket, undefined)
  let stopWatching = constVoid
  const watch = () => {
    const unsent = transport.bufferedAmount()
    stopWatching = watchInactivity(timers, millis, {
      isInactive: () =>
        (unsent > 0 || socket.writableEnded) && transport.bufferedAmount() === unsent && !isRead(socket),
      onTimeout: () => socket.destroy(),
      onActivity: () => isRead(socket) ? stop() : watch()
    })
  }
  const stop = () => {
    socket.off("close", stop)
    stopWatching()
  }
  socket.once("close", stop)
  watch()
  return stop
}

/**
 * Closes the socket of an upgrade request that an application answers. Node ends
 * the socket after an ordinary response without reading it, so the socket would stay
 * open until the client ends its side, and without a limit if the client has sent
 * anything before. If a program reads the socket, it was upgraded, and the socket is
 * left to that program. Returns a function that leaves the socket alone.
 */
export const closeAfterResponse = (
  socket: Duplex,
  timers: Timers,
  millis: number,
  isServerClosing: () => boolean
): () => void => {
  const stopLimit = limitResponse(socket, timers, millis)
  const stop = () => {
    socket.off("end", onEnd)
    socket.off("finish", onFinish)
    socket.off("close", stop)
    stopLimit()
  }
  const onEnd = () => {
    if (isRead(socket)) stop()
    // The client does not wait for a response. Node does the same on sockets without an upgrade.
    else if (!socket.writableEnded && socket.writableLength === 0) socket.destroy()
  }
  const onFinish = () => {
    if (isRead(socket)) stop()
    else if (isServerClosing()) socket.destroy()
    else socket.resume()
  }
  socket.on("end", onEnd)
  socket.on("finish", onFinish)
  socket.on("close", stop)
  return stop
}
