/** One measurement: one scenario, one peer, both ends started for it. */
import { setTimeout as sleep } from "node:timers/promises"
import { bunPath } from "./bun.ts"
import { Child } from "./children.ts"
import type { LoadJob, LoadSample } from "./load.ts"
import { type Mode, type Peer, protocolOf, type Scenario, serviceOf } from "./scenarios.ts"
import type { ServerSample } from "./server.ts"

export interface Throughput {
  readonly _tag: "Throughput"
  /** Messages, or connections, a second. */
  readonly rate: number
  /** Microseconds of the server's CPU for each. */
  readonly cpu: number
  /** Microseconds of a round trip, where one message is under way at a time. */
  readonly latency: { readonly p50: number; readonly p99: number } | undefined
  /** Whether the load generator had no time left, so that the server may not have been the limit. */
  readonly loadBound: boolean
}

export interface Memory {
  readonly _tag: "Memory"
  /** KiB a connection. */
  readonly size: number
}

export type Measurement = Throughput | Memory

export interface Options {
  readonly seconds: number
  readonly mode: Mode
  /** How many connections are held open to measure their memory. */
  readonly idle: number
}

const warmUp = 1000
const settling = 1500
const loadBoundFrom = 0.95

/** Compilation and garbage leave less doubt about memory when they are done before. */
const warmConnections = 100

export const loadJob = (scenario: Scenario, peer: Peer, port: number): LoadJob => {
  const { connections, content = "bytes", deflate, inFlight, kind, size } = scenario
  return { connections, content, deflate, inFlight, kind, size, port, protocol: protocolOf(peer) }
}

/** Starts a server for a scenario. Its first answer is its port. */
export const startServer = (scenario: Scenario, peer: Peer, mode: Mode): Child =>
  new Child(
    "server",
    [peer, mode, serviceOf(scenario), scenario.deflate ?? ""],
    scenario.kind === "idle" ? ["--expose-gc"] : [],
    peer === "bun" ? bunPath : undefined
  )

export const measure = async (scenario: Scenario, peer: Peer, options: Options): Promise<Measurement> => {
  const server = startServer(scenario, peer, options.mode)
  try {
    const job = loadJob(scenario, peer, await server.next<number>())
    return scenario.kind === "idle"
      ? await measureMemory(server, job, options.idle)
      : await measureThroughput(server, job, options.seconds)
  } finally {
    await server.stop()
  }
}

const withLoad = async <A>(job: LoadJob, use: (load: Child) => Promise<A>): Promise<A> => {
  const load = new Child("load", [JSON.stringify(job)])
  try {
    await load.next()
    return await use(load)
  } finally {
    await load.stop()
  }
}

const measureThroughput = (server: Child, job: LoadJob, seconds: number): Promise<Throughput> =>
  withLoad(job, async (load) => {
    const sample = () => Promise.all([server.ask<ServerSample>(), load.ask<LoadSample>()])
    await sleep(warmUp)
    const [before] = await sample()
    await sleep(seconds * 1000)
    const [after, { busy, count, p50, p99, rate }] = await sample()
    return {
      _tag: "Throughput",
      rate,
      cpu: (after.cpu - before.cpu) / count,
      latency: job.kind !== "broadcast" && job.inFlight === 1 ? { p50, p99 } : undefined,
      loadBound: busy > loadBoundFrom
    }
  })

const measureMemory = async (server: Child, job: LoadJob, connections: number): Promise<Memory> => {
  await withLoad({ ...job, connections: warmConnections }, () => sleep(settling))
  await sleep(settling)
  const before = await server.ask<ServerSample>()
  return withLoad({ ...job, connections }, async () => {
    await sleep(settling)
    const after = await server.ask<ServerSample>()
    return { _tag: "Memory", size: (after.rss - before.rss) / 1024 / connections }
  })
}
