/** What the measurements come to. */
import type { Measurement, Throughput } from "./measure.ts"
import { type Peer, peers, scenarios } from "./scenarios.ts"
import { figure, median, type Table } from "./table.ts"

/** The measurements of a scenario, one a round; `undefined` where one failed. */
export type Rounds = ReadonlyMap<Peer, ReadonlyArray<Measurement | undefined>>
/** By scenario. */
export type Results = ReadonlyMap<string, Rounds>

/** More of it is better: a rate, or connections by memory. */
const score = (it: Measurement): number => it._tag === "Throughput" ? it.rate : 1 / it.size

/** How many times as good one peer is as another: the median over the rounds. */
export const ratio = (rounds: Rounds, peer: Peer, to: Peer): number => {
  const others = rounds.get(to) ?? []
  const pairs = (rounds.get(peer) ?? []).flatMap((one, i) => {
    const other = others[i]
    return one === undefined || other === undefined ? [] : [score(one) / score(other)]
  })
  return median(pairs)
}

const head = ["scenario", "server", "messages/s", "CPU µs/msg", "p50 µs", "p99 µs", "ours/it"]

const cells = (measurements: ReadonlyArray<Measurement | undefined>): ReadonlyArray<string> => {
  const done = measurements.filter((it) => it !== undefined)
  const memory = done.filter((it) => it._tag === "Memory")
  const throughput = done.filter((it) => it._tag === "Throughput")
  if (memory.length > 0) return [`${figure(median(memory.map((it) => it.size)))} KiB/conn`, "", "", ""]
  if (throughput.length === 0) return ["failed", "", "", ""]
  const of = (get: (it: Throughput) => number | undefined) => median(throughput.flatMap((it) => get(it) ?? []))
  const mark = of((it) => it.loadBound ? 1 : 0) > 0.5 ? "*" : ""
  return [
    `${mark}${figure(of((it) => it.rate))}`,
    figure(of((it) => it.cpu)),
    figure(of((it) => it.latency?.p50)),
    figure(of((it) => it.latency?.p99))
  ]
}

export const toTable = (results: Results): Table => {
  const rows: Array<ReadonlyArray<string>> = []
  for (const [scenario, rounds] of results) {
    for (const [peer, measurements] of rounds) {
      const [first, name, versus] = peer === "ours"
        ? [scenario, "effect-ws", ""]
        : ["", peer, figure(ratio(rounds, "ours", peer))]
      rows.push([first, name, ...cells(measurements), versus])
    }
  }
  return { head, rows, textColumns: 2 }
}

/** What the table's words and marks mean. */
export const notes = (results: Results): ReadonlyArray<string> => {
  const measured = new Set([...results.values()].flatMap((rounds) => Array.from(rounds.keys())))
  const all = [...results.values()].flatMap((rounds) => Array.from(rounds.values()).flat())
  const loadBound = all.some((it) => it?._tag === "Throughput" && it.loadBound)
  return [
    ...Array.from(results.keys(), (name) => `${name}: ${scenarios[name].about}`),
    ...Array.from(measured, (peer) => `${peer === "ours" ? "effect-ws" : peer}: ${peers[peer]}`),
    "ours/it: the median of each round's ratio; over 1, ours is faster, or needs less memory",
    ...loadBound
      ? ["*: the load generator was busy for over 95 % of the time; the server may be faster than this"]
      : []
  ]
}
