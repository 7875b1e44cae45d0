/**
 * The extensions at work in one connection (RFC 6455 §9): data frames pass
 * through all of them, first to last when they are sent, last to first when they
 * are received.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Extension from "../../Extension.ts"
import { Frame, Opcode, Piece } from "../../Frame.ts"
import { defaultMaxMessageSize } from "../../Message.ts"
import { InvalidUtf8, type ProtocolError } from "../../ProtocolError.ts"
import { maxBytes } from "../runtime/buffers.ts"
import { findInvalid, TextValidator } from "../protocol/utf8.ts"

interface Running {
  readonly reservedBits: number
  readonly session: Extension.Session
}

/** A step that is done, that went wrong, or that takes time. */
export type Outcome<E> = Frame | E | Effect.Effect<Frame, E>

export class Extensions {
  private readonly running: ReadonlyArray<Running>
  private readonly limit: number
  readonly reservedBits: number
  /** Whether each session can decode the pieces of a frame one by one. */
  readonly acceptPieces: boolean

  // The message that is being decoded: the reserved bits that it began with, and what has become of it so far.
  private reserved = 0
  private isText = false
  private text: TextValidator | undefined
  private size = 0

  constructor(running: ReadonlyArray<Running>, limit: number) {
    this.running = running
    this.limit = limit
    this.reservedBits = running.reduce((bits, { reservedBits }) => bits | reservedBits, 0)
    this.acceptPieces = running.every(({ session }) => session.acceptsPieces === true)
  }

  /** Whether a message with these reserved bits is something else before it is decoded. */
  isEncoded(reserved: number): boolean {
    for (let i = 0; i < this.running.length; i++) {
      if (isFor(this.running[i], reserved)) return true
    }
    return false
  }

  /** What a data frame is sent as. */
  encode(frame: Frame, options: Extension.SendOptions): Outcome<never> {
    return this.encodeFrom(0, frame, options)
  }

  /** What a data frame was before it was encoded. */
  decode(frame: Frame): Outcome<ProtocolError> {
    if (frame.opcode !== Opcode.Continuation) {
      this.reserved = frame.reserved
      this.isText = frame.opcode === Opcode.Text && this.isEncoded(frame.reserved)
      this.text = undefined
      this.size = 0
    }
    const outcome = this.decodeFrom(this.running.length - 1, frame)
    return frame instanceof Piece ? toPiece(outcome, frame) : outcome
  }

  // One extension after the other, without delay as far as none takes time.

  private encodeFrom(index: number, frame: Frame, options: Extension.SendOptions): Outcome<never> {
    for (let i = index; i < this.running.length; i++) {
      let outcome: Outcome<never>
      try {
        outcome = this.running[i].session.encode(frame, options)
      } catch (defect) {
        return thrown(defect)
      }
      if (Effect.isEffect(outcome)) {
        return Effect.flatMap(outcome, (it) => toEffect(this.encodeFrom(i + 1, it, options)))
      }
      frame = outcome
    }
    return frame
  }

  private decodeFrom(index: number, frame: Frame): Outcome<ProtocolError> {
    for (let i = index; i >= 0; i--) {
      if (!isFor(this.running[i], this.reserved)) continue
      let outcome: Outcome<ProtocolError>
      try {
        outcome = this.running[i].session.decode(frame, this.room)
      } catch (defect) {
        return thrown(defect)
      }
      if (outcome instanceof Error) return outcome
      if (!(outcome instanceof Frame)) {
        return Effect.flatMap(outcome, (it) => toEffect(this.decodeFrom(i - 1, it)))
      }
      frame = outcome
    }
    return this.check(frame)
  }

  /** What the message at hand has room for; one frame of it has room for no more than an array can hold. */
  private get room(): Extension.SizeBudget {
    return { used: this.size, limit: Math.min(this.limit, this.size + maxBytes) }
  }

  /** Checks decoded text (RFC 6455 §8.1). */
  private check(frame: Frame): Frame | ProtocolError {
    const { fin, payload } = frame
    this.size += payload.length
    if (!this.isText) return frame
    // Most messages have one frame, and need no state between two.
    const isWhole = fin && this.text === undefined
    const offset = isWhole ? findInvalid(payload) : (this.text ??= new TextValidator()).check(payload, fin)
    return offset < 0 ? frame : new InvalidUtf8({ where: "text message", offset })
  }
}

const isFor = ({ reservedBits }: Running, reserved: number): boolean =>
  reservedBits === 0 || (reserved & reservedBits) !== 0

/** A decoded piece, marked as such. */
const toPiece = (outcome: Outcome<ProtocolError>, encoded: Piece): Outcome<ProtocolError> => {
  const mark = ({ fin, opcode, payload, reserved }: Frame) => new Piece(opcode, payload, fin, reserved, encoded)
  if (outcome instanceof Frame) return outcome === encoded ? outcome : mark(outcome)
  return outcome instanceof Error ? outcome : Effect.map(outcome, mark)
}

/** What an extension throws must not come out where bytes are read: it is the program's mistake, not the peer's. */
const thrown = (defect: unknown): Effect.Effect<never> => Effect.die(defect)

const toEffect = <E>(outcome: Outcome<E>): Effect.Effect<Frame, E> =>
  Effect.isEffect(outcome)
    ? outcome as Effect.Effect<Frame, E>
    : outcome instanceof Error
    ? Effect.fail(outcome as E)
    : Effect.succeed(outcome as Frame)

/** Begins the work of the extensions that were agreed on. */
export const start = (
  agreed: ReadonlyArray<Extension.Negotiated>,
  limit: number = defaultMaxMessageSize
): Effect.Effect<Extensions | undefined, never, Scope.Scope> =>
  agreed.length === 0
    ? Effect.succeed(undefined)
    : Effect.map(
      Effect.forEach(agreed, ({ open, reservedBits }) => Effect.map(open, (session) => ({ reservedBits, session }))),
      (running) => new Extensions(running, limit)
    )
