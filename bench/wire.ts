/**
 * The client's side of RFC 6455 as bytes, as much as a load generator needs.
 * Nothing of it is taken from the library that is measured.
 */
import { Buffer } from "node:buffer"

const frame = (opcode: number, payload: Buffer, mask?: Buffer): Buffer => {
  const { length } = payload
  const header = Buffer.alloc(length < 126 ? 2 : length < 65536 ? 4 : 10)
  header[0] = 0x80 | opcode
  header[1] = length < 126 ? length : length < 65536 ? 126 : 127
  if (header.length === 4) header.writeUInt16BE(length, 2)
  if (header.length === 10) header.writeBigUInt64BE(BigInt(length), 2)
  if (mask === undefined) return Buffer.concat([header, payload])
  header[1] |= 0x80
  return Buffer.concat([header, mask, payload.map((byte, i) => byte ^ mask[i & 3]) as Buffer])
}

const mask = Buffer.of(0x37, 0xfa, 0x21, 0x3d)

const sentence = "Žluťoučký kůň, съешь булок, 東京タワー 😀 naïve Ωμέγα. "

/** A message as a client sends it, and as an echo server answers it. */
export const message = (size: number, text: boolean): { readonly request: Buffer; readonly response: Buffer } => {
  const payload = Buffer.alloc(size, text ? " " : "")
  const line = Buffer.from(sentence)
  // Whole sentences only, so that no character is cut; spaces fill the rest.
  if (text) { for (let at = 0; at + line.length <= size; at += line.length) line.copy(payload, at) }
  else for (let i = 0; i < size; i++) payload[i] = i * 7
  const opcode = text ? 1 : 2
  return { request: frame(opcode, payload, mask), response: frame(opcode, payload) }
}

/** A text message as a client sends it. */
export const textFrame = (text: string): Buffer => frame(1, Buffer.from(text), mask)

export const close = frame(8, Buffer.of(0x03, 0xe8), mask)
export const closeOpcode = 0x88

// The key and its answer are those of the RFC (§1.3).
export const upgrade = Buffer.from(
  [
    "GET / HTTP/1.1",
    "Host: 127.0.0.1",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "\r\n"
  ].join("\r\n")
)

export const isUpgraded = (head: string): boolean =>
  head.startsWith("HTTP/1.1 101 ") && head.includes("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
