/** The frame codec alone, in this process, beside ws's Receiver and Sender. */
import { Frame } from "effect-ws"
import { Buffer } from "node:buffer"
import type { Writable } from "node:stream"
import { setImmediate as turn } from "node:timers/promises"
import * as Ws from "ws"
import { figure, median, type Table } from "./table.ts"
import * as Wire from "./wire.ts"

// What ws exports without declaring it.
interface FrameOptions {
  readonly fin: boolean
  readonly rsv1: boolean
  readonly opcode: number
  readonly mask: boolean
  readonly readOnly: boolean
}
const { Receiver, Sender } = Ws as unknown as {
  readonly Receiver: new(options: { readonly isServer: boolean }) => Writable
  readonly Sender: { readonly frame: (data: Buffer, options: FrameOptions) => Array<Buffer> }
}

/** Takes a number of frames, or more, through a codec; answers how many it were. */
type Run = () => number

interface Case {
  readonly name: string
  readonly size: number
  /** Who does not touch the payload, so that megabytes a second say nothing. */
  readonly notCopied?: ReadonlyArray<"ours" | "ws">
  readonly ours: Run
  readonly ws: Run
}

const frameOptions: FrameOptions = { fin: true, rsv1: false, opcode: 2, mask: false, readOnly: true }

const chunkSize = 64 * 1024

/** Masked frames, cut into chunks that own their memory, as a socket gives them. */
const chunksOf = (size: number): { readonly chunks: ReadonlyArray<Buffer>; readonly frames: number } => {
  const { request } = Wire.message(size, "bytes")
  const frames = Math.max(1, Math.floor(1024 * 1024 / request.length))
  const stream = Buffer.alloc(frames * request.length, request)
  const chunks: Array<Buffer> = []
  for (let at = 0; at < stream.length; at += chunkSize) {
    const chunk = Buffer.allocUnsafeSlow(Math.min(chunkSize, stream.length - at))
    stream.copy(chunk, 0, at)
    chunks.push(chunk)
  }
  return { chunks, frames }
}

/**
 * Both codecs unmask in place, so that each run finds the payloads as the one
 * before has left them: that changes what they say, and not what they cost.
 */
const decoding = (size: number): Case => {
  const { chunks, frames } = chunksOf(size)
  const decoder = Frame.makeDecoder({ role: "server" })
  const receiver = new Receiver({ isServer: true })
  const check = (count: number): number => {
    if (count !== frames) throw new Error(`${count} frames came of ${frames}`)
    return count
  }
  let received = 0
  receiver.on("message", () => received++)
  return {
    name: `decode, ${sizeName(size)}`,
    size,
    ours: () => {
      let count = 0
      for (const chunk of chunks) count += decoder.decode(chunk).frames.length
      return check(count)
    },
    ws: () => {
      received = 0
      for (const chunk of chunks) receiver.write(chunk)
      return check(received)
    }
  }
}

const repeated = (size: number, encode: () => unknown): Run => {
  const frames = Math.max(16, Math.floor(1024 * 1024 / size))
  return () => {
    for (let i = 0; i < frames; i++) encode()
    return frames
  }
}

const encodingMasked = (size: number): Case => {
  const payload = Buffer.alloc(size, "effect")
  const { maskKey } = Frame.makeCodec()
  return {
    name: `encode masked, ${sizeName(size)}`,
    size,
    ours: repeated(size, () => Frame.encode(Frame.binary(payload), maskKey())),
    ws: repeated(size, () => Sender.frame(payload, { ...frameOptions, mask: true }))
  }
}

/**
 * Without a mask, the payload need not be copied, and ws never does. Of ours,
 * `encode` does; `encodeInto` writes to a buffer that is there, and
 * `encodeHeader` leaves the payload to a write of its own: connections use
 * these two, one for small payloads, the other for large ones.
 */
const encoding = (name: "encode" | "encodeInto" | "encodeHeader", size: number): Case => {
  const payload = Buffer.alloc(size, "effect")
  const target = new Uint8Array(Frame.headerSize(size, false) + size)
  const encode = {
    encode: () => Frame.encode(Frame.binary(payload)),
    encodeInto: () => Frame.encodeInto(target, 0, Frame.binary(payload)),
    encodeHeader: () => Frame.encodeHeader(new Uint8Array(10), 0, Frame.binary(payload), size, undefined)
  }
  return {
    name: `${name}, ${sizeName(size)}`,
    size,
    notCopied: name === "encodeHeader" ? ["ours", "ws"] : ["ws"],
    ours: repeated(size, encode[name]),
    ws: repeated(size, () => Sender.frame(payload, frameOptions))
  }
}

const sizeName = (size: number): string => size < 1024 ? `${size} B` : `${size / 1024} KiB`

/** Nanoseconds a frame. */
const time = async (run: Run, milliseconds: number): Promise<number> => {
  let frames = 0
  let spent = 0
  while (spent < milliseconds) {
    const startedAt = performance.now()
    frames += run()
    spent += performance.now() - startedAt
    // ws, a Writable, has something left to do after each turn.
    await turn()
  }
  return spent / frames * 1e6
}

export const benchCodec = async (rounds: number): Promise<Table> => {
  const small = [32, 1024]
  const sizes = [...small, 64 * 1024]
  const cases = [
    ...sizes.map(decoding),
    ...sizes.map(encodingMasked),
    ...small.map((size) => encoding("encode", size)),
    ...small.map((size) => encoding("encodeInto", size)),
    encoding("encodeHeader", 64 * 1024)
  ]
  const rows: Array<ReadonlyArray<string>> = []
  for (const { name, notCopied, ours, size, ws } of cases) {
    await time(ours, 200)
    await time(ws, 200)
    const times = { ours: new Array<number>(), ws: new Array<number>() }
    for (let round = 0; round < rounds; round++) {
      times.ours.push(await time(ours, 300))
      times.ws.push(await time(ws, 300))
    }
    const cells = (whose: "ours" | "ws"): ReadonlyArray<string> => {
      const nanoseconds = median(times[whose])
      return [figure(nanoseconds), notCopied?.includes(whose) === true ? "-" : figure(size / nanoseconds * 1e3)]
    }
    const ratio = median(times.ours.map((each, i) => times.ws[i] / each))
    rows.push([name, "effect-ws", ...cells("ours"), ""], ["", "ws", ...cells("ws"), figure(ratio)])
  }
  return { head: ["codec", "of", "ns/frame", "MB/s", "ours/it"], rows, textColumns: 2 }
}
