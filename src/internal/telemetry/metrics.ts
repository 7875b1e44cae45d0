/**
 * The metrics of all connections of a role. No metric is updated per message: a
 * connection has counters, which are read when a metric is read, and added to the
 * totals when the connection ends.
 */
import * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type { ConnectionClosed } from "../../ConnectionError.ts"
import type { Role } from "../../Frame.ts"
import * as Telemetry from "../../Telemetry.ts"
import { LinkedList, type Node } from "../runtime/linkedList.ts"
import { Timers } from "../runtime/timers.ts"

/** The counters of one or more connections. */
export interface Totals {
  bytesIn: number
  bytesOut: number
  messagesIn: number
  messagesOut: number
}

/** A connection that adds its counters to the metrics. */
export interface MetricSource extends Node<MetricSource> {
  /** Adds the counters of this connection to the totals. */
  readonly collect: (totals: Totals) => void
}

const emptyTotals = (): Totals => ({ bytesIn: 0, bytesOut: 0, messagesIn: 0, messagesOut: 0 })

/** The time that all connections together have spent in a state. Only connections in that state use memory. */
class Stopwatch {
  private readonly since = new Map<object, number>()
  private total = 0

  start(connection: object, now: number): void {
    if (!this.since.has(connection)) this.since.set(connection, now)
  }

  stop(connection: object, now: number): void {
    const since = this.since.get(connection)
    if (since === undefined) return
    this.since.delete(connection)
    this.total += now - since
  }

  /** Returns the time in the unit of `now`. */
  read(now: number): number {
    let total = this.total
    for (const since of this.since.values()) total += now - since
    return total
  }
}

export class ConnectionMetrics {
  private static readonly byRegistry = new WeakMap<Metric.MetricRegistry, Map<string, ConnectionMetrics>>()
  /** The metrics that were used last, by role: nearly always, all connections have the same. */
  private static readonly last: {
    [R in Role]?: { registry: Metric.MetricRegistry; attributes: object; metrics: ConnectionMetrics }
  } = {}

  /** Returns the metrics of a role for the metric registry and the attributes of a context. */
  static of(context: Context.Context<never>, role: Role): ConnectionMetrics {
    const registry = Context.get(context, Metric.MetricRegistry)
    const attributes = Context.get(context, Metric.CurrentMetricAttributes)
    const last = ConnectionMetrics.last[role]
    if (last?.registry === registry && last.attributes === attributes) return last.metrics
    let byKey = ConnectionMetrics.byRegistry.get(registry)
    if (byKey === undefined) ConnectionMetrics.byRegistry.set(registry, byKey = new Map())
    const key = JSON.stringify([role, Object.entries(attributes).map((entry) => JSON.stringify(entry)).toSorted()])
    let metrics = byKey.get(key)
    if (metrics === undefined) {
      byKey.set(key, metrics = new ConnectionMetrics(registry, { ...attributes, role }, Timers.of(context)))
    }
    ConnectionMetrics.last[role] = { registry, attributes, metrics }
    return metrics
  }

  private readonly registry: Metric.MetricRegistry
  private readonly attributes: Readonly<Record<string, string>>
  private readonly context: Context.Context<never>
  private readonly open = new LinkedList<MetricSource>()
  /** The sums of the counters of connections that have ended. */
  private readonly closedTotals = emptyTotals()
  private readonly counts = new Map<Metric.Counter<number>, Map<string, { count: number }>>()
  /** Reading is paused, in milliseconds. */
  readonly inboundBackpressure: Stopwatch = new Stopwatch()
  /** Sends are suspended, in milliseconds. */
  readonly outboundBackpressure: Stopwatch = new Stopwatch()
  private timers: Timers

  constructor(registry: Metric.MetricRegistry, attributes: Readonly<Record<string, string>>, timers: Timers) {
    this.timers = timers
    this.registry = registry
    this.attributes = attributes
    this.context = this.contextWith({})
    this.register(Telemetry.connections, {}, () => ({ value: this.open.size }))
    const directions = [
      ["in", "bytesIn", "messagesIn", this.inboundBackpressure],
      ["out", "bytesOut", "messagesOut", this.outboundBackpressure]
    ] as const
    for (const [direction, bytes, messages, stopwatch] of directions) {
      this.counter(Telemetry.bytes, { direction }, () => this.totals()[bytes])
      this.counter(Telemetry.messages, { direction }, () => this.totals()[messages])
      this.counter(Telemetry.backpressure, { direction }, () => stopwatch.read(this.timers.now()) / 1000)
    }
  }

  /** Adds a connection that was opened. */
  opened(connection: MetricSource, timers: Timers): void {
    this.open.add(connection)
    this.timers = timers
  }

  /** Removes a connection that has ended, and counts its close code. */
  closed(connection: MetricSource, { code }: ConnectionClosed): void {
    if (!this.open.delete(connection)) return
    connection.collect(this.closedTotals)
    this.count(Telemetry.closes, "code", code < 3000 ? String(code) : `${Math.floor(code / 1000)}xxx`)
  }

  /** Counts a completed handshake. */
  handshake(result: string): void {
    this.count(Telemetry.handshakes, "result", result)
  }

  /** Records the time from a ping to its pong. */
  pong(millis: number): void {
    Telemetry.pingLatency.updateUnsafe(millis / 1000, this.context)
  }

  private totals(): Totals {
    const totals = { ...this.closedTotals }
    for (const connection of this.open) connection.collect(totals)
    return totals
  }

  private count(metric: Metric.Counter<number>, name: string, value: string): void {
    let counts = this.counts.get(metric)
    if (counts === undefined) this.counts.set(metric, counts = new Map())
    let counter = counts.get(value)
    if (counter === undefined) {
      const created = { count: 0 }
      counts.set(value, counter = created)
      this.counter(metric, { [name]: value }, () => created.count)
    }
    counter.count++
  }

  private counter(
    metric: Metric.Counter<number>,
    attributes: Readonly<Record<string, string>>,
    get: () => number
  ): void {
    this.register(metric, attributes, () => ({ count: get(), incremental: true }))
  }

  /** Registers a series. `get` computes its state when the series is read. */
  private register<Input, State>(
    metric: Metric.Metric<Input, State>,
    attributes: Readonly<Record<string, string>>,
    get: () => State
  ): void {
    Metric.registerUnsafe(metric, this.contextWith(attributes), { get, update: () => {}, modify: () => {} })
  }

  private contextWith(attributes: Readonly<Record<string, string>>): Context.Context<never> {
    return Context.make(Metric.MetricRegistry, this.registry).pipe(
      Context.add(Metric.CurrentMetricAttributes, { ...this.attributes, ...attributes })
    )
  }
}
