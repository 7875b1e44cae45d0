/**
 * Metrics, spans and trace context of connections. All are enabled, and cost
 * little: a metric is computed from the counters of the connections when it is
 * read, and spans are created only if there is a tracer.
 *
 * Each metric of connections has the attribute `role`, which is "server" or "client".
 * The docstring of a metric names its further attributes.
 *
 * **Example** (The number of connected clients)
 *
 * ```ts
 * import { Effect, Metric } from "effect"
 * import { Telemetry } from "effect-ws"
 *
 * const clients = Telemetry.connections.pipe(
 *   Metric.withAttributes({ role: "server" }),
 *   Metric.value,
 *   Effect.map(({ value }) => value)
 * )
 * ```
 *
 * The span `websocket.handshake` lasts from the request to the response. Its child
 * `websocket.connection` lasts as long as the connection. Messages have no spans.
 * The handshake of a server continues the trace in the `traceparent` header of the
 * request, and a client sends this header. `TraceContext` disables either.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Metric from "effect/Metric"

// -----------------------------------------------------------------------------
// Metrics
// -----------------------------------------------------------------------------

/**
 * The number of open connections.
 *
 * @stability unstable
 * @category metrics
 * @since 0.1.0
 */
export const connections: Metric.Gauge<number> = Metric.gauge("websocket_connections", {
  description: "WebSocket connections that are open"
})

/**
 * The number of completed opening handshakes, by `result`: the status of the
 * response, which is 101 for an accepted handshake, or 200 over HTTP/2. Without a
 * response, it is the name of the error, such as "ConnectFailed", or "Interrupted" if
 * the program or the peer aborted the handshake.
 *
 * @stability unstable
 * @category metrics
 * @since 0.1.0
 */
export const handshakes: Metric.Counter<number> = Metric.counter("websocket_handshakes", {
  description: "WebSocket handshakes, by result",
  incremental: true
})

/**
 * The number of messages, by `direction`: "in" or "out".
 *
 * @stability unstable
 * @category metrics
 * @since 0.1.0
 */
export const messages: Metric.Counter<number> = Metric.counter("websocket_messages", {
  description: "WebSocket messages, by direction",
  incremental: true
})

/**
 * The number of bytes on the wire, including frame headers and control frames, by
 * `direction`: "in" or "out".
 *
 * @stability unstable
 * @category metrics
 * @since 0.1.0
 */
export const bytes: Metric.Counter<number> = Metric.counter("websocket_bytes", {
  description: "Bytes of WebSocket connections, by direction",
  incremental: true
})

/**
 * The number of connections that have ended, by `code`: that of `ConnectionClosed`,
 * including 1005 and 1006. Codes from 3000 on are grouped as "3xxx" and "4xxx",
 * because the peer can choose any of them.
 *
 * @stability unstable
 * @category metrics
 * @since 0.1.0
 */
export const closes: Metric.Counter<number> = Metric.counter("websocket_closes", {
  description: "WebSocket connections that have ended, by close code",
  incremental: true
})

/**
 * The time from a ping to its pong, in seconds, for `ping` and for the keepalive.
 *
 * @stability unstable
 * @category metrics
 * @since 0.1.0
 */
export const pingLatency: Metric.Histogram<number> = Metric.histogram("websocket_ping_seconds", {
  description: "Seconds from a ping to its pong",
  boundaries: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
})

/**
 * The time that connections have spent in backpressure, in seconds, by
 * `direction`: "in" while reading is paused, because the program does not receive;
 * "out" while sends are suspended, because the peer does not read.
 *
 * @stability unstable
 * @category metrics
 * @since 0.1.0
 */
export const backpressure: Metric.Counter<number> = Metric.counter("websocket_backpressure_seconds", {
  description: "Seconds that WebSocket connections have spent in backpressure, by direction",
  incremental: true
})

/**
 * The number of channels that `Topics` subscribes to, including those that linger.
 *
 * @stability unstable
 * @category topic metrics
 * @since 0.1.0
 */
export const topicChannels: Metric.Gauge<number> = Metric.gauge("websocket_topic_channels", {
  description: "Channels that this process subscribes to"
})

/**
 * The number of subscribers of channels, by `state`: "live" if they keep up, "behind" otherwise.
 *
 * @stability unstable
 * @category topic metrics
 * @since 0.1.0
 */
export const topicSubscribers: Metric.Gauge<number> = Metric.gauge("websocket_topic_subscribers", {
  description: "Subscribers of channels, by state"
})

/**
 * The bytes of events that `Topics` keeps in memory.
 *
 * @stability unstable
 * @category topic metrics
 * @since 0.1.0
 */
export const topicMemory: Metric.Gauge<number> = Metric.gauge("websocket_topic_memory_bytes", {
  description: "Bytes of events that channels keep in memory"
})

/**
 * The number of messages of channels, by `direction`: "published" by this process,
 * "received" from the broker, "delivered" to subscribers, "missed" by subscribers, which a `Gap` told.
 *
 * @stability unstable
 * @category topic metrics
 * @since 0.1.0
 */
export const topicMessages: Metric.Counter<number> = Metric.counter("websocket_topic_messages", {
  description: "Messages of channels, by direction",
  incremental: true
})

/**
 * The number of gaps that subscribers were told of.
 *
 * @stability unstable
 * @category topic metrics
 * @since 0.1.0
 */
export const topicGaps: Metric.Counter<number> = Metric.counter("websocket_topic_gaps", {
  description: "Gaps that subscribers were told of",
  incremental: true
})

/**
 * The number of reads of history that subscriptions have caused: when they begin, when they resume, and after losses.
 *
 * @stability unstable
 * @category topic metrics
 * @since 0.1.0
 */
export const topicHistoryReads: Metric.Counter<number> = Metric.counter("websocket_topic_history_reads", {
  description: "Reads of history by this process",
  incremental: true
})

// -----------------------------------------------------------------------------
// Trace context
// -----------------------------------------------------------------------------

/**
 * Whether traces cross the network, in the `traceparent` header (W3C Trace
 * Context). If a request has none, a server reads the headers of B3.
 *
 * @stability unstable
 * @category tracing
 * @since 0.1.0
 */
export interface TracePropagation {
  /** Whether the handshake of a server continues the trace of the request. */
  readonly accept: boolean
  /** Whether the request of a client carries its trace. */
  readonly send: boolean
}

/**
 * Whether traces cross the network. Default: they do, in both directions. A public
 * server can disable `accept`, so that clients do not choose its trace ids. A client
 * of another party's server can disable `send`.
 *
 * **Example** (A public server)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Telemetry } from "effect-ws"
 *
 * const Propagation = Layer.succeed(Telemetry.TraceContext, { accept: false, send: true })
 * ```
 *
 * @stability unstable
 * @category tracing
 * @since 0.1.0
 */
export const TraceContext: Context.Reference<TracePropagation> = Context.Reference<TracePropagation>(
  "effect-ws/TraceContext",
  { defaultValue: () => ({ accept: true, send: true }) }
)
