/**
 * The metrics of all connections of a role. Nothing is pushed while messages
 * go: a connection counts what it carries anyway, and is asked when somebody
 * reads a metric; what it has carried is added up when it ends.
 */
import * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type { ConnectionClosed } from "../../ConnectionError.ts"
import type { Role } from "../../Frame.ts"
import * as Telemetry from "../../Telemetry.ts"
import { LinkedList, type Node } from "../runtime/linkedList.ts"
import { Timers } from "../runtime/timers.ts"

/** What connections have carried. */
export interface Totals {
  bytesIn: number
  bytesOut: number
  messagesIn: number
  messagesOut: number
}

/** A connection, as far as it is metered. */
export interface MetricSource extends Node<MetricSource> {
  /** Adds what it has carried. */
  readonly collect: (carried: Totals) => void
}

const emptyTotals = (): Totals => ({ bytesIn: 0, bytesOut: 0, messagesIn: 0, messagesOut: 0 })

/** How long connections are held back, all together. Only those that are held back at the moment take room. */
class Stopwatch {
  private readonly since = new Map<object, number>()
  private total = 0

  start(who: object, now: number): void {
    if (!this.since.has(who)) this.since.set(who, now)
  }

  stop(who: object, now: number): void {
    const since = this.since.get(who)
    if (since === undefined) return
    this.since.delete(who)
    this.total += now - since
  }

  /** In the unit of `now`. */
  read(now: number): number {
    let total = this.total
    for (const since of this.since.values()) total += now - since
    return total
  }
}

export class ConnectionMetrics {
  private static readonly byRegistry = new WeakMap<Metric.MetricRegistry, Map<string, ConnectionMetrics>>()
  /** The last one of each role: nearly always all connections have the same. */
  private static readonly last: {
    [R in Role]?: { registry: Metric.MetricRegistry; attributes: object; meter: ConnectionMetrics }
  } = {}

  /** The meter of a role for the metric registry and attributes of a context. */
  static of(context: Context.Context<never>, role: Role): ConnectionMetrics {
    const registry = Context.get(context, Metric.MetricRegistry)
    const attributes = Context.get(context, Metric.CurrentMetricAttributes)
    const last = ConnectionMetrics.last[role]
    if (last?.registry === registry && last.attributes === attributes) return last.meter
    let meters = ConnectionMetrics.byRegistry.get(registry)
    if (meters === undefined) ConnectionMetrics.byRegistry.set(registry, meters = new Map())
    const key = JSON.stringify([role, Object.entries(attributes).map((entry) => JSON.stringify(entry)).toSorted()])
    let meter = meters.get(key)
    if (meter === undefined) {
      meters.set(key, meter = new ConnectionMetrics(registry, { ...attributes, role }, Timers.of(context)))
    }
    ConnectionMetrics.last[role] = { registry, attributes, meter }
    return meter
  }

  private readonly registry: Metric.MetricRegistry
  private readonly attributes: Readonly<Record<string, string>>
  private readonly context: Context.Context<never>
  private readonly open = new LinkedList<MetricSource>()
  /** What connections have carried that are gone. */
  private readonly closedTotals = emptyTotals()
  private readonly counts = new Map<Metric.Counter<number>, Map<string, { count: number }>>()
  /** Connections that do not read, and that cannot write; in milliseconds. */
  readonly inboundBackpressure: Stopwatch = new Stopwatch()
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
    for (const [direction, bytes, messages, held] of directions) {
      this.counter(Telemetry.bytes, { direction }, () => this.totals()[bytes])
      this.counter(Telemetry.messages, { direction }, () => this.totals()[messages])
      this.counter(Telemetry.backpressure, { direction }, () => held.read(this.timers.now()) / 1000)
    }
  }

  /** A connection has begun. */
  opened(connection: MetricSource, timers: Timers): void {
    this.open.add(connection)
    this.timers = timers
  }

  /** A connection is gone. */
  closed(connection: MetricSource, { code }: ConnectionClosed): void {
    if (!this.open.delete(connection)) return
    connection.collect(this.closedTotals)
    this.count(Telemetry.closes, "code", code < 3000 ? String(code) : `${Math.floor(code / 1000)}xxx`)
  }

  /** A handshake is over. */
  handshake(result: string): void {
    this.count(Telemetry.handshakes, "result", result)
  }

  /** A pong has come, after so many milliseconds. */
  pong(millis: number): void {
    Telemetry.pingLatency.updateUnsafe(millis / 1000, this.context)
  }

  private totals(): Totals {
    const carried = { ...this.closedTotals }
    for (const connection of this.open) connection.collect(carried)
    return carried
  }

  private count(metric: Metric.Counter<number>, name: string, value: string): void {
    let counts = this.counts.get(metric)
    if (counts === undefined) this.counts.set(metric, counts = new Map())
    let counted = counts.get(value)
    if (counted === undefined) {
      const made = { count: 0 }
      counts.set(value, counted = made)
      this.counter(metric, { [name]: value }, () => made.count)
    }
    counted.count++
  }

  private counter(
    metric: Metric.Counter<number>,
    attributes: Readonly<Record<string, string>>,
    get: () => number
  ): void {
    this.register(metric, attributes, () => ({ count: get(), incremental: true }))
  }

  /** Puts a series into the registry that is read when somebody asks for it. */
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
