/**
 * Runs a program on several processes, which share one port. One that dies is replaced; SIGTERM ends all of them, and
 * waits for them.
 */
import { Config, Effect, Schedule } from "effect"
import cluster from "node:cluster"

/** A process that does the work. Lasts until it ends; where this is interrupted, it is told to end, and waited for. */
const worker = Effect.callback<void>((resume) => {
  const { process: child } = cluster.fork()
  child.once("exit", () => resume(Effect.void))
  return Effect.callback<void>((ended) => {
    child.once("exit", () => ended(Effect.void))
    child.kill("SIGTERM")
  })
})

/** Runs `main` in as many processes as WORKERS says. With none, it runs in this process. */
export const runInWorkers = <A, E, R>(
  main: Effect.Effect<A, E, R>,
  defaultWorkers = 0
): Effect.Effect<unknown, E | Config.ConfigError, R> =>
  Effect.gen(function*() {
    const workers = yield* Config.Int("WORKERS").pipe(Config.withDefault(defaultWorkers))
    if (cluster.isWorker || workers === 0) return yield* main
    return yield* Effect.replicateEffect(Effect.repeat(worker, Schedule.spaced("1 second")), workers, {
      concurrency: workers
    })
  })
