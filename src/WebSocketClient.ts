/**
 * A WebSocket client: `connect` is a scoped Effect that gives an open
 * connection, or says why there is none.
 *
 * **Example** (Talk to a server)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { WebSocketClient } from "effect-ws"
 *
 * const program = Effect.gen(function*() {
 *   const connection = yield* WebSocketClient.connect("wss://example.com/feed", { protocols: ["v2", "v1"] })
 *   yield* connection.send("hello")
 *   return yield* Stream.runCollect(Stream.take(connection.messages, 3))
 * }).pipe(
 *   Effect.scoped,
 *   Effect.catchTags({
 *     HandshakeRejected: (e) => Effect.fail(`the server said ${e.status}: ${e.body}`),
 *     ConnectionClosed: (e) => Effect.fail(`closed with ${e.code} ${e.reason}`)
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { Buffer } from "node:buffer"
import * as Http from "node:http"
import * as Https from "node:https"
import type { Duplex } from "node:stream"
import * as Connection from "./Connection.ts"
import * as Extension from "./Extension.ts"
import * as Handshake from "./Handshake.ts"
import {
  type ConnectError,
  ConnectFailed,
  HandshakeRedirected,
  HandshakeRejected,
  HandshakeTimeout,
  InvalidConnectionHeader
} from "./HandshakeError.ts"
import { disclose, pairs } from "./internal/http.ts"
import { observe } from "./internal/observe.ts"
import { fromDuplex } from "./Transport.ts"

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

/**
 * What to connect with.
 *
 * @category options
 * @since 0.1.0
 */
export interface ConnectOptions extends Connection.Options {
  /** Subprotocols to offer, the one liked best first. What was agreed on is the connection's `subprotocol`. */
  readonly protocols?: ReadonlyArray<string> | undefined
  /** Extensions to offer, such as `PerMessageDeflate`. What was agreed on are the connection's `extensions`. Default none. */
  readonly extensions?: ReadonlyArray<Extension.Extension> | undefined
  /** Further headers for the request, such as Authorization, Cookie or Origin. */
  readonly headers?: Handshake.HeadersInput | undefined
  /** How long it may take until there is a connection. Default 10 seconds. */
  readonly handshakeTimeout?: Duration.Input | undefined
  /** TLS, for a wss URL. Certificates are verified unless this says otherwise. */
  readonly tls?: TlsOptions | undefined
  /** A Unix socket to connect to; the URL then only says what to ask for there. */
  readonly socketPath?: string | undefined
  /** A stream to speak over instead of a new socket, at whose other end a server listens. */
  readonly duplex?: Duplex | undefined
}

/**
 * The client's side of TLS, in PEM.
 *
 * @category options
 * @since 0.1.0
 */
export interface TlsOptions {
  /** The authorities that are trusted, instead of those that Node knows. */
  readonly ca?: string | ReadonlyArray<string> | undefined
  /** The client's own certificate, and its key. */
  readonly cert?: string | undefined
  readonly key?: string | Redacted.Redacted<string> | undefined
  readonly passphrase?: string | Redacted.Redacted<string> | undefined
  /** The name that the server's certificate must bear. Default: the URL's host. */
  readonly servername?: string | undefined
  /** Whether a certificate that cannot be verified ends the handshake. Default true. */
  readonly rejectUnauthorized?: boolean | undefined
}

// -----------------------------------------------------------------------------
// Client
// -----------------------------------------------------------------------------

/**
 * How a program gets its client connections.
 *
 * @category models
 * @since 0.1.0
 */
export interface Client {
  readonly connect: (
    url: string | URL,
    options?: ConnectOptions
  ) => Effect.Effect<Connection.Connection["Service"], ConnectError, Scope.Scope>
}

/**
 * The client in use: one over Node's sockets, unless a Layer says otherwise.
 *
 * **Example** (A client without a network, for a test)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Connection, Transport, WebSocketClient } from "effect-ws"
 *
 * const inMemory = (transport: Transport.Transport["Service"]) =>
 *   Layer.succeed(WebSocketClient.WebSocketClient, {
 *     connect: (_url, options) => Connection.make(transport, { ...options, role: "client" })
 *   })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export const WebSocketClient: Context.Reference<Client> = Context.Reference<Client>("effect-ws/WebSocketClient", {
  defaultValue: () => ({ connect: connectOverNode })
})

/**
 * Connects to a server. The connection lives in the Scope; closing it closes
 * the connection. When this fails or is interrupted, the socket is gone.
 *
 * @category constructors
 * @since 0.1.0
 */
export const connect = (
  url: string | URL,
  options?: ConnectOptions
): Effect.Effect<Connection.Connection["Service"], ConnectError, Scope.Scope> =>
  Effect.flatMap(WebSocketClient, (client) => observe(url, options, client.connect))

const defaultHandshakeTimeout = Duration.seconds(10)

