/** A client of Node's HTTP/2, which opens WebSockets on streams of a session (RFC 8441). */
import { Data, Effect, type Scope } from "effect"
import { Connection, Extension, Transport } from "effect-ws"
import * as Http2 from "node:http2"
import { ca } from "./certificates.ts"

class NoResponse extends Data.Error<{ readonly message: string }> {}

export interface Http2Response {
  readonly status: number
  readonly headers: Http2.IncomingHttpHeaders
  readonly stream: Http2.ClientHttp2Stream
}

export interface Http2Client {
  readonly session: Http2.ClientHttp2Session
  /** Sends an extended CONNECT request, and waits for the head of the response. */
  readonly request: (headers?: Http2.OutgoingHttpHeaders) => Effect.Effect<Http2Response, Error>
  /** Sends a request, and waits for the whole response. */
  readonly fetch: (
    headers?: Http2.OutgoingHttpHeaders
  ) => Effect.Effect<Http2Response & { readonly body: string }, Error>
  /** Opens a WebSocket. Fails if the server does not accept. */
  readonly open: (
    headers?: Http2.OutgoingHttpHeaders,
    options?: Partial<Connection.MakeOptions>
  ) => Effect.Effect<Connection.Connection, Error, Scope.Scope>
}

/** Opens a session, for as long as the Scope lives. */
export const http2Client = (
  url: string,
  options: Http2.ClientSessionOptions = {}
): Effect.Effect<Http2Client, Error, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<Http2.ClientHttp2Session, Error>((resume) => {
        const session = Http2.connect(url, { ...options, ca } as Http2.SecureClientSessionOptions)
        session.on("error", (error) => resume(Effect.fail(error)))
        session.once("remoteSettings", () => resume(Effect.succeed(session)))
      }),
      (session) =>
        // Node 20 loops without end if a session is destroyed in an event of one of its streams.
        Effect.callback<void>((resume) => {
          setImmediate(() => {
            session.destroy()
            resume(Effect.void)
          })
        })
    ),
    clientOf
  )

const clientOf = (session: Http2.ClientHttp2Session): Http2Client => {
  const request: Http2Client["request"] = (headers) =>
    Effect.callback((resume) => {
      const stream = session.request({ ...connectHeaders, ...headers }, { endStream: false })
      stream.on("error", (error) => resume(Effect.fail(error)))
      stream.once("close", () =>
        resume(Effect.fail(new NoResponse({ message: `closed without a response: ${stream.rstCode}` }))))
      stream.once("response", (received) =>
        resume(Effect.succeed({ status: received[":status"]!, headers: received, stream })))
    })
  const fetch: Http2Client["fetch"] = (headers) =>
    Effect.flatMap(request(headers), (response) =>
      Effect.callback((resume) => {
        let body = ""
        response.stream.setEncoding("utf8")
        response.stream.on("data", (chunk: string) => body += chunk)
        response.stream.on("close", () => resume(Effect.succeed({ ...response, body })))
      }))
  const open: Http2Client["open"] = (headers, options) =>
    Effect.flatMap(request(headers), ({ status, stream }) =>
      status === 200
        ? Effect.orDie(
          Connection.make(Transport.fromDuplex(stream), { keepalive: false, ...options, role: "client" })
        )
        : Effect.fail(new NoResponse({ message: `rejected with ${status}` })))
  return { session, request, fetch, open }
}

/** Opens a WebSocket on a session of its own, with subprotocols and extensions. */
export const connectHttp2 = (
  url: string,
  { extensions, protocols }: {
    readonly protocols: ReadonlyArray<string>
    readonly extensions: ReadonlyArray<Extension.Extension>
  }
): Effect.Effect<Connection.Connection, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const client = yield* http2Client(url.replace(/^ws/, "http"))
    const offer = Extension.format(Extension.offer(extensions))
    const { headers, stream } = yield* client.request({
      ":path": new URL(url).pathname,
      ...protocols.length === 0 ? {} : { "sec-websocket-protocol": protocols.join(", ") },
      ...offer === "" ? {} : { "sec-websocket-extensions": offer }
    })
    const accepted = Extension.parse(String(headers["sec-websocket-extensions"] ?? "")) ?? []
    const negotiated = yield* Effect.fromResult(Extension.confirm(extensions, accepted))
    return yield* Connection.make(Transport.fromDuplex(stream), {
      role: "client",
      negotiated,
      handshake: {
        ...Connection.noHandshake,
        subprotocol: headers["sec-websocket-protocol"] as string | undefined
      }
    })
  })

/** Undefined leaves a header out. */
const connectHeaders: Http2.OutgoingHttpHeaders = {
  ":method": "CONNECT",
  ":protocol": "websocket",
  ":path": "/",
  "sec-websocket-version": "13"
}
