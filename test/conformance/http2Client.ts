/** Our client over HTTP/2, as a subject: a gateway turns its stream into a connection over HTTP/1.1 to the peer. */
import { Effect, Stream } from "effect"
import { PerMessageDeflate, WebSocketClient } from "effect-ws"
import * as Http2 from "node:http2"
import * as Net from "node:net"
import type { ClientSubject } from "./subjects.ts"

const host = "127.0.0.1"
const key = "dGhlIHNhbXBsZSBub25jZQ=="
const forwarded = ["sec-websocket-protocol", "sec-websocket-extensions"]

/** Joins a stream to an upgrade over HTTP/1.1 with a server that accepts. */
const join = (stream: Http2.ServerHttp2Stream, headers: Http2.IncomingHttpHeaders, port: number): void => {
  const socket = Net.connect({ port, host, allowHalfOpen: true, noDelay: true })
  const own = forwarded.flatMap((name) => headers[name] === undefined ? [] : [`${name}: ${String(headers[name])}`])
  socket.write([
    "GET / HTTP/1.1",
    `Host: ${host}`,
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Key: ${key}`,
    "Sec-WebSocket-Version: 13",
    ...own,
    "",
    ""
  ].join("\r\n"))
  let received = Buffer.alloc(0)
  const onHead = (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    const end = received.indexOf("\r\n\r\n")
    if (end < 0) return
    socket.off("data", onHead)
    const lines = received.toString("latin1", 0, end).split("\r\n").map((line) => line.split(/: ?/))
    const accepted = lines.filter(([name]) => forwarded.includes(name.toLowerCase()))
    stream.respond({ ":status": 200, ...Object.fromEntries(accepted) })
    stream.write(received.subarray(end + 4))
    socket.pipe(stream)
    stream.pipe(socket)
  }
  socket.on("data", onHead)
  socket.on("error", () => stream.close(Http2.constants.NGHTTP2_CANCEL))
  stream.on("aborted", () => socket.resetAndDestroy())
  stream.on("error", () => socket.resetAndDestroy())
}

/** Starts a gateway to a port, and returns its own port. */
const gateway = (port: number) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly port: number; readonly close: () => void }>((resume) => {
      const server = Http2.createServer({ settings: { enableConnectProtocol: true } })
      const sessions: Array<Http2.ServerHttp2Session> = []
      server.on("session", (session) => sessions.push(session))
      server.on("stream", (stream, headers) => join(stream, headers, port))
      server.listen(0, host, () => {
        const close = () => {
          for (const session of sessions) session.close()
          server.close()
        }
        resume(Effect.succeed({ port: (server.address() as Net.AddressInfo).port, close }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

const deflate = PerMessageDeflate.make()

export const http2Client: ClientSubject = {
  name: "effect-ws over HTTP/2",
  own: true,
  role: "client",
  connect: (port, protocols, compresses) =>
    Effect.gen(function*() {
      const { port: front } = yield* gateway(port)
      const connection = yield* WebSocketClient.connect(`ws://${host}:${front}/`, {
        http2: "only",
        protocols,
        extensions: compresses ? [deflate] : []
      })
      return yield* Stream.runForEach(connection.messages, connection.send)
    }).pipe(
      Effect.scoped,
      Effect.match({
        onSuccess: () => undefined,
        onFailure: (error) => error._tag === "ConnectionClosed" ? undefined : error._tag
      }),
      Effect.runPromise
    )
}
