/** Which connections of a client may share an HTTP/2 session. */
import type { ConnectOptions, ProxyOptions, TlsOptions } from "../../WebSocketClient.ts"
import { hostOf, portOf } from "../protocol/url.ts"
import { crypto } from "../runtime/builtins.ts"
import { unredact } from "./tlsCredentials.ts"

const ids = new WeakMap<object, number>()
let lastId = 0

/** A number for each object: functions and streams are the same only if they are one. */
const idOf = (value: object | undefined): number => {
  if (value === undefined) return 0
  const known = ids.get(value)
  if (known !== undefined) return known
  ids.set(value, ++lastId)
  return lastId
}

/**
 * Returns the same text for URLs and options that lead to one server on one way, with
 * one identity: only then may a session be shared. It is a hash, because the options
 * have secrets.
 */
export const sessionKey = (url: URL, { duplex, lookup, proxy, socketPath, tls }: ConnectOptions): string =>
  crypto().createHash("sha256").update(JSON.stringify([
    url.protocol,
    hostOf(url),
    portOf(url),
    url.protocol === "wss:" ? tlsParts(tls) : [],
    proxyParts(proxy),
    socketPath,
    idOf(duplex),
    idOf(lookup)
  ])).digest("base64")

const tlsParts = ({ ca, cert, key, passphrase, rejectUnauthorized = true, servername }: TlsOptions = {}) => [
  ca,
  cert,
  key === undefined ? undefined : unredact(key),
  passphrase === undefined ? undefined : unredact(passphrase),
  servername,
  rejectUnauthorized
]

const proxyParts = (proxy: ProxyOptions | undefined) =>
  proxy === undefined ? [] : [
    proxy.url instanceof URL ? proxy.url.href : unredact(proxy.url),
    Object.entries(proxy.headers ?? {}),
    tlsParts(proxy.tls)
  ]
