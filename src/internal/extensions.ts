/**
 * The extensions at work in one connection (RFC 6455 §9): data frames pass
 * through all of them, first to last when they are sent, last to first when they
 * are received.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Extension from "../Extension.ts"
import { Frame, Opcode } from "../Frame.ts"
import { defaultMaxMessageSize } from "../Message.ts"
import { InvalidUtf8, type ProtocolError } from "../ProtocolError.ts"
import { Utf8Validator } from "./utf8.ts"

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

  // The message that is being decoded: who decodes it, and what has become of it so far.
  private decoders: ReadonlyArray<Extension.Session> = []
  private utf8: Utf8Validator | undefined
  private size = 0

  constructor(running: ReadonlyArray<Running>, limit: number) {
    this.running = running
    this.limit = limit
    this.reservedBits = running.reduce((bits, { reservedBits }) => bits | reservedBits, 0)
  }

  /** Whether a message with these reserved bits is something else before it is decoded. */
  isEncoded(reserved: number): boolean {
    return this.running.some((extension) => isFor(extension, reserved))
  }

  /** What a data frame is sent as. */
  encode(frame: Frame, options: Extension.SendOptions): Outcome<never> {
    return through(this.running.map(({ session }) => (it: Frame) => session.encode(it, options)), frame)
  }

  /** What a data frame was before it was encoded. */
  decode(frame: Frame): Outcome<ProtocolError> {
    if (frame.opcode !== Opcode.Continuation) this.begin(frame)
    if (this.decoders.length === 0) return frame
    const room = { used: this.size, limit: this.limit }
    return through<ProtocolError>([
      ...this.decoders.map((session) => (it: Frame) => session.decode(it, room)),
      (it) => this.check(it)
    ], frame)
  }

  private begin({ opcode, reserved }: Frame): void {
    this.decoders = this.running.filter((extension) => isFor(extension, reserved)).map(({ session }) => session)
      .toReversed()
    this.utf8 = opcode === Opcode.Text ? new Utf8Validator() : undefined
    this.size = 0
  }

  /** Text is checked once it is text (§8.1). */
  private check(frame: Frame): Frame | ProtocolError {
    const { fin, payload } = frame
    const start = this.size
    this.size += payload.length
    if (this.utf8 === undefined) return frame
    const at = this.utf8.push(payload)
    if (at < 0 && (!fin || this.utf8.complete)) return frame
    return new InvalidUtf8({ where: "text message", offset: at < 0 ? this.size : start + at })
  }
}

const isFor = ({ reservedBits }: Running, reserved: number): boolean =>
  reservedBits === 0 || (reserved & reservedBits) !== 0

/** One step after the other, without delay as far as none takes time. */
const through = <E>(steps: ReadonlyArray<(frame: Frame) => Outcome<E>>, frame: Frame): Outcome<E> => {
  for (let i = 0; i < steps.length; i++) {
    const outcome = attempt(steps[i], frame)
    if (outcome instanceof Frame) frame = outcome
    else if (outcome instanceof Error) return outcome
    else return Effect.flatMap(outcome as Effect.Effect<Frame, E>, (it) => toEffect(through(steps.slice(i + 1), it)))
  }
  return frame
}

/** What an extension throws must not come out where bytes are read: it is the program's mistake, not the peer's. */
const attempt = <E>(step: (frame: Frame) => Outcome<E>, frame: Frame): Outcome<E> => {
  try {
    return step(frame)
  } catch (defect) {
    return Effect.die(defect)
  }
}

const toEffect = <E>(outcome: Outcome<E>): Effect.Effect<Frame, E> =>
  outcome instanceof Frame
    ? Effect.succeed(outcome)
    : outcome instanceof Error
    ? Effect.fail(outcome as E)
    : outcome as Effect.Effect<Frame, E>

/** Begins the work of the extensions that were agreed on. */
export const start = (
  agreed: ReadonlyArray<Extension.Agreed>,
  limit: number = defaultMaxMessageSize
): Effect.Effect<Extensions | undefined, never, Scope.Scope> =>
  agreed.length === 0
    ? Effect.succeed(undefined)
    : Effect.map(
      Effect.forEach(agreed, ({ open, reservedBits }) => Effect.map(open, (session) => ({ reservedBits, session }))),
      (running) => new Extensions(running, limit)
    )