const connectOverNode = Effect.fnUntraced(function*(
  url: string | URL,
  options: ConnectOptions = {}
): Effect.fn.Return<Connection.Connection["Service"], ConnectError, Scope.Scope> {
  const policy = yield* Handshake.Handshake
  const target = yield* Effect.fromResult(Handshake.parseUrl(url))
  const extensions = options.extensions ?? []
  const request = yield* Effect.fromResult(
    Handshake.makeRequest(target, policy.makeKey(), { ...options, extensions: Extension.offer(extensions) })
  )
  const duration = Duration.fromInputUnsafe(options.handshakeTimeout ?? defaultHandshakeTimeout)
  const shown = `${target.protocol}//${target.host}${target.pathname}`

  return yield* Effect.uninterruptibleMask((restore) => {
    const attempt: Attempt = { http: undefined, socket: undefined }
    return restore(
      exchange(attempt, target, request, options).pipe(
        Effect.mapError((cause) => new ConnectFailed({ url: shown, code: cause.code, cause })),
        Effect.flatMap((response) =>
          Effect.flatMap(Effect.fromResult(Handshake.readResponse(request, response)), orFail)
        ),
        Effect.filterOrFail(
          () => attempt.socket !== undefined,
          // Not every Node takes a value with a tab behind it for an upgrade, and hands a socket over.
          ({ headers }) => new InvalidConnectionHeader({ value: headers["connection"] })
        ),
        Effect.flatMap((accepted) =>
          Effect.map(
            Effect.fromResult(Extension.confirm(extensions, accepted.extensions)),
            (agreed) => ({ accepted, agreed })
          )
        ),
        Effect.timeoutOrElse({
          duration,
          orElse: () => Effect.fail(new HandshakeTimeout({ url: shown, duration }))
        })
      )
    ).pipe(
      Effect.onError(() => Effect.sync(() => abandon(attempt))),
      Effect.flatMap(({ accepted: { headers, protocol }, agreed }) =>
        Connection.make(fromDuplex(attempt.socket!, attempt.head), {
          ...options,
          role: "client",
          opening: { request, responseHeaders: headers, subprotocol: protocol },
          agreed
        })
      )
    )
  })
})

/** What may have to be cleared away when a handshake comes to nothing. */
interface Attempt {
  http: Http.ClientRequest | undefined
  socket: Duplex | undefined
  head?: Buffer
}

const abandon = ({ http, socket }: Attempt): void => {
  http?.destroy()
  socket?.destroy()
}

interface Response {
  readonly status: number
  readonly rawHeaders: Handshake.RawHeaders
  readonly body: string
}

const maxBodySize = 64 * 1024

/** Sends the request, and answers what the server responds; the socket of an upgrade is in `attempt` then. */
const exchange = (
  attempt: Attempt,
  url: URL,
  request: Handshake.Request,
  options: ConnectOptions
): Effect.Effect<Response, NodeJS.ErrnoException> =>
  Effect.callback((resume) => {
    const respond = (response: Http.IncomingMessage, body: string) =>
      resume(Effect.succeed({ status: response.statusCode!, rawHeaders: pairs(response.rawHeaders), body }))
    const http = (request.secure ? Https : Http).request(requestOptions(url, request, options))
    attempt.http = http
    http.on("error", (error) => resume(Effect.fail(error)))
    http.on("upgrade", (response, socket, head) => {
      // Until there is a connection that listens, an error must not end the process.
      socket.on("error", constVoid)
      attempt.socket = socket
      attempt.head = head
      respond(response, "")
    })
    http.on("response", (response) => {
      const chunks: Array<string> = []
      let size = 0
      const done = () => respond(response, chunks.join("").slice(0, maxBodySize))
      response.setEncoding("utf8")
      response.on("data", (chunk: string) => {
        chunks.push(chunk)
        size += chunk.length
        if (size >= maxBodySize) done()
      })
      response.on("end", done)
      // A body that breaks off is reported as far as it came.
      response.on("error", done)
    })
    http.end()
  })

const requestOptions = (
  url: URL,
  request: Handshake.Request,
  { duplex, socketPath, tls }: ConnectOptions
): Https.RequestOptions => ({
  method: "GET",
  hostname: url.hostname.replace(/^\[|\]$/g, ""),
  // The scheme's own, where there is none.
  port: url.port,
  path: url.pathname + url.search,
  headers: request.rawHeaders.flat(),
  ...socketPath === undefined ? {} : { socketPath },
  // Each connection has a socket of its own, which no agent is to keep.
  ...duplex === undefined ? { agent: false } : { createConnection: () => duplex },
  ...request.secure ? tlsOptions(tls) : {}
})

const tlsOptions = (tls: TlsOptions = {}): Https.RequestOptions => {
  return {
    rejectUnauthorized: tls.rejectUnauthorized ?? true,
    ...tls.ca === undefined ? {} : { ca: typeof tls.ca === "string" ? tls.ca : [...tls.ca] },
    ...tls.cert === undefined ? {} : { cert: tls.cert },
    ...tls.key === undefined ? {} : { key: disclose(tls.key) },
    ...tls.passphrase === undefined ? {} : { passphrase: disclose(tls.passphrase) },
    ...tls.servername === undefined ? {} : { servername: tls.servername }
  }
}

const orFail = (
  verdict: Handshake.Verdict
): Effect.Effect<Handshake.Accepted, HandshakeRedirected | HandshakeRejected> => {
  if (verdict._tag === "Accepted") return Effect.succeed(verdict)
  const { headers, status } = verdict
  switch (verdict._tag) {
    case "Redirect":
      return Effect.fail(new HandshakeRedirected({ status, headers, location: verdict.location }))
    case "Rejected":
      return Effect.fail(new HandshakeRejected({ status, headers, body: verdict.body }))
  }
}
