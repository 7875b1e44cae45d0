import { assert, describe, it } from "@effect/vitest"
import { compare } from "../bench/compare.ts"
import type { Run } from "../bench/run.ts"
import type { Table } from "../bench/table.ts"

const head = ["scenario", "server", "messages/s", "p50 µs"]
const run = (...tables: ReadonlyArray<Table>): Run => ({ machine: [], arguments: [], tables })
const table = (...rows: ReadonlyArray<ReadonlyArray<string>>): Table => ({ head, rows, textColumns: 2 })

describe("compare", () => {
  it("adds to each figure its ratio to the first run, by the texts of the row", () => {
    const first = run(table(["a", "ours", "1,000", "2.00"], ["", "ws", "*500", "-"], ["b", "ours", "100 KiB", ""]))
    const second = run(table(["b", "ours", "50 KiB", ""], ["a", "ours", "2,000", "1.00"], ["", "ws", "*500", "3.00"]))
    assert.deepStrictEqual(compare(first, second)[0].rows, [
      ["b", "ours", "50 KiB (0.50)", ""],
      ["a", "ours", "2,000 (2.00)", "1.00 (0.50)"],
      ["a", "ws", "*500 (1.00)", "3.00"]
    ])
  })

  it("keeps rows that the first run lacks, and leaves out tables that it lacks", () => {
    const other: Table = { head: ["other"], rows: [["x"]], textColumns: 1 }
    const compared = compare(run(table(["a", "ours", "1", "1"])), run(other, table(["b", "ours", "2", "2"])))
    assert.deepStrictEqual(compared.map(({ rows }) => rows), [[["b", "ours", "2", "2"]]])
  })

  it("compares tables of the same kind in their order", () => {
    const [small, large] = ["1", "10"].map((figure) => table(["a", "ours", figure, figure]))
    const cells = compare(run(small, large), run(small, small)).map(({ rows }) => rows[0][2])
    assert.deepStrictEqual(cells, ["1 (1.00)", "1 (0.10)"])
  })
})
