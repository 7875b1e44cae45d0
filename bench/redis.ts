/** Topics of two processes through Redis, beside one process without it, and beside Socket.IO with its adapters. */
import { setTimeout as sleep } from "node:timers/promises"
import { createClient } from "redis"
import { Child } from "./children.ts"
import { type Process, startRedis, startServer } from "./processes.ts"
import type { ResumeJob, ResumeSample } from "./resumeLoad.ts"
import { measureInTurn } from "./rounds.ts"
import { figure, median, type Table } from "./table.ts"
import type { TopicsJob, TopicsSample } from "./topicsLoad.ts"

interface System {
  readonly about: string
  readonly isSocketIo: boolean
  /** One publishes, the subscribers are at the other. */
  readonly processes: 1 | 2
}

const inProcess = "ours"
const systems: Readonly<Record<string, System>> = {
  [inProcess]: { about: "effect-ws, one process without Redis", isSocketIo: false, processes: 1 },
  "ours-redis": { about: "effect-ws", isSocketIo: false, processes: 2 },
  "ours-redis-history": { about: "effect-ws, with history", isSocketIo: false, processes: 2 },
  "socket.io-redis": { about: "Socket.IO, redis-adapter", isSocketIo: true, processes: 2 },
  "socket.io-streams": { about: "Socket.IO, redis-streams-adapter", isSocketIo: true, processes: 2 }
}

const shapes = [
  { about: "fan-out 100, one publication at a time", subscribers: 100, inFlight: 1 },
  { about: "fan-out 10, 16 in flight", subscribers: 10, inFlight: 16 },
  { about: "fan-out 100, 16 in flight", subscribers: 100, inFlight: 16 },
  { about: "fan-out 1,000, 16 in flight", subscribers: 1000, inFlight: 16 }
] as const

interface Row {
  /** Deliveries a second. */
  readonly rate: number
  /** CPU time of the process with the subscribers, in microseconds a delivery. */
  readonly deliver: number
  /** CPU time of the process that publishes, and of Redis, in microseconds a publication. */
  readonly publish: number
  readonly redis: number
  readonly p50: number
  readonly p99: number
}
const columns = ["rate", "deliver", "publish", "redis", "p50", "p99"] as const

const cpuOf = (processes: ReadonlyArray<Process>): number => processes.reduce((sum, { cpu }) => sum + cpu(), 0)

const withServers = async <A>(
  name: string,
  count: number,
  use: (servers: ReadonlyArray<Process>, redis: Process) => Promise<A>
): Promise<A> => {
  const redis = await startRedis()
  const servers: Array<Process> = []
  try {
    while (servers.length < count) {
      servers.push(await startServer(name, process.execPath, `redis://127.0.0.1:${redis.port}`))
    }
    return await use(servers, redis)
  } finally {
    for (const server of servers) await server.stop()
    await redis.stop()
  }
}

const measure = (name: string, { inFlight, subscribers }: typeof shapes[number], seconds: number): Promise<Row> => {
  const { isSocketIo, processes } = systems[name]
  return withServers(name, processes, async (servers, redis) => {
    const job: TopicsJob = {
      port: servers.at(-1)!.port,
      publishPort: servers[0].port,
      isSocketIo,
      greetings: isSocketIo ? 2 : 1,
      topics: 1,
      subscribers,
      inFlight,
      stalled: 0,
      size: 64
    }
    const load = new Child("topicsLoad", [JSON.stringify(job)])
    try {
      await load.next()
      await sleep(1000)
      await load.ask<TopicsSample>()
      const measured = [servers.at(-1)!, servers[0], redis]
      const before = measured.map(({ cpu }) => cpu())
      await sleep(seconds * 1000)
      const { count, p50, p99, rate } = await load.ask<TopicsSample>()
      const [subscribed, published, stored] = measured.map(({ cpu }, i) => (cpu() - before[i]) / count)
      const isAlone = processes === 1
      return {
        rate,
        deliver: subscribed,
        publish: isAlone ? Number.NaN : published * subscribers,
        redis: isAlone ? Number.NaN : stored * subscribers,
        p50,
        p99
      }
    } finally {
      await load.stop()
    }
  })
}

