/** Joins data frames into messages (RFC 6455 §5.4). */
import type { MessageTooLarge } from "../../ProtocolError.ts"
import { ByteBuilder, maxBytes, maxTextBytes } from "../runtime/buffers.ts"
import { Frame, Opcode, Piece } from "./frame.ts"
import { Binary, Text } from "./message.ts"
import { tooLarge } from "./messageValidator.ts"

/**
 * Joins checked data frames into messages, up to the maximum size of one value.
 *
 * @stability stable
 * @category checking
 * @since 0.1.0
 */
export class Assembler {
  private firstOpcode: Opcode | undefined
  private reserved = 0
  private builder: ByteBuilder | undefined
  private withinFrame = false

  /** The opcode of the first collected frame, if there is one. */
  get opcode(): Opcode | undefined {
    return this.firstOpcode
  }

  /** Whether part of a message is collected. */
  get unfinished(): boolean {
    return this.builder !== undefined
  }

  /** Whether the collected bytes end within a frame. */
  get isWithinFrame(): boolean {
    return this.withinFrame
  }

  /**
   * Adds the next frame, or the next piece of one. Returns the message that it
   * completes, or an error if no value can hold the message. Ignores the rest of
   * a message that did not begin here.
   */
  push(frame: Frame): Text | Binary | MessageTooLarge | undefined {
    if (this.firstOpcode === Opcode.Continuation) this.clear()
    if (this.builder === undefined) {
      if (frame.opcode === Opcode.Continuation) return undefined
      if (frame.fin) return toMessage(frame)
    }
    const error = this.add(frame, this.firstOpcode ?? frame.opcode)
    if (error !== undefined) return error
    return frame.fin ? toMessage(this.take(true)) : undefined
  }

  /** Adds the next piece of a frame. Returns the frame, if the piece completes it. */
  pushPiece(piece: Piece): Frame | MessageTooLarge | undefined {
    const error = this.add(piece, Opcode.Binary)
    if (error !== undefined) return error
    return this.withinFrame ? undefined : this.take(piece.fin)
  }

  /** Removes the collected bytes, and returns them as the beginning of a message in one frame. */
  giveBack(): Frame | undefined {
    return this.builder === undefined ? undefined : this.take(false)
  }

  /** Drops the collected bytes. */
  clear(): void {
    this.firstOpcode = undefined
    this.builder = undefined
    this.withinFrame = false
  }

  private add(frame: Frame, kind: Opcode): MessageTooLarge | undefined {
    if (this.builder === undefined) {
      this.firstOpcode = frame.opcode
      this.reserved = frame.reserved
      this.builder = new ByteBuilder()
    }
    const error = tooLarge(this.builder.length + frame.payload.length, maxSizeOf(kind))
    if (error !== undefined) return error
    this.builder.push(frame.payload)
    this.withinFrame = frame instanceof Piece && frame.remaining > 0
    return undefined
  }

  private take(fin: boolean): Frame {
    const frame = new Frame(this.firstOpcode!, this.builder!.concat(), fin, this.reserved)
    this.clear()
    return frame
  }
}

/** The maximum size of a message in one value, in bytes. */
const maxSizeOf = (opcode: Opcode): number => opcode === Opcode.Text ? maxTextBytes : maxBytes

const toMessage = ({ opcode, payload }: Frame): Text | Binary | MessageTooLarge =>
  tooLarge(payload.length, maxSizeOf(opcode)) ?? (opcode === Opcode.Text ? new Text(payload) : new Binary(payload))
