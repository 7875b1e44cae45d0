/** Rules of RFC 6455 §4 that requests and responses share. */
import { sha1Base64 } from "#platform"

/** HTTP/1.1 or a later minor version: HTTP/1.0 has no upgrades (RFC 9110 §7.8). */
export const isSupportedHttpVersion = (version: string): boolean => /^1\.[1-9]$/.test(version)

/** The version of a request over HTTP/2. It has no minor version (RFC 9113 §1). */
export const http2 = "2"

/** Whether a Sec-WebSocket-Key is 16 bytes in base64. */
export const isKey = (key: string): boolean => /^[A-Za-z0-9+/]{22}==$/.test(key)

export const acceptKey = (key: string): string => sha1Base64(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")

const messageHeaders = ["connection", "content-length", "transfer-encoding"]

/** Headers that a request, or a response that accepts it, sets itself. */
export const handshakeHeaders: ReadonlySet<string> = new Set([
  ...messageHeaders,
  "upgrade",
  "sec-websocket-key",
  "sec-websocket-accept",
  "sec-websocket-version",
  "sec-websocket-protocol",
  "sec-websocket-extensions"
])

/** Headers that a response which rejects a request sets itself. */
export const rejectionHeaders: ReadonlySet<string> = new Set(messageHeaders)

const connectionSpecific = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade"
])

/** Whether a header is about one HTTP/1.1 connection, so that HTTP/2 does not allow it (RFC 9113 §8.2.2). */
export const isConnectionSpecific = (name: string): boolean => connectionSpecific.has(name.toLowerCase())
