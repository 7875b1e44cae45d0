/** How the cost of a message grows with connections, with its size, and with how many are under way at once. */
import { measure, type Throughput } from "./measure.ts"
import { openFilesLimit, tooManyConnections } from "./openFiles.ts"
import type { Arguments } from "./options.ts"
import type { Peer, Scenario } from "./scenarios.ts"
import { drawing } from "./svg.ts"
import { figure, type Table } from "./table.ts"

const KiB = 1024
const MiB = 1024 * KiB

export interface Axis {
  readonly title: string
  readonly values: ReadonlyArray<number>
  readonly show: (value: number) => string
  readonly scenario: (value: number) => Scenario
}

const traffic = (connections: number, inFlight: number, size: number): Scenario => ({
  about: "",
  kind: "traffic",
  connections,
  inFlight,
  size
})

const bytes = (value: number): string =>
  value >= MiB ? `${value / MiB} MiB` : value >= KiB ? `${value / KiB} KiB` : `${value} B`

export const axes: ReadonlyArray<Axis> = [
  {
    title: "connections, each with 1 message of 32 B under way",
    values: [1, 10, 100, 1000, 10_000],
    show: String,
    scenario: (connections) => traffic(connections, 1, 32)
  },
  {
    title: "size, on 4 connections, each with 1 message under way",
    values: [16, 256, 4 * KiB, 64 * KiB, MiB, 16 * MiB],
    show: bytes,
    scenario: (size) => traffic(4, 1, size)
  },
  {
    title: "messages under way, of 32 B, on each of 16 connections",
    values: [1, 4, 16, 64, 256],
    show: String,
    scenario: (inFlight) => traffic(16, inFlight, 32)
  }
]

export const lines = ["ours", "ws"] as const satisfies ReadonlyArray<Peer>
export type Line = typeof lines[number]

/** The round with the median ratio; by axis, by value, by server. */
export type Growth = ReadonlyArray<ReadonlyArray<Readonly<Record<Line, Throughput>>>>

export const measureGrowth = async (options: Arguments, progress: (text: string) => void): Promise<Growth> => {
  const most = Math.max(...axes.flatMap(({ scenario, values }) => values.map((value) => scenario(value).connections)))
  const problem = tooManyConnections(most, openFilesLimit())
  if (problem !== undefined) throw new Error(problem)
  const growth: Array<Array<Record<Line, Throughput>>> = []
  for (const axis of axes) {
    const points: Array<Record<Line, Throughput>> = []
    for (const value of axis.values) {
      const rounds: Array<Record<Line, Throughput>> = []
      for (let round = 1; round <= options.rounds; round++) {
        const run = async (peer: Line): Promise<Throughput> => {
          progress(`${axis.show(value)}, round ${round} of ${options.rounds}: ${peer}`)
          return await measure(axis.scenario(value), peer, options) as Throughput
        }
        rounds.push({ ours: await run("ours"), ws: await run("ws") })
      }
      points.push(rounds.toSorted((a, b) => ratio(a) - ratio(b))[rounds.length >> 1])
    }
    growth.push(points)
  }
  progress("")
  return growth
}

const ratio = ({ ours, ws }: Readonly<Record<Line, Throughput>>): number => ours.rate / ws.rate

export const growthTables = (growth: Growth): ReadonlyArray<{ readonly title: string; readonly table: Table }> =>
  axes.map((axis, i) => ({
    title: axis.title,
    table: {
      head: ["", "effect-ws/s", "CPU µs/msg", "ws/s", "CPU µs/msg", "ours/it"],
      rows: axis.values.map((value, j) => {
        const { ours, ws } = growth[i][j]
        return [
          axis.show(value),
          figure(ours.rate),
          figure(ours.cpu),
          figure(ws.rate),
          figure(ws.cpu),
          figure(ratio(growth[i][j]))
        ]
      }),
      textColumns: 1
    }
  }))

// -----------------------------------------------------------------------------
// The chart: CPU time a message, on logarithmic scales, one panel an axis
// -----------------------------------------------------------------------------

const panel = { width: 250, height: 180, left: 46, top: 40, gap: 26 }
const width = axes.length * (panel.width + panel.gap)

const style = [
  "text { font: 11px system-ui, sans-serif }",
  ".axis { stroke: #8b949e; fill: none }",
  ".ours { stroke: #2f81f7; fill: none; stroke-width: 2 }",
  ".ws { stroke: #8b949e; fill: none; stroke-width: 2 }"
]

export const growthChart = (growth: Growth): string => {
  const panels = axes.flatMap((axis, i) => {
    const costs = growth[i].flatMap((point) => lines.map((line) => Math.log10(point[line].cpu)))
    const [low, high] = [Math.floor(Math.min(...costs)), Math.ceil(Math.max(...costs))]
    const x0 = i * (panel.width + panel.gap) + panel.left
    const inner = panel.width - panel.left
    const bottom = panel.top + panel.height
    const x = (j: number) => Math.round(x0 + j / (axis.values.length - 1) * inner)
    const y = (cpu: number) => Math.round(bottom - (Math.log10(cpu) - low) / (high - low) * panel.height)
    const curve = (line: Line) =>
      `<polyline class="${line}" points="${growth[i].map((point, j) => `${x(j)},${y(point[line].cpu)}`).join(" ")}"/>`
    const ticks = Array.from({ length: high - low + 1 }, (_, k) => 10 ** (low + k))
    const caption = (at: number, below: number, label: string) =>
      `<text x="${at}" y="${bottom + below}" text-anchor="middle">${label}</text>`
    return [
      [
        `<text x="${x0}" y="${panel.top - 12}">µs of CPU a message, by</text>`,
        `<polyline class="axis" points="${x0},${panel.top} ${x0},${bottom} ${x0 + inner},${bottom}"/>`,
        caption(x0 + inner / 2, 34, axis.title.split(",")[0]),
        curve("ws"),
        curve("ours")
      ],
      ticks.map((tick) => `<text x="${x0 - 6}" y="${y(tick) + 4}" text-anchor="end">${tick}</text>`),
      axis.values.map((value, j) => caption(x(j), 16, axis.show(value).replace(" ", "")))
    ].flat()
  })
  const height = panel.top + panel.height + 48
  const title = "CPU time of a message on the server, effect-ws and ws; lower is better"
  const legend = [
    `<text x="${panel.left}" y="14" style="fill: #2f81f7">effect-ws</text>`,
    `<text x="${panel.left + 70}" y="14" style="fill: #8b949e">ws</text>`
  ]
  return drawing({ width, height, title, style, parts: [...legend, ...panels] })
}
