/** Checks the options of `serve` and `upgrade`, and fills in their defaults. */
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import * as CloseCode from "../../CloseCode.ts"
import type * as Connection from "../../Connection.ts"
import type { Extension } from "../../Extension.ts"
import type * as Handshake from "../../Handshake.ts"
import { InvalidOption } from "../../HandshakeError.ts"
import type { ServeOptions } from "../../WebSocketServer.ts"
import { defaultCloseTimeout } from "../connection/closing.ts"
import { checkClose } from "../connection/closeRules.ts"
import { checkConnection } from "../connection/options.ts"
import { parse } from "../protocol/url.ts"
import { atLeast, type Checked, invalidOption, nonNegativeDuration, positiveDuration } from "../runtime/optionChecks.ts"
import type { Limits } from "./connectionLimiter.ts"

const defaultHandlerTimeout = Duration.seconds(30)
const defaultShutdownTimeout = Duration.seconds(10)

/** What all sessions of one `serve` or `upgrade` share. Times are in milliseconds. */
export interface SessionSettings {
  readonly connection: Connection.MakeOptions
  /** The path of the requests to accept; undefined for all paths. */
  readonly path: string | undefined
  readonly origin: Handshake.OriginPolicy
  readonly protocols: ReadonlyArray<string>
  readonly extensions: ReadonlyArray<Extension>
  readonly limits: Limits
  readonly handshakeTimeout: number
  readonly closeTimeout: number
  readonly handlerTimeout: number
  readonly shutdownTimeout: number
  readonly shutdownClose: { readonly code: number; readonly reason: string }
}

/** Returns the settings of valid options, or the first invalid option. */
export const readServeOptions = (
  options: Omit<ServeOptions, "decide">,
  path: string | undefined,
  handshakeTimeout: Duration.Input
): Result.Result<SessionSettings, InvalidOption> => {
  const problem = checkServe(options) ?? positiveDuration("handshakeTimeout", handshakeTimeout)
  if (problem !== undefined) return Result.fail(problem)
  const { code, reason = "" } = options.shutdownClose ?? { code: CloseCode.GoingAway }
  return Result.succeed({
    connection: { ...options, role: "server" },
    path,
    origin: options.origin ?? "same-origin",
    protocols: options.protocols ?? [],
    extensions: options.extensions ?? [],
    limits: { max: options.maxConnections, maxPerAddress: options.maxConnectionsPerAddress },
    handshakeTimeout: Duration.toMillis(handshakeTimeout),
    closeTimeout: Duration.toMillis(options.closeTimeout ?? defaultCloseTimeout),
    handlerTimeout: Duration.toMillis(options.handlerTimeout ?? defaultHandlerTimeout),
    shutdownTimeout: Duration.toMillis(options.shutdownTimeout ?? defaultShutdownTimeout),
    shutdownClose: { code, reason }
  })
}

export const checkServe = (options: Omit<ServeOptions, "decide">): Checked =>
  checkConnection(options) ??
    checkOrigin(options.origin) ??
    atLeast(0, "maxConnections", options.maxConnections) ??
    atLeast(0, "maxConnectionsPerAddress", options.maxConnectionsPerAddress) ??
    nonNegativeDuration("handlerTimeout", options.handlerTimeout) ??
    nonNegativeDuration("shutdownTimeout", options.shutdownTimeout) ??
    checkShutdownClose(options.shutdownClose)

/** An origin that no browser sends would reject all pages without a hint. */
const checkOrigin = (policy: Handshake.OriginPolicy | undefined): Checked => {
  if (policy === undefined || typeof policy === "string") return undefined
  for (const listed of policy) {
    if (listed === "null") continue
    const url = /^[a-z][a-z\d+.-]*:\/\/[^*]*$/i.test(listed) ? parse(listed) : undefined
    if (url === undefined) return invalidOption("origin", `an origin such as "https://example.com"`, listed)
    const { host, origin, protocol } = url
    // Schemes outside the web have origins, too: extensions, apps, "file://".
    const sent = origin === "null" ? `${protocol}//${host}` : origin
    if (sent !== listed) return invalidOption("origin", `"${sent}", as browsers send it`, listed)
  }
  return undefined
}

const checkShutdownClose = (close: ServeOptions["shutdownClose"]): Checked => {
  if (close === undefined) return undefined
  const problem = checkClose(close.code, close.reason ?? "")
  return problem === undefined
    ? undefined
    : new InvalidOption({ option: "shutdownClose", problem: problem.message })
}
