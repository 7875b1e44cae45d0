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
export const openSocket = Effect.fnUntraced(function*(
  attempt: Attempt,
  options: ConnectOptions,
  tls: Tls.ConnectionOptions | undefined
): Effect.fn.Return<Duplex, OpenError, Scope.Scope> {
  const { duplex, proxy, socketPath } = options
  const { url } = attempt
  const failed = (cause: Error) => attempt.failed(cause)
  const socket = yield* duplex !== undefined
    ? Effect.mapError(programStream(attempt, duplex), failed)
    : proxy !== undefined
    ? tunnel(attempt, proxy, options)
    : Effect.mapError(
      socketPath === undefined
        ? dial(attempt, { host: hostOf(url), port: portOf(url) }, options)
        : dialPath(attempt, socketPath),
      failed
    )
  if (tls === undefined || (duplex !== undefined && isEncrypted(socket))) return socket
  attempt.phase = "tls"
  return yield* Effect.mapError(secure(attempt, socket, tls), failed)
})

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