const measureRates = async (
  { rounds, seconds }: { readonly rounds: number; readonly seconds: number },
  progress: (text: string) => void
): Promise<Table> => {
  const rows: Array<ReadonlyArray<string>> = []
  for (const shape of shapes) {
    const names = Object.keys(systems)
    const measured = await measureInTurn(shape.about, names, rounds, progress, (name) => measure(name, shape, seconds))
    const base = measured.get(inProcess)!
    for (const [name, results] of measured) {
      const ratios = results.map(({ deliver }, i) => base[i].deliver / deliver)
      const figures = columns.map((column) => figure(median(results.map((row) => row[column]))))
      rows.push([shape.about, systems[name].about, ...figures, figure(median(ratios))])
    }
  }
  return {
    head: [
      "64 B text",
      "servers",
      "deliveries/s",
      "CPU us a delivery",
      "CPU us a publication",
      "of Redis",
      "p50 us",
      "p99 us",
      "deliveries a core, to one process"
    ],
    rows,
    textColumns: 2
  }
}

// -----------------------------------------------------------------------------
// Resuming
// -----------------------------------------------------------------------------

const resuming = { clients: 10_000, missed: 20 }

const resumingSystems: Readonly<Record<string, string>> = {
  "ours-redis-history": "effect-ws",
  "socket.io-streams-recovery": "Socket.IO, redis-streams-adapter, connection state recovery"
}

/** How often Redis has read a stream, and how many bytes it has sent. */
const readStats = async ({ port }: Process): Promise<{ readonly reads: number; readonly bytes: number }> => {
  const client = createClient({ socket: { port, host: "127.0.0.1" } })
  await client.connect()
  const text = await client.sendCommand(["INFO", "everything"]) as unknown as string
  client.destroy()
  const find = (pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0)
  return { reads: find(/^cmdstat_xrange:calls=(\d+)/m), bytes: find(/^total_net_output_bytes:(\d+)/m) }
}

const measureResume = (name: string): Promise<ReadonlyArray<string>> =>
  withServers(name, 2, async (servers, redis) => {
    const job: ResumeJob = {
      ports: servers.map(({ port }) => port),
      isSocketIo: name.startsWith("socket.io"),
      ...resuming
    }
    const load = new Child("resumeLoad", [JSON.stringify(job)])
    try {
      await load.next()
      const before = { ...await readStats(redis), cpu: cpuOf(servers), redisCpu: redis.cpu() }
      const { millis, recovered } = await load.ask<ResumeSample>()
      const after = await readStats(redis)
      return [
        resumingSystems[name],
        figure(recovered),
        figure(millis / 1000),
        figure((cpuOf(servers) - before.cpu) / resuming.clients),
        figure((redis.cpu() - before.redisCpu) / resuming.clients),
        (after.reads - before.reads).toLocaleString("en"),
        figure((after.bytes - before.bytes) / 1024)
      ]
    } finally {
      await load.stop()
    }
  })

/** Measures all systems in turn, round by round. */
export const benchRedis = async (
  options: { readonly rounds: number; readonly seconds: number },
  progress: (text: string) => void
): Promise<ReadonlyArray<Table>> => {
  const rates = await measureRates(options, progress)
  const rows: Array<ReadonlyArray<string>> = []
  for (const name of Object.keys(resumingSystems)) {
    progress(`resuming: ${name}`)
    rows.push(await measureResume(name).catch((error: Error) => [name, error.message, "", "", "", "", ""]))
  }
  progress("")
  return [rates, {
    head: [
      `${resuming.clients.toLocaleString("en")} clients resume behind ${resuming.missed} messages`,
      "recovered",
      "seconds",
      "CPU us each, servers",
      "Redis",
      "reads of Redis",
      "KiB from Redis"
    ],
    rows,
    textColumns: 1
  }]
}
