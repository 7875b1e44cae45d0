/** How what was measured is shown. */
import { readFileSync, writeFileSync } from "node:fs"
import { cpus } from "node:os"
import { fileURLToPath } from "node:url"

export const number = (value: number): string => value.toLocaleString("en-US")
export const mebibytes = (value: number): string => `${(value / 2 ** 20).toFixed(1)} MiB`
export const machine = `${cpus().length} × ${cpus()[0].model.trim()}; Node ${process.version}`

const page = fileURLToPath(new URL("../../../docs/reliability.md", import.meta.url))

/** Prints a table, of which the first row is the head, and puts it into the page, between the comments of that name. */
export const report = (name: string, rows: ReadonlyArray<ReadonlyArray<string>>, write: boolean): void => {
  const [head, ...body] = rows
  const table = [head, head.map(() => "---"), ...body].map((cells) => `| ${cells.join(" | ")} |`).join("\n")
  console.log(table)
  if (!write) return
  const text = readFileSync(page, "utf8")
  const [begin, end] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`]
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`${page} has no place for ${name}`)
  writeFileSync(page, `${text.slice(0, from + begin.length)}\n\n${table}\n\n${text.slice(to)}`)
}

/** Says what was not as it should be, and ends with 1 if anything was not. */
export const judge = (violations: ReadonlyArray<string>): never => {
  for (const violation of violations.slice(0, 20)) console.error(`VIOLATION: ${violation}`)
  if (violations.length > 0) console.error(`${violations.length} violations`)
  process.exit(violations.length === 0 ? 0 : 1)
}
