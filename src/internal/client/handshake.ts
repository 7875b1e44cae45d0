/** The client's opening handshake, and the redirects before it, over any way to exchange a request for a response. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { HandshakeInfo } from "../../Connection.ts"
import * as Extension from "../../Extension.ts"
import * as Handshake from "../../Handshake.ts"
import {
  type ConnectError,
  HandshakeRedirected,
  HandshakeRejected,
  InvalidConnectionHeader,
  type OptionsError,
  type Phase,
  type RedirectRefused,
  TooManyRedirects
} from "../../HandshakeError.ts"
import type { ConnectOptions } from "../../WebSocketClient.ts"
import { type Extensions, start as startExtensions } from "../connection/extensionPipeline.ts"
import { makeUpgradeRequest } from "../handshake/makeRequest.ts"
import { KeptHandshake } from "./keptHandshake.ts"
import { type Next, redirectTo } from "./redirects.ts"

/** What the handshake knows of an attempt to connect; the platform adds its sockets. */
export interface Attempt {
  /** As `parseUrl` has returned it. */
  url: URL
  phase: Phase
  /** The rejection, with the part of its body that was read, while the rest of the body is awaited. */
  rejection: (() => HandshakeRejected) | undefined
  /** Continues at another URL, and drops all that belongs to the last one. */
  redirect(url: URL): void
}

/** The head of a response, and what follows it: a body, or the stream of an upgrade. */
export interface Response<Upgrade> extends Handshake.ReceivedResponse {
  /** The request that it responds to. */
  readonly request: Handshake.Request
  readonly content:
    | { readonly _tag: "Body"; readonly text: () => string; readonly complete: Deferred.Deferred<void> }
    | { readonly _tag: "Upgrade"; readonly upgrade: Upgrade }
}

/** The same request for each version of HTTP. */
export interface Requests {
  readonly http1: Handshake.Request
  /** Undefined unless the options allow HTTP/2. */
  readonly http2: Handshake.Request | undefined
}

/** Sends one of the requests to the attempt's URL, and returns the response as soon as its head was received. */
export type Exchange<Upgrade> = (
  requests: Requests,
  options: ConnectOptions
) => Effect.Effect<Response<Upgrade>, ConnectError, Scope.Scope>

/** All that a handshake decides about the connection. */
export interface Negotiated<Upgrade> {
  readonly upgrade: Upgrade
  readonly handshake: HandshakeInfo
  readonly negotiated: ReadonlyArray<Extension.Negotiated>
  readonly extensions: Extensions | undefined
}

/** Exchanges requests for responses until a server accepts, rejects, or redirects too often. */
export const negotiate = <Upgrade>(
  attempt: Attempt,
  options: ConnectOptions,
  exchange: Exchange<Upgrade>
): Effect.Effect<Negotiated<Upgrade>, ConnectError, Scope.Scope> =>
  Effect.flatMap(Handshake.HandshakePolicy, ({ makeKey }) => {
    const ask = (current: ConnectOptions, redirects: number): ReturnType<typeof negotiate<Upgrade>> => {
      const requests = makeRequests(attempt.url, makeKey, current)
      if (Result.isFailure(requests)) return Effect.fail(requests.failure)
      return Effect.flatMap(exchange(requests.success, current), (response) => {
        const { httpVersion, rawHeaders, status } = response
        const verdict = Handshake.readResponse(response.request, { status, httpVersion, rawHeaders, url: attempt.url })
        if (Result.isFailure(verdict)) return Effect.fail(verdict.failure)
        if (verdict.success._tag === "Accepted") return accept(attempt, options, response, verdict.success)
        if (verdict.success._tag === "Rejected") return reject(attempt, response, verdict.success)
        const next = follow(verdict.success, attempt.url, current, redirects)
        if (Result.isFailure(next)) return Effect.fail(next.failure)
        attempt.redirect(next.success.url)
        return ask(next.success.options, redirects + 1)
      })
    }
    return ask(options, 0)
  })

const makeRequests = (
  url: URL,
  makeKey: () => string,
  { extensions = [], headers, http2, protocols }: ConnectOptions
): Result.Result<Requests, OptionsError> => {
  const offer = { protocols, headers, extensions: Extension.offer(extensions) }
  const upgrade = makeUpgradeRequest(url, makeKey(), offer)
  if (Result.isFailure(upgrade)) return Result.fail(upgrade.failure)
  const http1 = upgrade.success
  return http2 === undefined
    ? Result.succeed({ http1, http2 })
    : Result.map(Handshake.makeConnectRequest(url, offer), (connect) => ({ http1, http2: connect }))
}

/** Returns where a redirect leads, and the options for it, or why it is not followed. */
const follow = (
  { headers, location, rawHeaders, status }: Handshake.Redirect,
  from: URL,
  options: ConnectOptions,
  redirects: number
): Result.Result<Next, HandshakeRedirected | RedirectRefused | TooManyRedirects> => {
  const { maxRedirects = 0 } = options
  if (maxRedirects === 0) return Result.fail(new HandshakeRedirected({ status, headers, rawHeaders, location }))
  if (redirects === maxRedirects) return Result.fail(new TooManyRedirects({ maxRedirects, location }))
  return redirectTo(location, from, options)
}

/** Agrees to what the server has accepted, and starts the extensions. */
const accept = <Upgrade>(
  attempt: Attempt,
  { extensions = [], maxMessageSize }: ConnectOptions,
  { content, request }: Response<Upgrade>,
  accepted: Handshake.Accepted
): Effect.Effect<Negotiated<Upgrade>, ConnectError, Scope.Scope> => {
  // Some versions of Node do not treat a Connection header with a trailing tab as an upgrade.
  if (content._tag === "Body") {
    return Effect.fail(new InvalidConnectionHeader({ value: accepted.headers["connection"] }))
  }
  const confirmed = Extension.confirm(extensions, accepted.extensions)
  if (Result.isFailure(confirmed)) return Effect.fail(confirmed.failure)
  attempt.phase = "extensions"
  const negotiated = confirmed.success
  const handshake = new KeptHandshake(request, accepted)
  return Effect.map(
    startExtensions(negotiated, maxMessageSize),
    (started) => ({ upgrade: content.upgrade, handshake, negotiated, extensions: started })
  )
}

/** Fails with the rejection once its body is complete. If the handshake times out before, it fails with a part of it. */
const reject = Effect.fnUntraced(function*<Upgrade>(
  attempt: Attempt,
  { content }: Response<Upgrade>,
  { headers, rawHeaders, status }: Handshake.Rejected
): Effect.fn.Return<never, HandshakeRejected> {
  const body = content._tag === "Body" ? content.text : () => ""
  attempt.rejection = () => new HandshakeRejected({ status, headers, rawHeaders, body: body() })
  if (content._tag === "Body") yield* Deferred.await(content.complete)
  return yield* Effect.fail(attempt.rejection())
})
