/** How many connections a process can have: each is an open file. */
import { execFileSync } from "node:child_process"

/** Files that a process has open besides its connections, with some to spare. */
const others = 200

/** The limit of this process and its children. Node raises its own as far as the system allows. */
export const openFilesLimit = (): number => {
  const limit = Number(execFileSync("sh", ["-c", "ulimit -n"], { encoding: "utf8" }))
  return Number.isFinite(limit) ? limit : Number.POSITIVE_INFINITY
}

/** Why a process with a limit of open files cannot have so many connections; `undefined` if it can. */
export const tooManyConnections = (connections: number, limit: number): string | undefined => {
  const needed = connections + others
  if (needed <= limit) return undefined
  return `expected a limit of at least ${needed} open files for ${connections} connections, got ${limit}: ` +
    `raise the hard limit ("ulimit -Hn")`
}
