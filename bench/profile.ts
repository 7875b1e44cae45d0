/** Where the time of a message goes, from CPU profiles of our server. */
import { setTimeout as sleep } from "node:timers/promises"
import type { Profiler } from "node:inspector"
import { Child } from "./children.ts"
import type { LoadSample } from "./load.ts"
import { loadJob, startServer } from "./measure.ts"
import type { Arguments } from "./options.ts"
import { scenarios } from "./scenarios.ts"
import type { ServerSample } from "./server.ts"
import { figure, type Table } from "./table.ts"

const profiled = ["pingpong", "pipelined", "kilobyte", "large"]

const parts = {
  read: "kernel and libuv: read, poll",
  write: "kernel: write",
  node: "Node: streams, net, events",
  effect: "Effect: fiber, stream",
  decode: "decode: frames, masks, checks",
  inbox: "inbox, connection, transport",
  outbox: "encode, collect, flush",
  garbage: "garbage collection",
  other: "other"
} as const
type Part = keyof typeof parts

const partOf = ({ functionName, url }: Profiler.ProfileNode["callFrame"]): Part | undefined => {
  if (functionName === "(idle)") return undefined
  if (functionName === "(program)") return "read"
  if (functionName === "(garbage collector)") return "garbage"
  if (functionName === "writeBuffer" || functionName === "writev") return "write"
  if (url.startsWith("node:")) return "node"
  if (url.includes("/node_modules/")) return "effect"
  if (/\/(Frame|Message|mask|protocol|bytes|utf8)\.js$/.test(url) || functionName === "isUtf8") return "decode"
  if (/\/(inbox|connection|Transport|pings)\.js$/.test(url)) return "inbox"
  return url.endsWith("/outbox.js") ? "outbox" : "other"
}

/** The share of each part, from 0 to 1. */
const shares = ({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): ReadonlyMap<Part, number> => {
  const partsById = new Map(nodes.map(({ callFrame, id }) => [id, partOf(callFrame)]))
  const times = new Map<Part, number>()
  let total = 0
  samples.forEach((id, i) => {
    const part = partsById.get(id)
    if (part === undefined) return
    times.set(part, (times.get(part) ?? 0) + timeDeltas[i])
    total += timeDeltas[i]
  })
  return new Map(Array.from(times, ([part, time]) => [part, time / total]))
}

/** Microseconds of CPU a message, part by part. */
const profile = async (name: string, options: Arguments): Promise<ReadonlyMap<Part | "all", number>> => {
  const scenario = scenarios[name]
  const server = startServer(scenario, "ours", options.mode)
  const load = new Child("load", [JSON.stringify(loadJob(scenario, "ours", await server.next<number>()))])
  try {
    await load.next()
    await sleep(1000)
    const before = await server.ask<ServerSample>()
    await load.ask<LoadSample>()
    await server.ask("profile")
    await sleep(options.seconds * 1000)
    const taken = await server.ask<Profiler.Profile>("profile")
    const { count } = await load.ask<LoadSample>()
    const all = ((await server.ask<ServerSample>()).cpu - before.cpu) / count
    return new Map<Part | "all", number>([
      ...Array.from(shares(taken), ([part, share]) => [part, share * all] as const),
      ["all", all]
    ])
  } finally {
    await load.stop()
    await server.stop()
  }
}

export const benchProfile = async (options: Arguments, progress: (text: string) => void): Promise<Table> => {
  const columns: Array<ReadonlyMap<Part | "all", number>> = []
  for (const name of profiled) {
    progress(name)
    columns.push(await profile(name, options))
  }
  progress("")
  const row = (label: string, part: Part | "all") => [label, ...columns.map((column) => figure(column.get(part) ?? 0))]
  return {
    head: ["µs of CPU a message", ...profiled],
    rows: [...Object.entries(parts).map(([part, label]) => row(label, part as Part)), row("all", "all")],
    textColumns: 1
  }
}
