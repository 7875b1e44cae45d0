/** Checks the options of a reconnecting client. */
import type { Options } from "../../Reconnecting.ts"
import { atLeast, type Checked, nonNegativeDuration } from "../runtime/optionChecks.ts"

export const checkReconnecting = (
  { maxRetryAfter, resetAfter, whileDisconnected }: Pick<Options, "maxRetryAfter" | "resetAfter" | "whileDisconnected">
): Checked =>
  nonNegativeDuration("resetAfter", resetAfter) ??
    nonNegativeDuration("maxRetryAfter", maxRetryAfter) ??
    (typeof whileDisconnected === "object"
      ? atLeast(0, "whileDisconnected.buffer", whileDisconnected.buffer)
      : undefined)
