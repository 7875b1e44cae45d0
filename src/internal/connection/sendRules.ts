/** The rules of RFC 6455 that a program could break with what it sends. */
import { utf8Length } from "#platform"
import * as CloseCode from "../../CloseCode.ts"
import { CloseReasonTooLong, ControlPayloadTooLong, InvalidFrame, type InvalidInput } from "../../ConnectionError.ts"
import { type Frame, Opcode, readClose } from "../../Frame.ts"
import { InvalidCloseCode } from "../../ProtocolError.ts"
import { closeProblemOf } from "./input.ts"

/** The bytes of a close frame behind its code (§5.5.1). */
const maxReasonLength = 123

const encoder = new TextEncoder()

/** Cuts a text to the length of a close reason, between two characters. */
export const fitReason = (text: string): string => {
  const { read } = encoder.encodeInto(text, new Uint8Array(maxReasonLength))
  return text.slice(0, read)
}

/** Whether a program closes with an empty close frame, which is read as 1005 (§7.1.5). */
export const isEmptyClose = (code: number, reason: string): boolean =>
  code === CloseCode.NoStatusReceived && reason === ""

/** Returns why a program cannot close with this code and reason (§7.4). */
export const checkClose = (
  code: number,
  reason: string
): InvalidCloseCode | CloseReasonTooLong | InvalidInput | undefined => {
  const invalid = closeProblemOf(code, reason)
  if (invalid !== undefined) return invalid
  if (!CloseCode.isSendable(code)) return new InvalidCloseCode({ code })
  const length = utf8Length(reason)
  return length > maxReasonLength ? new CloseReasonTooLong({ length }) : undefined
}

/** Returns the rule of §5.2, §5.5 or §7.4 that a frame of a program breaks. */
export const checkFrame = (
  { fin, opcode, payload, reserved }: Frame
): ControlPayloadTooLong | InvalidCloseCode | InvalidFrame | undefined => {
  // Extensions set their bits when they encode the frame.
  if (reserved !== 0) return new InvalidFrame({ opcode, rule: "ReservedBits" })
  if (opcode < Opcode.Close) return undefined
  if (!fin) return new InvalidFrame({ opcode, rule: "FragmentedControlFrame" })
  if (payload.length > 125) return new ControlPayloadTooLong({ opcode, length: payload.length })
  const close = opcode === Opcode.Close ? readClose(payload) : undefined
  if (close === undefined || !("_tag" in close)) return undefined
  return close._tag === "InvalidCloseCode" ? close : new InvalidFrame({ opcode, rule: close._tag })
}
