/** A peer that writes HTTP/2 frames by hand (RFC 9113 §4), valid or not, and keeps the frames that it receives. */
import { Effect, type Scope } from "effect"
import { rawConnect, type RawSocket } from "./net.ts"

export const frameTypes = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9
} as const

export const flags = { END_STREAM: 1, ACK: 1, END_HEADERS: 4 } as const

export interface Http2Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Uint8Array
}

export const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

export const encodeFrame = ({ flags: bits, payload, stream, type }: Http2Frame): Buffer => {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = bits
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

export const decodeFrames = (bytes: Buffer): Array<Http2Frame> => {
  const frames: Array<Http2Frame> = []
  for (let at = 0; at + 9 <= bytes.length;) {
    const end = at + 9 + bytes.readUIntBE(at, 3)
    if (end > bytes.length) break
    const stream = bytes.readUInt32BE(at + 5) & 0x7fffffff
    frames.push({ type: bytes[at + 3], flags: bytes[at + 4], stream, payload: bytes.subarray(at + 9, end) })
    at = end
  }
  return frames
}

/** A string without Huffman coding (RFC 7541 §5.2). */
const hpackString = (text: string): Buffer => {
  const bytes = Buffer.from(text, "latin1")
  const prefix = bytes.length < 127 ? [bytes.length] : [127, ...hpackRest(bytes.length - 127)]
  return Buffer.concat([Buffer.from(prefix), bytes])
}

const hpackRest = (value: number): Array<number> =>
  value < 128 ? [value] : [value % 128 + 128, ...hpackRest(Math.floor(value / 128))]

/** Headers as literals without indexing (RFC 7541 §6.2.2). */
export const encodeHeaders = (headers: ReadonlyArray<readonly [string, string]>): Buffer =>
  Buffer.concat(headers.flatMap(([name, value]) => [Buffer.from([0]), hpackString(name), hpackString(value)]))

export const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** The headers of an extended CONNECT request (RFC 8441 §4), with changes: undefined leaves one out. */
export const connectHeaders = (
  changes: Readonly<Record<string, string | undefined>> = {}
): ReadonlyArray<readonly [string, string]> => {
  const all: Record<string, string | undefined> = {
    ":method": "CONNECT",
    ":protocol": "websocket",
    ":scheme": "http",
    ":path": "/",
    ":authority": "localhost",
    "sec-websocket-version": "13",
    ...changes
  }
  return Object.entries(all).flatMap(([name, value]) => value === undefined ? [] : [[name, value] as const])
}

export interface Http2Peer extends RawSocket {
  readonly frame: (type: number, flags: number, stream: number, payload?: Uint8Array) => void
  readonly headers: (stream: number, headers?: ReadonlyArray<readonly [string, string]>, flags?: number) => void
  readonly data: (stream: number, payload: Uint8Array | string, flags?: number) => void
  readonly reset: (stream: number, code: number) => void
  readonly goAway: (code: number) => void
  /** What was received, in frames. */
  readonly frames: () => Array<Http2Frame>
  /** Calls `listener` for each frame that arrives from now on. */
  readonly onFrame: (listener: (frame: Http2Frame) => void) => void
  /** Waits for a frame that satisfies the condition. */
  readonly untilFrame: (condition: (frame: Http2Frame) => boolean) => Effect.Effect<Http2Frame>
}

/** Connects to a port of this machine, and exchanges the settings: each a pair of identifier and value. */
export const http2Peer = (
  port: number,
  settings: ReadonlyArray<readonly [identifier: number, value: number]> = []
): Effect.Effect<Http2Peer, never, Scope.Scope> =>
  Effect.gen(function*() {
    const peer = framesOf(yield* rawConnect(port))
    peer.write(preface)
    peer.frame(frameTypes.SETTINGS, 0, 0, settingsPayload(settings))
    yield* peer.untilFrame(({ flags: bits, type }) => type === frameTypes.SETTINGS && bits === 0)
    peer.frame(frameTypes.SETTINGS, flags.ACK, 0)
    return peer
  })

/** The payload of GOAWAY: the last stream that was or may be processed, and an error code (RFC 9113 §6.8). */
export const goAwayPayload = (lastStream: number, code: number): Buffer =>
  Buffer.concat([uint32(lastStream), uint32(code)])

/** Settings, each a pair of identifier and value (RFC 9113 §6.5.1). */
export const settingsPayload = (settings: ReadonlyArray<readonly [identifier: number, value: number]>): Buffer =>
  Buffer.concat(
    settings.map(([identifier, value]) =>
      Buffer.concat([Buffer.from([identifier >> 8, identifier & 255]), uint32(value)])
    )
  )

/** Writes and reads frames on a socket. What was received begins with `skip` bytes that are no frames. */
export const framesOf = (socket: RawSocket, skip = 0): Http2Peer => {
  const frame: Http2Peer["frame"] = (type, bits, stream, payload = Buffer.alloc(0)) =>
    socket.write(encodeFrame({ type, flags: bits, stream, payload }))
  const received = () => decodeFrames(socket.received().subarray(skip))
  const listeners: Array<(frame: Http2Frame) => void> = []
  let heard = 0
  const emit = () => {
    for (const arrived of received().slice(heard)) {
      heard++
      for (const listener of listeners) listener(arrived)
    }
  }
  return {
    ...socket,
    frame,
    headers: (stream, headers = connectHeaders(), bits = flags.END_HEADERS) =>
      frame(frameTypes.HEADERS, bits, stream, encodeHeaders(headers)),
    data: (stream, payload, bits = 0) => frame(frameTypes.DATA, bits, stream, Buffer.from(payload)),
    reset: (stream, code) => frame(frameTypes.RST_STREAM, 0, stream, uint32(code)),
    goAway: (code) => frame(frameTypes.GOAWAY, 0, 0, goAwayPayload(0, code)),
    frames: received,
    onFrame: (listener) => {
      if (listeners.length === 0) {
        heard = received().length
        socket.socket.on("data", emit)
      }
      listeners.push(listener)
    },
    untilFrame: (condition) =>
      Effect.map(socket.until(() => received().some(condition)), () => received().find(condition)!)
  }
}
