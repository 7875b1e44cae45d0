/**
 * Plays cases to a server over HTTP/2 (RFC 8441). The peer speaks HTTP/1.1 with this
 * bridge, which opens a stream for each of its connections with Node's HTTP/2:
 * END_STREAM is the end of TCP, a reset its reset.
 */
import * as Http2 from "node:http2"
import * as Net from "node:net"
import { goodResponse, headerOf, lines, responseTo } from "./handshake.ts"

const headEnd = "\r\n\r\n"
const host = "127.0.0.1"

/** Bridges to a port that serves HTTP/2 without TLS. Returns its own port. */
export const bridge = async (target: number): Promise<{ readonly port: number; readonly stop: () => void }> => {
  const server = Net.createServer({ allowHalfOpen: true }, (socket) => connect(socket, target))
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  return { port: (server.address() as Net.AddressInfo).port, stop: () => server.close() }
}

/** Reads the head of the peer's request, and opens a stream. */
const connect = (socket: Net.Socket, target: number): void => {
  let read = Buffer.alloc(0)
  socket.on("error", () => {})
  const onData = (chunk: Buffer) => {
    read = Buffer.concat([read, chunk])
    const end = read.indexOf(headEnd)
    if (end < 0) return
    socket.off("data", onData)
    socket.pause()
    socket.unshift(read.subarray(end + headEnd.length))
    open(socket, read.toString("latin1", 0, end), target)
  }
  socket.on("data", onData)
}

const open = (socket: Net.Socket, head: string, target: number): void => {
  const session = Http2.connect(`http://${host}:${target}`)
  session.on("error", () => socket.resetAndDestroy())
  session.once("remoteSettings", () => {
    const extensions = headerOf(head, "sec-websocket-extensions")
    const stream = session.request({
      ":method": "CONNECT",
      ":protocol": "websocket",
      ":path": "/",
      "sec-websocket-version": "13",
      ...extensions === undefined ? {} : { "sec-websocket-extensions": extensions }
    }, { endStream: false })
    stream.on("response", (headers) => {
      socket.write(responseOf(head, headers))
      socket.pipe(stream)
      stream.pipe(socket)
    })
    stream.on("error", () => {})
    stream.on("close", () => {
      if (!stream.readableEnded) socket.resetAndDestroy()
      // Node 20 loops without end if a session is destroyed in an event of one of its streams.
      setImmediate(() => session.destroy())
    })
    socket.on("close", () => stream.close())
  })
}

/** The response over HTTP/1.1 for that over HTTP/2. */
const responseOf = (request: string, headers: Http2.IncomingHttpHeaders): Buffer => {
  const status = Number(headers[":status"])
  if (status !== 200) return Buffer.from(lines(`HTTP/1.1 ${status} Rejected`))
  const extensions = headers["sec-websocket-extensions"]
  const more = extensions === undefined ? [] : [`Sec-WebSocket-Extensions: ${String(extensions)}`]
  return responseTo(request, lines(...goodResponse, ...more))
}
