/** The rules of RFC 6455 that a program could break with the frames it sends. */
import { ControlPayloadTooLong, InvalidFrame } from "../../ConnectionError.ts"
import { type Frame, Opcode, readClose } from "../../Frame.ts"
import type { InvalidCloseCode } from "../../ProtocolError.ts"

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
