/** The tables of a run: printed, and written as JSON, so that a later run can be compared with it. */
import { readFileSync, writeFileSync } from "node:fs"
import { machine } from "./machine.ts"
import { render, type Table } from "./table.ts"

/** A file of `--json`. */
export interface Run {
  /** Where and when, in words. */
  readonly machine: ReadonlyArray<string>
  /** The arguments. */
  readonly arguments: ReadonlyArray<string>
  readonly tables: ReadonlyArray<Table>
}

/** Prints a run, and remembers its tables. */
export class Printer {
  private readonly markdown: boolean
  private readonly tables: Array<Table> = []

  constructor(markdown: boolean) {
    this.markdown = markdown
  }

  lines(lines: ReadonlyArray<string>): void {
    console.log(`${lines.map((line) => this.markdown ? `- ${line}` : line).join("\n")}\n`)
  }

  table(table: Table, title?: string): void {
    this.tables.push(table)
    console.log(`${title === undefined ? "" : `${title}:\n\n`}${render(table, this.markdown)}\n`)
  }

  /** Writes the tables to a file, if one is given. */
  write(file: string | undefined): void {
    if (file === undefined) return
    const run: Run = { machine: machine(), arguments: process.argv.slice(2), tables: this.tables }
    writeFileSync(file, `${JSON.stringify(run, undefined, 2)}\n`)
  }
}

export const readRun = (file: string): Run => JSON.parse(readFileSync(file, "utf8"))
