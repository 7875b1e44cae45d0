import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Metric } from "effect"
import { ConnectionClosed } from "effect-ws/ConnectionError"
import { TestClock } from "effect/testing"
import { ConnectionMetrics, type MetricSource, type Totals } from "../../../src/internal/telemetry/metrics.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"

/** A connection with fixed counters. */
class Source implements MetricSource {
  previous: MetricSource | undefined = undefined
  next: MetricSource | undefined = undefined
  counters: Totals

  constructor(counters: Totals) {
    this.counters = counters
  }

  collect(totals: Totals): void {
    for (const key of ["bytesIn", "bytesOut", "messagesIn", "messagesOut"] as const) totals[key] += this.counters[key]
  }
}

const closedWith = (code: number) =>
  new ConnectionClosed({
    sent: undefined,
    received: code === 1006 ? undefined : { code, reason: "" },
    closedBy: code === 1006 ? undefined : "remote",
    cause: undefined
  })

const withRegistry = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.provideService(effect, Metric.MetricRegistry, new Map())

const makeMetrics = Effect.map(Effect.context<never>(), (context) => ({
  metrics: ConnectionMetrics.of(context, "server"),
  timers: Timers.of(context)
}))

/** The values of all series, by name and attributes. */
const snapshot = Effect.map(Metric.snapshot, (series) =>
  Object.fromEntries(series.map(({ attributes, id, state }) => {
    const { value = 0, count = value } = state as { readonly value?: number; readonly count?: number }
    return [[id.replace("websocket_", ""), ...Object.values(attributes ?? {})].join(" "), count]
  })))

describe("ConnectionMetrics", () => {
  it.effect("sums the counters of open and ended connections", () =>
    withRegistry(Effect.gen(function*() {
      const { metrics, timers } = yield* makeMetrics
      const first = new Source({ bytesIn: 1, bytesOut: 20, messagesIn: 300, messagesOut: 4000 })
      const second = new Source({ bytesIn: 5, bytesOut: 60, messagesIn: 700, messagesOut: 8000 })
      metrics.opened(first, timers)
      metrics.opened(second, timers)
      assert.strictEqual((yield* snapshot)["connections server"], 2)
      metrics.closed(first, closedWith(1000))
      // It has ended: what it counts afterwards, and a second end, change nothing.
      first.counters = { bytesIn: 9, bytesOut: 9, messagesIn: 9, messagesOut: 9 }
      metrics.closed(first, closedWith(1001))
      second.counters.bytesIn++
      assert.deepInclude(yield* snapshot, {
        "connections server": 1,
        "bytes server in": 7,
        "bytes server out": 80,
        "messages server in": 1000,
        "messages server out": 12_000,
        "closes server 1000": 1
      })
      assert.notProperty(yield* snapshot, "closes server 1001")
    })))

  it.effect("groups close codes from 3000 on", () =>
    withRegistry(Effect.gen(function*() {
      const { metrics, timers } = yield* makeMetrics
      for (const code of [1006, 1006, 2999, 3000, 3999, 4000, 4999]) {
        const source = new Source({ bytesIn: 0, bytesOut: 0, messagesIn: 0, messagesOut: 0 })
        metrics.opened(source, timers)
        metrics.closed(source, closedWith(code))
      }
      assert.deepInclude(yield* snapshot, {
        "closes server 1006": 2,
        "closes server 2999": 1,
        "closes server 3xxx": 2,
        "closes server 4xxx": 2
      })
    })))

  it.effect("counts the time in backpressure once per connection, also while it lasts", () =>
    withRegistry(Effect.gen(function*() {
      const { metrics, timers } = yield* makeMetrics
      const { inboundBackpressure: stopwatch } = metrics
      const [first, second] = [{}, {}]
      stopwatch.start(first, timers.now())
      yield* TestClock.adjust("1 second")
      stopwatch.start(first, timers.now())
      stopwatch.start(second, timers.now())
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* snapshot)["backpressure_seconds server in"], 5)
      stopwatch.stop(first, timers.now())
      stopwatch.stop(first, timers.now())
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual((yield* snapshot)["backpressure_seconds server in"], 9)
      stopwatch.stop(second, timers.now())
      yield* TestClock.adjust("8 seconds")
      assert.deepInclude(yield* snapshot, { "backpressure_seconds server in": 9, "backpressure_seconds server out": 0 })
    })))

  it.effect("counts handshakes by result, and pongs by latency", () =>
    withRegistry(Effect.gen(function*() {
      const { metrics } = yield* makeMetrics
      for (const result of ["101", "101", "ConnectFailed"]) metrics.handshake(result)
      for (const millis of [5, 500]) metrics.pong(millis)
      assert.deepInclude(yield* snapshot, {
        "handshakes server 101": 2,
        "handshakes server ConnectFailed": 1,
        "ping_seconds server": 2
      })
    })))

  it.effect("ConnectionMetrics.of returns one instance per registry, role and set of attributes", () =>
    Effect.gen(function*() {
      const context = yield* Effect.context<never>()
      const registries = [new Map(), new Map()]
      const of = (registry: number, role: "client" | "server", attributes: Readonly<Record<string, string>>) =>
        ConnectionMetrics.of(
          context.pipe(
            Context.add(Metric.MetricRegistry, registries[registry]),
            Context.add(Metric.CurrentMetricAttributes, attributes)
          ),
          role
        )
      const first = of(0, "server", { a: "1", b: "2" })
      assert.strictEqual(of(0, "server", { b: "2", a: "1" }), first)
      const others = [
        of(1, "server", { a: "1", b: "2" }),
        of(0, "client", { a: "1", b: "2" }),
        of(0, "server", { a: "1" })
      ]
      assert.strictEqual(new Set([first, ...others]).size, 4)
      // Not the cache of the last use, which the others have replaced.
      assert.strictEqual(of(0, "server", { a: "1", b: "2" }), first)
    }))
})
