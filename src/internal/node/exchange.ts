/** One exchange over Node's HTTP client: a request, and the response to it. */
import * as Effect from "effect/Effect"
import type * as Http from "node:http"
import type { Socket } from "node:net"
import type { Duplex } from "node:stream"
import type * as Tls from "node:tls"
import * as Handshake from "../../Handshake.ts"
import { type ConnectFailed, InvalidOption, type Phase, ProxyRejected } from "../../HandshakeError.ts"
import type { Response } from "../client/handshake.ts"
import { hostOf, portOf, shown } from "../protocol/url.ts"
import * as builtins from "../runtime/builtins.ts"
import { codeOf, reasonOf } from "../runtime/describe.ts"
import type { Attempt } from "./attempt.ts"
import { closeError, readyEvent } from "./dial.ts"
import { headerLinesKept, isEncrypted, isTruncated, toHeaderPairs } from "./httpMessage.ts"
import { ResponseBody } from "./responseBody.ts"

export interface Upgrade {
  readonly socket: Duplex
  /** Bytes that the server sent right behind the response. */
  readonly head: Uint8Array
}

type Content = Response<Upgrade>["content"]

/** What carries the request: an open socket to the server, or an agent that makes one. */
export type Carrier =
  | { readonly socket: Duplex; readonly agent?: undefined }
  | { readonly agent: Http.Agent; readonly tls: Tls.ConnectionOptions | undefined; readonly socket?: undefined }

/** Sends the request, and returns the response as soon as its head was received. */
export const sendRequest = (
  attempt: Attempt,
  request: Handshake.Request,
  carrier: Carrier
): Effect.Effect<Response<Upgrade>, ConnectFailed | InvalidOption | ProxyRejected> =>
  Effect.callback((resume) => {
    const { agent, socket } = carrier
    if (socket?.destroyed === true) return resume(Effect.fail(attempt.failed(closeError(socket))))
    attempt.phase = agent === undefined ? "response" : "agent"
    let http: Http.ClientRequest
    try {
      http = makeRequest(attempt.url, request, carrier)
    } catch (error) {
      return resume(Effect.fail(requestError(attempt, error)))
    }
    attempt.http = http
    http.maxHeadersCount = headerLinesKept
    const isReplay = agent === undefined ? () => false : watchAgentSocket(attempt, http, request.secure)
    const respond = (response: Http.IncomingMessage, content: Content) =>
      resume(
        isTruncated(response, http)
          ? Effect.fail(attempt.failed(tooManyHeaders()))
          : isReplay()
          ? Effect.fail(proxyRejected(attempt.url, response))
          : Effect.succeed({
            request,
            status: response.statusCode!,
            httpVersion: response.httpVersion,
            rawHeaders: toHeaderPairs(response.rawHeaders),
            content
          })
      )
    http.on("error", (error) => resume(Effect.fail(attempt.failed(error))))
    http.on("upgrade", (response, upgraded, head) =>
      respond(response, { _tag: "Upgrade", upgrade: { socket: attempt.own(upgraded), head } }))
    http.on("response", (response) =>
      respond(response, new ResponseBody(response)))
    http.end()
  })

const makeRequest = (url: URL, { rawHeaders, secure }: Handshake.Request, carrier: Carrier): Http.ClientRequest =>
  (carrier.agent !== undefined && secure ? builtins.https() : builtins.http()).request({
    host: hostOf(url),
    port: portOf(url),
    path: url.pathname + url.search,
    headers: rawHeaders.flat(),
    ...carrier.agent === undefined
      ? { createConnection: () => carrier.socket }
      : { ...carrier.tls, agent: carrier.agent }
  })

/** Node throws these for an agent that does not support the scheme, or is no agent. */
const agentErrors: ReadonlySet<string | undefined> = new Set(["ERR_INVALID_PROTOCOL", "ERR_INVALID_ARG_TYPE"])

const requestError = (attempt: Attempt, cause: unknown): ConnectFailed | InvalidOption =>
  agentErrors.has(codeOf(cause))
    ? new InvalidOption({ option: "agent", problem: reasonOf(cause) })
    : attempt.failed(cause)

// -----------------------------------------------------------------------------
// Agents
// -----------------------------------------------------------------------------

/**
 * Follows the socket of an agent. Returns whether it replays the response of the
 * agent's proxy: then the socket is not writable, and the response is not the
 * server's.
 */
const watchAgentSocket = (attempt: Attempt, http: Http.ClientRequest, secured: boolean): () => boolean => {
  let isReplay = false
  http.once("socket", (socket) => {
    isReplay = !socket.writable
    if (isReplay) return
    if (!secured || isEncrypted(socket)) return trackPhase(attempt, socket, secured)
    // Before anything is written to it.
    http.destroy(new Error("expected a TLS socket of the agent for a wss URL, got one without TLS"))
  })
  return () => isReplay
}

/** Keeps the phase of an attempt while an agent's socket connects. */
const trackPhase = (attempt: Attempt, socket: Socket, secured: boolean): void => {
  const enter = (phase: Phase) => () => {
    attempt.phase = phase
  }
  socket.once("lookup", enter("connect"))
  socket.once("connect", enter(secured ? "tls" : "response"))
  socket.once("secureConnect", enter("response"))
  if (socket.connecting) attempt.phase = builtins.net().isIP(hostOf(attempt.url)) === 0 ? "lookup" : "connect"
  else attempt.phase = readyEvent(socket) === undefined ? "response" : "tls"
}

const proxyRejected = (url: URL, response: Http.IncomingMessage): ProxyRejected => {
  const rawHeaders = toHeaderPairs(response.rawHeaders)
  const headers = Handshake.foldHeaders(rawHeaders)
  return new ProxyRejected({ url: shown(url), status: response.statusCode!, headers, rawHeaders })
}

/** Node uses the same code for headers with too many bytes. */
const tooManyHeaders = (): NodeJS.ErrnoException =>
  Object.assign(new Error(`expected at most ${headerLinesKept - 1} header lines in the response, got more`), {
    code: "HPE_HEADER_OVERFLOW"
  })
