/**
 * Connections that come and go, ten thousand at a time, a hundred times:
 *
 *   npm run soak:waves -- --waves 100 --size 10000 --write
 *
 * The exit code is not 0 where the server holds more after the last ones than
 * after the first, or where one of them was not served. `--write` puts the table
 * into docs/reliability.md.
 */
import { parseArgs } from "node:util"
import { Tally } from "./wellBehavedClients.ts"
import { growths } from "./levels.ts"
import { judge, machine, mebibytes, number, report } from "./report.ts"
import type { Sample } from "./sample.ts"
import { start, unended } from "./subject.ts"
import { wave } from "./wave.ts"

const { values } = parseArgs({
  options: {
    waves: { type: "string", default: "100" },
    size: { type: "string", default: "10000" },
    fault: { type: "string" },
    patience: { type: "string", default: "30" },
    write: { type: "boolean", default: false }
  }
})
const waves = Number(values.waves)
const size = Number(values.size)
const tally = new Tally(Number(values.patience) * 1000)

const subject = await start(values.fault)
const row = (name: string, { descriptors, handles, heap, open, rss }: Sample): ReadonlyArray<string> => [
  name,
  number(open),
  mebibytes(heap),
  mebibytes(rss),
  number(handles),
  number(descriptors)
]
const rows = [row("before the first", await subject.ask())]
const samples: Array<Sample> = []
for (let turn = 1; turn <= waves; turn++) {
  const shown = turn % Math.ceil(waves / 10) === 0 || turn === waves
  await wave(subject.port, size, tally, async () => {
    const top = await subject.ask()
    if (top.open !== size) tally.violations.push(`${top.open} were open at the top of wave ${turn}`)
    if (shown) rows.push(row(`at the top of wave ${turn}`, top))
  })
  const sample = await subject.quiet(500)
  samples.push(sample)
  if (unended(sample) > 0) tally.violations.push(`${unended(sample)} connections are left over after wave ${turn}`)
  if (shown) {
    rows.push(row(`after wave ${turn}`, sample))
    console.error(rows.at(-1)!.join("  "))
  }
}
subject.stop()

const { connections } = samples[waves - 1]
if (connections !== waves * size) tally.violations.push(`${connections} connections were served`)
const title = `${number(connections)} connections; ${machine}`
report("waves", [[title, "Open", "Memory in use", "Resident", "Handles", "Descriptors"], ...rows], values.write)
judge([...growths(samples), ...tally.violations])
