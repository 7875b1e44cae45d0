/** The rules of RFC 6455 for the code and the reason that a program, or this library, closes with. */
import { utf8Length } from "#platform"
import * as CloseCode from "../../CloseCode.ts"
import { CloseReasonTooLong, type InvalidInput } from "../../ConnectionError.ts"
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

/** The codes that the platform can send. `sendable` says which, if they are fewer than RFC 6455 allows. */
export interface CodeRule {
  readonly isSendable: (code: number) => boolean
  readonly sendable?: string
}

/** Returns why a program cannot close with this code and reason (§7.4). */
export const checkClose = (
  code: number,
  reason: string,
  { isSendable, sendable }: CodeRule = CloseCode
): InvalidCloseCode | CloseReasonTooLong | InvalidInput | undefined => {
  const invalid = closeProblemOf(code, reason)
  if (invalid !== undefined) return invalid
  if (!isSendable(code)) return new InvalidCloseCode(sendable === undefined ? { code } : { code, sendable })
  const length = utf8Length(reason)
  return length > maxReasonLength ? new CloseReasonTooLong({ length }) : undefined
}
