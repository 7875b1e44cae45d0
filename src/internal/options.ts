/**
 * Finds invalid values of options, before anything is begun with them. Each rule
 * here is also in the docstring of its option. The types already exclude most
 * values; NaN they do not, which `Number` makes of most texts, and which would turn
 * a limit off; nor a time of 0, which turns nothing off.
 */
import { Buffer } from "node:buffer"
import { platform } from "node:process"
import type { OriginPolicy } from "../Handshake.ts"
import { InvalidOption } from "../HandshakeError.ts"
import type { Faults } from "../Testing.ts"
import type { ListenOptions, ServeOptions } from "../WebSocketServer.ts"
import { checkConnection } from "./connection/options.ts"
import { parse } from "./protocol/url.ts"
import {
  atLeast,
  type Checked,
  integerBetween,
  invalidOption,
  nonNegativeDuration,
  positiveDuration
} from "./runtime/optionChecks.ts"

/** An origin that no browser sends lets nobody in. */
const origin = (policy: OriginPolicy | undefined): Checked => {
  if (policy === undefined || typeof policy === "string") return undefined
  for (const listed of policy) {
    if (listed === "null") continue
    const url = /^[a-z][a-z\d+.-]*:\/\/[^*]*$/i.test(listed) ? parse(listed) : undefined
    if (url === undefined) {
      return new InvalidOption({ option: "origin", problem: `"${listed}" is none, such as "https://example.com"` })
    }
    const { host, origin: known, protocol } = url
    // Schemes that are not the web's own have origins, too: of an extension, of an app, "file://".
    const sent = known === "null" ? `${protocol}//${host}` : known
    if (sent !== listed) {
      return new InvalidOption({ option: "origin", problem: `browsers say "${sent}" for "${listed}"` })
    }
  }
  return undefined
}

export const checkServe = (options: Omit<ServeOptions, "decide">): Checked =>
  checkConnection(options) ??
    origin(options.origin) ??
    atLeast(0, "maxConnections", options.maxConnections) ??
    atLeast(0, "maxConnectionsPerAddress", options.maxConnectionsPerAddress) ??
    nonNegativeDuration("handlerTimeout", options.handlerTimeout) ??
    nonNegativeDuration("shutdownTimeout", options.shutdownTimeout)

/** The most bytes that an address has room for (`sun_path`, without the NUL behind it). Windows has pipes instead. */
const longestPath = platform === "win32" ? Infinity : platform === "linux" ? 107 : 103

/** The path of a Unix socket. Node 20 cuts a longer one silently, and then listens elsewhere. */
export const unixPath = (option: string, path: string | undefined): Checked => {
  if (path === undefined) return undefined
  const isAbstract = platform === "linux" && path.startsWith("\0")
  const name = isAbstract ? path.slice(1) : path
  const bytes = Buffer.byteLength(name)
  return bytes > 0 && bytes <= longestPath && (isAbstract || !name.includes("\0"))
    ? undefined
    : invalidOption(option, `a path of 1 to ${longestPath} bytes, and none of them NUL`, path)
}

export const checkListen = (
  { backlog, handshakeTimeout, maxHeaderSize, maxPendingHandshakes, path, port, socketPath }: ListenOptions
): Checked =>
  integerBetween(0, 65_535, "port", port) ??
    integerBetween(1, 2 ** 31 - 1, "backlog", backlog) ??
    (path === undefined || /^\/[^?#]*$/.test(path)
      ? undefined
      : new InvalidOption({
        option: "path",
        problem: `"${path}" is none: it begins with a slash, and has no query`
      })) ??
    unixPath("socketPath", socketPath) ??
    positiveDuration("handshakeTimeout", handshakeTimeout) ??
    atLeast(1, "maxHeaderSize", maxHeaderSize) ??
    atLeast(1, "maxPendingHandshakes", maxPendingHandshakes)

export const checkFaults = ({ breakAfter, chunkSize, latency }: Faults): Checked =>
  nonNegativeDuration("latency", latency) ?? atLeast(1, "chunkSize", chunkSize) ?? atLeast(0, "breakAfter", breakAfter)
