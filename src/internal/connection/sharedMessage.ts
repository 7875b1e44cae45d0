/** Messages for many connections, encoded once for all that encode alike. */
import { allocatePooled } from "#platform"
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

  /** The frames of a server without extensions. */
  get withoutExtensions(): EncodedFrames {
    return this.plain ??= { bytes: encodeAll(this.messages.map(toFrame)), isEncoded: false }
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

/** Encodes frames as a server writes them, one behind the other. */
const encodeAll = (frames: ReadonlyArray<Frame.Frame>): Uint8Array => {
  const sizes = frames.map(({ payload }) => Frame.headerSize(payload.length, false) + payload.length)
  const bytes = allocatePooled(sizes.reduce((sum, size) => sum + size, 0))
  let offset = 0
  for (const frame of frames) offset = Frame.encodeInto(bytes, offset, frame)
  return bytes
}
