/** Opens a connection over a WebSocket object. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ConnectOptions, WebSocketConstructor } from "../../BrowserClient.ts"
import { type ConnectError, ConnectFailed, HandshakeTimeout, InvalidOption, InvalidUrl } from "../../HandshakeError.ts"
import type { MessageConnection } from "../../MessageConnection.ts"
import { offerProblem } from "../handshake/offeredProtocols.ts"
import { shown } from "../protocol/url.ts"
import { defaultHandshakeTimeout } from "../runtime/defaults.ts"
import { toError } from "../runtime/describe.ts"
import { Timers } from "../runtime/timers.ts"
import { BrowserConnection } from "./connection.ts"
import { checkConnect } from "./options.ts"
import { pageUrl, resolveTarget } from "./target.ts"

export const connect = (
  construct: WebSocketConstructor,
  url: string | URL,
  options: ConnectOptions = {}
): Effect.Effect<MessageConnection, ConnectError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const target = yield* Effect.fromResult(resolveTarget(url))
      const { protocols = [] } = options
      const problem = checkConnect(options) ?? offerProblem(protocols)
      if (problem !== undefined) return yield* Effect.fail(problem)
      const timers = Timers.of(yield* Effect.context<never>())
      const socket = yield* Effect.try({
        try: () => construct(target.href, protocols),
        catch: (cause) => constructError(target, cause)
      })
      const connection = new BrowserConnection(socket, timers, options)
      yield* restore(opening(connection, target, options)).pipe(
        Effect.onError(() => Effect.sync(() => connection.abandon()))
      )
      yield* Effect.addFinalizer((exit) => connection.closeOnExit(exit))
      return connection
    })
  )

/** Waits until the connection is open. */
const opening = (
  { opened }: BrowserConnection,
  url: URL,
  { handshakeTimeout = defaultHandshakeTimeout }: ConnectOptions
): Effect.Effect<void, ConnectFailed | HandshakeTimeout> => {
  const duration = Duration.fromInputUnsafe(handshakeTimeout)
  const place = { url: shown(url), phase: "browser" as const, addresses: [] }
  return Effect.timeoutOrElse(Effect.mapError(Deferred.await(opened), (cause) => connectFailed(url, cause)), {
    duration,
    orElse: () => Effect.fail(new HandshakeTimeout({ ...place, duration }))
  })
}

const connectFailed = (url: URL, cause: Error): ConnectFailed => {
  const insecure = url.protocol === "ws:" && pageUrl()?.startsWith("https:") === true
  return new ConnectFailed({
    url: shown(url),
    phase: "browser",
    code: undefined,
    addresses: [],
    cause: insecure ? new Error(`${cause.message}; a page of https can only open wss URLs`, { cause }) : cause
  })
}

/** The constructor throws for a URL that the page may not open, or an `InvalidOption` if there is no WebSocket. */
const constructError = (url: URL, cause: unknown): ConnectError => {
  if (cause instanceof InvalidOption) return cause
  const error = toError(cause)
  return error.name === "SecurityError" || error.name === "SyntaxError"
    ? new InvalidUrl({ url: shown(url), problem: error.message })
    : connectFailed(url, error)
}
