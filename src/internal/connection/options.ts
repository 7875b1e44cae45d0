/** Checks the options of a connection, which those of clients and servers extend. */
import type * as Connection from "../../Connection.ts"
import { atLeast, type Checked, nonNegativeDuration, positiveDuration } from "../runtime/optionChecks.ts"

const checkKeepalive = (keepalive: Connection.Options["keepalive"]): Checked =>
  keepalive === undefined || keepalive === false
    ? undefined
    : positiveDuration("keepalive.interval", keepalive.interval, "keepalive: false sends no pings") ??
      positiveDuration("keepalive.timeout", keepalive.timeout)

/** Returns the first invalid option. */
export const checkConnection = (options: Connection.Options): Checked =>
  atLeast(0, "maxMessageSize", options.maxMessageSize) ??
    atLeast(1, "maxFragments", options.maxFragments) ??
    atLeast(1, "inboundHighWaterMark", options.inboundHighWaterMark) ??
    atLeast(0, "maxUnansweredPings", options.maxUnansweredPings) ??
    nonNegativeDuration("closeTimeout", options.closeTimeout) ??
    checkKeepalive(options.keepalive) ??
    positiveDuration("writeTimeout", options.writeTimeout) ??
    positiveDuration("slowConsumerTimeout", options.slowConsumerTimeout) ??
    positiveDuration("idleTimeout", options.idleTimeout)
