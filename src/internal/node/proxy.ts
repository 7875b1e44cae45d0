/** A way through an HTTP proxy: a tunnel that CONNECT opens (RFC 9110 §9.3.6). */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Buffer } from "node:buffer"
import * as Http from "node:http"
import type { Duplex } from "node:stream"
import * as Handshake from "../../Handshake.ts"
import { type ConnectFailed, type InvalidHeader, InvalidOption, ProxyRejected } from "../../HandshakeError.ts"
import type { ConnectOptions, ProxyOptions } from "../../WebSocketClient.ts"
import { type Attempt, dial, lossOf, secure } from "./dial.ts"
import { checkedHeaders } from "../protocol/headerSyntax.ts"
import { toHeaderPairs, unredact } from "./http1Upgrade.ts"
import { secureOptions } from "./tls.ts"
import { basicAuthorization, hasEncodedCredentials, hostOf, parse, portOf, redact, shown } from "../protocol/url.ts"

const invalid = (problem: string) => Result.fail(new InvalidOption({ option: "proxy.url", problem }))

/** The URL of a proxy. */
export const parseProxy = ({ url }: ProxyOptions): Result.Result<URL, InvalidOption> => {
  const text = url instanceof URL ? url.href : unredact(url)
  const parsed = parse(text)
  if (parsed === undefined) return invalid(`expected an absolute URL, got "${redact(text)}"`)
  if (parsed.protocol !== "http:" && parsed.protocol !== "https:") {
    return invalid(`expected http or https, got "${redact(text)}"; for SOCKS, use an agent`)
  }
  if (!hasEncodedCredentials(parsed)) return invalid("its user name or password is not percent-encoded")
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
  const way = tls === undefined ? socket : yield* Effect.mapError(secure(attempt, socket, tls), failed)
  const connect = yield* Effect.fromResult(request(attempt.url, url, proxy))
  const { head, response } = yield* Effect.mapError(ask(attempt, way, connect), failed)
  const { rawHeaders: flat, statusCode: status = 0 } = response
  if (status < 200 || status > 299) {
    const rawHeaders = toHeaderPairs(flat)
    const headers = Handshake.foldHeaders(rawHeaders)
    return yield* Effect.fail(new ProxyRejected({ url: shown(attempt.url), status, headers, rawHeaders }))
  }
  // Neither TLS nor HTTP begins with the server.
  if (head.length > 0) return yield* Effect.fail(failed(new Error("the proxy sent data that belongs to no response")))
  return way
})

/** What CONNECT says itself. */
const connectHeaders = new Set(["host", "connection", "content-length", "transfer-encoding"])

const request = (
  server: URL,
  proxy: URL,
  { headers }: ProxyOptions
): Result.Result<Http.RequestOptions, InvalidHeader> =>
  Result.map(checkedHeaders(headers, connectHeaders), (own) => {
    const authority = `${server.hostname}:${portOf(server)}`
    const credentials = basicAuthorization(proxy)
    const given = own.some(([name]) => name.toLowerCase() === "proxy-authorization")
    return {
      method: "CONNECT",
      path: authority,
      headers: [
        "Host",
        authority,
        "Connection",
        "keep-alive",
        ...credentials === undefined || given ? [] : ["Proxy-Authorization", credentials],
        ...own.flat()
      ]
    }
  })

interface Answer {
  readonly response: Http.IncomingMessage
  readonly head: Buffer
}

const ask = (attempt: Attempt, socket: Duplex, options: Http.RequestOptions): Effect.Effect<Answer, Error> =>
  Effect.callback((resume) => {
    if (socket.destroyed) return resume(Effect.fail(lossOf(socket)))
    attempt.http = Http.request({ ...options, createConnection: () => socket })
    attempt.http.on("error", (error) => resume(Effect.fail(error)))
    attempt.http.on("connect", (response, _, head) => resume(Effect.succeed({ response, head })))
    attempt.http.end()
  })
