/** The metrics of channels, computed from the counters of hubs when a metric is read. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as Telemetry from "../../Telemetry.ts"
import type { Counters } from "./channel.ts"
import type { Hub } from "./hub.ts"

/** The hubs that add to the metrics of a registry with the same attributes. */
class TopicMetrics {
  private static readonly byRegistry = new WeakMap<Metric.MetricRegistry, Map<string, TopicMetrics>>()

  static of(context: Context.Context<never>): TopicMetrics {
    const registry = Context.get(context, Metric.MetricRegistry)
    const attributes = Context.get(context, Metric.CurrentMetricAttributes)
    let byKey = TopicMetrics.byRegistry.get(registry)
    if (byKey === undefined) TopicMetrics.byRegistry.set(registry, byKey = new Map())
    const key = JSON.stringify(Object.entries(attributes).map((entry) => JSON.stringify(entry)).toSorted())
    let metrics = byKey.get(key)
    if (metrics === undefined) byKey.set(key, metrics = new TopicMetrics(registry, attributes))
    return metrics
  }

  readonly hubs = new Set<Hub>()
  /** The sums of the counters of hubs that have ended. */
  private readonly ended = { published: 0, received: 0, delivered: 0, missed: 0, gaps: 0, historyReads: 0 }
  private readonly registry: Metric.MetricRegistry
  private readonly attributes: Readonly<Record<string, string>>

  private constructor(registry: Metric.MetricRegistry, attributes: Readonly<Record<string, string>>) {
    this.registry = registry
    this.attributes = attributes
    this.gauge(Telemetry.topicChannels, {}, (hub) => hub.size)
    this.gauge(Telemetry.topicSubscribers, { state: "behind" }, ({ counters }) => counters.behind)
    this.gauge(
      Telemetry.topicSubscribers,
      { state: "live" },
      ({ counters, subscribers }) => subscribers - counters.behind
    )
    this.gauge(Telemetry.topicMemory, {}, ({ budget }) => budget.used)
    for (const direction of ["published", "received", "delivered", "missed"] as const) {
      this.counter(Telemetry.topicMessages, { direction }, direction)
    }
    this.counter(Telemetry.topicGaps, {}, "gaps")
    this.counter(Telemetry.topicHistoryReads, {}, "historyReads")
  }

  end(hub: Hub): void {
    this.hubs.delete(hub)
    for (const name of Object.keys(this.ended) as Array<keyof typeof this.ended>) {
      this.ended[name] += hub.counters[name]
    }
  }

  private sum(get: (hub: Hub) => number): number {
    let sum = 0
    for (const hub of this.hubs) sum += get(hub)
    return sum
  }

  private gauge(
    metric: Metric.Gauge<number>,
    attributes: Readonly<Record<string, string>>,
    get: (hub: Hub) => number
  ): void {
    this.register(metric, attributes, () => ({ value: this.sum(get) }))
  }

  private counter(
    metric: Metric.Counter<number>,
    attributes: Readonly<Record<string, string>>,
    name: Exclude<keyof Counters, "behind">
  ): void {
    const count = () => this.ended[name] + this.sum(({ counters }) => counters[name])
    this.register(metric, attributes, () => ({ count: count(), incremental: true }))
  }

  private register<Input, State>(
    metric: Metric.Metric<Input, State>,
    attributes: Readonly<Record<string, string>>,
    get: () => State
  ): void {
    const context = Context.make(Metric.MetricRegistry, this.registry).pipe(
      Context.add(Metric.CurrentMetricAttributes, { ...this.attributes, ...attributes })
    )
    Metric.registerUnsafe(metric, context, { get, update: () => {}, modify: () => {} })
  }
}

/** Adds the counters of a hub to the metrics until the Scope closes. */
export const collectMetrics = (hub: Hub): Effect.Effect<void, never, Scope.Scope> =>
  Effect.contextWith((context: Context.Context<never>) =>
    Effect.asVoid(Effect.acquireRelease(
      Effect.sync(() => {
        const metrics = TopicMetrics.of(context)
        metrics.hubs.add(hub)
        return metrics
      }),
      (metrics) => Effect.sync(() => metrics.end(hub))
    ))
  )
