/** Measures this library beside its peers; `npm run bench -- --help` says how. */
import { writeFileSync } from "node:fs"
import { chart } from "./chart.ts"
import { benchCodec } from "./codec.ts"
import { benchDeflate, benchDeflateMemory } from "./deflate.ts"
import { growthChart, growthTables, measureGrowth } from "./growth.ts"
import { benchHttp2 } from "./http2.ts"
import { idleMemory } from "./idleMemory.ts"
import { machine } from "./machine.ts"
import { measure, type Measurement } from "./measure.ts"
import { type Arguments, readArguments } from "./options.ts"
import { benchProfile } from "./profile.ts"
import { benchRedis } from "./redis.ts"
import { benchRpc } from "./rpc.ts"
import { notes, type Results, toTable } from "./report.ts"
import { type Peer, scenarios } from "./scenarios.ts"
import { render } from "./table.ts"
import { benchTopics } from "./topics.ts"

/** All scenarios; peers take turns, so that a machine that changes its pace does so for all. */
const benchServers = async (options: Arguments): Promise<Results> => {
  const results = new Map<string, Map<Peer, Array<Measurement | undefined>>>()
  for (const name of options.scenarios) {
    const scenario = scenarios[name]
    const peers = options.peers.filter((peer) => scenario.except?.includes(peer) !== true)
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
const { markdown, mode, rounds, seconds } = options
const print = (lines: ReadonlyArray<string>): void =>
  console.log(`${lines.map((line) => markdown ? `- ${line}` : line).join("\n")}\n`)

if (options.alone === "codec") {
  print(machine())
  console.log(render(await benchCodec(rounds), markdown))
} else if (options.alone === "deflate") {
  print(machine())
  console.log(`${render(benchDeflateMemory(), markdown)}\n`)
  console.log(render(await benchDeflate(rounds), markdown))
  // The contexts of connections are kept, and would keep this running.
  process.exit()
} else if (options.alone === "http2") {
  print([...machine(), `rounds ${rounds}`])
  console.log(render(await benchHttp2(rounds), markdown))
  process.exit()
} else if (options.alone === "profile") {
  print([...machine(), `seconds ${seconds}, mode ${mode}`])
  console.log(render(await benchProfile(options, progress), markdown))
} else if (options.alone === "topics" || options.alone === "redis" || options.alone === "rpc") {
  const bench = { topics: benchTopics, redis: benchRedis, rpc: benchRpc }[options.alone]
  print([...machine(), `rounds ${rounds}, seconds ${seconds}`])
  for (const table of await bench(options, progress)) console.log(`${render(table, markdown)}\n`)
} else if (options.alone === "growth") {
  print([...machine(), `rounds ${rounds}, seconds ${seconds}, mode ${mode}`])
  const growth = await measureGrowth(options, progress)
  for (const { table, title } of growthTables(growth)) console.log(`By ${title}:\n\n${render(table, markdown)}\n`)
  if (options.svg !== undefined) writeFileSync(options.svg, growthChart(growth))
} else if (options.alone === "deflate-memory") {
  print(machine())
  await idleMemory()
} else {
  print([...machine(), `rounds ${rounds}, seconds ${seconds}, mode ${mode}`])
  const results = await benchServers(options)
  console.log(`${render(toTable(results), markdown)}\n`)
  print(notes(results))
  if (options.svg !== undefined) writeFileSync(options.svg, chart(results))
}
