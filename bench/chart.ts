/** A bar chart of a run: how many times as good as ws each server is. */
import { ratio, type Results } from "./report.ts"
import type { Peer } from "./scenarios.ts"
import { drawing } from "./svg.ts"
import { figure } from "./table.ts"

const bars: ReadonlyArray<{ readonly peer: Peer; readonly label: string }> = [
  { peer: "ours", label: "effect-ws" },
  { peer: "effect", label: "Effect's Socket server" },
  { peer: "net", label: "node:net, no WebSocket" }
]

const width = 760
const left = 110
const right = 60
const top = 56
const barHeight = 11
const barGap = 2
const groupGap = 14

const style = [
  "text { font: 12px system-ui, sans-serif }",
  ".value { font-size: 10px }",
  ".line { stroke: #8b949e }",
  ".ours { fill: #2f81f7 }",
  ".effect { fill: #a475f9 }",
  ".net { fill: #8b949e }"
]

const text = (x: number, y: number, content: string, more = ""): string =>
  `<text x="${x}" y="${y}"${more === "" ? "" : ` ${more}`}>${content}</text>`

export const chart = (results: Results): string => {
  const shown = bars.filter(({ peer }) => [...results.values()].some((rounds) => rounds.has(peer)))
  const groups = [...results].map(([scenario, rounds]) => ({
    scenario,
    bars: shown.flatMap(({ peer }) => {
      const value = ratio(rounds, peer, "ws")
      return Number.isFinite(value) ? [{ peer, value }] : []
    })
  }))
  const most = Math.max(1, ...groups.flatMap((group) => group.bars.map(({ value }) => value)))
  const scale = (value: number) => Math.round(value / most * (width - left - right))
  const one = left + scale(1)

  const bottom = top + groups.reduce((sum, group) => sum + group.bars.length * (barHeight + barGap) + groupGap, 0)
  const parts = [
    `<line class="line" x1="${one}" y1="${top - 8}" x2="${one}" y2="${bottom - groupGap + 4}"/>`,
    text(one, top - 14, "ws = 1", `text-anchor="middle" class="value"`)
  ]
  shown.forEach(({ label, peer }, i) => {
    const x = left + i * 190
    parts.push(`<rect class="${peer}" x="${x}" y="10" width="11" height="11" rx="2"/>`, text(x + 17, 20, label))
  })
  let y = top
  for (const group of groups) {
    const height = group.bars.length * (barHeight + barGap)
    parts.push(text(left - 10, y + height / 2 + 3, group.scenario, `text-anchor="end"`))
    for (const { peer, value } of group.bars) {
      const length = Math.max(1, scale(value))
      parts.push(
        `<rect class="${peer}" x="${left}" y="${y}" width="${length}" height="${barHeight}" rx="2"/>`,
        text(left + length + 5, y + barHeight - 2, figure(value), `class="value"`)
      )
      y += barHeight + barGap
    }
    y += groupGap
  }
  const title = "Throughput beside ws (memory for idle connections); longer is better"
  return drawing({ width, height: bottom, title, style, parts })
}
