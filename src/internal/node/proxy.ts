/** Tunnels through HTTP proxies, opened with CONNECT (RFC 9110 §9.3.6). */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Buffer } from "node:buffer"
import type * as Http from "node:http"
import type { Duplex } from "node:stream"
import * as Handshake from "../../Handshake.ts"
import { type ConnectFailed, type InvalidHeader, InvalidOption, ProxyRejected } from "../../HandshakeError.ts"
import type { ConnectOptions, ProxyOptions } from "../../WebSocketClient.ts"
import * as builtins from "../runtime/builtins.ts"
import type { Attempt } from "./attempt.ts"
import { closeError, dial, secure } from "./dial.ts"
import { checkedHeaders } from "../protocol/headerSyntax.ts"
import { toHeaderPairs } from "./httpMessage.ts"
import { unredact } from "./tlsCredentials.ts"
import { secureOptions } from "./tls.ts"
import { basicAuthorization, hasEncodedCredentials, hostOf, parse, portOf, redact, shown } from "../protocol/url.ts"

const invalid = (problem: string) => Result.fail(new InvalidOption({ option: "proxy.url", problem }))

/** Parses the URL of a proxy. */
export const parseProxy = ({ url }: ProxyOptions): Result.Result<URL, InvalidOption> => {
  const text = url instanceof URL ? url.href : unredact(url)
  const parsed = parse(text)
  if (parsed === undefined) return invalid(`expected an absolute URL, got "${redact(text)}"`)
  if (parsed.protocol !== "http:" && parsed.protocol !== "https:") {
    return invalid(`expected http or https, got "${redact(text)}"; for SOCKS, use an agent`)
  }
  if (!hasEncodedCredentials(parsed)) {
    return invalid("expected a percent-encoded user name and password; write % as %25")
  }
  return Result.succeed(parsed)
}

/** Opens a tunnel through a proxy to the attempt's URL. */
export const tunnel = Effect.fnUntraced(function*(
  attempt: Attempt,
  proxy: ProxyOptions,
  options: ConnectOptions
): Effect.fn.Return<Duplex, ConnectFailed | InvalidHeader | InvalidOption | ProxyRejected> {
  const failed = (cause: Error) => attempt.failed(cause)
  const url = yield* Effect.fromResult(parseProxy(proxy))
  const tls = url.protocol === "https:"
    ? yield* Effect.fromResult(secureOptions("proxy.tls", url, proxy.tls))
    : undefined
  const target = { host: hostOf(url), port: portOf(url), phase: "proxy" } as const
  const socket = yield* Effect.mapError(dial(attempt, target, options), failed)
  const stream = tls === undefined ? socket : yield* Effect.mapError(secure(attempt, socket, tls), failed)
  const connect = yield* Effect.fromResult(connectRequest(attempt.url, url, proxy))
  const { head, response } = yield* Effect.mapError(sendConnect(attempt, stream, connect), failed)
  const { rawHeaders: flat, statusCode: status = 0 } = response
  if (status < 200 || status > 299) {
    const rawHeaders = toHeaderPairs(flat)
    const headers = Handshake.foldHeaders(rawHeaders)
    return yield* Effect.fail(new ProxyRejected({ url: shown(attempt.url), status, headers, rawHeaders }))
  }
  // In TLS and in HTTP, the client sends first.
  if (head.length > 0) {
    return yield* Effect.fail(failed(new Error("expected nothing behind the proxy's response, got data")))
  }
  return stream
})

/** Headers that the CONNECT request sets itself. */
const connectHeaders = new Set(["host", "connection", "content-length", "transfer-encoding"])

const connectRequest = (
  server: URL,
  proxy: URL,
  { headers }: ProxyOptions
): Result.Result<Http.RequestOptions, InvalidHeader> =>
  Result.map(checkedHeaders(headers, connectHeaders), (own) => {
    const authority = `${server.hostname}:${portOf(server)}`
    const credentials = basicAuthorization(proxy)
    const hasOwnCredentials = own.some(([name]) => name.toLowerCase() === "proxy-authorization")
    return {
      method: "CONNECT",
      path: authority,
      headers: [
        "Host",
        authority,
        "Connection",
        "keep-alive",
        ...credentials === undefined || hasOwnCredentials ? [] : ["Proxy-Authorization", credentials],
        ...own.flat()
      ]
    }
  })

interface ConnectResponse {
  readonly response: Http.IncomingMessage
  readonly head: Buffer
}

const sendConnect = (
  attempt: Attempt,
  socket: Duplex,
  options: Http.RequestOptions
): Effect.Effect<ConnectResponse, Error> =>
  Effect.callback((resume) => {
    if (socket.destroyed) return resume(Effect.fail(closeError(socket)))
    attempt.http = builtins.http().request({ ...options, createConnection: () => socket })
    attempt.http.on("error", (error) => resume(Effect.fail(error)))
    attempt.http.on("connect", (response, _, head) => resume(Effect.succeed({ response, head })))
    attempt.http.end()
  })
