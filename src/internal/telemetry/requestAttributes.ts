/** How log records and spans name the request of a connection. */
import type { Role } from "../../Frame.ts"
import type { Request } from "../../Handshake.ts"

/**
 * Returns the attributes of a request, without the query of its URL, which may
 * contain secrets. The key (Sec-WebSocket-Key) also appears in the logs of the peer
 * and of proxies; HTTP/2 has none. Empty for a connection without a handshake.
 */
export const requestAttributes = (
  role: Role,
  { host, key, path, remoteAddress }: Pick<Request, "host" | "key" | "path" | "remoteAddress">
): Record<string, string> => ({
  ...host === "" ? {} : { "url.path": path },
  ...host === "" || role === "server" ? {} : { "server.address": host.replace(/:\d+$/, "") },
  ...remoteAddress === undefined ? {} : { "client.address": remoteAddress },
  ...key === "" ? {} : { "websocket.key": key }
})
