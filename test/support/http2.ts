/** HTTP/2 over cleartext sockets of this machine: sessions of Node, and the two ends of a stream. */
import { Effect, type Scope } from "effect"
import * as Http2 from "node:http2"
import type * as Net from "node:net"

/** The two ends of an HTTP/2 session. */
export interface Http2Pair {
  readonly listener: Http2.Http2Server
  readonly client: Http2.ClientHttp2Session
  readonly server: Http2.ServerHttp2Session
  /** Opens a stream with an extended CONNECT request (RFC 8441 §4), which the server accepts. Returns the client's end first. */
  readonly open: Effect.Effect<readonly [Http2.ClientHttp2Stream, Http2.ServerHttp2Stream]>
}

export const websocketHeaders: Http2.OutgoingHttpHeaders = {
  ":method": "CONNECT",
  ":protocol": "websocket",
  ":scheme": "http",
  ":path": "/",
  ":authority": "localhost",
  "sec-websocket-version": "13"
}

const settings = { enableConnectProtocol: true }

/** Opens a session between a client and a server of Node. */
export const http2Pair = (options: Http2.ServerOptions = {}): Effect.Effect<Http2Pair, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<Omit<Http2Pair, "open">>((resume) => {
        const listener = Http2.createServer({ ...options, settings: { ...settings, ...options.settings } })
        let server: Http2.ServerHttp2Session | undefined
        listener.on("session", (session) => {
          session.on("error", () => {})
          server ??= session
        })
        listener.listen(0, "127.0.0.1", () => {
          const client = Http2.connect(`http://127.0.0.1:${(listener.address() as Net.AddressInfo).port}`)
          client.on("error", () => {})
          client.once("remoteSettings", () => resume(Effect.succeed({ listener, client, server: server! })))
        })
      }),
      ({ client, listener, server }) =>
        Effect.callback<void>((resume) => {
          client.destroy()
          server.destroy()
          listener.close(() => resume(Effect.void))
        })
    ),
    (sessions) => ({ ...sessions, open: openStream(sessions) })
  )

const openStream = ({ client, server }: Omit<Http2Pair, "open">): Http2Pair["open"] =>
  Effect.callback((resume) => {
    server.once("stream", (accepted) => {
      accepted.on("error", () => {})
      accepted.respond({ ":status": 200 })
      requested.once("response", () => resume(Effect.succeed([requested, accepted])))
    })
    const requested = client.request(websocketHeaders, { endStream: false })
    requested.on("error", () => {})
  })
