/**
 * What can be seen of connections from outside: metrics, spans and trace
 * context. All of it is on, and costs next to nothing: metrics are read from
 * what connections count anyway, at the moment when somebody asks for them, and
 * spans are made only where a tracer was set up.
 *
 * Each metric has the attribute `role`, which is "server" or "client"; further
 * attributes are named where the metric is.
 *
 * **Example** (How many clients are connected)
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
 * Spans are `websocket.handshake`, from the request to the answer, and, as a
 * child of it, `websocket.connection`, which lasts as long as the connection
 * does. There are none for messages. A server's handshake continues the trace
 * that the request names in its `traceparent` header; a client sends one.
 * `TraceContext` turns these two off.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Metric from "effect/Metric"

// -----------------------------------------------------------------------------
// Metrics
// -----------------------------------------------------------------------------

/**
 * The connections that are open now.
 *
 * @category metrics
 * @since 0.1.0
 */
export const connections: Metric.Gauge<number> = Metric.gauge("websocket_connections", {
  description: "WebSocket connections that are open"
})

/**
 * The opening handshakes that are over, by `result`: the status of the response,
 * 101 where there is a connection now; where there was no response, the name of
 * the error, such as "ConnectFailed", or "Interrupted" where it was given up, by
 * the program or by the peer.
 *
 * @category metrics
 * @since 0.1.0
 */
export const handshakes: Metric.Counter<number> = Metric.counter("websocket_handshakes", {
  description: "WebSocket handshakes, by result",
  incremental: true
})

/**
 * The messages, by `direction`: "in" or "out".
 *
 * @category metrics
 * @since 0.1.0
 */
export const messages: Metric.Counter<number> = Metric.counter("websocket_messages", {
  description: "WebSocket messages, by direction",
  incremental: true
})

/**
 * The bytes on the wire, those of frame headers and control frames among them,
 * by `direction`: "in" or "out".
 *
 * @category metrics
 * @since 0.1.0
 */
export const bytes: Metric.Counter<number> = Metric.counter("websocket_bytes", {
  description: "Bytes of WebSocket connections, by direction",
  incremental: true
})

/**
 * The connections that have ended, by `code`: what `ConnectionClosed.code` says,
 * 1005 and 1006 included. Of the codes from 3000 on, which are a program's own
 * and the peer may choose, only the thousand is told: "3xxx", "4xxx".
 *
 * @category metrics
 * @since 0.1.0
 */
export const closes: Metric.Counter<number> = Metric.counter("websocket_closes", {
  description: "WebSocket connections that have ended, by close code",
  incremental: true
})

/**
 * How long pongs took, in seconds: those that answer `ping`, and those that
 * answer the keepalive.
 *
 * @category metrics
 * @since 0.1.0
 */
export const pingLatency: Metric.Histogram<number> = Metric.histogram("websocket_ping_seconds", {
  description: "Seconds from a ping to its pong",
  boundaries: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
})

/**
 * The time that connections have spent in backpressure, in seconds, by
 * `direction`: "in" while the peer is held back, because the program does not
 * read; "out" while sends wait, because the peer does not.
 *
 * @category metrics
 * @since 0.1.0
 */
export const backpressure: Metric.Counter<number> = Metric.counter("websocket_backpressure_seconds", {
  description: "Seconds that WebSocket connections have spent in backpressure, by direction",
  incremental: true
})

// -----------------------------------------------------------------------------
// Trace context
// -----------------------------------------------------------------------------

/**
 * Whether traces cross the network. They do so in the `traceparent` header (W3C
 * Trace Context); from clients that send none, servers take the headers of B3.
 *
 * @category tracing
 * @since 0.1.0
 */
export interface TracePropagation {
  /** Whether a server's handshake continues the trace that the request names. */
  readonly accept: boolean
  /** Whether a client's request names the trace that it belongs to. */
  readonly send: boolean
}

/**
 * Whether traces cross the network. Default: they do, both ways. A server that
 * anybody may connect to can choose not to let them into its traces, and a
 * client that connects to others not to tell them.
 *
 * **Example** (A server on the open internet)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Telemetry } from "effect-ws"
 *
 * const Propagation = Layer.succeed(Telemetry.TraceContext, { accept: false, send: true })
 * ```
 *
 * @category tracing
 * @since 0.1.0
 */
export const TraceContext: Context.Reference<TracePropagation> = Context.Reference<TracePropagation>(
  "effect-ws/TraceContext",
  { defaultValue: () => ({ accept: true, send: true }) }
)
