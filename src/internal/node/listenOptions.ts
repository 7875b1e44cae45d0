/** Checks the options of servers that listen. */
import { InvalidOption } from "../../HandshakeError.ts"
import type { ListenOptions } from "../../WebSocketServer.ts"
import { atLeast, type Checked, integerBetween, invalidOption, positiveDuration } from "../runtime/optionChecks.ts"
import { checkUnixPath } from "./unixPath.ts"

/** Returns the first invalid option. `tls` is not checked here: Node finds an invalid key when it creates the server. */
export const checkListen = (options: ListenOptions): Checked => {
  const { backlog, handshakeTimeout, maxHeaderSize, maxPendingHandshakes, path, port, socketPath } = options
  return integerBetween(0, 65_535, "port", port) ??
    integerBetween(1, 2 ** 31 - 1, "backlog", backlog) ??
    checkPath(path) ??
    checkUnixPath("socketPath", socketPath) ??
    positiveDuration("handshakeTimeout", handshakeTimeout) ??
    atLeast(1, "maxHeaderSize", maxHeaderSize) ??
    atLeast(1, "maxPendingHandshakes", maxPendingHandshakes) ??
    checkHttp2(options)
}

/** Without TLS, HTTP/2 is for proxies: no browser speaks it, and a program that expects browsers to has left out `tls`. */
const checkHttp2 = ({ cleartextHttp2, http2, http2Limits, tls }: ListenOptions): Checked =>
  http2 === true && tls === undefined
    ? new InvalidOption({
      option: "http2",
      problem: "expected tls beside it, got none; use cleartextHttp2 without TLS"
    })
    : cleartextHttp2 === true && tls !== undefined
    ? new InvalidOption({ option: "cleartextHttp2", problem: "expected no tls beside it, got tls; use http2 with TLS" })
    : atLeast(1, "http2Limits.maxStreams", http2Limits?.maxStreams) ??
      positiveDuration("http2Limits.idleTimeout", http2Limits?.idleTimeout)

const checkPath = (path: string | undefined): Checked =>
  path === undefined || /^\/[^?#]*$/.test(path)
    ? undefined
    : invalidOption("path", `a path that starts with "/" and has no query`, path)
