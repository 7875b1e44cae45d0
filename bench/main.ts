/** Measures this library beside its peers; `npm run bench -- --help` says how. */
import { writeFileSync } from "node:fs"
import { chart } from "./chart.ts"
import { benchClients } from "./clients.ts"
import { benchCodec } from "./codec.ts"
import { compare } from "./compare.ts"
import { benchDeflate, benchDeflateMemory } from "./deflate.ts"
import { growthChart, growthTables, measureGrowth } from "./growth.ts"
import { benchHttp2 } from "./http2.ts"
import { idleMemory } from "./idleMemory.ts"
import { machine } from "./machine.ts"
import { measure, type Measurement } from "./measure.ts"
import { openFilesLimit, tooManyConnections } from "./openFiles.ts"
import { type Arguments, readArguments } from "./options.ts"
import { benchProfile } from "./profile.ts"
import { benchRedis } from "./redis.ts"
import { benchRpc } from "./rpc.ts"
import { Printer, readRun } from "./run.ts"
import { notes, type Results, toTable } from "./report.ts"
import { type Peer, peersOf, scenarios } from "./scenarios.ts"
import { benchStartup } from "./startup.ts"
import { benchTopics } from "./topics.ts"

/** All scenarios; peers take turns, so that a machine that changes its pace does so for all. */
const benchServers = async (options: Arguments): Promise<Results> => {
  const limit = openFilesLimit()
  const results = new Map<string, Map<Peer, Array<Measurement | undefined>>>()
  for (const name of options.scenarios) {
    const scenario = scenarios[name]
    const problem = tooManyConnections(scenario.connections, limit)
    if (problem !== undefined) {
      console.error(`${name} is left out: ${problem}`)
      continue
    }
    const peers = options.peers.filter((peer) => peersOf(scenario).includes(peer))
    const rounds = new Map(peers.map((peer) => [peer, new Array<Measurement | undefined>()]))
    results.set(name, rounds)
    for (let round = 1; round <= options.rounds; round++) {
      for (const [peer, measurements] of rounds) {
        progress(`${name}, round ${round} of ${options.rounds}: ${peer}`)
        measurements.push(await measure(scenario, peer, options).catch(failed))
      }
    }
  }
  progress("")
  return results
}

const progress = (text: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

const failed = (error: Error): undefined => {
  console.error(`\n${error.message}`)
  process.exitCode = 1
}

const options = readArguments()
const { mode, rounds, seconds } = options
const out = new Printer(options.markdown)

/** Runs what is measured alone. */
const benchAlone = async (alone: NonNullable<Arguments["alone"]>): Promise<void> => {
  switch (alone) {
    case "codec":
      out.lines(machine())
      return out.table(await benchCodec(rounds))
    case "deflate":
      out.lines(machine())
      out.table(benchDeflateMemory())
      return out.table(await benchDeflate(rounds))
    case "deflate-memory":
      out.lines(machine())
      return idleMemory()
    case "http2":
      out.lines([...machine(), `rounds ${rounds}`])
      return out.table(await benchHttp2(rounds))
    case "profile":
      out.lines([...machine(), `seconds ${seconds}, mode ${mode}`])
      return out.table(await benchProfile(options, progress))
    case "growth": {
      out.lines([...machine(), `rounds ${rounds}, seconds ${seconds}, mode ${mode}`])
      const growth = await measureGrowth(options, progress)
      for (const { table, title } of growthTables(growth)) out.table(table, `By ${title}`)
      if (options.svg !== undefined) writeFileSync(options.svg, growthChart(growth))
      return
    }
    default: {
      const bench = {
        clients: benchClients,
        topics: benchTopics,
        redis: benchRedis,
        rpc: benchRpc,
        startup: benchStartup
      }[alone]
      out.lines([...machine(), `rounds ${rounds}, seconds ${seconds}`])
      for (const table of await bench(options, progress)) out.table(table)
    }
  }
}

if (options.compared !== undefined) {
  const [first, second] = options.compared.map(readRun)
  out.lines(["first:", ...first.machine, "second:", ...second.machine])
  for (const table of compare(first, second)) out.table(table)
} else if (options.alone !== undefined) {
  await benchAlone(options.alone)
} else {
  out.lines([...machine(), `rounds ${rounds}, seconds ${seconds}, mode ${mode}`])
  const results = await benchServers(options)
  out.table(toTable(results))
  out.lines(notes(results))
  if (options.svg !== undefined) writeFileSync(options.svg, chart(results))
}
out.write(options.json)
// The contexts of connections that compress are kept, and would keep this running.
if (options.alone === "deflate" || options.alone === "http2") process.exit()
