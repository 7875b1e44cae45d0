/** Messages as data (RFC 6455 §5.6). The public module Message exports them. */

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/** Decodes UTF-8, with U+FFFD for invalid bytes. A byte order mark stays. */
export const decodeText = (bytes: Uint8Array): string => decoder.decode(bytes)

/**
 * A text message. It holds the string or the UTF-8 bytes that it was made of, and
 * makes the other form on demand: text that is only passed on is never decoded.
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export class Text {
  readonly _tag = "Text"
  private string: string | undefined
  private utf8: Uint8Array | undefined

  constructor(data: string | Uint8Array) {
    if (typeof data === "string") {
      this.string = data
      this.utf8 = undefined
    } else {
      this.string = undefined
      this.utf8 = data
    }
  }

  get text(): string {
    return this.string ??= decoder.decode(this.utf8)
  }

  get bytes(): Uint8Array {
    if (this.string !== undefined) this.utf8 ??= encoder.encode(this.string)
    return this.utf8!
  }

  /** The message in a form that needs no conversion. */
  get data(): string | Uint8Array {
    return this.utf8 ?? this.string!
  }

  toJSON(): unknown {
    return { _tag: this._tag, text: this.text }
  }
}

/**
 * A binary message. The bytes of a small received message share a buffer with
 * others. That buffer cannot be transferred to another thread; a copy can.
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export class Binary {
  readonly _tag = "Binary"
  readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  toJSON(): unknown {
    return { _tag: this._tag, bytes: Array.from(this.bytes) }
  }
}
