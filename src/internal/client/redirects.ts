/** Redirects of a handshake: which are followed, and what the next server may be told. */
import * as Result from "effect/Result"
import { parseUrl } from "../../Handshake.ts"
import { RedirectRefused } from "../../HandshakeError.ts"
import type { ConnectOptions } from "../../WebSocketClient.ts"

/** Headers that are meant for one origin alone. */
const credentialHeaders = new Set(["authorization", "cookie", "host", "proxy-authorization"])

/** Where a redirect leads, and the options for that server. */
export interface Next {
  readonly url: URL
  readonly options: ConnectOptions
}

/**
 * Returns the URL of a redirect, and the options for it. Another origin gets no
 * credentials, and a chain that has left an origin does not get them back.
 */
export const redirectTo = (
  location: string,
  from: URL,
  options: ConnectOptions
): Result.Result<Next, RedirectRefused> => {
  const refused = (problem: string) => Result.fail(new RedirectRefused({ location, problem }))
  // A fragment is for the client, not for the server (RFC 9110 §10.2.2).
  const parsed = parseUrl(location.replace(/#.*$/s, ""))
  if (Result.isFailure(parsed)) return refused(parsed.failure.problem)
  const url = parsed.success
  if (from.protocol === "wss:" && url.protocol === "ws:") return refused("it leads from wss to ws")
  const { duplex, socketPath } = options
  if (duplex !== undefined && typeof duplex !== "function") {
    return refused(
      "the stream of the duplex option carries one request; pass a function that returns a stream for each"
    )
  }
  if (url.origin === from.origin) return Result.succeed({ url: withCredentials(url, from), options })
  if (socketPath !== undefined) return refused("the Unix socket of the socketPath option leads to one server only")
  return Result.succeed({ url, options: withoutCredentials(options) })
}

/** The user and password of the last URL, unless the Location has its own. */
const withCredentials = (url: URL, { password, username }: URL): URL => {
  if (url.username !== "" || url.password !== "") return url
  const next = new URL(url)
  next.username = username
  next.password = password
  return next
}

const withoutCredentials = (options: ConnectOptions): ConnectOptions => {
  const { headers = {}, tls } = options
  return {
    ...options,
    headers: Object.fromEntries(
      Object.entries(headers).filter(([name]) => !credentialHeaders.has(name.toLowerCase()))
    ),
    tls: { ca: tls?.ca, rejectUnauthorized: tls?.rejectUnauthorized }
  }
}
