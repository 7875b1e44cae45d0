/**
 * HTTP/1.1 and HTTP/2 on one port. TLS tells which of them a client has chosen
 * (ALPN, RFC 7301). On other sockets, a client with prior knowledge begins with the
 * preface of HTTP/2 (RFC 9113 §3.3 and §3.4).
 */
import type * as Http from "node:http"
import type { Duplex } from "node:stream"
import type { TLSSocket } from "node:tls"
import * as builtins from "../runtime/builtins.ts"

/** No request of HTTP/1.1 begins with these bytes: the preface was chosen so (RFC 9113 §3.4). */
const preface = "PRI"

/**
 * Takes over the sockets that Node's server would read as HTTP/1.1, and hands those
 * with HTTP/2 to `serveHttp2`, after all other listeners.
 */
export const switchProtocols = (
  server: Http.Server,
  event: "connection" | "secureConnection",
  serveHttp2: (socket: Duplex) => void
): void => {
  // The first listener is Node's own.
  const [listener] = server.listeners(event)
  server.off(event, listener as () => void)
  const serveHttp1 = (socket: Duplex) => void Reflect.apply(listener, server, [socket])
  server.on(event, (socket: Duplex & Pick<Partial<TLSSocket>, "alpnProtocol">) => {
    if (socket.alpnProtocol === undefined) readPreface(socket, serveHttp1, serveHttp2)
    else if (socket.alpnProtocol === "h2") serveHttp2(socket)
    else serveHttp1(socket)
  })
}

/** Reads until the first bytes tell the protocol, and puts them back. */
const readPreface = (
  socket: Duplex,
  serveHttp1: (socket: Duplex) => void,
  serveHttp2: (socket: Duplex) => void
): void => {
  let read = builtins.buffer().Buffer.alloc(0)
  const stop = () => {
    socket.off("data", onData)
    socket.off("end", destroy)
    socket.off("error", destroy)
  }
  const destroy = () => void socket.destroy()
  const onData = (chunk: Uint8Array) => {
    read = builtins.buffer().Buffer.concat([read, chunk])
    const start = read.toString("latin1", 0, preface.length)
    if (start.length < preface.length && preface.startsWith(start)) return
    stop()
    socket.pause()
    socket.unshift(read)
    if (start === preface) return serveHttp2(socket)
    serveHttp1(socket)
    socket.resume()
  }
  socket.on("data", onData)
  socket.on("end", destroy)
  socket.on("error", destroy)
}
