/** Messages for many connections, encoded once for all that encode alike. */
import { allocatePooledText, utf8Length } from "#platform"
import type { SendOptions, SharedEncoder } from "../../Extension.ts"
import * as Frame from "../../Frame.ts"
import { frameFrom, type Sendable, toFrame } from "./input.ts"

/** Frames as they are written. */
export interface EncodedFrames {
  readonly bytes: Uint8Array
  /** Whether the encoder changed one of them. */
  readonly isEncoded: boolean
}

/** Stands for frames that each connection must encode for itself. */
const unshareable = "unshareable"

/** A text, as a string or in parts, of which bytes are UTF-8; or binary data. */
export type Payload = string | ReadonlyArray<string | Uint8Array> | Uint8Array

const textHeader = { opcode: Frame.Opcode.Text, fin: true, reserved: 0 }
const binaryHeader = { ...textHeader, opcode: Frame.Opcode.Binary }

const noOptions: SendOptions = {}

/**
 * One message or several, with every encoding that a connection has asked for.
 * Encodings are copies: the program may change its memory afterwards.
 */
export class SharedMessage {
  readonly messages: ReadonlyArray<Sendable>
  readonly options: SendOptions
  private plain: EncodedFrames | undefined
  private encoded: Map<SharedEncoder, EncodedFrames | typeof unshareable> | undefined

  constructor(messages: ReadonlyArray<Sendable>, options: SendOptions) {
    this.messages = messages
    this.options = options
  }

  /** Makes a message of trusted data, which is copied once, into its frame. */
  static of(payload: Payload): SharedMessage {
    const isBinary = payload instanceof Uint8Array
    const parts = isBinary || typeof payload === "string" ? [payload] : payload
    let size = 0
    for (const part of parts) size += sizeOf(part)
    const header = isBinary ? binaryHeader : textHeader
    const bytes = allocatePooledText(Frame.headerSize(size, false) + size)
    const start = Frame.encodeHeader(bytes, 0, header, size, undefined)
    let offset = start
    for (const part of parts) offset = writePart(bytes, offset, part)
    const shared = new SharedMessage([new Frame.Frame(header.opcode, bytes.subarray(start))], noOptions)
    shared.plain = { bytes, isEncoded: false }
    return shared
  }

  /** The frames of a server without extensions. */
  get withoutExtensions(): EncodedFrames {
    return this.plain ??= { bytes: encodeAll(this.messages), isEncoded: false }
  }

  /** The frames of the servers with this encoder. Undefined if it leaves them to each connection. */
  encodedBy(encoder: SharedEncoder): EncodedFrames | undefined {
    this.encoded ??= new Map()
    let frames = this.encoded.get(encoder)
    if (frames === undefined) this.encoded.set(encoder, frames = this.encode(encoder))
    return frames === unshareable ? undefined : frames
  }

  private encode(encoder: SharedEncoder): EncodedFrames | typeof unshareable {
    const frames: Array<Frame.Frame> = []
    let isEncoded = false
    for (const message of this.messages) {
      const frame = toFrame(message)
      const encoded = encodeFrame(encoder, frame, this.options)
      if (encoded === undefined) return unshareable
      frames.push(encoded)
      isEncoded ||= encoded !== frame
    }
    return isEncoded ? { bytes: encodeAll(frames), isEncoded } : this.withoutExtensions
  }
}

/** The general way to send reports what is wrong with a frame of an extension. */
const encodeFrame = (encoder: SharedEncoder, frame: Frame.Frame, options: SendOptions): Frame.Frame | undefined => {
  try {
    const encoded = encoder.encode(frame, options)
    if (encoded === undefined || encoded === frame) return encoded
    const checked = frameFrom(encoded)
    return checked instanceof Frame.Frame && checked.fin ? checked : undefined
  } catch {
    return undefined
  }
}

/** Encodes messages as a server writes them, one behind the other. */
const encodeAll = (messages: ReadonlyArray<Sendable>): Uint8Array => {
  const sizes = messages.map((message) => sizeOf(typeof message === "string" ? message : message.payload))
  const bytes = allocatePooledText(sizes.reduce((sum, size) => sum + Frame.headerSize(size, false) + size, 0))
  let offset = 0
  messages.forEach((message, i) => {
    const isString = typeof message === "string"
    offset = Frame.encodeHeader(bytes, offset, isString ? textHeader : message, sizes[i], undefined)
    offset = writePart(bytes, offset, isString ? message : message.payload)
  })
  return bytes
}

const sizeOf = (part: string | Uint8Array): number => typeof part === "string" ? utf8Length(part) : part.length

/** Writes a part of a payload. Returns the offset behind it. */
const writePart = (bytes: ReturnType<typeof allocatePooledText>, offset: number, part: string | Uint8Array): number => {
  if (typeof part === "string") return offset + bytes.write(part, offset)
  bytes.set(part, offset)
  return offset + part.length
}
