/** Which pages may connect to a server (RFC 6455 §10.2). */
import * as Result from "effect/Result"
import type { OriginPolicy, Request } from "../../Handshake.ts"
import { OriginNotAllowed } from "../../HandshakeError.ts"

export const checkOrigin = (request: Request, policy: OriginPolicy): Result.Result<void, OriginNotAllowed> => {
  const { host, origin } = request
  if (origin === undefined || policy === "any") return Result.void
  const allowed = policy === "same-origin" ? isSameOrigin(origin, request) : policy.includes(origin)
  return allowed ? Result.void : Result.fail(new OriginNotAllowed({ origin, host }))
}

/** Whether an origin (RFC 6454 §6.2: scheme, host and port) is that of the request, as far as the server knows it. */
const isSameOrigin = (origin: string, { host, secure }: Request): boolean => {
  const scheme = secure ? /^https:/ : /^https?:/
  if (!scheme.test(origin) || !URL.canParse(origin)) return false
  const url = new URL(origin)
  const own = `${url.protocol}//${host}`
  return url.origin === origin && URL.canParse(own) && new URL(own).host === url.host
}
