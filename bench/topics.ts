/** Topics beside their peers: deliveries, CPU, latency, and the memory of subscribers that stall, by fan-out. */
import { setTimeout as sleep } from "node:timers/promises"
import { bunPath } from "./bun.ts"
import { Child } from "./children.ts"
import { type Process, startServer } from "./processes.ts"
import { measureInTurn } from "./rounds.ts"
import { figure, median, type Table } from "./table.ts"
import type { TopicsJob, TopicsSample } from "./topicsLoad.ts"

/** The systems, and the text frames that their subscribers get first. */
const systems = { ours: 1, ws: 0, "socket.io": 2, bun: 0 } as const
type System = keyof typeof systems

const present = (): ReadonlyArray<System> =>
  (Object.keys(systems) as Array<System>).filter((system) => system !== "bun" || bunPath !== undefined)

const shapes = [
  { about: "1 topic, fan-out 1", topics: 1, subscribers: 1, inFlight: 4 },
  { about: "1 topic, fan-out 10", topics: 1, subscribers: 10, inFlight: 4 },
  { about: "1 topic, fan-out 100", topics: 1, subscribers: 100, inFlight: 4 },
  { about: "1 topic, fan-out 1,000", topics: 1, subscribers: 1000, inFlight: 4 },
  { about: "100 topics, 2,000 subscribers", topics: 100, subscribers: 2000, inFlight: 40 }
] as const

interface Row {
  readonly rate: number
  readonly cpu: number
  readonly p50: number
  readonly p99: number
}

const withLoad = async <A>(
  system: System,
  job: Omit<TopicsJob, "port" | "publishPort" | "isSocketIo" | "greetings">,
  use: (server: Process, load: Child) => Promise<A>
): Promise<A> => {
  const server = await startServer(system, system === "bun" ? bunPath! : process.execPath)
  const { port } = server
  const whole: TopicsJob = {
    ...job,
    port,
    publishPort: port,
    isSocketIo: system === "socket.io",
    greetings: systems[system]
  }
  const load = new Child("topicsLoad", [JSON.stringify(whole)])
  try {
    await load.next()
    return await use(server, load)
  } finally {
    await load.stop()
    await server.stop()
  }
}

const measure = (system: System, shape: typeof shapes[number], seconds: number): Promise<Row> =>
  withLoad(system, { ...shape, stalled: 0, size: 64 }, async (server, load) => {
    // Fresh processes compile for a while: without this, their CPU counts.
    await sleep(2500)
    await load.ask<TopicsSample>()
    const before = server.cpu()
    await sleep(seconds * 1000)
    const { count, p50, p99, rate } = await load.ask<TopicsSample>()
    return { rate, cpu: (server.cpu() - before) / count, p50, p99 }
  })

/**
 * By how many MiB the server's memory grows when 20 of 40 subscribers stall, with 1,000 messages of 16 KiB: what the
 * kernel buffers for a socket does not count. Ours keeps events for all of them once, up to 32 MiB.
 */
const measureStalled = (
  system: System,
  seconds: number
): Promise<{ readonly size: number; readonly messages: number }> =>
  withLoad(
    system,
    { topics: 1, subscribers: 40, stalled: 20, inFlight: 8, size: 16 * 1024, limit: 1000 },
    async (server, load) => {
      const before = server.memory()
      await sleep(1000 + seconds * 1000)
      const { count } = await load.ask<TopicsSample>()
      return { size: (server.memory() - before) / 1024, messages: count / 20 }
    }
  )

const subscriptionShapes = [
  { about: "100 connections, 100 channels each", connections: 100, channels: 100 },
  { about: "2,000 connections, 1 channel each", connections: 2000, channels: 1 }
] as const

/** How many bytes of a server's heap and buffers a subscription takes, beside its connection. */
const measureSubscriptions = async (
  system: System,
  { channels, connections }: typeof subscriptionShapes[number]
): Promise<number> => {
  const server = await startServer(system, process.execPath)
  const heapWith = async (topics: number): Promise<number> => {
    const greetings = system === "ours" ? topics : systems[system]
    const load = new Child("topicsLoad", [JSON.stringify(
      {
        port: server.port,
        publishPort: server.port,
        isSocketIo: system === "socket.io",
        greetings,
        topics,
        toAll: true,
        subscribers: connections,
        stalled: 0,
        inFlight: 0,
        size: 1
      } satisfies TopicsJob
    )])
    try {
      await load.next()
      return await server.heap()
    } finally {
      await load.stop()
      await sleep(200)
    }
  }
  try {
    // What the first run leaves behind is compiled code, and channels that linger.
    await heapWith(channels)
    const without = await heapWith(0)
    return (await heapWith(channels) - without) / (connections * channels)
  } finally {
    await server.stop()
  }
}

/** Measures all systems in turn, round by round. */
export const benchTopics = async (
  { rounds, seconds }: { readonly rounds: number; readonly seconds: number },
  progress: (text: string) => void
): Promise<ReadonlyArray<Table>> => {
  const all = present()
  const rows: Array<ReadonlyArray<string>> = []
  for (const shape of shapes) {
    const measured = await measureInTurn(
      shape.about,
      all,
      rounds,
      progress,
      (system) => measure(system, shape, seconds)
    )
    for (const [system, results] of measured) {
      const column = (name: keyof Row) => median(results.map((row) => row[name]))
      rows.push([shape.about, system, ...(["rate", "cpu", "p50", "p99"] as const).map((name) => figure(column(name)))])
    }
  }
  const stalled: Array<ReadonlyArray<string>> = []
  for (const system of all) {
    progress(`stalled readers: ${system}`)
    const { messages, size } = await measureStalled(system, seconds)
    stalled.push([system, figure(size), figure(messages)])
  }
  const subscriptions: Array<ReadonlyArray<string>> = []
  // Bun does not tell what its native part takes.
  for (const system of all.filter((name) => name !== "bun")) {
    progress(`memory of subscriptions: ${system}`)
    const sizes: Array<string> = []
    for (const shape of subscriptionShapes) sizes.push(figure(await measureSubscriptions(system, shape)))
    subscriptions.push([system, ...sizes])
  }
  progress("")
  return [
    {
      head: ["64 B text", "server", "deliveries/s", "CPU us each", "p50 us", "p99 us"],
      rows,
      textColumns: 2
    },
    {
      head: [
        "20 of 40 stalled, 1,000 messages of 16 KiB",
        "MiB of the server",
        "messages delivered to each other"
      ],
      rows: stalled,
      textColumns: 1
    },
    {
      head: ["bytes of a subscription", ...subscriptionShapes.map(({ about }) => about)],
      rows: subscriptions,
      textColumns: 1
    }
  ]
}
