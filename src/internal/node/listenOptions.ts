/** Checks the options of servers that listen. */
import type { ListenOptions } from "../../WebSocketServer.ts"
import { atLeast, type Checked, integerBetween, invalidOption, positiveDuration } from "../runtime/optionChecks.ts"
import { checkUnixPath } from "./unixPath.ts"

/** Returns the first invalid option. `tls` is not checked here: Node finds an invalid key when it creates the server. */
export const checkListen = (
  { backlog, handshakeTimeout, maxHeaderSize, maxPendingHandshakes, path, port, socketPath }: ListenOptions
): Checked =>
  integerBetween(0, 65_535, "port", port) ??
    integerBetween(1, 2 ** 31 - 1, "backlog", backlog) ??
    checkPath(path) ??
    checkUnixPath("socketPath", socketPath) ??
    positiveDuration("handshakeTimeout", handshakeTimeout) ??
    atLeast(1, "maxHeaderSize", maxHeaderSize) ??
    atLeast(1, "maxPendingHandshakes", maxPendingHandshakes)

const checkPath = (path: string | undefined): Checked =>
  path === undefined || /^\/[^?#]*$/.test(path)
    ? undefined
    : invalidOption("path", `a path that starts with "/" and has no query`, path)
