/** Reads the messages of permessage-deflate with Node's public functions alone (RFC 7692 §7.2.2). */
import * as Zlib from "node:zlib"

const tail = Buffer.of(0x00, 0x00, 0xff, 0xff)
/** A final block that holds nothing. */
const end = Buffer.of(0x01, 0x00, 0x00, 0xff, 0xff)

/** Inflates up to the end of a final block, or what there is, and answers how many bytes that took; undefined if it fails. */
const inflateStream = (
  data: Buffer,
  window: Buffer,
  options: Zlib.ZlibOptions
): readonly [Buffer, number] | undefined => {
  try {
    const dictionary = window.length === 0 ? {} : { dictionary: window }
    // The types do not say what `info` makes of it.
    const { buffer, engine } = Zlib.inflateRawSync(data, { ...dictionary, ...options, info: true }) as unknown as {
      readonly buffer: Buffer
      readonly engine: { readonly bytesWritten: number }
    }
    return [buffer, engine.bytesWritten]
  } catch {
    return undefined
  }
}

/** An inflater that inflates whole messages, each with the context of earlier ones, up to the first invalid one. */
export class ReferenceInflater {
  private window: Buffer = Buffer.alloc(0)
  private readonly takeover: boolean
  private readonly maxMessageSize: number

  constructor(takeover: boolean, maxMessageSize = 2 ** 28) {
    this.takeover = takeover
    this.maxMessageSize = maxMessageSize
  }

  /** Undefined where the payload is no message, or too large. */
  inflate(payload: Uint8Array): Buffer | undefined {
    const parts: Array<Buffer> = []
    const maxOutputLength = this.maxMessageSize + 1
    for (let rest = Buffer.from(payload);;) {
      // A final block behind the tail is the end of all data if and only if the tail ends between two blocks.
      const stream = inflateStream(Buffer.concat([rest, tail, end]), this.window, { maxOutputLength })
      if (stream === undefined) return undefined
      const [buffer, used] = stream
      const left = rest.length - used
      const finishFlush = Zlib.constants.Z_SYNC_FLUSH
      // The tail is the end of an empty block, and holds no data.
      const plain = left >= 0 ? stream : inflateStream(rest, this.window, { finishFlush, maxOutputLength })
      if (plain?.[0].length !== buffer.length) return undefined
      parts.push(buffer)
      this.window = Buffer.concat([this.window, buffer]).subarray(-32_768)
      if (left === -tail.length - end.length) break
      // A final block of the message's own: what follows refers to nothing before it.
      this.window = Buffer.alloc(0)
      if (left === 0 || left === -tail.length) break
      if (left < 0) return undefined
      rest = rest.subarray(used)
    }
    if (!this.takeover) this.window = Buffer.alloc(0)
    const message = Buffer.concat(parts)
    return message.length > this.maxMessageSize ? undefined : message
  }
}
