/** Joins data frames into messages (RFC 6455 §5.4). */
import type { MessageTooLarge } from "../../ProtocolError.ts"
import { ByteBuilder, maxBytes, maxTextBytes } from "../runtime/buffers.ts"
import { Frame, Opcode, Piece } from "./frame.ts"
import { Binary, Text } from "./message.ts"
import { tooLarge } from "./messageValidator.ts"

/** The frames of an unfinished message that were collected. */
interface Collected {
  readonly firstOpcode: Opcode
  readonly reserved: number
  readonly bytes: ByteBuilder
  withinFrame: boolean
}

/**
 * Joins checked data frames into messages, up to the maximum size of one value.
 *
 * @stability stable
 * @category checking
 * @since 0.1.0
 */
export class Assembler {
  private collected: Collected | undefined

  /** The opcode of the first collected frame, if there is one. */
  get opcode(): Opcode | undefined {
    return this.collected?.firstOpcode
  }

  /** Whether part of a message is collected. */
  get unfinished(): boolean {
    return this.collected !== undefined
  }

  /** Whether the collected bytes end within a frame. */
  get isWithinFrame(): boolean {
    return this.collected !== undefined && this.collected.withinFrame
  }

  /**
   * Adds the next frame, or the next piece of one. Returns the message that it
   * completes, or an error if no value can hold the message. Ignores the rest of
   * a message that did not begin here.
   */
  push(frame: Frame): Text | Binary | MessageTooLarge | undefined {
    if (this.opcode === Opcode.Continuation) this.clear()
    if (this.collected === undefined) {
      if (frame.opcode === Opcode.Continuation) return undefined
      if (frame.fin) return toMessage(frame)
    }
    const error = this.add(frame, this.opcode ?? frame.opcode)
    if (error !== undefined) return error
    return frame.fin ? toMessage(this.take(true)) : undefined
  }

  /** Adds the next piece of a frame. Returns the frame, if the piece completes it. */
  pushPiece(piece: Piece): Frame | MessageTooLarge | undefined {
    const error = this.add(piece, Opcode.Binary)
    if (error !== undefined) return error
    return this.isWithinFrame ? undefined : this.take(piece.fin)
  }

  /** Removes the collected bytes, and returns them as the beginning of a message in one frame. */
  giveBack(): Frame | undefined {
    return this.collected === undefined ? undefined : this.take(false)
  }

  /** Drops the collected bytes. */
  clear(): void {
    this.collected = undefined
  }

  private add(frame: Frame, kind: Opcode): MessageTooLarge | undefined {
    const { opcode: firstOpcode, payload, reserved } = frame
    const collected = this.collected ??= { firstOpcode, reserved, bytes: new ByteBuilder(), withinFrame: false }
    const error = tooLarge(collected.bytes.length + payload.length, maxSizeOf(kind))
    if (error !== undefined) return error
    collected.bytes.push(payload)
    collected.withinFrame = frame instanceof Piece && frame.remaining > 0
    return undefined
  }

  private take(fin: boolean): Frame {
    const { bytes, firstOpcode, reserved } = this.collected!
    this.clear()
    return new Frame(firstOpcode, bytes.concat(), fin, reserved)
  }
}

/** The maximum size of a message in one value, in bytes. */
const maxSizeOf = (opcode: Opcode): number => opcode === Opcode.Text ? maxTextBytes : maxBytes

const toMessage = ({ opcode, payload }: Frame): Text | Binary | MessageTooLarge =>
  tooLarge(payload.length, maxSizeOf(opcode)) ?? (opcode === Opcode.Text ? new Text(payload) : new Binary(payload))
