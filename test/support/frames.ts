/** Frames and bytes in tests: how they are written, and what a decoder returns. */
import { assert } from "@effect/vitest"
import { Frame, type ProtocolError } from "effect-ws"

export const bytes = (...values: Array<number>) => Uint8Array.from(values)
export const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"))
export const toHex = (data: Uint8Array) => Buffer.from(data).toString("hex")
export const concat = (...parts: ReadonlyArray<Uint8Array>) => Uint8Array.from(Buffer.concat(parts))

/** The mask key of the examples in RFC 6455 §5.7: 37 fa 21 3d on the wire. */
export const rfcKey = 0x3d21fa37

export const roles = ["client", "server"] as const

/** The mask key of the frames that an end of this role reads. */
export const keyFor = (role: Frame.Role) => role === "server" ? rfcKey : undefined

export const facts = (frame: Frame.Frame) => ({
  opcode: frame.opcode,
  fin: frame.fin,
  reserved: frame.reserved,
  payload: toHex(frame.payload)
})

export type Facts = Readonly<Record<string, unknown>>

export const factsOf = (error: ProtocolError.ProtocolError | undefined): Facts | undefined =>
  error === undefined ? undefined : { ...error }

export interface Outcome {
  readonly frames: Array<ReturnType<typeof facts>>
  readonly error: Facts | undefined
}

/** Decodes chunks, and collects the results. */
export const decodeAll = (options: Frame.DecoderOptions, chunks: ReadonlyArray<Uint8Array>): Outcome => {
  const decoder = Frame.makeDecoder(options)
  const frames: Outcome["frames"] = []
  let error: Outcome["error"]
  for (const chunk of chunks) {
    const decoded = decoder.decode(chunk)
    frames.push(...decoded.frames.map(facts))
    error = factsOf(decoded.error)
  }
  return { frames, error }
}

export const one = (options: Frame.DecoderOptions, wire: Uint8Array): Frame.Frame => {
  const { error, frames } = Frame.makeDecoder(options).decode(wire)
  assert.isUndefined(error)
  assert.strictEqual(frames.length, 1)
  return frames[0]
}

export const singly = (wire: Uint8Array) => Array.from(wire, (byte) => Uint8Array.of(byte))

/** A header, written by hand: the first byte, the length, the mask key. */
export const headerOf = (first: number, length: string, masked: boolean): Uint8Array => {
  const [size, ...extended] = hex(length)
  return bytes(first, masked ? size | 0x80 : size, ...extended, ...masked ? [0x37, 0xfa, 0x21, 0x3d] : [])
}

export const firstByte = (fin: boolean, reserved: number, opcode: number) =>
  Number.parseInt(
    `${fin ? "1" : "0"}${reserved.toString(2).padStart(3, "0")}${opcode.toString(2).padStart(4, "0")}`,
    2
  )

/** Payload lengths, and their encoding by RFC 6455 §5.2, without the mask bit. */
export const lengths = [
  [0, "00"],
  [1, "01"],
  [124, "7c"],
  [125, "7d"],
  [126, "7e 00 7e"],
  [127, "7e 00 7f"],
  [128, "7e 00 80"],
  [255, "7e 00 ff"],
  [256, "7e 01 00"],
  [65534, "7e ff fe"],
  [65535, "7e ff ff"],
  [65536, "7f 00 00 00 00 00 01 00 00"],
  [65537, "7f 00 00 00 00 00 01 00 01"],
  [100_000, "7f 00 00 00 00 00 01 86 a0"],
  [16_777_216, "7f 00 00 00 00 01 00 00 00"],
  [2_147_483_648, "7f 00 00 00 00 80 00 00 00"],
  [4_294_967_295, "7f 00 00 00 00 ff ff ff ff"],
  [4_294_967_296, "7f 00 00 00 01 00 00 00 00"],
  [1_103_823_438_081, "7f 00 00 01 01 01 01 01 01"],
  [Number.MAX_SAFE_INTEGER, "7f 00 1f ff ff ff ff ff ff"]
] as const

export const tooLarge = (length: number, limit: number): Facts => ({ _tag: "FrameTooLarge", length, limit })
