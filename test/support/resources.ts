/** What this process holds. */
import { Effect, Metric } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { turn } from "./memory.ts"

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void

/** How much memory is in use, in bytes, once all garbage is gone. */
export const memoryInUse: Effect.Effect<number> = Effect.gen(function*() {
  for (let i = 0; i < 3; i++) {
    collect()
    yield* turn
  }
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return heapUsed + arrayBuffers
})

/** How many sockets are open in this process. */
export const openSockets = (): number =>
  process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length

/** Counts the fibers that an effect has started and that have not ended, detached ones included. */
export const countingFibers = () => {
  let running = 0
  const metrics: Metric.FiberRuntimeMetricsService = {
    recordFiberStart: () => void running++,
    recordFiberEnd: () => void running--
  }
  return {
    running: () => running,
    counted: Effect.provideService(Metric.FiberRuntimeMetrics, metrics)
  }
}

/** Waits for a condition that the event loop is to bring about. */
export const eventually = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => condition() ? Effect.void : Effect.andThen(turn, eventually(condition)))
