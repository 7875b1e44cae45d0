/** The close codes that a page may send: 1000, and 3000 to 4999 (WHATWG WebSockets, `close`). */
import * as CloseCode from "../../CloseCode.ts"
import type { CodeRule } from "../connection/closeRules.ts"

const isSendable = (code: number): boolean =>
  code === CloseCode.NormalClosure || (Number.isInteger(code) && code >= 3000 && code <= 4999)

/** The rule for the codes of programs. */
export const pageCodes: CodeRule = { isSendable, sendable: "3000 to 4999, or 1000, because a browser sends no other" }

/**
 * Returns the code that stands for one that this library closes with on its own: 1000 for 1001, because a page that goes
 * away is no failure, and 4000 plus the last digits for the others, such as 4011 for 1011.
 */
export const pageCode = (code: number): number =>
  isSendable(code) ? code : code === CloseCode.GoingAway ? CloseCode.NormalClosure : code + 3000
