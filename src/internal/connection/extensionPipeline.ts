/**
 * Runs the extensions of one connection (RFC 6455 §9): each data frame passes
 * through all of them, the first first when it is sent, the last first when it was
 * received.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Extension from "../../Extension.ts"
import { Frame, Opcode, Piece } from "../protocol/frame.ts"
import { defaultMaxMessageSize } from "../protocol/messageValidator.ts"
import { InvalidUtf8, type ProtocolError } from "../../ProtocolError.ts"
import { findInvalid, TextValidator } from "../protocol/utf8.ts"
import { maxBytes } from "../runtime/buffers.ts"

interface OpenExtension {
  readonly reservedBits: number
  readonly session: Extension.Session
}

/** A frame, why there is no frame, or an Effect if an extension must wait. */
export type Outcome<E> = Frame | E | Effect.Effect<Frame, E>

export class Extensions {
  /** The reserved bits of all of them. */
  readonly reservedBits: number
  /** Whether each of them decodes a large frame in pieces. */
  readonly acceptPieces: boolean
  private readonly opened: ReadonlyArray<OpenExtension>
  private readonly maxMessageSize: number

  // The message that is being decoded.
  /** The reserved bits of its first frame. */
  private reserved = 0
  /** Whether an extension encoded it as text: its decoded bytes must be UTF-8. */
  private isEncodedText = false
  /** Made for the first fragment. */
  private text: TextValidator | undefined
  private decodedSize = 0

  constructor(opened: ReadonlyArray<OpenExtension>, maxMessageSize: number) {
    this.opened = opened
    this.maxMessageSize = maxMessageSize
    this.reservedBits = opened.reduce((bits, { reservedBits }) => bits | reservedBits, 0)
    this.acceptPieces = opened.every(({ session }) => session.acceptsPieces === true)
  }

  /** The encoder that this connection shares with others, if its only extension has one. */
  get shared(): Extension.SharedEncoder | undefined {
    return this.opened.length === 1 ? this.opened[0].session.shared : undefined
  }

  /** A message that `shared` has changed was sent. */
  onShared(): void {
    this.opened[0].session.onShared?.()
  }

  /** Whether an extension encoded a message with these reserved bits on its first frame. */
  isEncoded(reserved: number): boolean {
    for (let i = 0; i < this.opened.length; i++) {
      if (isFor(this.opened[i], reserved)) return true
    }
    return false
  }

  /** Encodes an outbound data frame. */
  encode(frame: Frame, options: Extension.SendOptions): Outcome<never> {
    return this.encodeFrom(0, frame, options)
  }

  /** Decodes an inbound data frame, and checks that decoded text is UTF-8. */
  decode(frame: Frame): Outcome<ProtocolError> {
    if (frame.opcode !== Opcode.Continuation) {
      this.reserved = frame.reserved
      this.isEncodedText = frame.opcode === Opcode.Text && this.isEncoded(frame.reserved)
      this.text = undefined
      this.decodedSize = 0
    }
    const outcome = this.decodeFrom(this.opened.length - 1, frame)
    return frame instanceof Piece ? toPiece(outcome, frame) : outcome
  }

  // Each loop passes a frame on synchronously until an extension returns an Effect, which continues the loop.

  private encodeFrom(index: number, frame: Frame, options: Extension.SendOptions): Outcome<never> {
    for (let i = index; i < this.opened.length; i++) {
      let outcome: Outcome<never>
      try {
        outcome = this.opened[i].session.encode(frame, options)
      } catch (defect) {
        return thrown(defect)
      }
      if (Effect.isEffect(outcome)) {
        return Effect.flatMap(outcome, (encoded) => toEffect(this.encodeFrom(i + 1, encoded, options)))
      }
      frame = outcome
    }
    return frame
  }

  private decodeFrom(index: number, frame: Frame): Outcome<ProtocolError> {
    for (let i = index; i >= 0; i--) {
      if (!isFor(this.opened[i], this.reserved)) continue
      let outcome: Outcome<ProtocolError>
      try {
        outcome = this.opened[i].session.decode(frame, this.budget)
      } catch (defect) {
        return thrown(defect)
      }
      if (outcome instanceof Error) return outcome
      if (!(outcome instanceof Frame)) {
        return Effect.flatMap(outcome, (decoded) => toEffect(this.decodeFrom(i - 1, decoded)))
      }
      frame = outcome
    }
    return this.check(frame)
  }

  /** The budget of the current message. One frame must fit into one array. */
  private get budget(): Extension.SizeBudget {
    return { used: this.decodedSize, limit: Math.min(this.maxMessageSize, this.decodedSize + maxBytes) }
  }

  /** Checks decoded text (RFC 6455 §8.1). */
  private check(frame: Frame): Frame | ProtocolError {
    const { fin, payload } = frame
    this.decodedSize += payload.length
    if (!this.isEncodedText) return frame
    // Most messages have one frame, and need no state between two.
    const isWhole = fin && this.text === undefined
    const offset = isWhole ? findInvalid(payload) : (this.text ??= new TextValidator()).check(payload, fin)
    return offset < 0 ? frame : new InvalidUtf8({ where: "text message", offset })
  }
}

/** Whether an extension decodes a message with these reserved bits. */
const isFor = ({ reservedBits }: OpenExtension, reserved: number): boolean =>
  reservedBits === 0 || (reserved & reservedBits) !== 0

/** Makes a piece of what an extension decoded of the piece `encoded`. */
const toPiece = (outcome: Outcome<ProtocolError>, encoded: Piece): Outcome<ProtocolError> => {
  const mark = ({ fin, opcode, payload, reserved }: Frame) => new Piece(opcode, payload, fin, reserved, encoded)
  if (outcome instanceof Frame) return outcome === encoded ? outcome : mark(outcome)
  return outcome instanceof Error ? outcome : Effect.map(outcome, mark)
}

/** Lets the fiber that sends or receives die: the program is at fault, not the peer, and the transport's callback must not throw. */
const thrown = (defect: unknown): Effect.Effect<never> => Effect.die(defect)

/** An error is an Effect too, which fails with it. */
const toEffect = <E>(outcome: Outcome<E>): Effect.Effect<Frame, E> =>
  Effect.isEffect(outcome) ? outcome as Effect.Effect<Frame, E> : Effect.succeed(outcome as Frame)

/** Opens the sessions of the negotiated extensions. Returns undefined without extensions. */
export const start = (
  negotiated: ReadonlyArray<Extension.Negotiated>,
  maxMessageSize: number = defaultMaxMessageSize
): Effect.Effect<Extensions | undefined, never, Scope.Scope> =>
  negotiated.length === 0
    ? Effect.succeed(undefined)
    : Effect.map(
      Effect.forEach(
        negotiated,
        ({ open, reservedBits }) => Effect.map(open, (session) => ({ reservedBits, session }))
      ),
      (opened) => new Extensions(opened, maxMessageSize)
    )
