/** What a conformance case is: data, which `run` plays to a server or a client. */
import { type Frame, opcodes, type Part, type Piece } from "./wire.ts"

export type Role = "server" | "client"

/** How the bytes of a step are cut for TCP: in one write, a write for each frame, or a fixed number of bytes per write. */
export type Chop = "once" | "frames" | number

export type Step =
  | { readonly send: ReadonlyArray<Piece>; readonly chop?: Chop | undefined }
  /** Nothing more is sent until so many frames have come back since the beginning. */
  | { readonly until: number }
  /** Nothing comes back now, and TCP stays open. */
  | { readonly quiet: true }
  /** The peer ends its half of TCP. */
  | { readonly end: true }

/** A frame that has to come back. */
export interface Expected {
  readonly opcode: number
  readonly payload: Buffer
}

/** Frames are exchanged, and the connection ends. */
export interface Exchange {
  readonly kind: "exchange"
  readonly id: string
  readonly about: string
  /** Where the case is for one role alone. */
  readonly only?: Role | undefined
  /** Where the case is about limits that are this library's own. */
  readonly own?: boolean | undefined
  /** How the peer's half of the handshake is sent. Default "first": alone, in one write. */
  readonly opening?: "first" | "bytes" | "with frames" | undefined
  readonly steps: ReadonlyArray<Step>
  /** All that has to come back before the end, in this order. */
  readonly frames: ReadonlyArray<Expected>
  /** How many of the frames suffice. Default: all. */
  readonly enough?: number | undefined
  /** The code of the close frame that has to come back, if it has one, and if one has to come. */
  readonly close: number | "without a code" | "none"
  /** Whether the connection is failed: then it is ended without waiting for anything more. */
  readonly failed: boolean
}

/** A request is sent to a server, which accepts or refuses it. */
export interface Request {
  readonly kind: "request"
  readonly id: string
  readonly about: string
  readonly text: string
  /** Where the case is about what this library decides. */
  readonly own?: boolean | undefined
  /** The status to come back. Of other libraries any will do that says the same: 101, or an error. */
  readonly status: number
}

/** A response is sent to a client, which accepts or refuses it. */
export interface Response {
  readonly kind: "response"
  readonly id: string
  readonly about: string
  /** What is sent, with `{accept}` where the proper value of Sec-WebSocket-Accept stands. */
  readonly text: string
  /** Whether TCP is ended behind it. */
  readonly ends: boolean
  /** The subprotocols that the client offers. */
  readonly protocols: ReadonlyArray<string>
  /** The name of the error that `connect` fails with, if it is to fail. Of other libraries any will do. */
  readonly error: string | undefined
}

/** Compressed messages are sent one by one, each after the echo of the last (RFC 7692). */
export interface Compressed {
  readonly kind: "compressed"
  readonly id: string
  readonly about: string
  readonly opcode: number
  /** The payload of each message, and how long it is. */
  readonly payload: (index: number) => Buffer
  readonly size: number
  readonly count: number
  /** The size of the frames that the compressed messages are cut into. Default: one frame each. */
  readonly frameSize: number | undefined
  /** Whether the echoes are to be of fewer bytes than what they carry. */
  readonly shrinks: boolean
  /** What the peer offers as a client, and what it answers as a server. */
  readonly offers: string
  readonly answer: string
}

export type Case = Exchange | Request | Response | Compressed

export interface Section {
  readonly id: string
  readonly title: string
  readonly cases: ReadonlyArray<Case>
}

/** Whether a case is only for this library, because others have limits and policies of their own. */
export const isOwn = (test: Case): boolean => (test.kind === "exchange" || test.kind === "request") && test.own === true

/** Whether a case is for a role. Handshakes in text are HTTP/1.1. */
export const isFor = (test: Case, role: Role, http2 = false): boolean => {
  switch (test.kind) {
    case "exchange":
      return test.only === undefined || test.only === role
    case "compressed":
      return true
    case "request":
      return role === "server" && !http2
    case "response":
      return role === "client"
  }
}

// -----------------------------------------------------------------------------
// Frames
// -----------------------------------------------------------------------------

