/** The options of a connection in a browser: defaults and checks. */
import * as Duration from "effect/Duration"
import type { ConnectOptions } from "../../BrowserClient.ts"
import { atLeast, type Checked, nonNegativeDuration, positiveDuration } from "../runtime/optionChecks.ts"

export const defaults = {
  maxMessageSize: 16 * 1024 * 1024,
  maxUnreadAmount: 16 * 1024 * 1024,
  outboundHighWaterMark: 1024 * 1024,
  closeTimeout: Duration.seconds(10)
}

export const checkConnect = (options: ConnectOptions): Checked =>
  positiveDuration("handshakeTimeout", options.handshakeTimeout) ??
    nonNegativeDuration("closeTimeout", options.closeTimeout) ??
    atLeast(0, "maxMessageSize", options.maxMessageSize) ??
    atLeast(0, "maxUnreadAmount", options.maxUnreadAmount) ??
    atLeast(0, "outboundHighWaterMark", options.outboundHighWaterMark)
