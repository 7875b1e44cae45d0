/** Frames as data (RFC 6455 §5.2). The public module Frame exports them. */

/**
 * The end of a connection. A client masks the frames that it sends; a server does
 * not (RFC 6455 §5.1).
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export type Role = "client" | "server"

/**
 * The opcodes of RFC 6455 §5.2.
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export const Opcode = {
  Continuation: 0x0,
  Text: 0x1,
  Binary: 0x2,
  Close: 0x8,
  Ping: 0x9,
  Pong: 0xa
} as const

/**
 * One of the opcodes of RFC 6455 §5.2.
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export type Opcode = typeof Opcode[keyof typeof Opcode]

/**
 * The reserved bits of RFC 6455 §5.2, which extensions may use. Several bits are
 * joined with `|`.
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export const Reserved = {
  Rsv1: 4,
  Rsv2: 2,
  Rsv3: 1
} as const

/**
 * A frame, with its payload unmasked.
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export class Frame {
  readonly opcode: Opcode
  /** The application data, unmasked. The program owns the bytes of a received frame. */
  readonly payload: Uint8Array
  /** Whether this is the last fragment of its message. Always true for control frames. */
  readonly fin: boolean
  /** The reserved bits that are set, as in `Reserved`. */
  readonly reserved: number

  constructor(opcode: Opcode, payload: Uint8Array, fin = true, reserved = 0) {
    this.opcode = opcode
    this.payload = payload
    this.fin = fin
    this.reserved = reserved
  }
}

/**
 * Part of a data frame that is longer than `DecoderOptions.pieceSize`.
 *
 * The pieces of a frame look like fragments of a message: the first one has the
 * opcode and the reserved bits of the frame, the others are continuations, and
 * only the last one has the frame's `fin`.
 *
 * @stability stable
 * @category models
 * @since 0.1.0
 */
export class Piece extends Frame {
  /** The number of payload bytes of the same frame before this piece. */
  readonly offset: number
  /** The number of payload bytes of the same frame after this piece, as sent by the peer. */
  readonly remaining: number

  constructor(
    opcode: Opcode,
    payload: Uint8Array,
    fin: boolean,
    reserved: number,
    position: { readonly offset: number; readonly remaining: number }
  ) {
    super(opcode, payload, fin, reserved)
    this.offset = position.offset
    this.remaining = position.remaining
  }
}

/**
 * Returns whether a frame is a control frame: close, ping or pong (RFC 6455 §5.5).
 *
 * @stability stable
 * @category predicates
 * @since 0.1.0
 */
export const isControl = (frame: Frame): boolean => frame.opcode >= Opcode.Close

/** The same frame, or piece of a frame, with other bytes as its payload. */
export const withPayload = (frame: Frame, payload: Uint8Array): Frame => {
  const { fin, opcode, reserved } = frame
  return frame instanceof Piece
    ? new Piece(opcode, payload, fin, reserved, frame)
    : new Frame(opcode, payload, fin, reserved)
}

/** The maximum payload of a control frame, in bytes (RFC 6455 §5.5). */
export const maxControlPayload = 125

/**
 * The default of `maxFrameSize`: 16 MiB.
 *
 * @stability stable
 * @category options
 * @since 0.1.0
 */
export const defaultMaxFrameSize = 16 * 1024 * 1024
