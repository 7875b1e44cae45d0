/**
 * Options with values that nothing good can come of, found before anything is
 * begun with them. What the types rule out is not looked for; what they cannot
 * say is: NaN, which is what `Number` makes of a text that is none and which
 * would turn a limit off, and a time of 0, which is no way to say "off".
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type * as Connection from "../Connection.ts"
import type { OriginPolicy } from "../Handshake.ts"
import { InvalidOption } from "../HandshakeError.ts"
import type * as PerMessageDeflate from "../PerMessageDeflate.ts"
import type { ReconnectingOptions } from "../WebSocketClient.ts"
import type { ListenOptions, ServeOptions } from "../WebSocketServer.ts"

/** The first thing that is wrong, if something is. */
type Checked = InvalidOption | undefined

export const atLeast = (least: number, option: string, value: number | undefined): Checked =>
  value === undefined || value >= least
    ? undefined
    : new InvalidOption({ option, problem: `it is ${value}, and has to be ${least} or more; Infinity turns it off` })

const within = (least: number, most: number, option: string, value: number | undefined): Checked =>
  value === undefined || (Number.isInteger(value) && value >= least && value <= most)
    ? undefined
    : new InvalidOption({ option, problem: `it is ${value}, and has to be a whole number from ${least} to ${most}` })

/** How long something may take, which may be no time at all. */
export const duration = (option: string, value: Duration.Input | undefined): Checked => {
  const given = Duration.fromInput(value ?? 0)
  if (Option.isNone(given)) return new InvalidOption({ option, problem: "it is no duration" })
  return Duration.isNegative(given.value) ? new InvalidOption({ option, problem: "it is less than 0" }) : undefined
}

/** How long one waits, over and over or before the other end is given up. */
export const wait = (option: string, value: Duration.Input | undefined, off = "Infinity turns it off"): Checked => {
  const problem = duration(option, value)
  if (problem !== undefined || value === undefined || Duration.toMillis(value) > 0) return problem
  return new InvalidOption({ option, problem: `it is 0; ${off}` })
}

const keepalive = (value: Connection.Options["keepalive"]): Checked =>
  value === undefined || value === false
    ? undefined
    : wait("keepalive.interval", value.interval, "keepalive: false sends no pings") ??
      wait("keepalive.timeout", value.timeout)

export const checkConnection = (options: Connection.Options): Checked =>
  atLeast(0, "maxMessageSize", options.maxMessageSize) ??
    atLeast(1, "maxFragments", options.maxFragments) ??
    atLeast(1, "inboundHighWaterMark", options.inboundHighWaterMark) ??
    atLeast(0, "maxUnansweredPings", options.maxUnansweredPings) ??
    duration("closeTimeout", options.closeTimeout) ??
    keepalive(options.keepalive) ??
    wait("writeTimeout", options.writeTimeout) ??
    wait("slowConsumerTimeout", options.slowConsumerTimeout) ??
    wait("idleTimeout", options.idleTimeout)

/** An origin that no browser sends lets nobody in. */
const origin = (policy: OriginPolicy | undefined): Checked => {
  if (policy === undefined || typeof policy === "string") return undefined
  for (const listed of policy) {
    if (listed === "null") continue
    if (!/^[a-z][a-z\d+.-]*:\/\/[^*]*$/i.test(listed) || !URL.canParse(listed)) {
      return new InvalidOption({ option: "origin", problem: `"${listed}" is none, such as "https://example.com"` })
    }
    const { host, origin: known, protocol } = new URL(listed)
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
    duration("handlerTimeout", options.handlerTimeout) ??
    duration("shutdownTimeout", options.shutdownTimeout)

export const checkListen = ({ handshakeTimeout, maxHeaderSize, maxPendingHandshakes, path }: ListenOptions): Checked =>
  (path === undefined || /^\/[^?#]*$/.test(path)
    ? undefined
    : new InvalidOption({ option: "path", problem: `"${path}" is none: it begins with a slash, and has no query` })) ??
    wait("handshakeTimeout", handshakeTimeout) ??
    atLeast(1, "maxHeaderSize", maxHeaderSize) ??
    atLeast(1, "maxPendingHandshakes", maxPendingHandshakes)

export const checkReconnecting = (
  { maxRetryAfter, resetAfter, whileDown }: Pick<ReconnectingOptions, "maxRetryAfter" | "resetAfter" | "whileDown">
): Checked =>
  duration("resetAfter", resetAfter) ??
    duration("maxRetryAfter", maxRetryAfter) ??
    (typeof whileDown === "object" ? atLeast(0, "whileDown.buffer", whileDown.buffer) : undefined)

export const checkDeflate = (options: PerMessageDeflate.Options): Checked =>
  within(8, 15, "serverMaxWindowBits", options.serverMaxWindowBits) ??
    within(8, 15, "clientMaxWindowBits", options.clientMaxWindowBits) ??
    within(0, 9, "level", options.level) ??
    within(1, 9, "memoryLevel", options.memoryLevel) ??
    atLeast(0, "threshold", options.threshold) ??
    atLeast(0, "memoryLimit", options.memoryLimit) ??
    wait("releaseAfter", options.releaseAfter)
