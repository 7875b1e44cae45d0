/** What it takes to import this library, and to start a server, beside `ws`. */
import { setTimeout as sleep } from "node:timers/promises"
import { Child } from "./children.ts"
import { measureInTurn } from "./rounds.ts"
import type { StartupSample, StartupServer } from "./startupProcess.ts"
import { figure, median, type Table } from "./table.ts"

/** What a process imports, by names of modules. */
const imports = [
  "",
  "ws",
  "effect",
  "effect-ws",
  "effect effect-ws",
  "effect-ws/Connection",
  "effect-ws/WebSocketServer",
  "effect-ws/WebSocketClient"
] as const
const servers: ReadonlyArray<StartupServer> = ["ws", "effect-ws", "effect-ws, by module"]

/** Milliseconds until a server that listens is idle. */
const settling = 500

interface Start {
  /** Milliseconds from the start of the process until it is done. */
  readonly elapsed: number
  /** Milliseconds of CPU, user and system. */
  readonly cpu: number
  /** MiB of memory, of a server when it is idle. */
  readonly memory: number
}

const measure = async (args: ReadonlyArray<string>): Promise<Start> => {
  const startedAt = performance.now()
  const child = new Child("startupProcess", args)
  try {
    const { cpu, rss } = await child.next<StartupSample>()
    const elapsed = performance.now() - startedAt
    if (args[0] === "import") return { elapsed, cpu: cpu / 1000, memory: rss / 1024 / 1024 }
    await sleep(settling)
    const idle = await child.ask<StartupSample>()
    return { elapsed, cpu: cpu / 1000, memory: idle.rss / 1024 / 1024 }
  } finally {
    await child.stop()
  }
}

type Starts<Name extends string> = ReadonlyMap<Name, ReadonlyArray<Start>>

const medianOf = (starts: ReadonlyArray<Start>, name: keyof Start): number => median(starts.map((start) => start[name]))

/** The median over the rounds of what one takes beyond another. */
export const beyond = (starts: ReadonlyArray<Start>, others: ReadonlyArray<Start>, name: keyof Start): number =>
  median(starts.map((start, i) => start[name] - others[i][name]))

const importTable = (starts: Starts<typeof imports[number]>): Table => ({
  head: ["import", "CPU ms", "beyond none", "MiB of memory", "beyond none"],
  rows: imports.map((name) => {
    const [own, none] = [starts.get(name)!, starts.get("")!]
    return [
      name === "" ? "none" : name.replace(" ", ", then "),
      figure(medianOf(own, "cpu")),
      figure(beyond(own, none, "cpu")),
      figure(medianOf(own, "memory")),
      figure(beyond(own, none, "memory"))
    ]
  }),
  textColumns: 1
})

const serverTable = (starts: Starts<StartupServer>): Table => ({
  head: ["server", "ms until it listens", "CPU ms", "MiB of memory, idle"],
  rows: servers.map((name) => [
    name,
    ...(["elapsed", "cpu", "memory"] as const).map((column) => figure(medianOf(starts.get(name)!, column)))
  ]),
  textColumns: 1
})

/** Measures all imports and servers in turn, round by round. */
export const benchStartup = async (
  { rounds }: { readonly rounds: number },
  progress: (text: string) => void
): Promise<ReadonlyArray<Table>> => {
  const imported = await measureInTurn(
    "imports",
    imports,
    rounds,
    progress,
    (names) => measure(["import", ...names.split(" ").filter((name) => name !== "")])
  )
  const listened = await measureInTurn("servers", servers, rounds, progress, (system) => measure(["listen", system]))
  progress("")
  return [importTable(imported), serverTable(listened)]
}
