/**
 * Finds invalid values of options, before anything is begun with them. Each rule
 * here is also in the docstring of its option. The types already exclude most
 * values; NaN they do not, which `Number` makes of most texts, and which would turn
 * a limit off; nor a time of 0, which turns nothing off.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { Buffer } from "node:buffer"
import { platform } from "node:process"
import { inspect } from "node:util"
import type * as Connection from "../Connection.ts"
import type { OriginPolicy } from "../Handshake.ts"
import { InvalidOption } from "../HandshakeError.ts"
import type * as PerMessageDeflate from "../PerMessageDeflate.ts"
import type { Faults } from "../Testing.ts"
import type { ReconnectingOptions } from "../WebSocketClient.ts"
import type { ListenOptions, ServeOptions } from "../WebSocketServer.ts"
import { parse } from "./protocol/url.ts"

/** The first thing that is wrong, if something is. */
type Checked = InvalidOption | undefined

const invalid = (option: string, expected: string, value: unknown): InvalidOption =>
  new InvalidOption({ option, problem: `expected ${expected}, got ${inspect(value, { depth: 1 })}` })

/** Throws what is wrong, for constructors that are no effects. */
export const assertValid = (checked: Checked): void => {
  if (checked !== undefined) throw checked
}

export const atLeast = (least: number, option: string, value: number | undefined): Checked =>
  value === undefined || (typeof value === "number" && value >= least)
    ? undefined
    : invalid(option, `a number, ${least} or more (Infinity turns it off)`, value)

export const within = (least: number, most: number, option: string, value: number | undefined): Checked =>
  value === undefined || (Number.isInteger(value) && value >= least && value <= most)
    ? undefined
    : invalid(option, `a whole number from ${least} to ${most}`, value)

const units = /^(?:weeks|days|hours|minutes|seconds|milliseconds|microseconds|nanoseconds)$/

/** `Duration.fromInput` makes 0 of NaN, alone or within, and of objects without known units. */
const isDuration = (value: unknown): boolean => {
  if (typeof value === "number") return !Number.isNaN(value)
  if (typeof value !== "object" || value === null || Duration.isDuration(value)) return true
  const parts = Object.entries(value).filter(([, part]) => part !== undefined)
  return parts.length > 0 &&
    parts.every(([unit, part]) => (Array.isArray(value) || units.test(unit)) && !Number.isNaN(Number(part)))
}

const time = (accept: (millis: number) => boolean, expected: string, option: string, value: unknown): Checked => {
  if (value === undefined) return undefined
  const given = isDuration(value) ? Duration.fromInput(value as Duration.Input) : Option.none()
  return Option.isSome(given) && accept(Duration.toMillis(given.value)) ? undefined : invalid(option, expected, value)
}

/** How long something may take, which may be no time at all. */
export const duration = (option: string, value: Duration.Input | undefined): Checked =>
  time((millis) => millis >= 0, "a duration, 0 or more", option, value)

/** How long one waits, over and over or before the other end is given up. */
export const wait = (option: string, value: Duration.Input | undefined, off = "Infinity turns it off"): Checked =>
  time((millis) => millis > 0, `a duration of more than 0 (${off})`, option, value)

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
    duration("handlerTimeout", options.handlerTimeout) ??
    duration("shutdownTimeout", options.shutdownTimeout)

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
    : invalid(option, `a path of 1 to ${longestPath} bytes, and none of them NUL`, path)
}

export const checkListen = (
  { backlog, handshakeTimeout, maxHeaderSize, maxPendingHandshakes, path, port, socketPath }: ListenOptions
): Checked =>
  within(0, 65_535, "port", port) ??
    within(1, 2 ** 31 - 1, "backlog", backlog) ??
    (path === undefined || /^\/[^?#]*$/.test(path)
      ? undefined
      : new InvalidOption({
        option: "path",
        problem: `"${path}" is none: it begins with a slash, and has no query`
      })) ??
    unixPath("socketPath", socketPath) ??
    wait("handshakeTimeout", handshakeTimeout) ??
    atLeast(1, "maxHeaderSize", maxHeaderSize) ??
    atLeast(1, "maxPendingHandshakes", maxPendingHandshakes)

export const checkReconnecting = (
  { maxRetryAfter, resetAfter, whileDisconnected }: Pick<
    ReconnectingOptions,
    "maxRetryAfter" | "resetAfter" | "whileDisconnected"
  >
): Checked =>
  duration("resetAfter", resetAfter) ??
    duration("maxRetryAfter", maxRetryAfter) ??
    (typeof whileDisconnected === "object"
      ? atLeast(0, "whileDisconnected.buffer", whileDisconnected.buffer)
      : undefined)

export const checkDeflate = (options: PerMessageDeflate.Options): Checked =>
  within(8, 15, "serverMaxWindowBits", options.serverMaxWindowBits) ??
    within(8, 15, "clientMaxWindowBits", options.clientMaxWindowBits) ??
    within(0, 9, "level", options.level) ??
    within(1, 9, "memoryLevel", options.memoryLevel) ??
    atLeast(0, "threshold", options.threshold) ??
    atLeast(0, "memoryLimit", options.memoryLimit) ??
    wait("releaseAfter", options.releaseAfter)

export const checkFaults = ({ breakAfter, chunkSize, latency }: Faults): Checked =>
  duration("latency", latency) ?? atLeast(1, "chunkSize", chunkSize) ?? atLeast(0, "breakAfter", breakAfter)
