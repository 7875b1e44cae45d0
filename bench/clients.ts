/** Clients beside those of ws and undici: connections that are opened and closed, and connections that are idle. */
import { Child } from "./children.ts"
import type { ChurnSample, ClientSystem, IdleSample } from "./clientProcess.ts"
import { measureInTurn } from "./rounds.ts"
import { figure, median, type Table } from "./table.ts"

const systems: ReadonlyArray<ClientSystem> = ["ours", "ws", "undici"]

interface Row {
  /** Connections a second, each opened and closed. */
  readonly rate: number
  /** Microseconds of CPU for each. */
  readonly cpu: number
  /** KiB for each idle connection. */
  readonly heap: number
  readonly rss: number
}

const idleConnections = 3000

/** Asks a new process. */
const ask = async <A>(system: ClientSystem, port: number, what: string): Promise<A> => {
  const client = new Child("clientProcess", [system, String(port)], ["--expose-gc"])
  try {
    await client.next()
    return await client.ask<A>(what)
  } finally {
    await client.stop()
  }
}

const measure = async (system: ClientSystem, port: number): Promise<Row> => {
  const { cpu, rate } = await ask<ChurnSample>(system, port, "churn")
  const { heap, rss } = await ask<IdleSample>(system, port, String(idleConnections))
  return { rate, cpu, heap: heap / 1024, rss: rss / 1024 }
}

/** Measures the clients in turn, round by round, against one server of ws. */
export const benchClients = async (
  { rounds }: { readonly rounds: number },
  progress: (text: string) => void
): Promise<ReadonlyArray<Table>> => {
  const server = new Child("server", ["ws", "stream", "pingpong"])
  const measureAll = async () => {
    const port = await server.next<number>()
    return measureInTurn("clients", systems, rounds, progress, (system) => measure(system, port))
  }
  const measured = await measureAll().finally(() => server.stop())
  progress("")
  const cells = (system: ClientSystem) => {
    const own = measured.get(system)!
    const ofWs = measured.get("ws")!
    const columns = (["rate", "cpu", "heap", "rss"] as const).map((name) => figure(median(own.map((row) => row[name]))))
    return [
      system === "ours" ? "effect-ws" : system,
      ...columns,
      figure(median(own.map(({ cpu }, i) => cpu / ofWs[i].cpu)))
    ]
  }
  return [{
    head: ["client", "connects/s", "CPU µs", "KiB of heap, idle", "KiB of memory, idle", "CPU, times ws"],
    rows: systems.map(cells),
    textColumns: 1
  }]
}
