/** Proxies that do no more than they must: HTTP CONNECT (RFC 9110 §9.3.6) and SOCKS 5 (RFC 1928). */
import { Effect, type Scope } from "effect"
import * as Http from "node:http"
import * as Net from "node:net"

export interface Proxy {
  readonly port: number
  /** Where it was asked to connect to, each time: "host:port". */
  readonly targets: Array<string>
  /** Those who are connected to it, or were. */
  readonly clients: Array<Net.Socket>
}

const join = (left: Net.Socket, right: Net.Socket) => {
  left.pipe(right).pipe(left)
  left.on("error", () => right.destroy())
  right.on("error", () => left.destroy())
  left.on("close", () => right.destroy())
  right.on("close", () => left.destroy())
}

const running = (
  server: Net.Server,
  targets: Array<string>
): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Proxy>((resume) => {
      const clients: Array<Net.Socket> = []
      server.on("connection", (socket: Net.Socket) => clients.push(socket))
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as Net.AddressInfo
        resume(Effect.succeed({ port, targets, clients }))
      })
    }),
    ({ clients }) =>
      Effect.callback<void>((resume) => {
        for (const client of clients) client.destroy()
        server.close(() => resume(Effect.void))
      })
  )

/** A proxy for CONNECT. What `authorize` does not grant is answered with 407, or never. */
export const httpProxy = (
  authorize: (credentials: string | undefined) => boolean | "never" = () => true
): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.suspend(() => {
    const targets: Array<string> = []
    const server = Http.createServer()
    server.on("connect", (request, socket: Net.Socket) => {
      targets.push(request.url!)
      socket.on("error", () => socket.destroy())
      const granted = authorize(request.headers["proxy-authorization"])
      if (granted === "never") {
        socket.resume()
        return
      }
      if (!granted) {
        socket.end(
          "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
        )
        return
      }
      const [, host, port] = /^(.*):(\d+)$/.exec(request.url!)!
      const onward = Net.connect(Number(port), host, () => {
        socket.write("HTTP/1.1 200 Connection established\r\n\r\n")
        join(socket, onward)
      })
      onward.once("error", () => socket.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"))
    })
    return running(server, targets)
  })

/** A SOCKS proxy without authentication, for names and IPv4 addresses. */
export const socksProxy: Effect.Effect<Proxy, never, Scope.Scope> = Effect.suspend(() => {
  const targets: Array<string> = []
  const server = Net.createServer((socket) => {
    let received = Buffer.alloc(0)
    let greeted = false
    socket.on("error", () => socket.destroy())
    const onData = (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      if (!greeted && received.length >= 2 && received.length >= 2 + received[1]) {
        greeted = true
        received = received.subarray(2 + received[1])
        socket.write(Uint8Array.of(5, 0))
      }
      if (!greeted || received.length < 5) return
      const named = received[3] === 3
      const end = named ? 5 + received[4] : 8
      if (received.length < end + 2) return
      const host = named ? received.toString("latin1", 5, end) : received.subarray(4, end).join(".")
      const port = received.readUInt16BE(end)
      targets.push(`${host}:${port}`)
      socket.off("data", onData)
      const reply = (code: number) => socket.write(Uint8Array.of(5, code, 0, 1, 0, 0, 0, 0, 0, 0))
      const onward = Net.connect(port, host, () => {
        reply(0)
        join(socket, onward)
      })
      // Connection refused.
      onward.once("error", () => reply(5))
    }
    socket.on("data", onData)
  })
  return running(server, targets)
})
