/** Servers for a client over HTTP/2: one of Node that echoes, and peers that write frames by hand. */
import { Effect, type Scope, Stream } from "effect"
import { Connection, Frame, Transport } from "effect-ws"
import type * as Http from "node:http"
import * as Http2 from "node:http2"
import type * as Net from "node:net"
import type { Duplex } from "node:stream"
import { flags, framesOf, frameTypes, type Http2Peer, preface, settingsPayload } from "./http2Frames.ts"
import { rawServer, upgradeResponse } from "./net.ts"
import { localhostTls } from "./certificates.ts"

/** SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3) and SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 §6.5.2). */
export const enableConnect = [8, 1] as const
export const maxStreams = (count: number) => [3, count] as const

export interface Http2Server {
  readonly listener: Net.Server
  readonly port: number
  readonly url: string
  /** The sessions, those that have ended included. */
  readonly sessions: Array<Http2.ServerHttp2Session>
  readonly streams: Array<Http2.ServerHttp2Stream>
  readonly requests: Array<Http2.IncomingHttpHeaders>
}

export interface Http2ServerOptions {
  readonly tls?: { readonly key: string; readonly cert: string } | undefined
  readonly settings?: Http2.Settings | undefined
  /** Responds to a request. Default: echoes. */
  readonly respond?: ((stream: Http2.ServerHttp2Stream, headers: Http2.IncomingHttpHeaders) => void) | undefined
  readonly allowHTTP1?: boolean
}

/** Accepts a request, and sends each message back. */
export const echoStream = (stream: Http2.ServerHttp2Stream, headers: Http2.OutgoingHttpHeaders = {}): void => {
  stream.respond({ ":status": 200, ...headers })
  echoOver(stream)
}

const echoOver = (stream: Duplex): void => {
  Effect.runFork(Effect.scoped(
    Effect.flatMap(
      Connection.make(Transport.fromDuplex(stream), { role: "server" }),
      (connection) => Effect.ignore(Stream.runForEach(connection.messages, connection.send))
    )
  ))
}

/** Starts an HTTP/2 server of Node, without TLS by default. */
export const http2Server = (options: Http2ServerOptions = {}): Effect.Effect<Http2Server, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Http2Server>((resume) => {
      const { allowHTTP1 = false, respond = (stream) => echoStream(stream), tls } = options
      const settings = { enableConnectProtocol: true, ...options.settings }
      const listener = tls === undefined
        ? Http2.createServer({ settings })
        : Http2.createSecureServer({ ...tls, allowHTTP1, settings })
      const sessions: Array<Http2.ServerHttp2Session> = []
      const streams: Array<Http2.ServerHttp2Stream> = []
      const requests: Array<Http2.IncomingHttpHeaders> = []
      listener.on("session", (session: Http2.ServerHttp2Session) => {
        session.on("error", () => {})
        sessions.push(session)
      })
      listener.on("stream", (stream: Http2.ServerHttp2Stream, headers: Http2.IncomingHttpHeaders) => {
        stream.on("error", () => {})
        streams.push(stream)
        requests.push(headers)
        respond(stream, headers)
      })
      listener.listen(0, "127.0.0.1", () => {
        const { port } = listener.address() as Net.AddressInfo
        const url = `${tls === undefined ? "ws" : "wss"}://localhost:${port}`
        resume(Effect.succeed({ listener, port, url, sessions, streams, requests }))
      })
      listener.on("upgrade", (request: Http.IncomingMessage, socket: Net.Socket) => {
        socket.write(upgradeResponse(Buffer.from(`Sec-WebSocket-Key: ${request.headers["sec-websocket-key"]}`)))
        echoOver(socket)
      })
    }),
    ({ listener, sessions }) =>
      Effect.callback<void>((resume) => {
        for (const session of sessions) session.destroy()
        listener.close(() => resume(Effect.void))
      })
  )

/** A server with TLS that speaks HTTP/1.1, too, and echoes over it whatever its options are. */
export const allowingHttp1 = (options: Http2ServerOptions = {}) => secureHttp2Server({ allowHTTP1: true, ...options })

/** What a client of `secureHttp2Server` trusts. */
export const trusted = { tls: { ca: localhostTls.cert } }

/** A server with TLS, whose certificate is its own authority. */
export const secureHttp2Server = (options: Http2ServerOptions = {}) => http2Server({ tls: localhostTls, ...options })

export interface RawHttp2 {
  readonly port: number
  readonly url: string
  readonly peers: Array<Http2Peer>
}

/** What a server does by hand. `request` has the stream of each request. */
export interface Script {
  readonly open?: (peer: Http2Peer, index: number) => void
  readonly request?: (peer: Http2Peer, stream: number, index: number) => void
}

const acknowledged = new WeakSet<Http2Peer>()

/** Writes settings; the first time, it acknowledges those of the client as well. */
export const settings = (...pairs: ReadonlyArray<readonly [number, number]>) => (peer: Http2Peer): void => {
  peer.frame(frameTypes.SETTINGS, 0, 0, settingsPayload(pairs))
  if (!acknowledged.has(peer)) peer.frame(frameTypes.SETTINGS, flags.ACK, 0)
  acknowledged.add(peer)
}

/** Accepts a request by hand, and sends each message back as it came, without its mask. */
export const acceptByHand = (peer: Http2Peer, stream: number): void => {
  peer.headers(stream, [[":status", "200"]])
  const decoder = Frame.makeDecoder({ role: "server" })
  peer.onFrame((received) => {
    if (received.type !== frameTypes.DATA || received.stream !== stream) return
    for (const frame of decoder.decode(Buffer.from(received.payload)).frames) peer.data(stream, Frame.encode(frame))
    if ((received.flags & flags.END_STREAM) !== 0) peer.data(stream, "", flags.END_STREAM)
  })
}

/** Starts a server that writes HTTP/2 frames by hand. By default it allows extended CONNECT, and does not respond. */
export const rawHttp2 = (
  { open = settings(enableConnect), request }: Script
): Effect.Effect<RawHttp2, never, Scope.Scope> =>
  Effect.gen(function*() {
    const peers: Array<Http2Peer> = []
    const { port } = yield* rawServer((socket) => {
      const index = peers.length
      const peer = framesOf(socket, preface.length)
      peers.push(peer)
      let opened = false
      peer.onFrame(({ stream, type }) => {
        // The first frame of a client is its settings.
        if (!opened) open(peer, index)
        opened = true
        if (type === frameTypes.HEADERS) request?.(peer, stream, index)
      })
    })
    return { port, url: `ws://localhost:${port}`, peers }
  })
