/**
 * The client's side of RFC 6455 and RFC 7692 as bytes, as much as a load generator needs.
 * Nothing of it is taken from the library that is measured.
 */
import { Buffer } from "node:buffer"
import * as Zlib from "node:zlib"
import { json } from "./json.ts"

// -- messages ----------------------------------------------------------------

/** What a message consists of: bytes of any value, text that is hardly ASCII, or JSON. */
export type Content = "bytes" | "text" | "json"

/** permessage-deflate without or with context takeover, both ways. */
export type Deflate = "noTakeover" | "takeover"

/** Frames are those of WebSocket, with events of Socket.IO in them if so, or mere bytes. */
export type Protocol = "websocket" | "socket.io" | "raw"

const opText = 1
const opBinary = 2
const rsv1 = 0x40

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

const contents: Record<Content, (size: number, seed: number) => Buffer> = {
  bytes: (size) => Buffer.alloc(size).map((_, i) => i * 7) as Buffer,
  // Whole sentences only, so that no character is cut; spaces fill the rest.
  text: (size) => {
    const line = Buffer.from(sentence)
    const payload = Buffer.alloc(size, " ")
    for (let at = 0; at + line.length <= size; at += line.length) line.copy(payload, at)
    return payload
  },
  json: (size, seed) => json(seed, size)
}

export interface Exchange {
  readonly payload: Buffer
  /** The message as a client sends it. */
  readonly request: Buffer
  /** The message as a server sends it that does not compress. */
  readonly response: Buffer
}

const exchange = (opcode: number, payload: Buffer): Exchange => ({
  payload,
  request: frame(opcode, payload, mask),
  response: frame(opcode, payload)
})

export const message = (size: number, content: Content, seed = 0): Exchange =>
  exchange(content === "bytes" ? opBinary : opText, contents[content](size, seed))

/** What follows a flush, and is left out of a message (RFC 7692 §7.2.1). */
export const flushTail = Buffer.of(0, 0, 0xff, 0xff)

/** The same message as a client sends it that compresses. It refers to no other, as any client may do. */
const compressed = (plain: Exchange): Exchange => {
  const deflated = Zlib.deflateRawSync(plain.payload, { finishFlush: Zlib.constants.Z_SYNC_FLUSH })
  return { ...plain, request: frame(rsv1 | opText, deflated.subarray(0, -flushTail.length), mask) }
}

/** A window has 32 KiB: from 1 KiB a message on, it has forgotten each when that is sent again. */
const distinct = 64

/** The messages of a load, in turn: one, or several if the server compresses, because copies would compress too well. */
export const messages = (
  { content, deflate, protocol, size }: {
    readonly size: number
    readonly content: Content
    readonly deflate?: Deflate | undefined
    readonly protocol: Protocol
  }
): ReadonlyArray<Exchange> => {
  if (protocol === "socket.io") return [exchange(opText, Buffer.from(socketIoEvent("x".repeat(size))))]
  if (deflate !== undefined) {
    return Array.from({ length: distinct }, (_, seed) => compressed(message(size, content, seed)))
  }
  const only = message(size, content)
  return [protocol === "raw" ? { ...only, response: only.request } : only]
}

/** An event "p" as a client of Socket.IO sends it, and gets it from others. */
export const socketIoEvent = (data: string): string => `42${JSON.stringify(["p", data])}`

/** Connects to the namespace of Socket.IO, once Engine.IO has opened. */
export const socketIoConnect = (): Buffer => textFrame("40")

/** Text frames that a server of Socket.IO sends first: that Engine.IO has opened, and that the namespace is connected. */
export const socketIoGreetings = 2

/** A text message as a client sends it. */
export const textFrame = (text: string): Buffer => frame(opText, Buffer.from(text), mask)

/**
 * Calls `onFrame` with the first byte of each frame of a server when all of it has come, and `onPayload` with its payload
 * before, in parts. The frames have no mask, and less than 64 KiB.
 */
export const makeReader = (
  onFrame: (first: number) => void,
  onPayload?: (part: Buffer) => void
): (chunk: Buffer) => void => {
  /** Bytes of the current frame that are still to come, its first byte, and the bytes of a header that was cut. */
  let rest = 0
  let first = 0
  let head: Buffer = Buffer.alloc(0)
  return (chunk) => {
    let at = 0
    while (at < chunk.length) {
      if (rest > 0) {
        const taken = Math.min(rest, chunk.length - at)
        onPayload?.(chunk.subarray(at, at + taken))
        at += taken
        rest -= taken
        if (rest === 0) onFrame(first)
        continue
      }
      const bytes = head.length === 0 ? chunk.subarray(at) : Buffer.concat([head, chunk.subarray(at)])
      const size = bytes.length < 2 || (bytes[1] === 126 && bytes.length < 4) ? 0 : bytes[1] === 126 ? 4 : 2
      if (size === 0) {
        // The chunk may be memory that the next read writes to.
        head = Buffer.from(bytes)
        return
      }
      at += size - head.length
      head = Buffer.alloc(0)
      first = bytes[0]
      rest = size === 4 ? bytes.readUInt16BE(2) : bytes[1]
      if (rest === 0) onFrame(first)
    }
  }
}

/** Whether a frame is a whole text message, compressed or not. */
export const isText = (first: number): boolean => (first & ~rsv1) === (0x80 | opText)
export const isCompressed = (first: number): boolean => (first & rsv1) !== 0

export const close = frame(8, Buffer.of(0x03, 0xe8), mask)
export const closeOpcode = 0x88

// -- handshakes --------------------------------------------------------------

const extensions: Record<Deflate, string> = {
  noTakeover: "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
  takeover: "permessage-deflate"
}

// The key and its answer are those of the RFC (§1.3).
export const upgrade = (
  { deflate, isSocketIo = false, query = "" }: {
    readonly query?: string
    readonly isSocketIo?: boolean
    readonly deflate?: Deflate | undefined
  } = {}
): Buffer =>
  Buffer.from(
    [
      `GET ${isSocketIo ? "/socket.io/?EIO=4&transport=websocket&" : query === "" ? "/" : "/?"}${query} HTTP/1.1`,
      "Host: 127.0.0.1",
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      ...deflate === undefined ? [] : [`Sec-WebSocket-Extensions: ${extensions[deflate]}`],
      "\r\n"
    ].join("\r\n")
  )

/** Whether the response accepts the upgrade, with the compression that was offered. */
export const isUpgraded = (head: string, deflate?: Deflate): boolean => {
  if (!head.startsWith("HTTP/1.1 101 ") || !head.includes("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) return false
  const accepted = /^sec-websocket-extensions:(.*)$/im.exec(head)?.[1] ?? ""
  if (deflate === undefined) return accepted === ""
  return accepted.includes("permessage-deflate") &&
    accepted.includes("server_no_context_takeover") === (deflate === "noTakeover")
}
