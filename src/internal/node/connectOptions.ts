/** Checks the options of `WebSocketClient.connect`. Keys and certificates are checked when they are read, in `tls.ts`. */
import * as Result from "effect/Result"
import { InvalidOption } from "../../HandshakeError.ts"
import type { ConnectOptions, ProxyOptions } from "../../WebSocketClient.ts"
import { checkConnection } from "../connection/options.ts"
import {
  type Checked,
  integerBetween,
  invalidOption,
  nonNegativeDuration,
  positiveDuration
} from "../runtime/optionChecks.ts"
import { parseProxy } from "./proxy.ts"
import { checkUnixPath } from "./unixPath.ts"

export const checkConnect = (options: ConnectOptions): Checked =>
  checkRoute(options) ??
    checkHttp2(options) ??
    checkProxy(options.proxy) ??
    checkServername(options.tls?.servername) ??
    integerBetween(0, Number.MAX_SAFE_INTEGER, "maxRedirects", options.maxRedirects) ??
    checkUnixPath("socketPath", options.socketPath) ??
    positiveDuration("handshakeTimeout", options.handshakeTimeout) ??
    nonNegativeDuration("connectionAttemptDelay", options.connectionAttemptDelay) ??
    checkConnection(options)

/** The options that are ways to the server. */
const routes = ["agent", "duplex", "proxy", "socketPath"] as const

/** Allows one way to the server. */
const checkRoute = (options: ConnectOptions): Checked => {
  const given = routes.filter((name) => options[name] !== undefined)
  if (given.length <= 1) return undefined
  const problem = `expected at most one of agent, duplex, proxy and socketPath, got ${given.join(" and ")}`
  return new InvalidOption({ option: given[0], problem })
}

const checkHttp2 = ({ agent, http2 }: ConnectOptions): Checked => {
  if (http2 !== undefined && http2 !== "prefer" && http2 !== "only") {
    return invalidOption("http2", `"prefer", "only" or undefined`, http2)
  }
  const problem = "expected no agent, because agents speak HTTP/1.1; use duplex or proxy"
  return http2 === "only" && agent !== undefined ? new InvalidOption({ option: "http2", problem }) : undefined
}

const checkProxy = (proxy: ProxyOptions | undefined): Checked => {
  if (proxy === undefined) return undefined
  const url = parseProxy(proxy)
  return Result.isFailure(url) ? url.failure : undefined
}

const checkServername = (servername: string | undefined): Checked =>
  servername === undefined || /^[\w.-]*$/.test(servername)
    ? undefined
    : invalidOption("tls.servername", "a host name", servername)
