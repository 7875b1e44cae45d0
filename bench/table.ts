/** Tables, for the terminal or for Markdown, and the figures in them. */

export interface Table {
  readonly head: ReadonlyArray<string>
  readonly rows: ReadonlyArray<ReadonlyArray<string>>
  /** How many columns are text; the others are figures, and stand to the right. */
  readonly textColumns: number
}

export const render = ({ head, rows, textColumns }: Table, markdown: boolean): string => {
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map((row) => row[i].length)))
  const pad = (cell: string, i: number) => i < textColumns ? cell.padEnd(widths[i]) : cell.padStart(widths[i])
  const line = (cells: ReadonlyArray<string>) =>
    markdown ? `| ${cells.map(pad).join(" | ")} |` : cells.map(pad).join("  ").trimEnd()
  const rule = widths.map((width, i) => i < textColumns || !markdown ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)
  return [line(head), line(rule), ...rows.map(line)].join("\n")
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** A figure with about three digits, thousands set apart. */
export const figure = (value: number): string => {
  if (!Number.isFinite(value)) return "-"
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })
}
