/** Opens a socket to a server on one of the ways that the options allow. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Duplex } from "node:stream"
import type * as Tls from "node:tls"
import type { ConnectFailed, InvalidHeader, InvalidOption, ProxyRejected } from "../../HandshakeError.ts"
import type { ConnectOptions } from "../../WebSocketClient.ts"
import { hostOf, portOf } from "../protocol/url.ts"
import type { Attempt } from "./attempt.ts"
import { dial, dialPath, ready, secure } from "./dial.ts"
import { isEncrypted } from "./httpMessage.ts"
import { tunnel } from "./proxy.ts"

export type OpenError = ConnectFailed | InvalidHeader | InvalidOption | ProxyRejected

/** Opens a socket to the server: with TLS for wss, and through the proxy if there is one. */
export const openSocket = (
  attempt: Attempt,
  options: ConnectOptions,
  tls: Tls.ConnectionOptions | undefined
): Effect.Effect<Duplex, OpenError, Scope.Scope> => {
  const plain = openPlain(attempt, options)
  if (tls === undefined) return plain
  return Effect.flatMap(plain, (socket) => {
    if (options.duplex !== undefined && isEncrypted(socket)) return Effect.succeed(socket)
    attempt.phase = "tls"
    return Effect.mapError(secure(attempt, socket, tls), (cause) => attempt.failed(cause))
  })
}

/** Opens the way to the server, before TLS. */
const openPlain = (
  attempt: Attempt,
  options: ConnectOptions
): Effect.Effect<Duplex, OpenError, Scope.Scope> => {
  const { duplex, proxy, socketPath } = options
  const { url } = attempt
  if (proxy !== undefined) return tunnel(attempt, proxy, options)
  return Effect.mapError(
    duplex !== undefined
      ? programStream(attempt, duplex)
      : socketPath === undefined
      ? dial(attempt, { host: hostOf(url), port: portOf(url) }, options)
      : dialPath(attempt, socketPath),
    (cause) => attempt.failed(cause)
  )
}

/** Returns the stream of the `duplex` option, once it is connected. */
const programStream = (
  attempt: Attempt,
  duplex: NonNullable<ConnectOptions["duplex"]>
): Effect.Effect<Duplex, Error, Scope.Scope> =>
  Effect.suspend(() => {
    attempt.phase = "duplex"
    const stream = typeof duplex === "function" ? duplex(attempt.url) : Effect.succeed(duplex)
    // An interruption in between would leave a stream without an owner.
    const owned = Effect.uninterruptibleMask((restore) => Effect.map(restore(stream), (made) => attempt.own(made)))
    return Effect.flatMap(owned, ready)
  })
