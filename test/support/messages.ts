/** Messages in tests: how they are cut into frames, and what a validator returns. */
import { Frame, Message, type ProtocolError } from "effect-ws"
import { type Facts, factsOf, toHex } from "./frames.ts"

export const messageOf = (message: Message.Message | ProtocolError.MessageError | undefined) =>
  message?._tag === "Text"
    ? ["Text", message.text, toHex(message.bytes)]
    : message?._tag === "Binary"
    ? ["Binary", toHex(message.bytes)]
    : message

export const open = { fin: false }

/** Data frames that carry `pieces` as one message. */
export const fragmentsOf = (kind: "Text" | "Binary", pieces: ReadonlyArray<Uint8Array>): Array<Frame.Frame> =>
  pieces.map((piece, i) => {
    const fin = i === pieces.length - 1
    if (i > 0) return Frame.continuation(piece, { fin })
    return kind === "Text" ? Frame.text(piece, { fin }) : Frame.binary(piece, { fin })
  })

/** A frame of which `to` bytes have arrived, those after `from` with the latest chunk. */
export const partial = (
  frame: Frame.Frame,
  from: number,
  to: number,
  length = frame.payload.length
): Frame.PartialFrame => ({
  opcode: frame.opcode,
  fin: frame.fin,
  reserved: 0,
  length,
  received: to,
  latest: frame.payload.subarray(from, to)
})

/** The results of a validator for frames, up to the first error. */
export const judge = (
  limits: Message.Limits | undefined,
  frames: ReadonlyArray<Frame.Frame>
): Array<Facts | undefined> => {
  const validator = new Message.Validator(limits)
  const verdicts: Array<Facts | undefined> = []
  for (const frame of frames) {
    verdicts.push(factsOf(validator.check(frame)))
    if (verdicts.at(-1) !== undefined) break
  }
  return verdicts
}

export const fine = (count: number): Array<undefined> => Array.from({ length: count }, () => undefined)
export const unexpected: Facts = { _tag: "UnexpectedContinuation" }
export const unfinished = (opcode: number): Facts => ({ _tag: "UnfinishedMessage", opcode })
export const tooLarge = (size: number, limit: number): Facts => ({ _tag: "MessageTooLarge", size, limit })
export const tooMany = (limit: number): Facts => ({ _tag: "TooManyFragments", limit })
export const badText = (offset: number): Facts => ({ _tag: "InvalidUtf8", where: "text message", offset })

export const utf8 = (text: string) => new TextEncoder().encode(text)
