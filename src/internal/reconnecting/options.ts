/** Checks the options of a reconnecting client and of heartbeats. */
import type * as Heartbeat from "../../Heartbeat.ts"
import type { Options } from "../../Reconnecting.ts"
import { atLeast, type Checked, nonNegativeDuration, positiveDuration } from "../runtime/optionChecks.ts"

type CheckedOptions = Pick<
  Options<never>,
  "fastFailures" | "heartbeat" | "maxRetryAfter" | "resetAfter" | "whileDisconnected" | "whileHidden"
>

export const checkReconnecting = (options: CheckedOptions): Checked =>
  nonNegativeDuration("resetAfter", options.resetAfter) ??
    nonNegativeDuration("maxRetryAfter", options.maxRetryAfter) ??
    atLeast(1, "fastFailures.max", options.fastFailures?.max) ??
    positiveDuration("fastFailures.within", options.fastFailures?.within) ??
    checkWhileDisconnected(options.whileDisconnected) ??
    checkWhileHidden(options.whileHidden) ??
    (options.heartbeat === undefined ? undefined : checkHeartbeat(options.heartbeat, "heartbeat."))

const checkWhileDisconnected = (value: Options["whileDisconnected"]): Checked =>
  typeof value !== "object" ? undefined : (
    atLeast(0, "whileDisconnected.buffer.messages", value.buffer.messages) ??
      atLeast(0, "whileDisconnected.buffer.bytes", value.buffer.bytes)
  )

const checkWhileHidden = (value: Options["whileHidden"]): Checked =>
  typeof value !== "object" ? undefined : nonNegativeDuration("whileHidden.closeAfter", value.closeAfter)

/** Checks the options of a heartbeat. `path` leads to them. */
export const checkHeartbeat = ({ interval, timeout }: Heartbeat.Options, path = ""): Checked =>
  positiveDuration(`${path}interval`, interval) ?? positiveDuration(`${path}timeout`, timeout)
