/**
 * Good and bad clients at the same time, for as long as is asked for:
 *
 *   npm run soak -- --minutes 10 --wave 10000 --write
 *
 * Both sides count. The exit code is not 0 where an accepted message was lost,
 * doubled or came in another order, where an attack did not end as it should,
 * where others had to wait, or where the server's memory, handles or descriptors
 * grow. `--write` puts the table into docs/reliability.md; `--fault` has the
 * server do one of the things in faults.ts, to see that it is found.
 */
import { Effect } from "effect"
import { parseArgs } from "node:util"
import { attack, attacks, type Bad, triedAttacks } from "./attacks.ts"
import { session, Tally } from "./wellBehavedClients.ts"
import { growths, type Level, levels } from "./levels.ts"
import { judge, machine, mebibytes, number, report } from "./report.ts"
import type { Sample } from "./sample.ts"
import { start, unended } from "./subject.ts"
import { wave } from "./wave.ts"

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "2" },
    laps: { type: "string" },
    wave: { type: "string", default: "1000" },
    good: { type: "string", default: "8" },
    bad: { type: "string", default: "32" },
    patience: { type: "string", default: "30" },
    fault: { type: "string" },
    write: { type: "boolean", default: false }
  }
})
const minutes = Number(values.minutes)
const waveSize = Number(values.wave)
const goodClients = Number(values.good)
const laps = values.laps === undefined ? Math.max(6, Math.round(minutes * 3)) : Number(values.laps)
/** The rest, until the last attack is over, takes about two and a half seconds. */
const lapMillis = Math.max(500, minutes * 60_000 / laps - 2500)
/** The 99th percentile of round trips may not be above the shortest deadline that the server has, in milliseconds. */
const patienceOfServer = 1000

const names = Object.keys(attacks)
const badClients = Array.from({ length: Number(values.bad) }, (_, i) => names[i % names.length])

/** How many sessions each good client has had. */
const served = Array.from({ length: goodClients }, () => 0)
const tally = new Tally(Number(values.patience) * 1000)
const subject = await start(values.fault)
const { port, routes } = subject

/** All at once until the lap is over, then nothing, until the server has done with all of it. */
const lap = async (turns: number): Promise<Sample> => {
  const until = performance.now() + lapMillis
  const over = (): boolean => performance.now() >= until
  const good = Array.from({ length: goodClients }, async (_, i) => {
    for (let turn = 0; !over(); turn++) {
      await Effect.runPromise(session(`${subject.url.replace(/\/$/, "")}/${turns}-${i}-${turn}`, tally))
      served[i]++
    }
  })
  const bad = badClients.map(async (name) => {
    for (let turn = 0; !over(); turn++) await attack({ server: port, routes }, name, turns * 1000 + turn, tally)
  })
  const visits = (async () => {
    while (!over()) await wave(port, waveSize, tally)
  })()
  await Promise.all([...good, ...bad, visits])
  // There are deadlines that still run then, and compressors that are released when idle.
  const sample = await subject.quiet(1500)
  if (unended(sample) > 0) tally.violations.push(`${unended(sample)} connections are left over`)
  return sample
}

const samples: Array<Sample> = []
const began = performance.now()
for (let turn = 0; turn < laps; turn++) {
  samples.push(await lap(turn))
  const { descriptors, heap, rss } = samples[turn]
  console.error(
    `lap ${turn + 1} of ${laps}: ${mebibytes(heap)}, ${mebibytes(rss)} resident, ${descriptors} descriptors`
  )
}
const seconds = Math.round((performance.now() - began) / 1000)
subject.stop()

// -- what is not as it should be ----------------------------------------------

const last = samples[laps - 1]
const accepted = Object.values(tally.accepted).reduce((sum, count) => sum + count, 0)
const received = Object.keys(tally.accepted).reduce((sum, name) => sum + (last.received[name] ?? 0), 0)
const roundTrips = tally.roundTrips.toSorted((a, b) => a - b)
const quantile = (share: number): number => roundTrips[Math.floor(roundTrips.length * share)]
const triedOf = (kind: Bad["kind"]) => Object.entries(triedAttacks).filter(([name]) => attacks[name].kind === kind)

const violations: Array<string> = [...growths(samples)]
for (const [name, count] of Object.entries(tally.accepted)) {
  const came = last.received[name] ?? 0
  if (came !== count) violations.push(`of ${count} messages that were accepted in ${name}, ${came} were received`)
}
if (last.outOfOrder > 0) violations.push(`the server received ${last.outOfOrder} messages out of order`)
if (tally.echoed !== accepted) violations.push(`of ${accepted} messages, ${tally.echoed} were echoed`)
if (tally.visits === 0 || tally.sessions === 0) violations.push("no client was served")
for (const name of new Set(badClients)) if (!(name in triedAttacks)) violations.push(`not tried: ${name}`)
const causes = new Set(badClients.flatMap((name) => attacks[name].cause ?? []))
for (const cause of causes) {
  const due = Object.entries(triedAttacks).reduce((sum, [name, n]) => attacks[name].cause === cause ? sum + n : sum, 0)
  const met = last.ends[cause] ?? 0
  if (met < due) violations.push(`${due} attacks should have ended with ${cause}, and ${met} did`)
}
const [least, most] = [Math.min(...served), Math.max(...served)]
if (2 * least < most) violations.push(`a client had ${least} sessions while another had ${most}`)
if (!(quantile(0.99) <= patienceOfServer)) violations.push(`one round trip in a hundred took ${quantile(0.99)} ms`)

// -- what was measured ---------------------------------------------------------

const { after, before } = levels(samples)
const growth = (name: keyof Level, show: (value: number) => string): string =>
  `${show(before[name])} → ${show(after[name])}`
const sum = (counts: ReadonlyArray<readonly [string, number]>) => number(counts.reduce((all, [, n]) => all + n, 0))
const byCount = (counts: Readonly<Record<string, number>>) => Object.entries(counts).toSorted(([, a], [, b]) => b - a)

report("soak", [
  ["Measured", ""],
  ["Duration, machine", `${seconds} s; ${machine}`],
  ["Connections", number(last.connections)],
  [`... of them in waves of ${number(waveSize)}, open at the same time`, number(tally.visits)],
  ["Sessions of good clients", number(tally.sessions)],
  ["... of the client that had most, and of the one that had least", `${number(most)}, ${number(least)}`],
  ["Messages that `send` accepted in these", number(accepted)],
  ["... received by the server, in order", number(received)],
  ["... whose echo came back, in order, the same", number(tally.echoed)],
  [
    "Round trips under all of this: median, p99, p99.9",
    [0.5, 0.99, 0.999].map((share) => `${quantile(share)?.toFixed(1)} ms`).join(", ")
  ],
  ["Memory in use, before → after", growth("heap", mebibytes)],
  ["Resident memory, before → after", growth("rss", mebibytes)],
  ["Handles, before → after", growth("handles", number)],
  ["File descriptors, before → after", growth("descriptors", number)],
  ["Attacks tried, and survived", sum(triedOf("attack"))],
  ...triedOf("attack").map(([name, count]) => [`... ${name}`, number(count)]),
  ["Faults injected, and survived", sum(triedOf("fault"))],
  ...triedOf("fault").map(([name, count]) => [`... ${name}`, number(count)]),
  ...byCount(last.ends).map(([name, count]) => [`Ended: ${name}`, number(count)])
], values.write)
judge([...violations, ...tally.violations])
