/** The client's opening handshake, and the redirects before it, over any way to exchange a request for a response. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { HandshakeInfo } from "../../Connection.ts"
import * as Extension from "../../Extension.ts"
import * as Handshake from "../../Handshake.ts"
import {
  type ConnectError,
  HandshakeRedirected,
  HandshakeRejected,
  InvalidConnectionHeader,
  type Phase,
  TooManyRedirects
} from "../../HandshakeError.ts"
import type { ConnectOptions } from "../../WebSocketClient.ts"
import { type Extensions, start as startExtensions } from "../connection/extensionPipeline.ts"
import { redirectTo } from "./redirects.ts"

/** What the handshake knows of an attempt to connect; the platform adds its sockets. */
export interface Attempt {
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
export const negotiate = Effect.fnUntraced(function*<Upgrade>(
  attempt: Attempt,
  options: ConnectOptions,
  exchange: Exchange<Upgrade>
): Effect.fn.Return<Negotiated<Upgrade>, ConnectError, Scope.Scope> {
  const { extensions = [], maxRedirects = 0 } = options
  const { makeKey } = yield* Handshake.HandshakePolicy
  let currentOptions = options
  for (let redirects = 0;; redirects++) {
    const offer = { ...currentOptions, extensions: Extension.offer(extensions) }
    const http1 = yield* Effect.fromResult(Handshake.makeRequest(attempt.url, makeKey(), offer))
    const http2 = options.http2 === undefined
      ? undefined
      : yield* Effect.fromResult(Handshake.makeConnectRequest(attempt.url, offer))
    const response = yield* exchange({ http1, http2 }, currentOptions)
    const verdict = yield* Effect.fromResult(
      Handshake.readResponse(response.request, { ...response, url: attempt.url })
    )
    switch (verdict._tag) {
      case "Accepted":
        return yield* accept(attempt, options, response, verdict)
      case "Rejected":
        return yield* reject(attempt, response, verdict)
      case "Redirect": {
        const { headers, location, rawHeaders, status } = verdict
        if (maxRedirects === 0) {
          return yield* Effect.fail(new HandshakeRedirected({ status, headers, rawHeaders, location }))
        }
        if (redirects === maxRedirects) return yield* Effect.fail(new TooManyRedirects({ maxRedirects, location }))
        const next = yield* Effect.fromResult(redirectTo(location, attempt.url, currentOptions))
        attempt.redirect(next.url)
        currentOptions = next.options
      }
    }
  }
})

/** Agrees to what the server has accepted, and starts the extensions. */
const accept = Effect.fnUntraced(function*<Upgrade>(
  attempt: Attempt,
  { extensions = [], maxMessageSize }: ConnectOptions,
  { content, request }: Response<Upgrade>,
  { extensions: accepted, headers: responseHeaders, protocol: subprotocol, rawHeaders }: Handshake.Accepted
): Effect.fn.Return<Negotiated<Upgrade>, ConnectError, Scope.Scope> {
  // Some versions of Node do not treat a Connection header with a trailing tab as an upgrade.
  if (content._tag === "Body") {
    return yield* Effect.fail(new InvalidConnectionHeader({ value: responseHeaders["connection"] }))
  }
  const negotiated = yield* Effect.fromResult(Extension.confirm(extensions, accepted))
  attempt.phase = "extensions"
  const started = yield* startExtensions(negotiated, maxMessageSize)
  const handshake = { request, responseHeaders, rawResponseHeaders: rawHeaders, subprotocol }
  return { upgrade: content.upgrade, handshake, negotiated, extensions: started }
})

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
