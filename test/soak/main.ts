/**
 * Good and bad clients at the same time, for as long as is asked for:
 *
 *   npm run soak -- --minutes 10 --wave 10000 --write
 *
 * Both sides count. The exit code is not 0 where an accepted message was lost or
 * came in another order, or where the server's memory, handles or descriptors
 * grow. `--write` puts the table into docs/reliability.md.
 */
import { Effect } from "effect"
import { type ChildProcess, fork } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { cpus } from "node:os"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { attack, attacks, triedAttacks } from "./bad.ts"
import { session, Tally, wave } from "./good.ts"
import type { Sample } from "./sample.ts"

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "2" },
    wave: { type: "string", default: "1000" },
    good: { type: "string", default: "8" },
    bad: { type: "string", default: "28" },
    write: { type: "boolean", default: false }
  }
})
const minutes = Number(values.minutes)
const waveSize = Number(values.wave)
const goodClients = Number(values.good)
const badClients = Number(values.bad)
const laps = Math.max(6, Math.round(minutes * 3))
const lapMillis = minutes * 60_000 / laps

/** What may be there at the end that was not at the beginning. */
const allowed = { heap: 3 * 2 ** 20, handles: 3, descriptors: 3 }

const tally = new Tally()
const child: ChildProcess = fork(fileURLToPath(new URL("server.js", import.meta.url)), [], {
  execArgv: ["--expose-gc"]
})
child.on("exit", (code, signal) => {
  if (stopping) return
  console.error(`the server has ended: ${code ?? signal}`)
  process.exit(1)
})
process.on("exit", () => child.kill("SIGKILL"))
let stopping = false

const next = <A>(): Promise<A> => new Promise((resolve) => child.once("message", (message) => resolve(message as A)))
const ask = (): Promise<Sample> => {
  const answer = next<Sample>()
  child.send("sample")
  return answer
}

/** All at once until the lap is over, then nothing, until the server has done with all of it. */
const lap = async (url: string, number: number): Promise<Sample> => {
  const port = Number(new URL(url).port)
  const until = performance.now() + lapMillis - 2500
  const over = (): boolean => performance.now() >= until
  const good = Array.from({ length: goodClients }, async (_, i) => {
    for (let turn = 0; !over(); turn++) {
      await Effect.runPromise(session(url.replace(/\/$/, ""), `${number}-${i}-${turn}`, tally))
    }
  })
  const names = Object.keys(attacks)
  const bad = Array.from({ length: badClients }, async (_, i) => {
    for (let turn = 0; !over(); turn++) await attack(port, names[i % names.length], number * 1000 + turn)
  })
  const visits = (async () => {
    while (!over()) await wave(port, waveSize, tally)
  })()
  await Promise.all([...good, ...bad, visits])
  let sample = await ask()
  const patience = performance.now() + 15_000
  while (sample.open > 0 && performance.now() < patience) {
    await sleep(200)
    sample = await ask()
  }
  if (sample.open > 0) tally.violations.push(`${sample.open} connections are left over`)
  // Deadlines that were still running, and compressors that are released when idle.
  await sleep(1500)
  return ask()
}

const median = (numbers: ReadonlyArray<number>): number =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]

const url = await next<string>()
const samples: Array<Sample> = []
const began = performance.now()
for (let number = 0; number < laps; number++) {
  samples.push(await lap(url, number))
  const { heap, descriptors } = samples[number]
  console.error(`lap ${number + 1} of ${laps}: ${(heap / 2 ** 20).toFixed(1)} MiB, ${descriptors} descriptors`)
}
const seconds = Math.round((performance.now() - began) / 1000)
stopping = true
child.kill("SIGKILL")

// The first laps are for compilers and caches to warm up.
const settled = samples.slice(Math.ceil(laps / 3))
const half = Math.floor(settled.length / 2)
const before = (get: (sample: Sample) => number): number => median(settled.slice(0, half).map(get))
const after = (get: (sample: Sample) => number): number => median(settled.slice(-half).map(get))
const last = samples[laps - 1]
for (const name of ["heap", "handles", "descriptors"] as const) {
  const growth = after((sample) => sample[name]) - before((sample) => sample[name])
  if (growth > allowed[name]) tally.violations.push(`${name} has grown by ${growth}`)
}
if (last.outOfOrder > 0) tally.violations.push(`the server received ${last.outOfOrder} messages out of order`)
const accepted = Object.values(tally.accepted).reduce((sum, count) => sum + count, 0)
for (const [name, count] of Object.entries(tally.accepted)) {
  if (last.received[name] !== count) {
    tally.violations.push(`of ${count} messages that were accepted in ${name}, ${last.received[name]} were received`)
  }
}
const received = Object.keys(tally.accepted).reduce((sum, name) => sum + (last.received[name] ?? 0), 0)

const roundTrips = tally.roundTrips.toSorted((a, b) => a - b)
const quantile = (share: number): string => `${roundTrips[Math.floor(roundTrips.length * share)].toFixed(1)} ms`
const number = (value: number): string => value.toLocaleString("en-US")
const mebibytes = (value: number): string => `${(value / 2 ** 20).toFixed(1)} MiB`
const growth = (name: "heap" | "rss" | "handles" | "descriptors", show: (value: number) => string): string =>
  `${show(before((sample) => sample[name]))} → ${show(after((sample) => sample[name]))}`

const table = [
  ["Measured", ""],
  ["---", "---"],
  ["Duration, machine", `${seconds} s; ${cpus().length} × ${cpus()[0].model.trim()}; Node ${process.version}`],
  ["Connections", number(last.connections)],
  [`... of them in waves of ${number(waveSize)}, open at the same time`, number(tally.visits)],
  ["Sessions of good clients", number(tally.sessions)],
  ["Messages that `send` accepted in these", number(accepted)],
  ["... received by the server, in order", number(received)],
  ["... whose echo came back, in order, the same", number(tally.echoed)],
  ["Round trips under all of this: median, p99, p99.9", [0.5, 0.99, 0.999].map(quantile).join(", ")],
  ["Memory in use, before → after", growth("heap", mebibytes)],
  ["Resident memory, before → after", growth("rss", mebibytes)],
  ["Handles, before → after", growth("handles", number)],
  ["File descriptors, before → after", growth("descriptors", number)],
  ...Object.entries(triedAttacks).map(([name, count]) => [`Survived: ${name}`, number(count)]),
  ...Object.entries(last.ends).toSorted(([, a], [, b]) => b - a).map((
    [name, count]
  ) => [`Ended: ${name}`, number(count)])
].map(([left, right]) => `| ${left} | ${right} |`).join("\n")

console.log(table)
if (values.write) {
  const page = fileURLToPath(new URL("../../../docs/reliability.md", import.meta.url))
  const [head] = readFileSync(page, "utf8").split("<!-- from here on: npm run soak -->")
  writeFileSync(page, `${head}<!-- from here on: npm run soak -->\n\n${table}\n`)
}
for (const violation of tally.violations.slice(0, 20)) console.error(`VIOLATION: ${violation}`)
if (tally.violations.length > 0) console.error(`${tally.violations.length} violations`)
process.exit(tally.violations.length === 0 ? 0 : 1)
