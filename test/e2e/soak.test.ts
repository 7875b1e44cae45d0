/** The soak finds what it looks for: each fault of the server's is told by name, and is a failure. */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { runProgram } from "../support/process.ts"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

beforeAll(() => {
  execFileSync(process.execPath, [
    here("../../node_modules/typescript/bin/tsc"),
    "-p",
    here("../../tsconfig.soak.json")
  ])
})

/** A server with a fault, and what is said of it. */
const verdicts: ReadonlyArray<readonly [fault: string, verdict: RegExp, ...args: ReadonlyArray<string>]> = [
  ["lose", /VIOLATION: of 251 messages that were accepted in \S+, 250 were received/, "--patience", "5"],
  ["double", /VIOLATION: of 301 messages that were accepted in \S+, 302 were received/],
  ["reorder", /VIOLATION: the server received \d+ messages out of order/],
  ["leak memory", /VIOLATION: heap has grown by \d+/],
  ["leak handles", /VIOLATION: handles has grown by \d+/],
  ["leak descriptors", /VIOLATION: descriptors has grown by \d+/],
  ["block", /VIOLATION: one round trip in a hundred took \d+/],
  ["be lenient", /VIOLATION: the server did not end silence, not even a pong/, "--bad", "11", "--patience", "5"],
  ["die", /VIOLATION: the server has ended: 3/]
]

describe.concurrent("the soak reports a server with the fault", () => {
  const judged = (program: string, fault: string, verdict: RegExp, ...args: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const file = here(`../../build/test/soak/${program}`)
      const soak = yield* runProgram(process.execPath, [file, "--fault", fault, ...args])
      const code = yield* soak.ended
      assert.match(soak.output(), verdict)
      assert.strictEqual(code, 1)
    })

  const short = ["--minutes", "0", "--laps", "2", "--good", "1", "--bad", "0", "--wave", "20"]
  for (const [fault, verdict, ...args] of verdicts) {
    it.live(fault, () => judged("main.js", fault, verdict, ...short, ...args), 60_000)
  }

  it.live(
    "leak handles, in waves of connections",
    () => judged("waves.js", "leak handles", /VIOLATION: handles has grown by \d+/, "--waves", "4", "--size", "20"),
    60_000
  )
})
