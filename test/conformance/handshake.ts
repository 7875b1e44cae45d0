/** The peer's own half of the opening handshake (RFC 6455 §4), which shares nothing with the library's. */
import { createHash } from "node:crypto"

export const sampleKey = "dGhlIHNhbXBsZSBub25jZQ=="
const acceptFor = (key: string): string =>
  createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64")

export const lines = (...all: ReadonlyArray<string>): string => [...all, "", ""].join("\r\n")

export const goodRequest: ReadonlyArray<string> = [
  "GET / HTTP/1.1",
  "Host: 127.0.0.1",
  "Upgrade: websocket",
  "Connection: Upgrade",
  `Sec-WebSocket-Key: ${sampleKey}`,
  "Sec-WebSocket-Version: 13"
]

export const goodResponse: ReadonlyArray<string> = [
  "HTTP/1.1 101 Switching Protocols",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Accept: {accept}"
]

export const headerOf = (head: string, name: string): string | undefined =>
  head.split("\r\n").slice(1).find((line) => line.toLowerCase().startsWith(`${name}:`))?.slice(name.length + 1).trim()

export const statusOf = (head: string): number => Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1])

/** What is wrong with a server's response to the sample key, if anything is (§4.2.2). */
export const faultOfResponse = (head: string | undefined, extended = false): string | undefined =>
  head === undefined
    ? "no response"
    : statusOf(head) !== 101
    ? `refused with ${statusOf(head)}`
    : headerOf(head, "upgrade")?.toLowerCase() !== "websocket"
        || headerOf(head, "connection")?.toLowerCase() !== "upgrade"
        || headerOf(head, "sec-websocket-accept") !== acceptFor(sampleKey)
        // No subprotocol is spoken by an echo, nor an extension, unless it is given one.
        || headerOf(head, "sec-websocket-protocol") !== undefined
        || (headerOf(head, "sec-websocket-extensions") !== undefined) !== extended
    ? "a wrong response"
    : undefined

/** What is wrong with a client's request, if anything is (§4.1). */
export const faultOfRequest = (head: string | undefined): string | undefined =>
  head === undefined
    ? "no request"
    : !/^GET \/\S* HTTP\/1\.1\r\n/.test(head)
        || headerOf(head, "host") === undefined
        || headerOf(head, "upgrade")?.toLowerCase() !== "websocket"
        || headerOf(head, "connection")?.toLowerCase() !== "upgrade"
        || headerOf(head, "sec-websocket-version") !== "13"
        || Buffer.from(headerOf(head, "sec-websocket-key") ?? "", "base64").length !== 16
    ? "a wrong request"
    : undefined

export const responseTo = (head: string, text: string): Buffer =>
  Buffer.from(text.replaceAll("{accept}", acceptFor(headerOf(head, "sec-websocket-key") ?? "")), "latin1")
