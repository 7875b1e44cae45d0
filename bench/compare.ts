/** Two runs side by side. */
import type { Run } from "./run.ts"
import { figure, type Table } from "./table.ts"

/** The rows of a table by their texts. A text that is left out is that of the row above. */
const rowsByText = ({ rows, textColumns }: Table): Map<string, ReadonlyArray<string>> => {
  let above: ReadonlyArray<string> = []
  return new Map(rows.map((row) => {
    above = row.slice(0, textColumns).map((text, i) => text === "" ? above[i] ?? "" : text)
    return [above.join("\t"), row]
  }))
}

const numberIn = (cell: string | undefined): number => Number.parseFloat((cell ?? "").replace(/[*,]/g, ""))

/** The cells of the second run, each with its ratio to the first; the cell alone where the first has no such figure. */
const compareRow = (
  row: ReadonlyArray<string>,
  before: ReadonlyArray<string> | undefined,
  { textColumns }: Table
): ReadonlyArray<string> =>
  row.slice(textColumns).map((cell, i) => {
    const ratio = numberIn(cell) / numberIn(before?.[textColumns + i])
    return Number.isFinite(ratio) ? `${cell} (${figure(ratio)})` : cell
  })

/** What tables of the same kind have in common. A run may have several of a kind, in the same order as another run. */
const kindOf = ({ head }: Table): string => head.join("\t")

/** The tables of the second run that the first has too. A figure is followed by its ratio to that of the first run. */
export const compare = (first: Run, second: Run): ReadonlyArray<Table> => {
  const left = [...first.tables]
  return second.tables.flatMap((table) => {
    const index = left.findIndex((earlier) => kindOf(earlier) === kindOf(table))
    if (index < 0) return []
    const before = rowsByText(left.splice(index, 1)[0])
    const rows = Array.from(rowsByText(table), ([key, row]) => [
      ...key.split("\t"),
      ...compareRow(row, before.get(key), table)
    ])
    return [{ ...table, rows }]
  })
}