export const bytes = (payload: string | Buffer): Buffer => typeof payload === "string" ? Buffer.from(payload) : payload

/** A number of bytes, in words. */
export const sized = (count: number): string => count === 1 ? "a byte" : `${count} bytes`

/** Bytes in hexadecimal. */
export const hex = (digits: string): Buffer => Buffer.from(digits.replaceAll(" ", ""), "hex")

export const frame = (opcode: number, payload: string | Buffer = "", options?: Partial<Frame>): Frame => ({
  opcode,
  payload: bytes(payload),
  fin: true,
  rsv: 0,
  ...options
})

type Make = (payload?: string | Buffer, options?: Partial<Frame>) => Frame
const maker = (opcode: number): Make => (payload, options) => frame(opcode, payload, options)
export const text = maker(opcodes.text)
export const binary = maker(opcodes.binary)
export const continuation = maker(opcodes.continuation)
export const ping = maker(opcodes.ping)
export const pong = maker(opcodes.pong)
export const begin = { fin: false }

export const closePayload = (code: number, reason: string | Buffer = ""): Buffer =>
  Buffer.concat([Buffer.of(code >> 8, code & 255), bytes(reason)])
export const close = (code: number, reason?: string | Buffer): Frame => frame(opcodes.close, closePayload(code, reason))

/** The header of a frame alone, and the first bytes of its payload. */
export const upTo = (whole: Frame, length: number): Part => ({ frame: whole, from: 0, to: length })
export const between = (whole: Frame, from: number, to: number): Part => ({ frame: whole, from, to })

/** A message in fragments of a size. */
export const fragments = (first: Make, payload: string | Buffer, size: number): ReadonlyArray<Frame> => {
  const all = bytes(payload)
  const count = Math.max(1, Math.ceil(all.length / size))
  return Array.from({ length: count }, (_, i) => {
    const part = all.subarray(i * size, (i + 1) * size)
    return (i === 0 ? first : continuation)(part, { fin: i === count - 1 })
  })
}

// -----------------------------------------------------------------------------
// Exchanges
// -----------------------------------------------------------------------------

interface More {
  readonly chop?: Chop | undefined
  readonly only?: Role | undefined
  readonly own?: boolean | undefined
  readonly opening?: Exchange["opening"]
  readonly enough?: number | undefined
}

/** The steps are taken, the frames come back, and the closing handshake is the peer's, with 1000. */
export const answered = (
  id: string,
  about: string,
  steps: ReadonlyArray<Step>,
  frames: ReadonlyArray<Expected>,
  more?: More
): Exchange => ({
  kind: "exchange",
  id,
  about,
  ...more,
  steps: [...steps, { until: frames.length }, { send: [close(1000)] }],
  frames,
  close: 1000,
  failed: false
})

/** The frames are sent, and what has to comes back. */
export const echoed = (
  id: string,
  about: string,
  send: ReadonlyArray<Piece>,
  frames: ReadonlyArray<Expected>,
  more?: More
): Exchange => answered(id, about, [{ send, chop: more?.chop }], frames, more)

/** The steps end with a close frame of the peer's, which is answered with `code`. */
export const closed = (
  id: string,
  about: string,
  send: ReadonlyArray<Piece>,
  code: Exchange["close"],
  frames: ReadonlyArray<Expected> = [],
  more?: More
): Exchange => ({
  kind: "exchange",
  id,
  about,
  ...more,
  steps: [{ send, chop: more?.chop }],
  frames,
  close: code,
  failed: false
})

/** The connection is failed with a code, after the frames came back. */
export const failed = (
  id: string,
  about: string,
  steps: ReadonlyArray<Step>,
  code: number,
  frames: ReadonlyArray<Expected> = [],
  more?: More
): Exchange => ({ kind: "exchange", id, about, ...more, steps, frames, close: code, failed: true })

/** The frames are sent, and the connection is failed with a code. */
export const refused = (
  id: string,
  about: string,
  send: ReadonlyArray<Piece>,
  code: number,
  frames: ReadonlyArray<Expected> = [],
  more?: More
): Exchange => failed(id, about, [{ send, chop: more?.chop }], code, frames, more)
