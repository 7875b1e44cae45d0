/**
 * The socket of an upgrade request while no connection is on it: until the
 * request is decided, and after it was refused. In both times the socket is
 * read, because only a socket that is read tells that its client has gone.
 */
import { constVoid } from "effect/Function"
import type { Duplex } from "node:stream"
import { fromDuplex } from "../../Transport.ts"
import { ByteBuilder } from "../runtime/buffers.ts"
import type { Timers } from "../runtime/timers.ts"
import { watchInactivity } from "../connection/inactivity.ts"

/**
 * How many bytes one client may send before its request is decided. It should
 * send none (RFC 6455 §4.1): a client that sends more is cut.
 */
const maxEarly = 256 * 1024
/** How many bytes all of them together may have sent: a client that sends more is cut. */
const maxEarlyOfAll = 64 * 2 ** 20
let earlyOfAll = 0

/**
 * Reads a socket while its request is decided, and keeps what it reads. A client
 * that ends its side could not end a connection in order, so it has gone as well:
 * its socket is destroyed. Returns how to stop, which returns the bytes.
 */
export const readEarly = (socket: Duplex): () => Uint8Array => {
  const pieces = new ByteBuilder()
  const onData = (chunk: Uint8Array) => {
    pieces.push(chunk)
    earlyOfAll += chunk.length
    if (pieces.length > maxEarly || earlyOfAll > maxEarlyOfAll) socket.destroy()
  }
  const onEnd = () => void socket.destroy()
  socket.on("data", onData)
  socket.on("end", onEnd)
  return () => {
    socket.off("data", onData)
    socket.off("end", onEnd)
    socket.pause()
    earlyOfAll -= pieces.length
    return pieces.concat()
  }
}

/** Whether a program reads the socket, which Node itself does no more once an upgrade was asked for. */
const isRead = (socket: Duplex): boolean => socket.listenerCount("data") + socket.listenerCount("readable") > 0

/**
 * Destroys a socket whose client does not take its response: a client has
 * `millis` to read it and to end its side, counted anew whenever a part of the
 * response has left. Nothing is counted before the response begins. Stops when a
 * program reads the socket. Returns how to stop before.
 */
export const limitResponse = (socket: Duplex, timers: Timers, millis: number): () => void => {
  const transport = fromDuplex(socket)
  let stop = constVoid
  const begin = () => {
    const unsent = transport.bufferedAmount()
    stop = watchInactivity(timers, millis, {
      isInactive: () =>
        (unsent > 0 || socket.writableEnded) && transport.bufferedAmount() === unsent && !isRead(socket),
      onTimeout: () => socket.destroy(),
      onActivity: () => isRead(socket) ? end() : begin()
    })
  }
  const end = () => {
    socket.off("close", end)
    stop()
  }
  socket.once("close", end)
  begin()
  return end
}

/**
 * Sees to the end of a socket whose upgrade request an application answers. Node
 * ends the socket behind an ordinary response, and does not read it: the socket
 * would stay open until the client ends it, and for good if the client has sent
 * anything before. Stops when a program reads the socket, because then it was
 * upgraded. Returns how to stop before.
 */
export const settle = (socket: Duplex, timers: Timers, millis: number, isClosing: () => boolean): () => void => {
  const stopLimit = limitResponse(socket, timers, millis)
  const stop = () => {
    socket.off("end", onEnd)
    socket.off("finish", onFinish)
    socket.off("close", stop)
    stopLimit()
  }
  const onEnd = () => {
    if (isRead(socket)) stop()
    // The client waits for no response. On sockets without an upgrade, Node does the same.
    else if (!socket.writableEnded && socket.writableLength === 0) socket.destroy()
  }
  const onFinish = () => {
    if (isRead(socket)) stop()
    else if (isClosing()) socket.destroy()
    else socket.resume()
  }
  socket.on("end", onEnd)
  socket.on("finish", onFinish)
  socket.on("close", stop)
  return stop
}
